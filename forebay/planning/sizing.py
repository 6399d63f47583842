"""Size and number together: the best plan for each size the workload may have, the cheapest of them, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.planning.demand import Floats
from forebay.planning.draft import SLACKS, Draft, solve_holding
from forebay.planning.optimum import Optimum, had
from forebay.planning.problem import ShapingProblem, left_standing
from forebay.planning.required import Ints, Required, required
from forebay.planning.resize import Resized, rollout, solve_resized
from forebay.planning.tracking import tracked_units


@dataclass(frozen=True)
class Part:
    """A stretch of a plan in units of one size, and what it was solved from."""

    draft: Draft
    problem: ShapingProblem
    optimum: Optimum
    needs: Required


@dataclass(frozen=True)
class Solution:
    """The whole plan: `first`, and after a resize `second`. `worth`: how much larger the units of `second` are.

    `verified_after`: from asking for the resize until its verdict.
    """

    first: Part
    cost: float
    second: Part | None = None
    resized: Resized | None = None
    worth: float = 1.0
    verified_after: timedelta = timedelta(0)

    @property
    def last(self) -> Part:
        return self.second or self.first

    @property
    def cut(self) -> int:
        """The slot from which units are those of `second`; the end without one."""
        return self.resized.replaced if self.resized else self.first.problem.n_slots

    @property
    def beside(self) -> Floats:
        """Units of the new size that run beside the old ones while they replace them, (n_slots,), mean over paths."""
        beside = np.zeros(self.first.problem.n_slots)
        if self.resized:
            under_way = slice(self.resized.at, self.resized.replaced)
            stands = had(self.first.problem, self.first.optimum.asked)[under_way]
            beside[under_way] = self.resized.extra * stands
        return beside

    @property
    def units_cost(self) -> float:
        """What the units cost, without risk, moves and the price of the resize."""
        first, last = self.first, self.last
        before = had(first.problem, first.optimum.asked)[: self.cut].sum()
        after = had(last.problem, last.optimum.asked)[self.cut :].sum()
        return float(first.problem.unit_price * before + last.problem.unit_price * (self.beside.sum() + after))


def choose(draft: Draft) -> tuple[Solution | None, str]:
    """The cheapest solution, and why it has the size it has; no words where there is no choice.

    Of equal ones that without a resize is taken. None if not even a resize makes a plan.
    """
    best = stay = as_it_is(draft)
    workload = draft.workload
    if not workload.alternatives:
        return stay, ""
    if not draft.start.resizable:
        return stay, f"stays at {workload.size}: no resize is open to it now"
    if draft.change.entitlement(workload.name):
        return stay, f"stays at {workload.size}: the policy bounds the number of its units"
    words = []
    for other in workload.alternatives:
        if fewer := smaller_in(workload, other):
            words.append(f"{other.size} has less {fewer[0]}, and a resize takes no capacity away")
            continue
        solution = with_resize(draft, other)
        if solution is None:
            words.append(_barred(draft, other))
            continue
        words.append(_compared(solution, stay, other))
        if best is None or solution.cost < best.cost:
            best = solution
    if best is None:
        return None, ""
    head = f"resizes to {best.last.draft.workload.size}" if best.second else f"stays at {workload.size}"
    as_is = "as it is no plan meets the effective time" if stay is None else f"as it is {_money(stay)} in all"
    return best, f"{head}: {'; '.join([as_is, *words])}"


def _barred(draft: Draft, other: Workload) -> str:
    """Why there is no plan with a resize to `other`."""
    then = replace(draft, workload=other)
    needed = max(then.aligned(), other.limits.min_units)
    if needed > then.most_units:
        return f"with {other.size} {needed} units must serve then, but {draft.most_of} is {then.most_units}"
    return f"{other.size} cannot be reached and verified in time"


def smaller_in(workload: Workload, other: Workload) -> list[Resource]:
    """The planned resources of which a unit of the `other` size has less."""
    return [r for r in workload.resources if other.unit[r] < workload.unit[r]]


def larger(workload: Workload) -> list[Workload]:
    """The other sizes that a resize may bring: those that take no capacity away."""
    return [other for other in workload.alternatives if not smaller_in(workload, other)]


def as_it_is(draft: Draft) -> Solution | None:
    """The best plan with the size that stands: with the autoscaler counted on, where there is one.

    Without it only under a policy's ceiling that it would run above, or that the plan with it would. Where it merely
    brings too little there is no plan: what stands now may be gone before a step holds it.
    """
    needs, aligned = _needs(draft), draft.aligned()
    for counted_on in with_autoscaler(draft, needs.units, draft.needed_before):
        solutions = (_solved(counted_on, needs, aligned, slack) for slack in SLACKS)
        above = False
        for solution in filter(None, solutions):
            if not (above := _above_its_ceiling(counted_on, solution.first.optimum)):
                return solution
        if not above:
            return None
    return _by_steps_alone(draft, needs, aligned)


def _by_steps_alone(draft: Draft, needs: Required, aligned: int) -> Solution | None:
    """The best plan that counts on no autoscaler; if one stands there, from no more than it nearly surely leaves.

    Until the first step nothing holds what stands above the floor.
    """
    solution = next((one for slack in SLACKS if (one := _solved(draft, needs, aligned, slack))), None)
    if solution is None or not draft.start.autoscaled:
        return solution
    left = left_standing(tracked_units(needs.units, draft.needed_before, draft.workload))
    first = next(iter(solution.first.optimum.moves), None)
    if first is None or first.after < first.before:
        return solution
    stays = max(int(left[first.slot]), draft.floor or 0)
    if first.before <= stays:
        return solution
    return _by_steps_alone(draft.counting_on(stays), needs, aligned)


def _solved(draft: Draft, needs: Required, aligned: int, slack: int) -> Solution | None:
    problem = draft.problem(aligned, needs.units, draft.index, slack)
    optimum = solve_holding(problem, draft.floor)
    return Solution(Part(draft, problem, optimum, needs), optimum.cost) if optimum else None


def _above_its_ceiling(draft: Draft, optimum: Optimum) -> bool:
    """Whether a plan that counts on the autoscaler rises above the policy's ceiling on the way.

    What comes down to a ceiling takes the autoscaler's maximum along: it must not come down further than that.
    """
    bound = draft.most_units < draft.workload.limits.max_units
    return bound and bool((optimum.asked > draft.most_units).any())


def with_resize(draft: Draft, other: Workload) -> Solution | None:
    """The best plan with exactly one resize, to `other`.

    Under an autoscaler only where it is counted on: then the floor itself is what must be held, in either size.
    """
    workload, needs = draft.workload, _needs(draft)
    worth = max(other.unit[r] / workload.unit[r] for r in workload.resources)
    then = replace(draft, workload=other)
    other_needs, aligned, other_aligned = _needs(then), draft.aligned(), then.aligned()
    if draft.floor is not None:
        pairs = zip(
            with_autoscaler(draft, needs.units, draft.needed_before),
            with_autoscaler(then, other_needs.units, needed_in(draft, other)),
            strict=True,
        )
    else:
        pairs = zip([draft], [then], strict=True)
    for first_draft, second_draft in pairs:
        for slack in SLACKS:
            first = first_draft.problem(aligned, needs.units, draft.index, slack)
            second = second_draft.problem(other_aligned, other_needs.units, draft.index, slack)
            second = replace(second, shortfall_price=second.shortfall_price * worth)
            deploy = rollout(
                workload,
                draft.change.effective_at,
                draft.index,
                slack,
                autoscaled=first.tracked is not None,
                most=max(first.most, first.start),
            )
            found = solve_resized(first, second, deploy)
            if found is not None:
                return Solution(
                    Part(first_draft, first, found.before, needs),
                    found.cost,
                    Part(second_draft, second, found.after, other_needs),
                    found,
                    worth,
                    deploy.verified[found.units],
                )
    return None


def needed_in(draft: Draft, other: Workload) -> Ints:
    """Units of the `other` size that were needed before the first slot."""
    smallest = min(other.unit[r] / draft.workload.unit[r] for r in draft.workload.resources)
    return np.ceil(draft.needed_before / smallest).astype(np.int64)


def without_change(part: Part) -> Part:
    """The same part, had nobody asked for the change: what is needed, and what an autoscaler then brings by itself."""
    demand = replace(part.draft.demand, with_change=part.draft.demand.without_change)
    draft = replace(part.draft, demand=demand)
    needs, tracked = _needs(draft), None
    if draft.tracked is not None:
        tracked = tracked_units(needs.units, draft.needed_before, draft.workload)
    problem = replace(part.problem, required=needs.units, tracked=tracked)
    return replace(part, draft=replace(draft, tracked=tracked), problem=problem, needs=needs)


def _needs(draft: Draft) -> Required:
    paths = {r: paths[:, : len(draft.index)] for r, paths in draft.demand.with_change.items()}
    return required(draft.workload, paths)


def with_autoscaler(draft: Draft, units: Ints, needed: Ints) -> Iterator[Draft]:
    """The draft with its autoscaler counted on, under a policy's ceiling with no more than that from its time on.

    Not where more runs or its floor stands above, nor where it would surely run to more, then or as far as is
    forecast: such a ceiling is met by steps, without it, and they take its maximum along.
    """
    if not draft.start.autoscaled:
        return
    tracked, most = tracked_units(units, needed, draft.workload), draft.most_units
    begin, confidence = max(0, draft.demand.index.covering(draft.change.effective_at)), draft.workload.risk.confidence
    if most < draft.workload.limits.max_units and begin < tracked.shape[1]:
        runs = np.quantile(tracked, confidence, axis=0, method="inverted_cdf")
        ever = required(draft.workload, draft.demand.with_change).covering(confidence)[begin:]
        if max(runs.max(), ever.max(), draft.start_units, draft.floor or 0) > most:
            return
        tracked[:, begin:] = np.minimum(tracked[:, begin:], most)
    if draft.bounds.own_cap is not None:
        tracked[:, :begin] = np.minimum(tracked[:, :begin], max(draft.bounds.own_cap, draft.start_units))
    yield replace(draft, tracked=tracked)


def _compared(solution: Solution, stay: Solution | None, other: Workload) -> str:
    text = f"with {other.size} {_money(solution)} in all, {float(other.risk.resize):.2f} of it for the resize"
    if stay is None or not stay.units_cost:
        return text
    less = 1 - solution.units_cost / stay.units_cost
    return f"{text}, its units {abs(less):.0%} {'cheaper' if less >= 0 else 'dearer'}".replace("%", " %")


def _money(solution: Solution) -> str:
    return f"{solution.cost:.2f} {solution.first.draft.workload.price.currency}"
