"""Answering tickets: what the audit log records of a ticket's change becomes comments, by the outbox."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.app.tickets import asked_by
from forebay.domain.answer import ANSWERED, answer_of
from forebay.domain.audit import AuditEvent
from forebay.domain.outbox import Message
from forebay.ports import Snapshot

ANSWER = "answer "
MARK = "answered"
ENTRIES_AT_A_TIME = 1000


def answer(ctx: Context) -> int:
    """Put in the outbox what tickets are to be told since the last time; returns how many comments.

    The mark is written with the messages: nothing is lost or told twice. Where no source was ever answered, it
    begins now.
    """
    sources = [outlet.removeprefix(ANSWER) for outlet in ctx.outlets if outlet.startswith(ANSWER)]
    if not sources:
        return 0
    posted = 0
    with ctx.store.transaction() as tx:
        mark = tx.mark(MARK)
        if mark is None:
            tx.put_mark(MARK, tx.last_audit_number())
            return 0
        entries = tx.audit_after(mark, ENTRIES_AT_A_TIME)
        for entry in entries:
            if entry.event.action not in ANSWERED:
                continue
            for source, ticket in _tickets(tx, sources, entry.event):
                message = Message(
                    outlet=ANSWER + source,
                    lane=ticket,
                    key=str(entry.number),
                    body=answer_of(entry, ticket).model_dump_json(),
                    change=entry.event.change,
                    made_at=ctx.clock.now(),
                    due_at=ctx.clock.now(),
                )
                posted += tx.add_message(message) is not None
        if entries:
            tx.put_mark(MARK, entries[-1].number)
    return posted


def _tickets(tx: Snapshot, sources: list[str], event: AuditEvent) -> list[tuple[str, str]]:
    """The tickets that asked for the event's change: those it is named after."""
    if event.change is None:
        source, _, ticket = event.actor.partition(" ")
        return [(source, ticket)] if source in sources else []
    found = []
    for source in sources:
        brought = [asked_by(tx, t) for t in tx.deliveries(source, event.change)]
        if any(record is not None and record.change.change == event.change for record in brought):
            found.append((source, event.change))
    return found
