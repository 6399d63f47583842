"""Telling people: what the audit log has recorded since the last time becomes messages of the outbox."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.domain.errors import InputError, OutsideError
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


def try_out(ctx: Context) -> None:
    """Send one notice to every address now, past the outbox: a try that fails leaves nothing behind.

    Raises InputError where nobody is told, or an address is none that can be, and OutsideError where one was not told;
    each once all were tried.
    """
    if ctx.telling is None:
        raise InputError("nobody is told: set FOREBAY_NOTIFY")
    notice = Notice(key="try", title="Forebay: a try", text="This is how Forebay tells.", change=None)
    wrong, failed = list[str](), list[str]()
    for outlet in ctx.telling.outlets:
        try:
            ctx.outlets[outlet](message_of(ctx, outlet, notice))
        except InputError as error:
            wrong.append(str(error))
        except OutsideError as error:
            failed.append(str(error))
    if wrong:
        raise InputError("\n".join(wrong + failed))
    if failed:
        raise OutsideError("\n".join(failed), retryable=True)


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
