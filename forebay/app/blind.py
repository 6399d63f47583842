"""A change that nobody can look at: what is not seen is said, and no policy takes force on it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import takewhile

from forebay.app.context import Context
from forebay.app.lookup import events_of
from forebay.app.people import disarm_by_controller
from forebay.domain.audit import Deed
from forebay.domain.change import PolicyChange
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import ChangeRecord
from forebay.ports import Snapshot

# The audit log remembers what a process that is started anew would not: since when, and whether it was told.
LOOKS = (Deed.LOOK_FAILED, Deed.NOT_LOOKED_AT, Deed.LOOKED_AT_AGAIN)
# Of a workload that cannot be read, or is not there: the default of `Verification`.
PATIENCE = timedelta(minutes=10)


def look_failed(ctx: Context, record: ChangeRecord, error: Exception) -> None:
    """Tell people once no look has succeeded for the workloads' patience. An armed change is disarmed then until one
    does: its capacity may have gone, and the decision point would switch by the clock all the same.
    """
    change, now, why = record.change, ctx.clock.now(), str(error) or type(error).__name__
    with ctx.store.transaction() as tx:
        since, told = _blind_since(tx, change.change)
        if since is None:
            tx.audit(ctx.event(change, Deed.LOOK_FAILED, why))
            return
        if now < since + _patience(ctx, change):
            return
        reason = f"nobody could look since {since:%Y-%m-%d %H:%M} UTC: {why}"
        # What it is held for already is no news.
        event = None if told or why in record.note else ctx.event(change, Deed.NOT_LOOKED_AT, reason)
        if event:
            tx.audit(event)
    if event:
        ctx.notifier.notify(event)
    if record.state is ChangeState.ARMED:
        disarm_by_controller(ctx, change.change, reason)


def look_succeeded(ctx: Context, record: ChangeRecord) -> None:
    """Ends what `look_failed` began. What has become of the change since `record` is looked at the next time."""
    with ctx.store.snapshot() as seen:
        if _blind_since(seen, record.change.change)[0] is None:
            return
    with ctx.store.transaction() as tx:
        since, _ = _blind_since(tx, record.change.change)
        if since is not None and tx.change(record.change.change) == record:
            text = f"nobody could look since {since:%Y-%m-%d %H:%M} UTC"
            tx.audit(ctx.event(record.change, Deed.LOOKED_AT_AGAIN, text))


def _patience(ctx: Context, change: PolicyChange) -> timedelta:
    known = [workload for name in change.workloads if (workload := ctx.known(name))]
    return max((workload.verification.patience for workload in known), default=PATIENCE)


def _blind_since(tx: Snapshot, change: str) -> tuple[datetime | None, bool]:
    """Since when no look has succeeded, None where the last one did; and whether people were told."""
    looks = [event for event in events_of(tx, change) if event.action in LOOKS]
    failed = list(takewhile(lambda event: event.action != Deed.LOOKED_AT_AGAIN, reversed(looks)))
    return (failed[-1].at if failed else None), any(event.action == Deed.NOT_LOOKED_AT for event in failed)
