"""Where no plan meets the effective time: why, and what would do. Every proposal was solved, none is a guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from forebay.domain.freeze import FreezeWindow
from forebay.domain.impact import Adoption
from forebay.domain.plan import CounterProposal, PlanRefusal, Relaxation, ShapingPlan
from forebay.domain.workload import Workload
from forebay.planning.draft import Draft, feasible, not_counted, solve_holding
from forebay.planning.price import plan_price
from forebay.planning.problem import Bools, ShapingProblem, earliest_climb, latest_points, reachable
from forebay.planning.reasons import clock
from forebay.planning.required import Ints, required
from forebay.planning.resize import rollout, soonest_resized
from forebay.planning.sizing import as_it_is, choose, larger, needed_in, with_autoscaler, with_resize
from forebay.planning.slots import plan_end, slots_in

# The most that a soft limit in percent may be.
MOST_PERCENT = 1000

# What would do, in words, and the draft with it.
Way = tuple[str, Draft]


@dataclass(frozen=True)
class Autoscaler:
    """`brings`: what it has by itself, (n_paths, slots of the demand), until the change comes into force, whenever that
    may be: it rests on what was needed before, and nothing of the change is before its effective time.
    """

    brings: Ints

    @classmethod
    def above(cls, draft: Draft) -> Autoscaler | None:
        """The one above the floor, as if the policy had no ceiling; None where none is."""
        needs = required(draft.workload, draft.demand.without_change).units
        free = draft.with_change(entitlements=())
        counted_on = with_autoscaler(free, needs, draft.needed_before)
        return next((cls(one.tracked) for one in counted_on if one.tracked is not None), None)


def refusal(draft: Draft) -> PlanRefusal:
    """Why `draft` cannot be planned, with the earliest effective time and what else would do by itself, priced."""
    aligned, above = draft.aligned(), Autoscaler.above(draft)
    finds = (relaxed_dwell, relaxed_max_units, relaxed_ceiling, relaxed_freeze)
    alone = [way for find in finds if (way := find(draft, aligned, above))]
    ways = [*relaxed_moves(draft, aligned, above), *alone]
    at = earliest_effective_at(draft, above)
    if draft.start.resizable:
        at = earliest_resized(draft, at) or at
    return PlanRefusal(
        workload=draft.workload.name,
        reason=reason(draft, aligned, above) + ("" if at else _outgrown(draft)),
        counter_proposal=CounterProposal(
            earliest_effective_at=at,
            earliest_costs=costs(in_force_at(draft, at)) if at else None,
            relax=tuple(
                Relaxation(limit=limit, costs=more) for limit, eased in ways if (more := costs(eased)) is not None
            ),
            currency=draft.workload.price.currency,
        ),
    )


def costs(draft: Draft) -> Decimal | None:
    """What the plan takes more than leaving the allocation as it is; None if there is none, or it cannot be told."""
    if plan_end(draft.change, draft.workload) > draft.demand.index.end:
        return None  # the forecast ends before the plan would
    solution, _ = choose(draft)
    return plan_price(solution).more if solution else None


def earliest_for_all(
    drawn: Sequence[Callable[[datetime], ShapingPlan | PlanRefusal | None]], refusals: Sequence[PlanRefusal]
) -> list[ShapingPlan]:
    """The plans for the earliest time after the one of `refusals` at which each workload of a change has one.

    `drawn`: one a workload, its plan or refusal for a time; None where the forecast does not reach. Each refusal names
    the first time from there on that would do for its workload, so the latest of them is never too late for all.
    Empty if there is no such time.
    """
    times = [refusal.counter_proposal.earliest_effective_at for refusal in refusals]
    while all(times):
        at = max(time for time in times if time)
        results = [draw(at) for draw in drawn]
        if any(result is None for result in results):
            return []
        times = [r.counter_proposal.earliest_effective_at for r in results if isinstance(r, PlanRefusal)]
        if not times:
            return [r for r in results if isinstance(r, ShapingPlan)]
    return []


def reason(draft: Draft, aligned: int, above: Autoscaler | None) -> str:
    """Why it cannot be done, with the numbers that say so, and why it begins from less than stands now."""
    problem, limits = draft.bare_problem(aligned), draft.workload.limits
    at = clock(draft.change.effective_at)
    must = f"{problem.low} units must serve, verified, at {at}"
    if problem.low == aligned:
        must += f" to carry the demand with {draft.workload.risk.confidence * 100:g} % confidence"
    if problem.low > problem.high:
        bound = draft.most_of if problem.high == limits.max_units else "max_units of the policy's entitlement"
        return f"{must}, but {bound} is {problem.high}"
    if problem.start > limits.max_units and problem.ceiling is None:
        return f"it stands at {problem.start} units, above max_units {limits.max_units}, and a plan does not shrink it"
    barred = _frozen_points(draft, problem.deadline)
    frozen = f" ({barred} slots until then lie in a freeze window)" if barred else ""
    most_moves = len(latest_points(problem))
    if not most_moves:
        return (
            f"{must}, but there is no shaping point left{frozen}: a step takes {_span(draft.workload.verified_after)} "
            f"to be verified, and the effective time is {_span(draft.change.effective_at - draft.clock.now)} away"
        )

    def moves(number: int) -> str:
        return (
            f"in {number} move{'s' * (number != 1)} of at most {limits.soft.units} units and "
            f"{limits.soft.percent:g} %, {_span(problem.spacing * draft.workload.slot)} apart{frozen}"
        )

    if problem.start > problem.high:
        from_there = f"from {problem.start} units {moves(most_moves)}"
        return f"the policy's ceiling of {problem.high} units at {at} cannot be met {from_there}"
    best = _as_tried(draft, above, aligned).bare_problem(aligned)
    reach, stands = earliest_climb(best)[best.deadline], max(best.start, int(best.standing[best.legal.argmax()]))
    helped = "" if best.tracked is None else ", with what the autoscaler brings by then,"
    left = f"; {not_counted(stood, stands)}" if stands < (stood := draft.start.units) else ""
    for promise, (slot, units) in zip(draft.promises, best.promises, strict=True):
        if (by_then := earliest_climb(best)[slot]) < units:
            theirs = f"{promise.change} needs {units} units, verified, at {clock(promise.effective_at)}"
            within = f"only {by_then} are within reach {moves(len(latest_points(best, slot)))}"
            return f"{theirs}, but from {stands} units{helped} {within}{left}"
    return f"{must}, but from {stands} units{helped} only {reach} are within reach {moves(most_moves)}{left}"


def earliest_effective_at(draft: Draft, above: Autoscaler | None) -> datetime | None:
    """The first slot start after the effective time at which the change could come into force within all limits.

    Looked for as far as the forecast reaches; the demand is that of the change coming into force then. A lull does
    not count: what follows must be within the bounds too.
    """
    index = draft.demand.index
    begin = index.covering(draft.change.effective_at) + 1
    within = within_bounds(draft, begin) if begin < len(index) else None
    for slot in range(begin, len(index)):
        at = index.at(slot)
        if at + draft.workload.verified_after > index.end:
            return None
        later = draft.with_change(effective_at=at)
        frozen = any(freeze.covers(at) for freeze in draft.clock.freezes)
        lasts = within is not None and bool(within[_season_from(draft, slot, begin)].all())
        if lasts and not frozen and _would_do(later, later.aligned(), above):
            return at
    return None


def earliest_resized(draft: Draft, before: datetime | None) -> datetime | None:
    """The first slot start, `before` the one without, at which another size could come into force.

    Only where enough can be asked for and verified in time is it solved.
    """
    index, work = draft.demand.index, draft.workload
    others = larger(work)
    begin = index.covering(draft.change.effective_at) + 1
    end = len(index) if before is None else index.covering(before)
    reach = index.end - (plan_end(draft.change, work) - draft.change.effective_at)
    last = min(end - 1, index.covering(reach))
    if not others or draft.change.entitlement(work.name) or begin > last:
        return None
    sizes = []
    for other in others:
        then = replace(draft, workload=other)
        within = within_bounds(then, begin)
        sizes.append((then, within, _soonest_in(draft, then, index.at(last))))
    for slot in range(begin, last + 1):
        at, lasts = index.at(slot), _season_from(draft, slot, begin)
        if any(freeze.covers(at) for freeze in draft.clock.freezes):
            continue
        for then, within, most in sizes:
            if not within[lasts].all() or then.with_change(effective_at=at).aligned() > most(at):
                continue
            if with_resize(in_force_at(draft, at), then.workload):
                return at
    return None


def _soonest_in(draft: Draft, then: Draft, last: datetime) -> Callable[[datetime], int]:
    """The most units of the size of `then` that can serve, verified, at a slot start up to `last`; never too few."""
    work, index = draft.workload, draft.demand.index

    def bare(one: Draft) -> ShapingProblem:
        start = replace(one.start, needed=needed_in(draft, one.workload))
        above = Autoscaler.above(replace(one, start=start))
        counted_on = replace(one, tracked=above.brings if above else None)
        return counted_on.with_change(effective_at=last + work.slot).bare_problem(0)

    first = bare(draft)
    counted_on, most = first.tracked is not None, max(first.most, first.start)
    deploy = rollout(work, last, index, 0, autoscaled=counted_on, most=most)
    verified, asked = soonest_resized(first, bare(then), deploy, work.slot)

    def most_at(at: datetime) -> int:
        moved = index.covering(at - work.verified_after)
        return max(int(verified[index.covering(at)]), int(asked[moved]) if moved >= 0 else -1)

    return most_at


def within_bounds(draft: Draft, begin: int) -> Bools:
    """Whether what is needed in each slot from `begin` on, the change taken up in full, lies within the bounds."""
    workload, change, index = draft.workload, draft.change, draft.demand.index
    at_once = tuple(impact.model_copy(update={"adoption": Adoption()}) for impact in change.impacts)
    in_full = change.model_copy(update={"effective_at": index.at(begin), "impacts": at_once})
    needs = required(workload, draft.demand.under(workload, in_full, begin, len(index)))
    before = required(workload, {r: paths[:, begin:] for r, paths in draft.demand.without_change.items()})
    confidence = workload.risk.confidence
    # What is beyond the workload's own limits anyway, the change does not bring about.
    anyway = before.covering(confidence) > workload.limits.max_units
    return np.asarray((needs.covering(confidence) <= draft.most_units) | anyway)


def _outgrown(draft: Draft) -> str:
    """Why no time is proposed, where it is for what comes after any: a clause for the reason, or nothing."""
    begin, most = draft.demand.index.covering(draft.change.effective_at) + 1, draft.most_units
    if begin >= len(draft.demand.index):
        return ""

    def beyond(work: Workload) -> str:
        within = within_bounds(replace(draft, workload=work), begin)
        return "" if within.all() else f"at {clock(draft.demand.index.at(begin + int(np.argmin(within))))}"

    if not (at := beyond(draft.workload)):
        return ""
    resizable = draft.start.resizable and not draft.change.entitlement(draft.workload.name)
    others = larger(draft.workload) if resizable else []
    also = ", ".join(f"with {other.size} {then}" for other in others if (then := beyond(other)))
    when = f"{at} ({also})" if also else at
    return f"; and {when} it would need more than the {most} units that may be had, so no later time is proposed"


def _season_from(draft: Draft, slot: int, begin: int) -> slice:
    """Places, counted from `begin`, of the season from `slot` on, of a day at least. Where the forecast ends before
    that does, the latest one that it knows: the peaks in it come again.
    """
    season = slots_in(max(draft.workload.seasons[0], timedelta(days=1)), draft.workload.slot)
    last = len(draft.demand.index) - begin
    return slice(max(0, min(slot - begin, last - season)), min(slot - begin + season, last))


def relaxed_moves(draft: Draft, aligned: int, above: Autoscaler | None) -> list[Way]:
    """The least soft limit in units and that in percent that would do alone, or else the two together."""
    alone = [way for find in (relaxed_units, relaxed_percent) if (way := find(draft, aligned, above))]
    if alone:
        return alone
    soft = draft.workload.limits.soft
    # The least units are those that do where the percent are no limit; the least percent then go with these.
    units = relaxed_units(with_soft(draft, percent=MOST_PERCENT), aligned, above)
    percent = units and relaxed_percent(with_soft(units[1], percent=soft.percent), aligned, above)
    return [(f"{units[0]} and {percent[0]}", percent[1])] if units and percent else []


def relaxed_units(draft: Draft, aligned: int, above: Autoscaler | None) -> Way | None:
    """The least soft limit in units that would do, the others as they are."""
    limits = draft.workload.limits
    most = max(draft.start_units, limits.max_units)

    def tried(units: int) -> Draft:
        return with_soft(draft, units=units)

    units = _least(limits.soft.units + 1, most, lambda units: _would_do(tried(units), aligned, above))
    return (f"limits.soft.units {units} (now {limits.soft.units})", tried(units)) if units else None


def relaxed_percent(draft: Draft, aligned: int, above: Autoscaler | None) -> Way | None:
    """The least soft limit in whole percent that would do, the others as they are."""
    soft = draft.workload.limits.soft

    def tried(percent: int) -> Draft:
        return with_soft(draft, percent=float(percent))

    percent = _least(int(soft.percent) + 1, MOST_PERCENT, lambda percent: _would_do(tried(percent), aligned, above))
    return (f"limits.soft.percent {percent} (now {soft.percent:g})", tried(percent)) if percent else None


def relaxed_dwell(draft: Draft, aligned: int, above: Autoscaler | None) -> Way | None:
    """The longest dwell (in whole slots) that would do; it cannot be shorter than a step takes to be verified."""
    workload = draft.workload
    limits, slot = workload.limits, workload.slot
    now, shortest = slots_in(workload.step_spacing, slot), slots_in(workload.verified_after, slot)

    def tried(fewer: int) -> Draft:
        return with_soft(draft, dwell=(now - fewer) * slot)

    fewer = _least(1, now - shortest, lambda fewer: _would_do(tried(fewer), aligned, above))
    if not fewer:
        return None
    return f"limits.soft.dwell {_span((now - fewer) * slot)} (now {_span(limits.soft.dwell)})", tried(fewer)


def relaxed_max_units(draft: Draft, aligned: int, above: Autoscaler | None) -> Way | None:
    """The least hard bound of the workload that would do, where it is what stands in the way."""
    limits = draft.workload.limits
    needed = max(draft.bare_problem(aligned).low, draft.start_units)
    if needed <= limits.max_units:
        return None
    if draft.cap and needed > draft.cap.else_units:
        return None  # another limit would be in the way then
    raised = draft.with_limits(limits.model_copy(update={"max_units": needed}))
    would_do = _would_do(raised, aligned, above)
    whose = f"{draft.most_of}:" if draft.cap else "limits.max_units"
    return (f"{whose} {needed} (now {limits.max_units})", raised) if would_do else None


def relaxed_ceiling(draft: Draft, aligned: int, above: Autoscaler | None) -> Way | None:
    """The least ceiling of the policy's own entitlement that would do."""
    entitlement = draft.change.entitlement(draft.workload.name)
    if entitlement is None or entitlement.max_units is None:
        return None

    def tried(ceiling: int) -> Draft:
        eased = entitlement.model_copy(update={"max_units": ceiling})
        others = [e for e in draft.change.entitlements if e.workload != draft.workload.name]
        return draft.with_change(entitlements=(eased, *others))

    most = max(draft.start_units, draft.workload.limits.max_units)
    ceiling = _least(entitlement.max_units + 1, most, lambda ceiling: _would_do(tried(ceiling), aligned, above))
    return (f"entitlement max_units {ceiling} (now {entitlement.max_units})", tried(ceiling)) if ceiling else None


