"""What nobody foresaw: an error that is Forebay's own is told like any trouble, and stops nobody else's work."""

from __future__ import annotations

from datetime import timedelta

from forebay.app.context import CONTROLLER, Context
from forebay.domain.audit import AuditEvent
from forebay.domain.change import PolicyChange

UNEXPECTED = "unexpected error"
# It comes again with each pass of seconds, maybe in other words.
TOLD_FOR = timedelta(hours=1)


def tell_defect(ctx: Context, error: Exception, change: PolicyChange | None = None) -> None:
    """Once an hour of each change, and of what belongs to none. Who calls logs the traceback. Raises OutsideError."""
    now, mark = ctx.clock.now(), f"unexpected {change.change}" if change else "unexpected"
    with ctx.store.transaction() as tx:
        told = tx.mark(mark)
        if told is not None and now.timestamp() < told + TOLD_FOR.total_seconds():
            return
        tx.put_mark(mark, int(now.timestamp()))
        reason = f"{type(error).__name__}: {error}; the reconciler's log has the traceback"
        named = {"change": change.change, "entity": change.entity} if change else {}
        event = AuditEvent(at=now, actor=CONTROLLER, action=UNEXPECTED, reason=reason, **named)
        tx.audit(event)
    ctx.notifier.notify(event)
