"""Where no plan meets the effective time: why, and what would do. Every proposal was solved, none is a guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from forebay.domain.plan import CounterProposal, PlanRefusal, Relaxation, ShapingPlan
from forebay.planning.draft import Draft, feasible, solve_holding
from forebay.planning.price import plan_price
from forebay.planning.problem import earliest_climb, latest_points
from forebay.planning.reasons import clock
from forebay.planning.sizing import as_it_is
from forebay.planning.slots import plan_end, slots_in

# A limit that would do, in words, and the draft with it.
Way = tuple[str, Draft]


def refusal(draft: Draft, *, autoscaled: bool) -> PlanRefusal:
    """Why `draft` cannot be planned, with the earliest effective time and each single limit that would do, priced."""
    aligned = draft.aligned()
    relaxed = (relaxed_units, relaxed_percent, relaxed_dwell, relaxed_max_units, relaxed_ceiling)
    ways = [way for find in relaxed if (way := find(draft, aligned))]
    at = earliest_effective_at(draft)
    return PlanRefusal(
        workload=draft.workload.name,
        reason=reason(draft, aligned),
        counter_proposal=CounterProposal(
            earliest_effective_at=at,
            earliest_costs=costs(in_force_at(draft, at), autoscaled=autoscaled) if at else None,
            relax=tuple(
                Relaxation(limit=limit, costs=more)
                for limit, eased in ways
                if (more := costs(eased, autoscaled=autoscaled)) is not None
            ),
            currency=draft.workload.price.currency,
        ),
    )


def costs(draft: Draft, *, autoscaled: bool) -> Decimal | None:
    """What the plan takes more than leaving the allocation as it is; None if there is none, or it cannot be told."""
    if plan_end(draft.change, draft.workload) > draft.demand.index.end:
        return None  # the forecast ends before the plan would
    solution = as_it_is(draft, autoscaled)
    if solution is None:
        return None
    price = plan_price(solution)
    return price.shaped.money - price.left_alone.money


def earliest_for_all(
    drawn: Sequence[Callable[[datetime], ShapingPlan | PlanRefusal | None]], refusals: Sequence[PlanRefusal]
) -> datetime | None:
    """The earliest time after the one of `refusals` at which there is a plan for each workload of a change.

    `drawn`: one a workload, its plan or refusal for a time; None where the forecast does not reach. Each refusal names
    the first time from there on that would do for its workload, so the latest of them is never too late for all.
    """
    times = [refusal.counter_proposal.earliest_effective_at for refusal in refusals]
    while all(times):
        at = max(time for time in times if time)
        results = [draw(at) for draw in drawn]
        if any(result is None for result in results):
            return None
        times = [r.counter_proposal.earliest_effective_at for r in results if isinstance(r, PlanRefusal)]
        if not times:
            return at
    return None


def reason(draft: Draft, aligned: int) -> str:
    """Why it cannot be done, with the numbers that say so."""
    problem, limits = draft.bare_problem(aligned), draft.workload.limits
    at = clock(draft.change.effective_at)
    must = f"{problem.low} units must serve, verified, at {at}"
    if problem.low == aligned:
        must += f" to carry the demand with {draft.workload.risk.confidence * 100:g} % confidence"
    if problem.low > problem.high:
        bound = (
            "max_units of its limits" if problem.high == limits.max_units else "max_units of the policy's entitlement"
        )
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
    moves = (
        f"in {most_moves} move{'s' * (most_moves > 1)} of at most {limits.soft.units} units and "
        f"{limits.soft.percent:g} %, {_span(draft.workload.step_spacing)} apart{frozen}"
    )
    if problem.start > problem.high:
        return f"the policy's ceiling of {problem.high} units at {at} cannot be met from {problem.start} units {moves}"
    reach = earliest_climb(problem, problem.deadline)
    return f"{must}, but from {problem.start} units only {reach} are within reach {moves}"


def earliest_effective_at(draft: Draft) -> datetime | None:
    """The first slot start after the effective time at which the change could come into force within all limits.

    Looked for as far as the forecast reaches; the demand is that of the change coming into force then.
    """
    index = draft.demand.index
    for slot in range(index.covering(draft.change.effective_at) + 1, len(index)):
        at = index.at(slot)
        if at + draft.workload.verified_after > index.end:
            return None
        later = draft.with_change(effective_at=at)
        if not any(freeze.covers(at) for freeze in draft.clock.freezes) and _would_do(later, later.aligned()):
            return at
    return None


def relaxed_units(draft: Draft, aligned: int) -> Way | None:
    """The least soft limit in units that would do, the others as they are."""
    limits = draft.workload.limits
    most = max(draft.start_units, limits.max_units)

    def tried(units: int) -> Draft:
        soft = limits.soft.model_copy(update={"units": units})
        return draft.with_limits(limits.model_copy(update={"soft": soft}))

    units = _least(limits.soft.units + 1, most, lambda units: _would_do(tried(units), aligned))
    return (f"limits.soft.units {units} (now {limits.soft.units})", tried(units)) if units else None


def relaxed_percent(draft: Draft, aligned: int) -> Way | None:
    """The least soft limit in whole percent that would do, the others as they are."""
    limits = draft.workload.limits

    def tried(percent: int) -> Draft:
        soft = limits.soft.model_copy(update={"percent": float(percent)})
        return draft.with_limits(limits.model_copy(update={"soft": soft}))

    percent = _least(int(limits.soft.percent) + 1, 1000, lambda percent: _would_do(tried(percent), aligned))
    return (f"limits.soft.percent {percent} (now {limits.soft.percent:g})", tried(percent)) if percent else None


def relaxed_dwell(draft: Draft, aligned: int) -> Way | None:
    """The longest dwell (in whole slots) that would do; it cannot be shorter than a step takes to be verified."""
    workload = draft.workload
    limits, slot = workload.limits, workload.slot
    now, shortest = slots_in(workload.step_spacing, slot), slots_in(workload.verified_after, slot)

    def tried(fewer: int) -> Draft:
        soft = limits.soft.model_copy(update={"dwell": (now - fewer) * slot})
        return draft.with_limits(limits.model_copy(update={"soft": soft}))

    fewer = _least(1, now - shortest, lambda fewer: _would_do(tried(fewer), aligned))
    if not fewer:
        return None
    return f"limits.soft.dwell {_span((now - fewer) * slot)} (now {_span(limits.soft.dwell)})", tried(fewer)


def relaxed_max_units(draft: Draft, aligned: int) -> Way | None:
    """The least hard bound of the workload that would do, where it is what stands in the way."""
    limits = draft.workload.limits
    needed = max(draft.bare_problem(aligned).low, draft.start_units)
    if needed <= limits.max_units:
        return None
    raised = draft.with_limits(limits.model_copy(update={"max_units": needed}))
    return (f"limits.max_units {needed} (now {limits.max_units})", raised) if _would_do(raised, aligned) else None


def relaxed_ceiling(draft: Draft, aligned: int) -> Way | None:
    """The least ceiling of the policy's own entitlement that would do."""
    entitlement = draft.change.entitlement(draft.workload.name)
    if entitlement is None or entitlement.max_units is None:
        return None

    def tried(ceiling: int) -> Draft:
        eased = entitlement.model_copy(update={"max_units": ceiling})
        others = [e for e in draft.change.entitlements if e.workload != draft.workload.name]
        return draft.with_change(entitlements=(eased, *others))

    most = max(draft.start_units, draft.workload.limits.max_units)
    ceiling = _least(entitlement.max_units + 1, most, lambda ceiling: _would_do(tried(ceiling), aligned))
    return (f"entitlement max_units {ceiling} (now {entitlement.max_units})", tried(ceiling)) if ceiling else None


def in_force_at(draft: Draft, at: datetime) -> Draft:
    """The draft of the change coming into force at `at`, with the demand of that."""
    later = draft.with_change(effective_at=at)
    under = draft.demand.under(draft.workload, later.change, 0, len(draft.demand.index))
    return replace(later, demand=replace(draft.demand, with_change=under))


def _would_do(draft: Draft, aligned: int) -> bool:
    """Solved, not only judged reachable: a proposal that a customer acts on must hold."""
    return feasible(draft, aligned) and solve_holding(draft.bare_problem(aligned), draft.floor) is not None


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


def _span(span: timedelta) -> str:
    """`13 min`, `2 h`, `90 s`, `1 h 30 min`."""
    seconds = round(span.total_seconds())
    if seconds % 60:
        return f"{seconds} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    hours, minutes = divmod(seconds // 60, 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes or not hours))
