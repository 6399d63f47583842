"""End a hold that lapses: what was waited for in vain has come, and nobody has to be woken for it."""

from __future__ import annotations

from datetime import timedelta

from forebay.app.context import CONTROLLER, Context
from forebay.app.look import look
from forebay.app.lookup import events_of
from forebay.app.people import hold_by_controller, resume_by_controller
from forebay.app.turn import waits_for
from forebay.app.writing import settled_target
from forebay.control.decide import Hold, recovered
from forebay.domain.audit import Deed, DeedOn
from forebay.domain.records import ChangeRecord
from forebay.ports import Snapshot

LONGEST_PAUSE = timedelta(hours=1)


def recover(ctx: Context, record: ChangeRecord, holder: str) -> None:
    """Let a change go on whose hold lapses, once nothing would hold it on any of its workloads.

    Where something has come up that wants a person (another hand's write, say), the hold becomes one for a person.
    Raises OutsideError, and RuleRefusal while a write is still under way.
    """
    if not record.lapses:
        return
    change, reasons = record.change, []
    workloads = [ctx.workload(name) for name in change.workloads]
    with ctx.store.snapshot() as tx:
        pause = _pause(tx, record, max(w.verification.patience for w in workloads))
    if ctx.clock.now() < record.updated_at + pause:
        return
    for workload in workloads:
        with ctx.store.snapshot() as tx:
            plan, waiting = tx.plan(change.change, workload.name), waits_for(tx, change, workload.name)
        if waiting:
            continue
        if plan is None:
            return
        settled_target(ctx, record, workload, holder)  # a write that a crash left open would look like another's
        answer = recovered(look(ctx, record, plan, workload), ctx.poll)
        if isinstance(answer, Hold) and not answer.lapses:
            hold_by_controller(ctx, change.change, answer.reason)
        if isinstance(answer, Hold):
            return
        reasons.append(f"{workload.name}: {answer}")
    resume_by_controller(ctx, record, "; ".join(reasons))


def _pause(tx: Snapshot, record: ChangeRecord, patience: timedelta) -> timedelta:
    """None the first time. What looks well and is held again, as where reads work and writes do not, is left alone for
    longer each time, until a step has its pass.
    """
    again = 0
    for event in events_of(tx, record.change.change):
        if DeedOn.VERIFIED.ends(event.action):
            again = 0
        again += event.action == Deed.RESUMED and event.actor == CONTROLLER
    return min(patience * 2 ** (again - 1), LONGEST_PAUSE) if again else timedelta(0)
