"""Telling people: what the audit log has recorded since the last time becomes messages of the outbox."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.app.outbox import drain, unsent
from forebay.domain.errors import InputError
from forebay.domain.outbox import Message
from forebay.domain.telling import Notice, notices, worth_telling

MARK = "told"
ENTRIES_AT_A_TIME = 1000


def tell(ctx: Context) -> int:
    """Once the oldest event not told yet is a window old, all since then are put in the outbox; returns how many.

    The audit log is written with what it records, and the mark with the messages: nothing is lost or told twice.
    Where nobody was ever told, telling begins now.
    """
    telling, now = ctx.telling, ctx.clock.now()
    if telling is None:
        return 0
    with ctx.store.transaction() as tx:
        mark = tx.mark(MARK)
        if mark is None:
            tx.put_mark(MARK, tx.last_audit_number())
            return 0
        entries = tx.audit_after(mark, ENTRIES_AT_A_TIME)
        worth = worth_telling(entries, telling.topics)
        if worth and worth[0].event.at + telling.window > now:
            return 0
        for notice in notices(worth):
            for outlet in telling.outlets:
                tx.add_message(message_of(ctx, outlet, notice))
        if entries:
            tx.put_mark(MARK, entries[-1].number)
    return len(worth)


def try_out(ctx: Context) -> list[Message]:
    """Send one notice to every address now; returns the messages that could not be sent. Raises InputError."""
    if ctx.telling is None:
        raise InputError("nobody is told: set FOREBAY_NOTIFY")
    now = ctx.clock.now()
    notice = Notice(
        key=f"try {now.isoformat()}", title="Forebay: a try", text="This is how Forebay tells.", change=None
    )
    with ctx.store.transaction() as tx:
        sent = {tx.add_message(message_of(ctx, outlet, notice)) for outlet in ctx.telling.outlets}
    drain(ctx)
    return [message for message in unsent(ctx) if message.number in {m.number for m in sent if m}]


def message_of(ctx: Context, outlet: str, notice: Notice) -> Message:
    """A lane of its own: a notice that cannot be sent holds up no other."""
    now = ctx.clock.now()
    return Message(
        outlet=outlet,
        lane=notice.key,
        key=notice.title,
        body=notice.model_dump_json(),
        change=notice.change,
        made_at=now,
        due_at=now,
    )
