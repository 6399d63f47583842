"""The look at a target that Forebay writes to, and at what is measured there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from forebay.app.context import Context
from forebay.control.shown import not_shown_yet
from forebay.control.verify import judge
from forebay.domain.allocation import TargetState
from forebay.domain.errors import NotShownYet
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import Intent
from forebay.domain.resources import Resource
from forebay.domain.verdict import Judgement
from forebay.domain.workload import Workload
from forebay.ports import Usage


def measured(usage: Usage, start: datetime, end: datetime) -> Mapping[Resource, float]:
    """Mean usage in [start, end) of each resource that has data there. A value that is not finite counts as no data: a
    NaN would be lost in a maximum, and let something shrink (rule 7).
    """
    return {resource: value for resource, value in usage.measure(start, end).items() if math.isfinite(value)}


def judged(
    ctx: Context, workload: Workload, plan: ShapingPlan | None, target: TargetState, start: datetime, end: datetime
) -> Judgement:
    """What was measured in [start, end), judged as a step's verification does, where no step asks for units now.

    `workload`: in the size that stands. Raises OutsideError.
    """
    usage = measured(ctx.usage(workload), start, end)
    serving = target.serving
    return judge(
        workload, plan, start=start, end=end, usage=usage, serving_units=serving, asked_units=0, planned_units=0
    )


def observe(ctx: Context, workload: Workload, intents: Sequence[Intent]) -> TargetState:
    """What the target shows. `intents`: what was written there, oldest first. Raises OutsideError, and of them
    NotShownYet for a read that may be older than the last of these.
    """
    now = ctx.clock.now()
    target = ctx.target(workload).observe()
    if reason := not_shown_yet(intents, target.setting, now, ctx.lease):
        raise NotShownYet(reason)
    return target
