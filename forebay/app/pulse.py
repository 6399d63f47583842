"""The reconciler's pulse: when it last made a pass. One that is dead tells nobody of it: who asks here is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from forebay.app.context import Context
from forebay.domain.wording import duration
from forebay.ports import Snapshot

MARK = "reconciled"
# The loop makes a pass every few seconds, its backup one a minute.
SILENT_AFTER = timedelta(minutes=3)


def beat(ctx: Context) -> None:
    """Raises OutsideError."""
    with ctx.store.transaction() as tx:
        tx.put_mark(MARK, int(ctx.clock.now().timestamp()))


def last_beat(tx: Snapshot) -> datetime | None:
    """None before the first."""
    seconds = tx.mark(MARK)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def silence(ctx: Context) -> str:
    """That no reconciler is at work, in words; empty while one is. Raises OutsideError."""
    with ctx.store.snapshot() as tx:
        last = last_beat(tx)
    ago = None if last is None else ctx.clock.now() - last
    if ago is not None and ago <= SILENT_AFTER:
        return ""
    since = (
        "no reconciler has ever been at work here" if ago is None else f"no reconciler was at work for {duration(ago)}"
    )
    return f"{since}: no change goes on until one is (`make up`, or `python -m deployments.reconciler`)"
