"""The audit log: append-only and hash-chained, so that a changed, missing or reordered entry shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from forebay.domain.model import Model, UtcTime, digest

GENESIS = "0" * 64
NOTHING = digest([])  # where several may be stored under one name, and none is


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
