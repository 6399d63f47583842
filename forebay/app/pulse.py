"""The reconciler's pulse: when it last made a pass. One that is dead tells nobody of it: who asks here is told."""

from __future__ import annotations

from datetime import UTC, datetime

from forebay.app.context import Context
from forebay.ports import Snapshot

MARK = "reconciled"


def beat(ctx: Context) -> None:
    """Raises OutsideError."""
    with ctx.store.transaction() as tx:
        tx.put_mark(MARK, int(ctx.clock.now().timestamp()))


def last_beat(tx: Snapshot) -> datetime | None:
    """None before the first."""
    seconds = tx.mark(MARK)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
