"""Tickets: a delivery is stored before it is answered; a sweep starts the run of each that has none."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from forebay.app.context import Context
from forebay.app.lookup import own_version
from forebay.app.people import cancel, deny
from forebay.app.receive import receive
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import STORED, ChangeRequest
from forebay.domain.errors import ForebayError, InputError, OutsideError, RuleRefusal
from forebay.domain.lifecycle import TERMINAL, ChangeState
from forebay.domain.policy import begun
from forebay.domain.records import ChangeRecord, Ticket
from forebay.domain.ticket import TicketClosed, TicketDelivery, door_of, newer, parse_delivery
from forebay.ports import Snapshot

OVER = TERMINAL | {ChangeState.CANCELLED, ChangeState.ROLLING_BACK}
REFUSED, OLDER, CLOSED, DENIED = "refused", "older", "closed", "denied"
StartRun = Callable[[str, dict[str, Any]], str]
_TIMES = re.compile(r"\d{4}-\d\d-\d\d[\dT:.+Z]*|(\d+ days?, )?\d+:\d\d(:\d\d)?[\d.]*")


def store_ticket(ctx: Context, source: str, body: str) -> tuple[TicketDelivery, Ticket | None]:
    """Check a delivery and store it; the ticket is None if it was stored before. Raises InputError, OutsideError.

    One that comes after a later revision of its ticket is stored with `run` OLDER, and nothing else comes of it.
    """
    delivery = parse_delivery(body)
    if delivery.request is not None:
        if delivery.request.on_misalignment == "enforce":
            raise InputError(
                "on_misalignment: enforce breaks the glass in the name of who asks, and a ticket only claims it: "
                "write defer or reject, or ask for it by the command line, the API or Prefect"
            )
        for workload in delivery.request.accepted(ctx.clock.now()).workloads:
            ctx.workload(workload)
    with ctx.store.transaction() as tx:
        before = tx.deliveries(source, delivery.ticket)
        stored = tx.add_ticket(source, delivery.ticket, delivery.revision, body, ctx.clock.now())
        if stored is not None and (later := newer(delivery.revision, [t.revision for t in before])):
            stored = stored.model_copy(update={"run": OLDER, "failure": f"revision {later} came before it"})
            tx.put_ticket(stored)
    if stored is None:
        known = next(t for t in before if t.revision == delivery.revision)
        if parse_delivery(known.body, stored=True) != delivery:
            raise InputError(
                f"ticket: revision {delivery.revision!r} of {delivery.ticket!r} is stored with other content: "
                "send the edited ticket under a new revision"
            )
    return delivery, stored


def request_of(ticket: Ticket) -> ChangeRequest | None:
    """The change a stored delivery asks for; None for a closed one, or one that cannot be read."""
    try:
        return parse_delivery(ticket.body, stored=True).request
    except InputError:  # It was refused when it was swept, and told then.
        return None


def asked_by(tx: Snapshot, ticket: Ticket) -> ChangeRecord | None:
    """The change that a delivery asks for; None where there is none, or it only names one of somebody else's.

    Others may have brought it: see ChangeRecord.door.
    """
    request = request_of(ticket)
    record = tx.change(request.change) if request and ticket.run not in (OLDER, REFUSED) else None
    if request is None or record is None:
        return None
    mine = (request.entity, request.policy, request.requested_by)
    return record if (record.change.entity, record.change.policy, record.change.requested_by) == mine else None


def submit(
    ctx: Context,
    request: ChangeRequest,
    source: str = "cli",
    asked_at: datetime | None = None,
    *,
    only_own: bool = False,
) -> ChangeRecord:
    """Receive a change at once, so that its sender sees a denial, and leave it for the sweep to have it planned."""
    record = receive(ctx, request, asked_at, only_own=only_own, door=source)
    if record.state is ChangeState.RECEIVED:
        with ctx.store.transaction() as tx:
            revision = 1 + len(tx.revisions(record.change.change))
            delivery = TicketDelivery(ticket=record.change.change, revision=str(revision), change=_stored(record))
            body = delivery.model_dump_json(exclude_defaults=True)
            tx.add_ticket(source, delivery.ticket, delivery.revision, body, ctx.clock.now())
    return record


def sweep_tickets(ctx: Context, start_run: StartRun) -> int:
    """Start the run of every ticket that has none, or cancel for one that was closed; returns how many there were.

    `start_run(idempotency_key, parameters)` starts a `policy_change` run and returns its name; calling it twice
    for one key starts one run. Its first OutsideError is raised at the end: one ticket must not block the others.
    One that is not retryable refuses the ticket.
    """
    with ctx.store.snapshot() as tx:
        waiting = tx.tickets_without_run()
    away: OutsideError | None = None
    for ticket in waiting:
        try:
            run, said = _settle(ctx, ticket, start_run)
        except (InputError, RuleRefusal) as error:
            _refuse(ctx, ticket, error)
        except OutsideError as error:
            away = away or error
            _put(ctx, ticket.model_copy(update={"failure": str(error), "failures": ticket.failures + 1}))
        else:
            _put(ctx, ticket.model_copy(update={"run": run, "failure": said}))
    if away:
        raise away
    return len(waiting)


def _settle(ctx: Context, ticket: Ticket, start_run: StartRun) -> tuple[str, str | None]:
    """Do what the delivery asks for; the name of its run, and what there is to say of it."""
    delivery = parse_delivery(ticket.body)
    if delivery.closed is not None:
        return CLOSED, _close(ctx, ticket, delivery.closed)
    request = delivery.request
    assert request is not None, "it is one of the two"
    with ctx.store.snapshot() as tx:
        said, known = _deliveries(tx, ticket), tx.change(request.change)
    earlier = [t for t in said if t.number < ticket.number and t.run != REFUSED]
    before = next((asked for t in reversed(earlier) if (asked := request_of(t)) is not None), None)
    if known is not None and known.state is ChangeState.DENIED and request == before:
        return DENIED, known.note  # touched, not edited: nobody has asked again
    # Received here, not only in the run: a run that dies at its start must not take the change with it.
    # Who asks is only claimed: no more than an edit in that name may be done.
    newest = ticket.number == said[-1].number
    before, door = before if newest else None, _door(ticket)
    # A relative effective time counts from when the ticket came, however long it had to wait for its run.
    record = receive(ctx, request, ticket.received_at, before=before, only_own=True, door=door)
    if record.state is ChangeState.DENIED:  # a run has nothing to plan, and a late one would ask for it once more
        return DENIED, record.note
    return _start(ctx, ticket, record, start_run), None


def _start(ctx: Context, ticket: Ticket, record: ChangeRecord, start_run: StartRun) -> str:
    """The run that plans the change. Raises OutsideError, and InputError where there will never be one."""
    key = f"ticket:{ticket.source}:{ticket.ticket}:{ticket.revision}"
    try:
        return start_run(key, {"change": _stored(record).model_dump(mode="json", exclude_defaults=True)})
    except OutsideError as error:
        if error.retryable:
            raise
        mend = "mend what it names, then ask for the change edited, or under a new name"
        refusal = f"no run can be made to plan change {record.change.change}: {error}; {mend}"
        if record.state is ChangeState.RECEIVED:
            # Without a plan for good, it would stand in the way of every later change.
            deny(ctx, record.change.change, refusal)
        raise InputError(refusal) from error


def _deliveries(tx: Snapshot, ticket: Ticket) -> list[Ticket]:
    """Of the same ticket, oldest first, without those that came after a later revision."""
    return [t for t in tx.deliveries(ticket.source, ticket.ticket) if t.run != OLDER]


def _stored(record: ChangeRecord) -> ChangeRequest:
    """What was stored, not what was asked: a relative effective time is fixed by now."""
    return ChangeRequest.model_validate(record.change.model_dump(exclude={"effective_in"}), context=STORED)


def _close(ctx: Context, ticket: Ticket, closed: TicketClosed) -> str | None:
    """Cancel what the ticket asked for; what is in force already stays. Raises RuleRefusal if `by` may not cancel."""
    with ctx.store.transaction() as tx:
        before = [t for t in _deliveries(tx, ticket) if t.number < ticket.number]
        record = next((r for t in reversed(before) if (r := asked_by(tx, t)) is not None), None)
        if record is None:
            return "it had asked for nothing before"
        if record.state in OVER:
            return f"change {record.change.change} is {record.state} already"
        said = _not_for_a_ticket(tx, ctx, ticket, record)
        if said is not None:
            if not _told(tx, ticket, CLOSED, said):
                tx.audit(ctx.event(record.change, Deed.TICKET_CLOSED, said, closed.by))
            return said
    cancel(ctx, record.change.change, closed.by, f"{ticket.source} {ticket.ticket}: {closed.reason}")
    return None


def _not_for_a_ticket(tx: Snapshot, ctx: Context, ticket: Ticket, record: ChangeRecord) -> str | None:
    """Why closing the ticket cancels nothing, and what does; None where it cancels the change."""
    name = record.change.change
    if record.door != _door(ticket):  # anybody who holds the secret may name it, in anybody's name
        return f"change {name} came by {record.door or 'another door'}, not by this ticket: `forebay cancel` stops it"
    if begun(own_version(tx, record), ctx.clock.now()):
        return f"change {name} is in force: `forebay rollback` takes it back"
    return None


def _door(ticket: Ticket) -> str:
    return door_of(ticket.source, ticket.ticket)


def _put(ctx: Context, ticket: Ticket) -> None:
    with ctx.store.transaction() as tx:
        tx.put_ticket(ticket)


def _refuse(ctx: Context, ticket: Ticket, error: ForebayError) -> None:
    said, who = str(error), f"{ticket.source} {ticket.ticket}"
    event = AuditEvent(at=ctx.clock.now(), actor=who, action=Deed.TICKET_REFUSED, reason=said)
    with ctx.store.transaction() as tx:
        tx.put_ticket(ticket.model_copy(update={"run": REFUSED, "failure": said}))
        told = _told(tx, ticket, REFUSED, said)
        if not told:
            tx.audit(event)
    if not told:
        ctx.notifier.notify(event)


def _told(tx: Snapshot, ticket: Ticket, run: str, said: str) -> bool:
    """Whether the delivery before this one asked the same and ended in the same words, but for the times in them.

    In some systems an answer is itself a new revision of the ticket: answered each time, it would go on for ever.
    """
    last = next((t for t in reversed(_deliveries(tx, ticket)) if t.number < ticket.number), None)
    if last is None or last.run != run or last.failure is None:
        return False
    return request_of(last) == request_of(ticket) and _TIMES.sub("", last.failure) == _TIMES.sub("", said)
