"""The watch: what was set is a state to be held, not an event. It looks where no run is at work, and writes nothing."""

from __future__ import annotations

from forebay.app.arm import watch_armed
from forebay.app.context import Context
from forebay.app.people import hold_by_controller
from forebay.app.writing import last_setting
from forebay.control.decide import foreign_setting
from forebay.domain.lifecycle import MOVING, ChangeState
from forebay.domain.records import ChangeRecord
from forebay.domain.workload import Workload

WATCHED = MOVING | {ChangeState.ARMED, ChangeState.IN_FORCE, ChangeState.SETTLING}
FOREIGN = "changed by another"


def watch(ctx: Context, record: ChangeRecord) -> str | None:
    """Look once at every workload of a change; returns what another hand has changed, in words. Raises OutsideError.

    Before the policy is in force a foreign write holds the change; afterwards it is reported, once.
    """
    if record.state is ChangeState.ARMED:
        return watch_armed(ctx, record.change.change)
    if record.state not in WATCHED:
        return None
    for name in record.change.workloads:
        if foreign := _foreign(ctx, record, ctx.workload(name)):
            if record.state in MOVING:
                hold_by_controller(ctx, record.change.change, foreign)
            else:
                _report(ctx, record, name, foreign)
            return foreign
    return None


def _foreign(ctx: Context, record: ChangeRecord, workload: Workload) -> str | None:
    change = record.change.change
    with ctx.store.transaction() as tx:
        lease = tx.lease(workload.name)
        still_open = tx.intents(workload.name, change=change, only_open=True)
    if still_open or (lease is not None and lease.expires_at > ctx.clock.now()):
        return None  # a run is at work there, and looks for itself; or a write has yet to be settled
    ours = last_setting(ctx, change, workload.name)
    return None if ours is None else foreign_setting(workload.name, ctx.target(workload).observe().setting, ours)


def _report(ctx: Context, record: ChangeRecord, workload: str, foreign: str) -> None:
    with ctx.store.transaction() as tx:
        told = {(entry.event.action, entry.event.reason) for entry in tx.audit_entries(record.change.change)}
        if (FOREIGN, foreign) in told:
            return
        event = ctx.event(record.change, FOREIGN, foreign, workload=workload)
        tx.audit(event)
    ctx.notifier.notify(event)
