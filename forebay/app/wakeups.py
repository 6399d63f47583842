"""Which runs must exist so that a change goes on by itself: what the scheduler is asked for, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from forebay.app.context import Context
from forebay.domain.change import PolicyChange
from forebay.domain.lifecycle import MOVING, STEPPING, ChangeState, StepState
from forebay.domain.records import ChangeRecord, StepRecord, WakeUp

# A run needs a moment to start its process; the step itself waits for its exact time.
HEAD_START = timedelta(seconds=3)
# Steps that are due within so little time are woken at the same moment, each by a run of its own: whichever comes first
# advances them all, and waits for the time of each.
TOGETHER = timedelta(seconds=5)
OPEN = (StepState.PENDING, StepState.ASKED)
PLANNING_IS_DEAD_AFTER = timedelta(minutes=3)
# Of twenty runs at once on two cores some take this long to start, and a push must not wait for that.
ENFORCE_HEAD_START = timedelta(seconds=45)


def wake_ups(ctx: Context, record: ChangeRecord) -> list[WakeUp]:
    """Every wake-up `record` still needs. Creating one that exists is harmless: its key is the same."""
    change = record.change
    if record.state is ChangeState.RECEIVED:
        return _plan_again(record, _asked(ctx, change), ctx.clock.now())
    wanted = []
    if record.state in STEPPING:
        with ctx.store.snapshot() as tx:
            steps = tx.steps(change.change)
        open_steps = [s for s in steps if s.state in OPEN]
        wanted += [_step(record, s, _count(steps, s)) for s in open_steps]
    if record.state in MOVING | {ChangeState.ARMED, ChangeState.IN_FORCE}:
        wanted.append(_enforce(record, _asked(ctx, change)))
    return wanted


def _plan_again(record: ChangeRecord, asked: str, now: datetime) -> list[WakeUp]:
    """The run that received a change plans it too; only one that has been silent for long is taken for dead."""
    tries = (now - record.received_at) // PLANNING_IS_DEAD_AFTER
    if not tries:
        return []
    name = record.change.change
    return [
        WakeUp(
            kind="plan",
            key=f"{asked}:plan:{tries}",
            change=name,
            workload=None,
            sequence=None,
            at=now,
            name=f"{record.change.title}: plan again",
        )
    ]


def _count(steps: Sequence[StepRecord], step: StepRecord) -> int:
    return sum(1 for s in steps if s.workload == step.workload)


def step_key(step: StepRecord) -> str:
    """What the keys of all runs begin with that are made for this step, one an attempt."""
    return f"{step.plan_hash[:16]}:{step.step.sequence}"


def _step(record: ChangeRecord, step: StepRecord, of: int) -> WakeUp:
    planned = step.step
    at = planned.due_at - HEAD_START
    if step.attempt == 1:
        at -= timedelta(seconds=at.timestamp() % TOGETHER.total_seconds())
    return WakeUp(
        kind="step",
        key=f"{step_key(step)}:{step.attempt}",
        change=record.change.change,
        workload=step.workload,
        sequence=planned.sequence,
        at=at,
        name=(
            f"{record.change.title}: step {planned.sequence}/{of}, {planned.from_units} to {planned.goal}"
            f"{'' if len(record.change.workloads) == 1 else f' of {step.workload}'}"
        ),
    )


def _enforce(record: ChangeRecord, asked: str) -> WakeUp:
    change = record.change
    return WakeUp(
        kind="enforce",
        key=f"{asked}:enforce:{record.policy_version}:{change.effective_at:%Y%m%dT%H%M%S}",
        change=change.change,
        workload=None,
        sequence=None,
        at=change.effective_at - ENFORCE_HEAD_START,
        name=f"{change.title}: version {record.policy_version} comes into force at {_clock(change.effective_at)}",
    )


def _asked(ctx: Context, change: PolicyChange) -> str:
    """The change as it is asked for now: runs of what it was before it was edited have ended, or were cancelled.

    How often it was edited tells it, and its content would not: it may be edited back.
    """
    with ctx.store.snapshot() as tx:
        return f"{change.change}:{len(tx.revisions(change.change))}"


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S} UTC"


def fall_together(ctx: Context, change: str, workload: str) -> list[tuple[str, str]]:
    """(change, workload) that a run woken for the first of them advances too: what is due now or in a moment.

    One of each workload: of the change accepted first, for which later ones wait there. A workload that another run
    holds is left to it.
    """
    now = ctx.clock.now()
    soon = now + HEAD_START + TOGETHER
    due = {workload: change}
    with ctx.store.snapshot() as tx:
        for record in reversed(tx.changes(STEPPING)):
            for step in tx.steps(record.change.change):
                lease = tx.lease(step.workload)
                held = lease is not None and lease.expires_at > now
                if step.state in OPEN and step.step.due_at <= soon and not held:
                    due.setdefault(step.workload, record.change.change)
    return [(name, of) for of, name in due.items()]