def relaxed_freeze(draft: Draft, aligned: int, above: Autoscaler | None) -> Way | None:
    """An exception to one freeze window that would do, the first of them; or else to all that stand in the way."""
    freezes, effective_at = draft.clock.freezes, draft.change.effective_at
    barring = [freeze for freeze in freezes if freeze.end > draft.clock.now and freeze.start < effective_at]
    for let in [*([freeze] for freeze in barring), barring]:
        left = [freeze for freeze in freezes if freeze not in let]
        eased = replace(draft, clock=replace(draft.clock, freezes=left))
        if let and _would_do(eased, aligned, above):
            windows = " and ".join(f"{freeze.reason}, {_from_until(freeze)}" for freeze in let)
            return f"an exception to the freeze ({windows})", eased
    return None


def with_soft(draft: Draft, **fields: object) -> Draft:
    limits = draft.workload.limits
    return draft.with_limits(limits.model_copy(update={"soft": limits.soft.model_copy(update=fields)}))


def in_force_at(draft: Draft, at: datetime) -> Draft:
    """The draft of the change coming into force at `at`, with the demand of that."""
    later = draft.with_change(effective_at=at)
    under = draft.demand.under(draft.workload, later.change, 0, len(draft.demand.index))
    return replace(later, demand=replace(draft.demand, with_change=under))


