"""The reconciler: what must exist or happen for every open change, found from the store alone. Safe to run anytime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from forebay.app.answering import answer
from forebay.app.arm import enforce, try_to_arm
from forebay.app.context import Context
from forebay.app.defects import tell_defect
from forebay.app.demand import watch_demand
from forebay.app.foretell import foretell
from forebay.app.joint import counts_on, shaped
from forebay.app.lookup import own_version, pin_on
from forebay.app.outbox import drain, give_up_unclaimed, post_what_is_in_force
from forebay.app.people import deny
from forebay.app.pins import end_pins
from forebay.app.plan import plan_anew_if_overdue
from forebay.app.plan_failure import why_unplanned
from forebay.app.pulse import beat
from forebay.app.recover import recover
from forebay.app.replan import refresh
from forebay.app.restore import restore_change
from forebay.app.rules import settle_rules
from forebay.app.runs import RUN
from forebay.app.telling import tell
from forebay.app.turn import waits_for
from forebay.app.wakeups import wake_ups
from forebay.app.watch import watch
from forebay.app.writing import pinned
from forebay.control.alignment import ahead_of_effect
from forebay.control.decide import free_at
from forebay.domain.audit import DeedOn
from forebay.domain.change import PolicyChange
from forebay.domain.errors import ForebayError, all_tried, kept
from forebay.domain.lifecycle import MOVING, STEPPING, TERMINAL, ChangeState, StepState
from forebay.domain.records import ChangeRecord, WakeUp

# A run that should be at work but holds no lease this long after its time is taken for dead.
DEAD_AFTER = timedelta(seconds=20)
# A change without steps needs no capacity of its own: it is armed this long ahead, not days.
ARM_AHEAD = timedelta(minutes=1)
# What fails again and again is tried again after pauses that grow to this.
LONGEST_PAUSE = timedelta(minutes=10)


def reconcile(
    ctx: Context,
    holder: str,
    horizon: timedelta,
    trouble: Callable[[str, Exception], None],
    look: bool = True,
) -> list[WakeUp]:
    """Repair what is repairable, and return the wake-ups that must exist for the time until `horizon` from now.

    What fails is reported to `trouble` and stands in the way neither of other changes nor of what else this one
    needs; where nobody foresaw it, people are told too. `look`: also look at the targets for what another hand has
    changed; a loop of seconds does so now and then. Such a pass is also what says that the reconciler lives.
    """
    holder = f"{holder} {uuid4().hex[:8]}"  # two passes of one name at once are two writers
    with ctx.store.snapshot() as tx:
        records = tx.changes(frozenset(ChangeState) - TERMINAL)
    wanted: list[WakeUp] = []
    for record in records:
        failed: list[Exception] = []
        # Each may fail for hours, as a push does to a target that is away: its runs must exist all the same.
        with kept(failed):
            repair(ctx, record, holder)
        if look:
            with kept(failed):
                foretell(ctx, record)
            with kept(failed):
                recover(ctx, record, holder)
            with kept(failed):
                watch(ctx, record)
            with kept(failed):
                watch_demand(ctx, record)
        with kept(failed):
            wanted += wake_ups(ctx, record)
        _report(ctx, failed, trouble, record.change)
    failed = []
    for act in (settle_rules, tell, answer, drain, give_up_unclaimed, *((beat,) if look else ())):
        with kept(failed):
            act(ctx)
    _report(ctx, failed, trouble)
    until = ctx.clock.now() + horizon
    return [wake_up for wake_up in wanted if wake_up.at <= until]


def _report(
    ctx: Context,
    failed: Sequence[Exception],
    trouble: Callable[[str, Exception], None],
    change: PolicyChange | None = None,
) -> None:
    for error in failed:
        trouble(change.change if change else "reconciling", error)
        if not isinstance(error, ForebayError):
            tell_defect(ctx, error, change)


def repair(ctx: Context, record: ChangeRecord, holder: str) -> None:
    """What this one change needs right now and no run of its own will do. Raises what failed, once all was tried."""
    with all_tried() as failed:
        with kept(failed):
            end_pins(ctx, record)
        if record.state in MOVING | {ChangeState.ARMED}:
            with kept(failed):
                refresh(ctx, record, holder)  # while no history is to be had, the change goes on by the plan it has
        with kept(failed):
            _bring_on(ctx, record, holder)


def _bring_on(ctx: Context, record: ChangeRecord, holder: str) -> None:
    change, now = record.change, ctx.clock.now()
    if record.state is ChangeState.SETTLING:
        # The run that enforced it posts only to what it has the settings for. Before anything that may close it.
        post_what_is_in_force(ctx, record)
    settled = record.state is ChangeState.SETTLING and _settled(ctx, record, now)
    if record.state in STEPPING and not settled:
        renew_dead_attempts(ctx, record, now)
    plan_anew_if_overdue(ctx, record)
    # The enforcing run has the first word; this is for when it died or was late.
    overdue = now >= change.effective_at + DEAD_AFTER
    broken = record.state is ChangeState.IN_FORCE and now >= record.updated_at + DEAD_AFTER
    due = record.state in MOVING | {ChangeState.ARMED, ChangeState.IN_FORCE, ChangeState.HELD}
    if broken or (due and overdue):
        enforce(ctx, change.change)
    elif record.state in MOVING and _may_be_armed(ctx, record, now):
        try_to_arm(ctx, change.change)  # it was not aligned when its last step had its pass
    elif record.state is ChangeState.RECEIVED and overdue:
        # Without a plan nothing can be deferred; left open, it would stand in the way of every later change.
        why = why_unplanned(ctx, change.change) or "none of its planning runs came to an end: see them in Prefect"
        deny(ctx, change.change, f"it had no plan at its effective time: {why}")
    elif settled or record.state in (ChangeState.CANCELLED, ChangeState.ROLLING_BACK):
        restore_change(ctx, record, holder)
    elif record.state is ChangeState.SETTLING:
        refresh(ctx, record, holder)


def _may_be_armed(ctx: Context, record: ChangeRecord, now: datetime) -> bool:
    """Nothing is left to do ahead of its effective time: each step has its pass, or there is none and it is near."""
    with ctx.store.snapshot() as tx:
        found = [shaped(tx, record.change, name) for name in record.change.workloads]
    stepped = any(s.step.due_at < record.change.effective_at for _, _, steps in found for s in steps)
    near = now >= record.change.effective_at - ARM_AHEAD
    return (stepped or near) and not any(plan is None or ahead_of_effect(plan, steps) for _, plan, steps in found)


def _settled(ctx: Context, record: ChangeRecord, now: datetime) -> bool:
    """Whether what it raised may go back: its own time is over, and neither a pin nor whoever it carries keeps it."""
    with ctx.store.snapshot() as tx:
        version = own_version(tx, record)
        stays = pinned(tx, ctx, record) or counts_on(tx, record, record.change.workloads, now)
    began = version.in_force_from if version else None
    return stays is None and began is not None and now >= record.change.settled_at(began)


def renew_dead_attempts(ctx: Context, record: ChangeRecord, now: datetime) -> None:
    """An open step past its time whose workload nobody holds gets a new attempt, and with it a new wake-up."""
    with ctx.store.transaction() as tx:
        for name in record.change.workloads:
            if waits_for(tx, record.change, name):
                continue
            lease = tx.lease(name)
            # A lease that was not a run's, as for another plan, tells nothing of the step's run.
            quiet_since = lease.expires_at if lease and lease.holder.startswith(RUN) else record.updated_at
            if lease and lease.expires_at > now:
                continue
            steps = tx.steps(record.change.change, name)
            step = next((s for s in steps if s.state in (StepState.PENDING, StepState.ASKED)), None)
            if step is None:
                continue
            pending, intents = step.state is StepState.PENDING, tx.intents(name, change=record.change.change)
            # A run that found its step not free yet has left, and was right to.
            pin = pin_on(tx, record.change.change, name)
            if pending and pin is not None and now < pin.until:
                continue
            ready_at = free_at(ctx.workload(name), intents, step) if pending else step.step.due_at
            pause = min(DEAD_AFTER * step.attempt, LONGEST_PAUSE)
            if max(quiet_since, ready_at) + pause > now or (pending and tx.rules().freeze_at(now, record.change)):
                continue
            tx.put_step(
                step.model_copy(update={"attempt": step.attempt + 1}),
                ctx.event(
                    record.change,
                    DeedOn.WOKEN_AGAIN.of(f"step {step.step.sequence}"),
                    f"attempt {step.attempt + 1}: nobody has held the workload since {quiet_since:%H:%M:%S}",
                    workload=name,
                ),
            )
