"""The look at a target that Forebay writes to."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.app.context import Context
from forebay.control.shown import not_shown_yet
from forebay.domain.allocation import TargetState
from forebay.domain.errors import OutsideError
from forebay.domain.records import Intent
from forebay.domain.workload import Workload


def observe(ctx: Context, workload: Workload, intents: Sequence[Intent]) -> TargetState:
    """What the target shows. `intents`: what was written there, oldest first. Raises OutsideError, also for a read that
    may be older than the last of them: to look again is all it takes.
    """
    now = ctx.clock.now()
    target = ctx.target(workload).observe()
    if reason := not_shown_yet(intents, target.setting, now):
        raise OutsideError(reason, retryable=True)
    return target
