"""Draw the shaping plan of one workload, or say why there is none and what would do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.domain.errors import InputError
from forebay.domain.plan import Band, PlanRefusal, PlanSlot, ShapingPlan, ShapingStep, StepReason
from forebay.domain.workload import ROUNDING
from forebay.planning.counter import refusal
from forebay.planning.draft import Draft, not_counted
from forebay.planning.price import plan_price
from forebay.planning.problem import ShapingProblem
from forebay.planning.reasons import Reasons, clock
from forebay.planning.required import Ints, Required, alignment_window, covering_quantile, required
from forebay.planning.resize import Resized
from forebay.planning.sizing import Part, Solution, choose, with_autoscaler

BAND = (0.05, 0.5, 0.95)


def draw_plan(draft: Draft, forecast_notes: Mapping[str, tuple[str, ...]]) -> ShapingPlan | PlanRefusal:
    """The optimal plan for `draft`, or a refusal with counter-proposals. `forecast_notes`: per resource the forecast's
    own words.

    Raises InputError if the effective time is not after now, or if nothing is left to plan or to be done once the
    change is in force (there is no proposal to make then); ValueError if the demand does not cover the plan.
    """
    draft = draft.bounded()
    draft.check()
    change, workload, bounds, stands = draft.change, draft.workload, draft.bounds, draft.start.units
    solution, sizing = choose(draft)
    if solution is None and draft.in_force:
        raise InputError(f"{workload.name}: from {stands} units no plan lies within the limits")
    if solution is None:
        refused = refusal(draft)
        return refused.because(bounds.text) if bounds.text else refused
    counted = min(stands, _counted(solution.first))
    few = [not_counted(stands, counted)] if counted < stands else _awaited(solution.first)
    standing = [*_above_its_bound(draft), *few]
    kept_to = [bounds.text] if bounds.text else []
    return ShapingPlan(
        change=change.change,
        workload=workload.name,
        created_at=draft.clock.now,
        effective_at=change.effective_at,
        start_units=stands,
        aligned_units=solution.last.problem.low,
        confidence=workload.risk.confidence,
        steps=_steps(solution, sizing),
        slots=_slots(solution),
        price=plan_price(solution),
        forecast=forecast_notes,
        size=workload.size,
        sizing=sizing,
        preflight=(*kept_to, *standing, *_short(solution), *_not_counted_on(solution.first)),
        counted_units=counted if counted < stands else None,
        bounds=bounds,
    )


def _short(solution: Solution) -> Iterator[str]:
    """That more will be needed than may be had, if it will: in the plan's slots, or later as far as is forecast."""
    draft, cut = solution.last.draft, solution.cut
    index, confidence = draft.demand.index, draft.workload.risk.confidence
    first, last = solution.first.needs, required(draft.workload, draft.demand.with_change)
    needed = np.concatenate([first.covering(confidence)[:cut], last.covering(confidence)[cut:]])
    begin = max(0, index.covering(draft.change.effective_at))
    allowed = np.full(len(index), draft.workload.limits.max_units)
    allowed[begin:] = draft.most_units
    over = np.flatnonzero(needed > allowed)
    if len(over):
        slot, most = int(over[0]), int(allowed[over[0]])
        at = max(index.at(slot), draft.change.effective_at) if slot == begin else index.at(slot)
        whose = draft.most_of if most == draft.workload.limits.max_units else "the policy's ceiling"
        yield (
            f"from {clock(at)} on demand needs up to {int(needed[over].max())} units ({confidence * 100:g} % "
            f"quantile), but {whose} is {most}"
        )


def _counted(part: Part) -> int:
    """Units that the first step is made from: of an autoscaler's those that nearly surely stand by then."""
    draft, moves = part.draft, part.optimum.moves
    if draft.tracked is None or not moves:
        return draft.start_units
    return max(int(part.problem.standing[moves[0].slot]), draft.floor or 0)


def _above_its_bound(draft: Draft) -> Iterator[str]:
    """That more stands than may, where an autoscaler is to take it out: a count would be refused."""
    if (stands := draft.start.units) > (most := draft.workload.limits.max_units):
        yield f"{stands} units stand, but {draft.most_of} is {most}: what is above that is not planned with"


def _awaited(part: Part) -> Iterator[str]:
    """That an autoscaler is counted on to make up for what is missing already, if it is."""
    stands, needed = part.draft.start.units, math.ceil(part.needs.quantile(0.5)[0] - ROUNDING)
    if part.draft.tracked is not None and stands < min(needed, part.draft.workload.limits.max_units):
        yield f"{needed} units are needed now and {stands} stand: the autoscaler is counted on for the rest"


