"""What people are told of what the audit log records: which events, grouped how. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from forebay.domain.audit import AuditEntry, AuditEvent, Deed, DeedOn
from forebay.domain.model import Model
from forebay.domain.wording import on_one_line

RULES = frozenset({Deed.RULES_SET, Deed.RULES_PROPOSED, Deed.RULES_AGREED, Deed.RULES_WITHDRAWN, Deed.RULES_OVERTAKEN})
# By topic: what the audit log calls it. `given up` stands for whatever the outbox could not send.
TOPICS: Mapping[str, frozenset[str]] = {
    "submitted": frozenset({Deed.RECEIVED, Deed.EDITED, Deed.ASKED_FOR_AGAIN}),
    "denied": frozenset({Deed.DENIED, Deed.REJECTED, Deed.TICKET_REFUSED}),
    "approval": frozenset({Deed.AWAITING_APPROVAL, Deed.APPROVED, Deed.APPROVAL_ASKED_AGAIN, *RULES}),
    "held": frozenset({Deed.HELD, Deed.RESUMED, Deed.PINNED, Deed.UNPINNED}),
    "misaligned": frozenset(
        {
            Deed.DEFERRED,
            Deed.EXPECTED_LATE,
            Deed.FORESEEN,
            Deed.SHAPING_AGAIN,
            Deed.CHANGED_BY_ANOTHER,
            Deed.DEMAND_ABOVE,
        }
    ),
    "activated": frozenset({Deed.ARMED, Deed.IN_FORCE, Deed.IN_FORCE_BY_BREAK_GLASS, Deed.GLASS_BROKEN}),
    "cancelled": frozenset({Deed.CANCELLED, Deed.SUPERSEDED, Deed.ROLLING_BACK, Deed.ROLLED_BACK}),
    "raise over": frozenset({Deed.CLOSED, Deed.SETTLED_BY_A_PERSON}),
    "trouble": frozenset(
        {
            Deed.NOT_PLANNED,
            Deed.IN_TROUBLE,
            DeedOn.GIVEN_UP,
            Deed.NOT_GIVEN_BACK,
            Deed.HIGH_AFTER,
            Deed.LEFT_RAISED,
            Deed.SETTLED_IN_DOUBT,
            Deed.NOT_LOOKED_AT,
            Deed.UNEXPECTED_ERROR,
            Deed.WORKLOADS_NOT_READ,
            Deed.FORECAST_DECAYED,
            Deed.OCCURRENCE_LATE,
        }
    ),
}
# More subjects than this in one window become one digest, of so many lines.
MOST_AT_ONCE, MOST_LINES = 5, 50
OWN = "notify "


class Telling(Model):
    """`outlets`: where to. `window`: what happens within it is told together."""

    outlets: tuple[str, ...]
    topics: frozenset[str] = frozenset(TOPICS)
    window: timedelta = timedelta(seconds=30)


class Notice(Model):
    """One message to people. `key` is the same whenever it is made of the same entries."""

    key: str
    title: str
    text: str
    change: str | None


def topic_of(event: AuditEvent) -> str | None:
    """None for what is not told; a notice that was given up among it, or telling of it would never end."""
    if DeedOn.GIVEN_UP.ends(event.action):
        return None if event.action.startswith(OWN) else "trouble"
    return next((topic for topic, actions in TOPICS.items() if event.action in actions), None)


def worth_telling(entries: Iterable[AuditEntry], topics: Collection[str]) -> list[AuditEntry]:
    return [entry for entry in entries if topic_of(entry.event) in topics]


def notices(entries: Sequence[AuditEntry]) -> list[Notice]:
    """One for each subject (a change, else an entity), in the order of their first entries; or one digest of all."""
    groups: dict[str, list[AuditEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.event.change or entry.event.entity or "forebay", []).append(entry)
    if len(groups) > MOST_AT_ONCE:
        return [_notice(f"{len(entries)} events on {len(groups)} subjects", entries, named=True)]
    return [_notice(f"{subject}: {group[-1].event.action}", group, named=False) for subject, group in groups.items()]


def _notice(title: str, entries: Sequence[AuditEntry], *, named: bool) -> Notice:
    lines = [_line(entry.event, named=named) for entry in entries[:MOST_LINES]]
    if len(entries) > MOST_LINES:
        lines.append(f"… and {len(entries) - MOST_LINES} more: `forebay audit show`")
    key = f"{entries[0].number}-{entries[-1].number}"
    return Notice(key=key, title=title, text="\n".join(lines), change=None if named else entries[0].event.change)


def _line(event: AuditEvent, *, named: bool) -> str:
    subject = f"{event.change or event.entity or 'forebay'}: " if named else ""
    where = f" ({event.workload})" if event.workload else ""
    why = on_one_line(event.reason)
    return f"{event.at:%d %b %H:%M:%S} UTC  {subject}{event.action}{where} by {event.actor}: {why}"
