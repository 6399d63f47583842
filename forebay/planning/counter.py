"""Where no plan meets the effective time: why, and what would do. Every proposal was solved, none is a guess."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from forebay.domain.plan import CounterProposal, PlanRefusal
from forebay.planning.draft import Draft, feasible, solve_holding
from forebay.planning.problem import earliest_climb, latest_points
from forebay.planning.reasons import clock
from forebay.planning.slots import slots_in


def refusal(draft: Draft) -> PlanRefusal:
    """Why `draft` cannot be planned, with the earliest effective time and each single limit that would do."""
    aligned = draft.aligned()
    relaxed = (relaxed_units, relaxed_percent, relaxed_dwell, relaxed_max_units, relaxed_ceiling)
    ways = [way(draft, aligned) for way in relaxed]
    return PlanRefusal(
        workload=draft.workload.name,
        reason=reason(draft, aligned),
        counter_proposal=CounterProposal(
            earliest_effective_at=earliest_effective_at(draft), relax=tuple(way for way in ways if way)
        ),
    )


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


def relaxed_units(draft: Draft, aligned: int) -> str | None:
    """The least soft limit in units that would do, the others as they are."""
    limits = draft.workload.limits
    most = max(draft.start_units, limits.max_units)

    def tried(units: int) -> Draft:
        soft = limits.soft.model_copy(update={"units": units})
        return draft.with_limits(limits.model_copy(update={"soft": soft}))

    units = _least(limits.soft.units + 1, most, lambda units: _would_do(tried(units), aligned))
    return f"limits.soft.units {units} (now {limits.soft.units})" if units else None


def relaxed_percent(draft: Draft, aligned: int) -> str | None:
    """The least soft limit in whole percent that would do, the others as they are."""
    limits = draft.workload.limits

    def tried(percent: int) -> Draft:
        soft = limits.soft.model_copy(update={"percent": float(percent)})
        return draft.with_limits(limits.model_copy(update={"soft": soft}))

    percent = _least(int(limits.soft.percent) + 1, 1000, lambda percent: _would_do(tried(percent), aligned))
    return f"limits.soft.percent {percent} (now {limits.soft.percent:g})" if percent else None


def relaxed_dwell(draft: Draft, aligned: int) -> str | None:
    """The longest dwell (in whole slots) that would do; it cannot be shorter than a step takes to be verified."""
    workload = draft.workload
    limits, slot = workload.limits, workload.slot
    now, shortest = slots_in(workload.step_spacing, slot), slots_in(workload.verified_after, slot)

    def tried(fewer: int) -> Draft:
        soft = limits.soft.model_copy(update={"dwell": (now - fewer) * slot})
        return draft.with_limits(limits.model_copy(update={"soft": soft}))

    fewer = _least(1, now - shortest, lambda fewer: _would_do(tried(fewer), aligned))
    return f"limits.soft.dwell {_span((now - fewer) * slot)} (now {_span(limits.soft.dwell)})" if fewer else None


def relaxed_max_units(draft: Draft, aligned: int) -> str | None:
    """The least hard bound of the workload that would do, where it is what stands in the way."""
    limits = draft.workload.limits
    needed = max(draft.bare_problem(aligned).low, draft.start_units)
    if needed <= limits.max_units:
        return None
    raised = draft.with_limits(limits.model_copy(update={"max_units": needed}))
    return f"limits.max_units {needed} (now {limits.max_units})" if _would_do(raised, aligned) else None


def relaxed_ceiling(draft: Draft, aligned: int) -> str | None:
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
    return f"entitlement max_units {ceiling} (now {entitlement.max_units})" if ceiling else None


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
