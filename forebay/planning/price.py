"""What a plan takes and risks, against leaving the allocation as it is and against one jump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from forebay.domain.plan import Outlay, PlanPrice
from forebay.planning.optimum import Move, had, profile
from forebay.planning.required import Ints, alignment_window
from forebay.planning.sizing import Part, Solution, without_change
from forebay.planning.slots import slots_in


@dataclass(frozen=True)
class _Stretch:
    """What is asked for and serves in some slots, in units of one part; `worth` times as large as those at first."""

    part: Part
    asked: Ints
    serving: Ints
    slots: slice
    worth: float = 1.0


def plan_price(solution: Solution) -> PlanPrice:
    """Three sides carry the same demand, that with the change: what differs is the shaping. The fourth is without it.

    Of a plan with a resize the unit-hours are those of whatever size; what is short counts in units of the first size.
    """
    first, last, cut = solution.first, solution.last, solution.cut
    workload, index, start = first.draft.workload, first.draft.index, first.draft.asked_now
    whole = slice(0, len(index))
    lead = slots_in(workload.lead_time, workload.slot)
    at = max(0, index.covering(first.draft.change.effective_at) - lead)
    jump = (Move(at, start, first.problem.low),) if first.problem.low > start else ()
    if start > first.problem.high:  # what is too much for a ceiling is out at once
        jump = (Move(max(0, index.covering(first.draft.change.effective_at)), start, first.problem.high),)
    left_alone = _Stretch(first, *profile(start, (), lead, len(index)), whole)
    one_jump = _Stretch(first, *profile(start, jump, lead, len(index)), whole)
    shaped = [_Stretch(first, first.optimum.asked, first.optimum.serving, slice(0, cut))]
    if solution.second:
        later = slice(cut, len(index))
        shaped.append(_Stretch(last, last.optimum.asked, last.optimum.serving, later, solution.worth))
    return PlanPrice(
        currency=workload.price.currency,
        shaped=_outlay(shaped, solution),
        left_alone=_outlay([left_alone]),
        one_jump=_outlay([one_jump]),
        without_change=_outlay([replace(left_alone, part=without_change(first))]),
        paths=len(first.needs.needs),
    )


def _outlay(stretches: Sequence[_Stretch], solution: Solution | None = None) -> Outlay:
    """`solution`: whose deployment, if it has one, is paid for as well."""
    draft = stretches[0].part.draft
    in_hours = draft.index.hours_per_slot
    hours, money, shortfall = 0.0, Decimal(0), 0.0
    for stretch in stretches:
        part, slots = stretch.part, stretch.slots
        ran = round(float(had(part.problem, stretch.asked)[slots].sum()) * in_hours, 4)
        hours, money = hours + ran, money + part.draft.workload.price.per_unit_hour * Decimal(str(ran))
        missing = np.maximum(part.needs.units - np.atleast_2d(part.draft.had(stretch.serving)), 0)
        shortfall += stretch.worth * float(missing[:, slots].mean(axis=0).sum()) * in_hours
    if solution and solution.second:
        ran = round(float(solution.beside.sum()) * in_hours, 4)
        hours, money = hours + ran, money + solution.last.draft.workload.price.per_unit_hour * Decimal(str(ran))
    return Outlay(
        unit_hours=round(hours, 4),
        money=money.quantize(Decimal("0.0001")),
        shortfall_unit_hours=round(shortfall, 4),
        misaligned=round(_misaligned(stretches[-1]), 4),
    )


def _misaligned(last: _Stretch) -> float:
    """Share of the paths that need more, in any slot of the alignment window, than serves from the effective time on.

    What is asked for ahead of that time serves by then: counted in whole slots it could seem to come after the slot in
    which the change takes effect.
    """
    draft, serving = last.part.draft, last.serving.copy()
    begin, end = alignment_window(draft.workload, draft.change.effective_at, draft.index)
    if draft.index.at(begin) < draft.change.effective_at:
        serving[begin] = last.asked[begin]
    short = last.part.needs.units > np.atleast_2d(draft.had(serving))
    return float(short[:, begin:end].any(axis=1).mean())