def _not_counted_on(part: Part) -> Iterator[str]:
    """Why the plan does without the autoscaler that stands there, if it does."""
    if part.draft.start.autoscaled and part.draft.tracked is None:
        may = any(True for _ in with_autoscaler(part.draft, part.needs.units, part.draft.needed_before))
        ceiling = f"it would run to more than the {part.draft.most_units} units that the policy allows"
        rises = f"with it the plan would rise above the {part.draft.most_units} units that the policy allows"
        yield f"priced without the autoscaler: {rises if may else ceiling}"


def _steps(solution: Solution, sizing: str) -> tuple[ShapingStep, ...]:
    first = solution.first
    if solution.second is None or solution.resized is None:
        return tuple(_moves(first, first.problem, 1))
    # What the first part has to bring is what the second needs, not what it would need to go on alone.
    low = min(first.problem.low, solution.second.problem.low)
    bringing = replace(first.problem, low=low, tracked=_tracked_as_sized(solution))
    before = list(_moves(replace(first, needs=_needs_as_sized(solution)), bringing, 1, solution.resized.at))
    resize = _resize(solution, solution.resized, len(before) + 1, sizing)
    return (*before, resize, *_moves(solution.second, solution.second.problem, len(before) + 2))


def _needs_as_sized(solution: Solution) -> Required:
    """What is needed, slot by slot in units of the size that stands then."""
    first, last, cut = solution.first.needs, solution.last.needs, solution.cut
    return Required(
        np.hstack([first.needs[:, :cut], last.needs[:, cut:]]),
        {r: np.hstack([paths[:, :cut], last.by_resource[r][:, cut:]]) for r, paths in first.by_resource.items()},
    )


def _tracked_as_sized(solution: Solution) -> Ints | None:
    """What the autoscaler has by itself, slot by slot in units of the size that stands then."""
    first, last, cut = solution.first.problem.tracked, solution.last.problem.tracked, solution.cut
    return None if first is None or last is None else np.hstack([first[:, :cut], last[:, cut:]])


def _moves(part: Part, problem: ShapingProblem, sequence: int, until: int | None = None) -> Iterator[ShapingStep]:
    reasons = Reasons(part.draft, problem, part.optimum, part.needs, until)
    for number, move in enumerate(part.optimum.moves, start=sequence):
        at = part.draft.index.at(move.slot)
        yield ShapingStep(
            sequence=number,
            due_at=at,
            from_units=move.before,
            to_units=move.after,
            verified_by=at + part.draft.workload.verified_after,
            reason=reasons.of(move),
        )


def _resize(solution: Solution, resized: Resized, sequence: int, sizing: str) -> ShapingStep:
    draft, needs, standing = solution.last.draft, solution.first.needs, solution.first.draft.workload.size
    workload, at = draft.workload, draft.index.at(resized.at)
    confidence = workload.risk.confidence
    begin, end = alignment_window(workload, draft.change.effective_at, draft.index)
    slot = begin + int(np.argmax(needs.quantile(confidence)[begin:end]))
    forced_by, binding = max(draft.index.at(slot), draft.change.effective_at), needs.binding(slot, confidence)
    need = f"{covering_quantile(needs.needs[:, begin:end], confidence):.1f} units"
    # Of what the plan itself tells in full: the way that was chosen, and what staying would be.
    head, _, ways = sizing.partition(": ")
    stay, *others = ways.split("; ")
    this = f"with {workload.size} "
    chosen = next(way for way in others if way.startswith(this)).removeprefix(this)
    what = f"{binding} binds at {clock(forced_by)} ({confidence * 100:g} % quantile: {need} of {standing})"
    return ShapingStep(
        sequence=sequence,
        due_at=at,
        from_units=resized.units,
        to_units=resized.units,
        verified_by=at + solution.verified_after,
        reason=StepReason(
            binding=binding,
            quantile=confidence,
            forced_by=forced_by,
            limit="none",
            text=f"{what}: {head}, {chosen}; {stay}",
        ),
        size=workload.size,
    )


def _slots(solution: Solution) -> tuple[PlanSlot, ...]:
    draft, cut = solution.first.draft, solution.cut
    confidence, index = draft.workload.risk.confidence, draft.index

    def joined(per_slot: Callable[[Part], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate([per_slot(solution.first)[:cut], per_slot(solution.last)[cut:]])

    asked = joined(lambda part: _typical(part.draft.had(part.optimum.asked)))
    serving = joined(lambda part: _typical(part.draft.had(part.optimum.serving)))
    high = joined(lambda part: part.needs.quantile(confidence))
    median = joined(lambda part: part.needs.quantile(0.5))
    demand = {r: paths[:, : len(index)] for r, paths in draft.demand.with_change.items()}
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
        for slot, at in enumerate(index)
    )


def _typical(units: Ints) -> Ints:
    """Per slot: as planned, or the median over paths where an autoscaler may have more."""
    return units if units.ndim == 1 else np.quantile(units, 0.5, axis=0, method="higher").astype(np.int64)


def _band(quantiles: Sequence[float]) -> Band:
    low, median, high = (round(value, 4) for value in quantiles)
    return Band(low=low, median=median, high=high)
