"""Told once: what each pass finds again is put in the audit log, and told to people, the first time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from forebay.app.context import Context
from forebay.domain.audit import AuditEvent
from forebay.ports import Snapshot

# Of what goes to and fro, or comes again in other words, people are told once in this time.
TOLD_FOR = timedelta(hours=1)


def tell_once(ctx: Context, untold: Callable[[Snapshot], Sequence[AuditEvent]]) -> Sequence[AuditEvent]:
    """Record and tell what `untold` makes of the store: what the log does not say yet. Returns it; raises OutsideError.

    A snapshot is asked first, since mostly there is nothing to write; then again within the transaction that writes it,
    since another process may have been first.
    """
    with ctx.store.snapshot() as seen:
        if not untold(seen):
            return ()
    with ctx.store.transaction() as tx:
        events = untold(tx)
        for event in events:
            tx.audit(event)
    for event in events:
        ctx.notifier.notify(event)
    return events
