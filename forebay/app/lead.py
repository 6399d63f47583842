"""How far from now the first step of a plan must be at least: what has to happen before it takes its time."""

from __future__ import annotations

from datetime import datetime, timedelta

from forebay.domain.wording import duration

# The first step's run needs this long to be created, picked up and started where nothing else is at work.
FIRST_STEP_LEAD = timedelta(seconds=10)
# A worker that was down for an hour says nothing of the wait to come.
LONGEST_LEAD = timedelta(minutes=2)
# Whoever approves a plan that was drawn anew has at least so long.
TIME_TO_APPROVE = timedelta(minutes=10)
FOR_APPROVERS = f"its first step must be {duration(TIME_TO_APPROVE)} away, for those who have not approved it yet"


def first_step_lead(scheduled_at: datetime, now: datetime) -> timedelta:
    """How far ahead of `now` the first step must be for its run to be there in time: where many changes are planned at
    once it will wait about as long as the run that plans it, due at `scheduled_at`, has waited.
    """
    return min(FIRST_STEP_LEAD + max(now - scheduled_at, timedelta(0)), LONGEST_LEAD)
