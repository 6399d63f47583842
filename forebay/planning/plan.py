"""Draw the shaping plan of one workload, or say why there is none and what would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import numpy as np

from forebay.domain.change import PolicyChange
from forebay.domain.plan import Band, Outlay, PlanPrice, PlanRefusal, PlanSlot, ShapingPlan, ShapingStep
from forebay.domain.resources import Resource
from forebay.domain.rules import FreezeWindow
from forebay.domain.workload import Workload
from forebay.planning.counter import refusal
from forebay.planning.demand import DemandPaths, Floats
from forebay.planning.draft import SLACKS, Draft, solve_holding
from forebay.planning.optimum import Move, Optimum, profile
from forebay.planning.problem import Clock
from forebay.planning.reasons import Reasons
from forebay.planning.required import Ints, Required, alignment_window, required
from forebay.planning.slots import slots_in
from forebay.planning.tracking import tracked_units

BAND = (0.05, 0.5, 0.95)


def draw_plan(
    *,
    change: PolicyChange,
    workload: Workload,
    demand: DemandPaths,
    start_units: int,
    floor: int | None,
    now: datetime,
    earliest: datetime,
    freezes: Sequence[FreezeWindow] = (),
    forecast_notes: Mapping[str, tuple[str, ...]],
    autoscaled: bool = False,
) -> ShapingPlan | PlanRefusal:
    """The optimal plan for `workload`, or a refusal with counter-proposals.

    `demand`: paths over `horizon_slots(change, workload, now)` at least until the plan's end; where they reach
    further, a refusal can look for a later effective time. `start_units`: units asked for at `now`. `floor`: where
    the floor lever stands, None for a count lever. `earliest`: no step before it (a moment after `now`, for there is
    work to do before the first one). `forecast_notes`: per resource the forecast's own words. Times are aware UTC.
    `autoscaled`: target tracking above the floor is counted on, so that the floor carries only what comes too fast
    for it. A policy's ceiling is met without counting on it: its maximum is what is cut.

    Raises InputError if the effective time is not after `now`, ValueError if `demand` does not cover the plan.
    """
    draft = Draft(change, workload, demand, start_units, floor, Clock(now, earliest, freezes))
    draft.check()
    aligned, index = draft.aligned(), draft.index
    with_change = {resource: paths[:, : len(index)] for resource, paths in demand.with_change.items()}
    needs = required(workload, with_change)
    units = needs.units
    entitlement = change.entitlement(workload.name)
    counted_on = autoscaled and not (entitlement and entitlement.max_units)
    drafts = [replace(draft, tracked=tracked_units(units, start_units, workload))] if counted_on else []
    for attempt, slack in [(attempt, slack) for attempt in [*drafts, draft] for slack in SLACKS]:
        problem = attempt.problem(aligned, units, index, slack)
        optimum = solve_holding(problem, floor)
        if optimum is not None:
            reasons = Reasons(attempt, problem, optimum, needs)
            return ShapingPlan(
                change=change.change,
                workload=workload.name,
                created_at=now,
                effective_at=change.effective_at,
                start_units=start_units,
                aligned_units=problem.low,
                confidence=workload.risk.confidence,
                steps=_steps(attempt, optimum, reasons),
                slots=_slots(attempt, optimum, needs, with_change),
                price=_price(attempt, optimum, units, problem.low),
                forecast=forecast_notes,
            )
    return refusal(draft)


def _steps(draft: Draft, optimum: Optimum, reasons: Reasons) -> tuple[ShapingStep, ...]:
    return tuple(
        ShapingStep(
            sequence=sequence,
            due_at=draft.index.at(move.slot),
            from_units=move.before,
            to_units=move.after,
            verified_by=draft.index.at(move.slot) + draft.workload.verified_after,
            reason=reasons.of(move),
        )
        for sequence, move in enumerate(optimum.moves, start=1)
    )


def _slots(draft: Draft, optimum: Optimum, needs: Required, demand: Mapping[Resource, Floats]) -> tuple[PlanSlot, ...]:
    high, median = needs.quantile(draft.workload.risk.confidence), needs.quantile(0.5)
    asked, serving = (_typical(draft.had(units)) for units in (optimum.asked, optimum.serving))
    bands = {resource: np.quantile(paths, BAND, axis=0).T.tolist() for resource, paths in demand.items()}
    return tuple(
        PlanSlot(
            at=at,
            asked=int(asked[slot]),
            serving=int(serving[slot]),
            required_median=round(float(median[slot]), 4),
            required_high=round(float(high[slot]), 4),
            demand={resource: _band(rows[slot]) for resource, rows in bands.items()},
        )
        for slot, at in enumerate(draft.index)
    )


def _typical(units: Ints) -> Ints:
    """Per slot: as planned, or the median over paths where an autoscaler may have more."""
    return units if units.ndim == 1 else np.quantile(units, 0.5, axis=0, method="higher").astype(np.int64)


def _band(quantiles: Sequence[float]) -> Band:
    low, median, high = (round(value, 4) for value in quantiles)
    return Band(low=low, median=median, high=high)


def _price(draft: Draft, optimum: Optimum, units: Ints, aligned: int) -> PlanPrice:
    """All sides carry the same demand, that with the change: what differs is the shaping."""
    workload, index = draft.workload, draft.index
    begin, end = alignment_window(workload, draft.change.effective_at, index)
    lead = slots_in(workload.lead_time, workload.slot)
    at = max(0, index.covering(draft.change.effective_at) - lead)
    jump = (Move(at, draft.asked_now, aligned),) if aligned > draft.asked_now else ()

    def outlay(asked: Ints, serving: Ints) -> Outlay:
        had, carries = np.atleast_2d(draft.had(asked)), np.atleast_2d(draft.had(serving))
        unit_hours = round(float(had.mean(axis=0).sum() * index.hours_per_slot), 4)
        money = workload.price.per_unit_hour * Decimal(str(unit_hours))
        shortfall = np.maximum(units - carries, 0).mean(axis=0).sum() * index.hours_per_slot
        misaligned = (units[:, begin:end] > carries[:, begin:end]).any(axis=1).mean()
        return Outlay(
            unit_hours=unit_hours,
            money=money.quantize(Decimal("0.0001")),
            shortfall_unit_hours=round(float(shortfall), 4),
            misaligned=round(float(misaligned), 4),
        )

    return PlanPrice(
        currency=workload.price.currency,
        shaped=outlay(optimum.asked, optimum.serving),
        left_alone=outlay(*profile(draft.asked_now, (), lead, len(index))),
        one_jump=outlay(*profile(draft.asked_now, jump, lead, len(index))),
    )
