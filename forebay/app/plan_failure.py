"""A change whose plan could not be drawn: why is said when it happens, not once its effective time has come."""

from __future__ import annotations

import re
from itertools import takewhile

from forebay.app.context import Context
from forebay.app.lookup import events_of
from forebay.app.once import TOLD_FOR
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import PolicyChange
from forebay.domain.errors import ForebayError
from forebay.domain.lifecycle import ChangeState
from forebay.ports import Snapshot

WHY = "its plan could not be drawn, and is tried again: "
# A failure before one of these does not count any more: it was of other content, or is over.
BEGINS = frozenset({Deed.RECEIVED, Deed.EDITED, Deed.ASKED_FOR_AGAIN, Deed.RESUMED, Deed.PLAN_STORED})


def tell_unplanned(ctx: Context, change: PolicyChange, error: Exception) -> None:
    """In the change's note, the audit log and to people, each failure once, and of those that take turns each once an
    hour: it is tried every few minutes. A change that was edited since is left alone.

    Raises OutsideError.
    """
    why = str(error) if isinstance(error, ForebayError) else f"{type(error).__name__}: {error}"
    with ctx.store.transaction() as tx:
        record = tx.change(change.change)
        if record is None or record.change.fingerprint != change.fingerprint:
            return
        event, said = ctx.event(change, Deed.NOT_PLANNED, WHY + why), _said(tx, change.change)
        if any(_alike(e.reason, event.reason) and (e is said[0] or event.at < e.at + TOLD_FOR) for e in said):
            return
        if record.state is ChangeState.RECEIVED:
            tx.move(change.change, ChangeState.RECEIVED, event)
        elif record.state is ChangeState.AWAITING_APPROVAL:
            tx.audit(event)  # its note says whose approval is missing
        else:
            return
    ctx.notifier.notify(event)


def _alike(one: str, other: str) -> bool:
    """But for times, counts and the numbers of requests."""
    return re.sub(r"\d+", "0", one) == re.sub(r"\d+", "0", other)


def why_unplanned(ctx: Context, name: str) -> str | None:
    """What its planning failed with last; None where it did not."""
    with ctx.store.snapshot() as tx:
        said = _said(tx, name)
    return said[0].reason.removeprefix(WHY) if said else None


def _said(tx: Snapshot, name: str) -> list[AuditEvent]:
    """Of the change as it is asked for now, the latest first."""
    since = takewhile(lambda event: event.action not in BEGINS, reversed(events_of(tx, name)))
    return [event for event in since if event.action == Deed.NOT_PLANNED]