def bound(draft: Draft) -> bool:
    """Whether the policy's ceiling may bind an autoscaler: how a plan is tried then, only the whole of it shows."""
    return draft.most_units < draft.workload.limits.max_units


def _as_tried(draft: Draft, above: Autoscaler | None, aligned: int) -> Draft:
    """What the refused plan was tried from: with the autoscaler counted on; where that would do but for the policy's
    ceiling, from what it nearly surely leaves standing all the time until the last step.
    """
    if above is None:
        return draft
    counted_on = replace(draft, tracked=above.brings)
    problem = counted_on.bare_problem(aligned)
    if not (bound(draft) and reachable(problem)):
        return counted_on
    left = max(int(problem.standing[: problem.deadline + 1].min()), draft.floor or 0)
    return draft.counting_on(min(draft.start_units, left))


def _would_do(draft: Draft, aligned: int, above: Autoscaler | None) -> bool:
    """Solved, not only judged reachable: a proposal that a customer acts on must hold."""
    counted_on = [] if above is None else [replace(draft, tracked=above.brings)]
    alone = [draft] if above is None or bound(draft) else []
    if not any(
        feasible(attempt, aligned) and solve_holding(attempt.bare_problem(aligned), draft.floor) is not None
        for attempt in [*counted_on, *alone]
    ):
        return False
    whole = above is not None and bound(draft)
    return not whole or as_it_is(in_force_at(draft, draft.change.effective_at)) is not None


def _least(first: int, last: int, would_do: Callable[[int], bool]) -> int | None:
    """The least value in [first, last] that would do, given that all above it do too; None if even `last` does not."""
    if first > last or not would_do(last):
        return None
    while first < last:
        middle = (first + last) // 2
        if would_do(middle):
            last = middle
        else:
            first = middle + 1
    return last


def _frozen_points(draft: Draft, deadline: int) -> int:
    points = (draft.demand.index.at(slot) for slot in range(deadline + 1))
    return sum(any(freeze.covers(at) for freeze in draft.clock.freezes) for at in points if at > draft.clock.now)


def _from_until(freeze: FreezeWindow) -> str:
    return f"{clock(freeze.start)} until {clock(freeze.end)}"


def _span(span: timedelta) -> str:
    """`13 min`, `2 h`, `90 s`, `1 h 30 min`."""
    seconds = round(span.total_seconds())
    if seconds % 60:
        return f"{seconds} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    hours, minutes = divmod(seconds // 60, 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or not hours))
