"""The audit log: append-only and hash-chained, so that a changed, missing or reordered entry shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from forebay.domain.model import Model, UtcTime, digest

GENESIS = "0" * 64
NOTHING = digest([])  # where several may be stored under one name, and none is


class Deed(StrEnum):
    """What was done, in the log's words. They are stored and hashed: one that is reworded is another deed, and the
    entries from before do not count as it any more.
    """

    RECEIVED = "received"
    EDITED = "edited"
    ASKED_FOR_AGAIN = "asked for again"
    POLICY_VERSION_STORED = "policy version stored"
    DENIED = "denied"
    REJECTED = "rejected"
    TICKET_REFUSED = "ticket refused"
    TICKET_CLOSED = "ticket closed, nothing changed"
    OCCURRENCE_LATE = "occurrence late"
    PLANNED = "planned"
    PLAN_STORED = "plan stored"
    NOT_PLANNED = "not planned"
    PLAN_KEPT = "plan kept"
    REPLANNED = "replanned"
    REPLAN_REFUSED = "replan refused"
    NO_APPROVAL_NEEDED = "no approval needed"
    AWAITING_APPROVAL = "awaiting approval"
    APPROVED = "approved"
    APPROVAL_ASKED_AGAIN = "approval asked again"
    APPROVAL_LINK_MADE = "approval link made"
    SCHEDULED = "scheduled"
    SHAPING = "shaping"
    ORIGINAL_RECORDED = "original recorded"
    REVISION_ASKED = "revision asked"
    REVISION_READY = "revision ready"
    FORESEEN = "foreseen"
    EXPECTED_LATE = "expected late"
    WRITE_DONE = "write done"
    WRITE_NOT_DONE = "write not done"
    WRITE_CHANGED_BY_ANOTHER = "write changed by another"
    VALUE_ADOPTED = "value of another adopted"
    CHANGED_BY_ANOTHER = "changed by another"
    HELD = "held"
    RESUMED = "resumed"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    DEMAND_ABOVE = "demand above what serves"
    DEMAND_WITHIN = "demand within what serves"
    LOOK_FAILED = "look failed"
    NOT_LOOKED_AT = "not looked at"
    LOOKED_AT_AGAIN = "looked at again"
    POLICY_VERSION_ARMED = "policy version armed"
    ARMED = "armed"
    DISARMED = "disarmed"
    SHAPING_AGAIN = "shaping again"
    DEFERRED = "deferred"
    IN_FORCE = "in force"
    IN_FORCE_BY_BREAK_GLASS = "in force by break glass"
    GLASS_BROKEN = "GLASS BROKEN"
    IN_TROUBLE = "in trouble"
    SETTLING = "settling"
    SETTLING_VERIFIED = "settling verified"
    SETTLED_IN_DOUBT = "settled in doubt"
    GIVE_BACK_VERIFIED = "give back verified"
    HIGH_AFTER = "high after giving back"
    NOT_GIVEN_BACK = "not given back"
    LEFT_RAISED = "left raised"
    LEFT_AS_IT_IS = "left as it is"
    SETTLED_BY_A_PERSON = "settled by a person"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    POLICY_VERSION_WITHDRAWN = "policy version withdrawn"
    POLICY_SET_BACK = "policy set back"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    POLICY_IMPORTED = "policy imported"
    RULES_SET = "change rules set"
    RULES_PROPOSED = "change rules proposed"
    RULES_AGREED = "change rules agreed"
    RULES_WITHDRAWN = "change rules withdrawn"
    RULES_OVERTAKEN = "change rules overtaken"
    KEY_CREATED = "key created"
    KEY_REVOKED = "key revoked"
    FORECAST_DECAYED = "forecast decayed"
    UNEXPECTED_ERROR = "unexpected error"
    WORKLOADS_NOT_READ = "workloads not read"


class DeedOn(StrEnum):
    """What was done to something that is named before it: `step 3 verified`, `push to sns given up`."""

    ASKED = "asked"
    SERVING = "serving"
    VERIFIED = "verified"
    FAILED = "failed"
    WOKEN_AGAIN = "woken again"
    GIVEN_UP = "given up"
    TRIED_AGAIN = "tried again"
    DISCARDED = "discarded"

    def of(self, subject: str) -> str:
        return f"{subject} {self}"

    def ends(self, action: str) -> bool:
        return action.endswith(f" {self}")


class Seal(Model):
    """What is stored under the name `row` from this entry on: `digest` is of its content, as JSON."""

    row: str
    digest: str


class AuditEvent(Model):
    """Who did what, when, to which workload, from which value to which, why, and by which plan.

    `seal`: of the row it wrote, where that decides by itself; the store adds it.
    """

    at: UtcTime
    actor: Annotated[str, Field(pattern=r"\S")]
    action: str
    reason: str
    change: str | None = None
    entity: str | None = None
    workload: str | None = None
    plan_hash: str | None = None
    old: str | None = None
    new: str | None = None
    seal: Seal | None = None


class AuditEntry(Model):
    """An event in its place in the chain: `hash` covers the event, its number and the hash before it."""

    number: int
    event: AuditEvent
    previous_hash: str
    hash: str


def chained(number: int, event: AuditEvent, previous_hash: str) -> AuditEntry:
    """The entry that follows `previous_hash` (GENESIS for the first). Numbers count from 1 without a gap."""
    without = {"seal"} if event.seal is None else None  # as in entries from before there were seals
    body = {"number": number, "event": event.model_dump(mode="json", exclude=without), "previous": previous_hash}
    return AuditEntry(number=number, event=event, previous_hash=previous_hash, hash=digest(body))


def first_break(entries: Iterable[AuditEntry]) -> str | None:
    """None if the chain holds from its first entry to its last; else which entry breaks it, and how."""
    previous, expected = GENESIS, 1
    for entry in entries:
        if entry.number != expected:
            return f"entry {expected} is missing: entry {entry.number} stands in its place"
        if entry.previous_hash != previous:
            return f"entry {entry.number} does not follow entry {entry.number - 1}: the link between them is broken"
        if chained(entry.number, entry.event, previous).hash != entry.hash:
            return f"entry {entry.number} was altered: its hash does not match its content"
        previous, expected = entry.hash, expected + 1
    return None


def first_difference(sealed: Mapping[str, str], stored: Mapping[str, str]) -> str | None:
    """None if every row holds what the log recorded last of it, by digest; else the first that does not, in words."""
    for row, found in stored.items():
        if row not in sealed:
            return f"{row} was written by another hand: no entry records it"
        if found != sealed[row]:
            return f"{row} was altered: it is not what the log recorded last"
    gone = next((row for row, digest in sealed.items() if row not in stored and digest != NOTHING), None)
    return f"{gone}: nothing is stored, against what the log recorded last" if gone else None
