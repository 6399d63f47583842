"""When a change will be aligned, at the rate at which its capacity comes: said before the effective time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from forebay.control.alignment import ahead_of_effect
from forebay.domain.lifecycle import StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import Pin, StepRecord
from forebay.domain.workload import Workload


@dataclass(frozen=True)
class Arrival:
    """`at` (aware UTC): when the last step before the effective time is verified; None where no unit comes."""

    at: datetime | None
    late: bool
    text: str


def arrival(
    workload: Workload, plan: ShapingPlan, steps: Sequence[StepRecord], now: datetime, pin: Pin | None = None
) -> Arrival | None:
    """None once every step ahead of the effective time has its pass.

    Of a step under way the missing units come at the rate of those that came (on average since it was asked for), and
    not before its lead time is over. Each step after it waits for that one's verdict and the dwell, and then takes as
    long as it was planned to.
    """
    left = ahead_of_effect(plan, steps)
    if not left:
        return None
    verified, why = now, "the steps that are left"
    asked = [s for s in steps if s.asked_at is not None and s.state is not StepState.PENDING]
    free_at = max((s.asked_at + workload.limits.soft.dwell for s in asked if s.asked_at), default=now)
    reached = (asked[-1].asked_units or 0) if asked else 0
    for step in left:
        if step.state is StepState.ASKED:
            serves_at, why = _serves_at(workload, step, now)
            if serves_at is None:
                return Arrival(None, True, f"{workload.name}: {why}, so no time of alignment can be told")
            verified = max(now, serves_at + workload.verification.known_after)
        elif step.step.climbs and step.step.to_units <= reached:
            verified = max(verified, step.step.due_at)  # a correction has made it
        else:
            begins = max(now, step.step.due_at, free_at, verified)
            if pin is not None and pin.until > begins:
                begins, why = pin.until, f"pinned by {pin.actor}"
            verified = begins + (step.step.verified_by - step.step.due_at)
            free_at = begins + workload.limits.soft.dwell
    late = verified > plan.effective_at
    than = f", after the effective time {_clock(plan.effective_at)}" if late else ""
    at = f"{verified:%Y-%m-%d} {_clock(verified)} UTC"
    return Arrival(verified, late, f"{workload.name}: {why}: aligned at {at}{than}")


def _clock(at: datetime) -> str:
    """With its seconds where there are any: by them alone it may be late."""
    return f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"


def _serves_at(workload: Workload, step: StepRecord, now: datetime) -> tuple[datetime | None, str]:
    assert step.asked_at is not None and step.asked_units is not None, "an asked step says what and when"
    if step.serving_at is not None:
        return step.serving_at, "the verdict is awaited"
    planned = step.asked_at + (step.step.verified_by - step.step.due_at) - workload.verification.known_after
    before, serving = step.serving_before or 0, step.seen_units or 0
    came, missing = serving - before, step.asked_units - serving
    if missing <= 0 or now <= planned:
        return max(planned, now) if missing > 0 else now, f"{serving} of {step.asked_units} units serve"
    if came <= 0 and now <= planned + workload.lead_time / 2:
        return now, "launching"  # a lead time is what it usually takes: a moment more is no alarm
    if came <= 0:
        return None, f"none of the {missing} units that are missing has come since {step.asked_at:%H:%M:%S}"
    return (
        now + (now - step.asked_at) * (missing / came),
        f"{serving} of {step.asked_units} units serve, at this rate the rest comes later",
    )
