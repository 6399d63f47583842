"""Tickets: a delivery is stored before it is answered; a sweep starts the run of each that has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from forebay.app.context import Context
from forebay.app.receive import receive
from forebay.domain.audit import AuditEvent
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import ForebayError, InputError, OutsideError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.model import Model, validate
from forebay.domain.records import ChangeRecord, Ticket


class TicketDelivery(Model):
    """The body of a generic ticket webhook: the ticket, its revision, and the change it asks for."""

    ticket: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
    revision: Annotated[str, Field(max_length=20, pattern=r"^[A-Za-z0-9._-]*$")] = "1"
    change: ChangeRequest

    @property
    def request(self) -> ChangeRequest:
        """The change, named after the ticket unless it has a name of its own: a later revision edits it."""
        return self.change if self.change.change else self.change.model_copy(update={"change": self.ticket})


def parse_delivery(body: str) -> TicketDelivery:
    """Raises InputError naming field, value and mend."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise InputError(f"ticket: this is not JSON: {error}") from error
    return validate(TicketDelivery, data, "ticket")


def store_ticket(ctx: Context, source: str, body: str) -> tuple[TicketDelivery, Ticket | None]:
    """Check a delivery and store it; the ticket is None if it was stored before. Raises InputError, OutsideError."""
    delivery = parse_delivery(body)
    for workload in delivery.request.accepted(ctx.clock.now()).workloads:
        ctx.workload(workload)
    with ctx.store.transaction() as tx:
        stored = tx.add_ticket(source, delivery.ticket, delivery.revision, body, ctx.clock.now())
        before = None if stored else tx.ticket(source, delivery.ticket, delivery.revision)
    if before is not None and parse_delivery(before.body) != delivery:
        raise InputError(
            f"ticket: revision {delivery.revision!r} of {delivery.ticket!r} is stored with other content: "
            "send the edited ticket under a new revision"
        )
    return delivery, stored


def submit(ctx: Context, request: ChangeRequest) -> ChangeRecord:
    """Receive a change at once, so that its sender sees a denial, and leave it for the sweep to have it planned."""
    record = receive(ctx, request)
    if record.state is ChangeState.RECEIVED:
        # What was stored, not what was asked: a relative effective time is fixed by now.
        stored = ChangeRequest.model_validate(record.change.model_dump())
        with ctx.store.transaction() as tx:
            revision = 1 + len(tx.revisions(record.change.change))
            delivery = TicketDelivery(ticket=record.change.change, revision=str(revision), change=stored)
            body = delivery.model_dump_json(exclude_defaults=True)
            tx.add_ticket("cli", delivery.ticket, delivery.revision, body, ctx.clock.now())
    return record


REFUSED = "refused"
StartRun = Callable[[str, dict[str, Any]], str]


def sweep_tickets(ctx: Context, start_run: StartRun) -> int:
    """Start the run of every ticket that has none; returns how many were started.

    `start_run(idempotency_key, parameters)` starts a `policy_change` run and returns its name; calling it twice
    for one key starts one run. Its first OutsideError is raised at the end: one ticket must not block the others.
    """
    with ctx.store.transaction() as tx:
        waiting = tx.tickets_without_run()
    away: OutsideError | None = None
    for ticket in waiting:
        try:
            # A relative effective time counts from when the ticket came, however long it had to wait for its run.
            request = parse_delivery(ticket.body).request.fixed(ticket.received_at)
            # Received here, not only in the run: a run that dies at its start must not take the change with it.
            receive(ctx, request, ticket.received_at)
            key = f"ticket:{ticket.source}:{ticket.ticket}:{ticket.revision}"
            run = start_run(key, {"change": request.model_dump(mode="json", exclude_defaults=True)})
        except (InputError, RuleRefusal) as error:
            event = _refusal(ctx, ticket, error)
            with ctx.store.transaction() as tx:
                tx.put_ticket(ticket.model_copy(update={"run": REFUSED, "failure": str(error)}))
                tx.audit(event)
            ctx.notifier.notify(event)
        except OutsideError as error:
            away = away or error
            _put(ctx, ticket.model_copy(update={"failure": str(error), "failures": ticket.failures + 1}))
        else:
            _put(ctx, ticket.model_copy(update={"run": run, "failure": None}))
    if away:
        raise away
    return len(waiting)


def _put(ctx: Context, ticket: Ticket) -> None:
    with ctx.store.transaction() as tx:
        tx.put_ticket(ticket)


def _refusal(ctx: Context, ticket: Ticket, error: ForebayError) -> AuditEvent:
    return AuditEvent(
        at=ctx.clock.now(), actor=f"{ticket.source} {ticket.ticket}", action="ticket refused", reason=str(error)
    )
