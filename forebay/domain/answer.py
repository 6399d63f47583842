"""What a ticket is told of its change: which events of the audit log, in which words. Pure."""

from __future__ import annotations

from forebay.domain.audit import AuditEntry, Deed
from forebay.domain.model import Model

# As the audit log calls them; the same names choose a ticket's state in the sources file.
ANSWERED = frozenset(
    {
        Deed.RECEIVED,
        Deed.EDITED,
        Deed.ASKED_FOR_AGAIN,
        Deed.PLAN_STORED,
        Deed.AWAITING_APPROVAL,
        Deed.APPROVED,
        Deed.REJECTED,
        Deed.DENIED,
        Deed.HELD,
        Deed.RESUMED,
        Deed.DEFERRED,
        Deed.ARMED,
        Deed.IN_FORCE,
        Deed.IN_FORCE_BY_BREAK_GLASS,
        Deed.CANCELLED,
        Deed.SUPERSEDED,
        Deed.ROLLING_BACK,
        Deed.ROLLED_BACK,
        Deed.CLOSED,
        Deed.TICKET_REFUSED,
        Deed.TICKET_CLOSED,
    }
)


class Answer(Model):
    """One comment on a ticket. `marker` stands in its text: by it a comment is found again."""

    ticket: str
    action: str
    text: str
    marker: str


def answer_of(entry: AuditEntry, ticket: str) -> Answer:
    event = entry.event
    where = f" ({event.workload})" if event.workload else ""
    marker = f"[forebay-{entry.number}]"
    text = f"{event.change or ticket}: {event.action}{where} by {event.actor}: {event.reason} {marker}"
    return Answer(ticket=ticket, action=event.action, text=text, marker=marker)
