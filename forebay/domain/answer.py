"""What a ticket is told of its change: which events of the audit log, in which words. Pure."""

from __future__ import annotations

from forebay.domain.audit import AuditEntry
from forebay.domain.model import Model

# As the audit log calls them; the same names choose a ticket's state in the sources file.
ANSWERED = frozenset(
    {
        "received",
        "edited",
        "asked for again",
        "plan stored",
        "awaiting approval",
        "approved",
        "rejected",
        "denied",
        "held",
        "resumed",
        "deferred",
        "armed",
        "in force",
        "in force by break glass",
        "cancelled",
        "superseded",
        "rolling back",
        "rolled back",
        "closed",
        "ticket refused",
        "ticket closed, nothing changed",
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
