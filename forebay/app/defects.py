"""Told beside the life of a change: an error that is Forebay's own, workloads that cannot be read any more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from forebay.app.context import CONTROLLER, Context
from forebay.app.once import TOLD_FOR
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.ports import Snapshot


def tell_defect(ctx: Context, error: Exception, change: PolicyChange | None = None) -> None:
    """Once an hour of each change, and of what belongs to none: it comes again with each pass, maybe in other words.

    Who calls logs the traceback. Raises OutsideError.
    """
    reason = f"{type(error).__name__}: {error}; the reconciler's log has the traceback"
    named = {"change": change.change, "entity": change.entity} if change else {}
    _tell(ctx, f"unexpected {change.change}" if change else "unexpected", Deed.UNEXPECTED_ERROR, reason, named)


def tell_unread(ctx: Context, error: InputError) -> None:
    """Once an hour, that the workloads cannot be read any more. Raises OutsideError."""
    reason = f"{error}; until it is mended no run starts, and the reconciler goes on by what it read before"
    _tell(ctx, str(Deed.WORKLOADS_NOT_READ), Deed.WORKLOADS_NOT_READ, reason, {})


def _tell(ctx: Context, mark: str, action: str, reason: str, named: Mapping[str, str]) -> None:
    now = ctx.clock.now()
    event = AuditEvent(at=now, actor=CONTROLLER, action=action, reason=reason, **named)
    with ctx.store.snapshot() as seen:
        if _told_lately(seen, mark, now):
            return
    with ctx.store.transaction() as tx:
        if _told_lately(tx, mark, now):
            return
        tx.put_mark(mark, int(now.timestamp()))
        tx.audit(event)
    ctx.notifier.notify(event)


def _told_lately(tx: Snapshot, mark: str, now: datetime) -> bool:
    told = tx.mark(mark)
    return told is not None and now.timestamp() < told + TOLD_FOR.total_seconds()
