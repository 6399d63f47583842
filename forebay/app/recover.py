"""End a hold that lapses: what was waited for in vain has come, and nobody has to be woken for it."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.app.look import look
from forebay.app.people import resume_by_controller
from forebay.app.turn import waits_for
from forebay.app.writing import settled_setting
from forebay.control.decide import recovered
from forebay.domain.records import ChangeRecord


def recover(ctx: Context, record: ChangeRecord, holder: str) -> None:
    """Let a change go on whose hold lapses, once nothing would hold it on any of its workloads. Raises OutsideError."""
    if not record.lapses:
        return
    change, reasons = record.change, []
    for name in change.workloads:
        workload = ctx.workload(name)
        with ctx.store.transaction() as tx:
            plan, waiting = tx.plan(change.change, name), waits_for(tx, change, name)
        if waiting:
            continue
        if plan is None:
            return
        settled_setting(ctx, record, workload, holder)  # a write that a crash left open would look like another's
        reason = recovered(look(ctx, record, plan, workload), ctx.poll)
        if reason is None:
            return
        reasons.append(f"{name}: {reason}")
    resume_by_controller(ctx, record, "it goes on by itself: " + "; ".join(reasons))
