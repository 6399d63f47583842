"""The look at a target that Forebay writes to."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.app.context import Context
from forebay.control.shown import not_shown_yet
from forebay.domain.allocation import TargetState
from forebay.domain.errors import NotShownYet
from forebay.domain.records import Intent
from forebay.domain.workload import Workload


def observe(ctx: Context, workload: Workload, intents: Sequence[Intent]) -> TargetState:
    """What the target shows. `intents`: what was written there, oldest first. Raises OutsideError, and of them
    NotShownYet for a read that may be older than the last of these.
    """
    now = ctx.clock.now()
    target = ctx.target(workload).observe()
    if reason := not_shown_yet(intents, target.setting, now):
        raise NotShownYet(reason)
    return target
