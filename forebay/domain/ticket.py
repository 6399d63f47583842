"""Tickets: what a delivery of a ticketing system says once it is read, and which of two came first. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import Field, model_validator

from forebay.domain.change import STORED, ChangeRequest, Person, Text
from forebay.domain.errors import InputError
from forebay.domain.model import NAME, Model, Name, to_utc, validate

TICKET = "ticket "
# Which one, where its source is not known by the way it came: `jira OPS-12`; nothing where it is none.
OfTicket = Annotated[str, Field(max_length=241, pattern=rf"^({NAME} {NAME})?$")]
_NUMBERS = re.compile(r"\d+(\.\d+)*")


class TicketClosed(Model):
    """The ticket was closed or deleted: its change is cancelled in the name of `by`."""

    by: Person
    reason: Text = "the ticket was closed"


class TicketDelivery(Model):
    """A ticket at one revision: the change it asks for, or that it was closed."""

    ticket: Name
    revision: Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z0-9._:+-]*$")] = "1"
    change: ChangeRequest | None = None
    closed: TicketClosed | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> TicketDelivery:
        if (self.change is None) == (self.closed is None):
            raise ValueError("give exactly one of change (what is asked for) and closed (the change is cancelled)")
        return self

    @property
    def request(self) -> ChangeRequest | None:
        """The change, named after the ticket unless it has a name of its own: a later revision edits it."""
        if self.change is None or self.change.change:
            return self.change
        return self.change.model_copy(update={"change": self.ticket})


def parse_delivery(body: str, *, stored: bool = False) -> TicketDelivery:
    """Raises InputError naming field, value and mend. `stored`: by this version or by one that asked less of it."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise InputError(f"ticket: this is not JSON: {error}") from error
    return validate(TicketDelivery, data, "ticket", STORED if stored else None)


def door_of(source: str, ticket: str) -> str:
    """What a change that a ticket brought remembers: which one it was, `ticket jira OPS-12`."""
    return f"{TICKET}{source} {ticket}"


def source_of(door: str | None) -> str | None:
    """The source where the door is a ticket's: there, names are only claimed. None where it is another."""
    return door.removeprefix(TICKET).partition(" ")[0] if door and door.startswith(TICKET) else None


def newer(revision: str, stored: Iterable[str]) -> str | None:
    """The first of the `stored` revisions that is later than `revision`; None if there is none.

    Numbers (`7`, `1.10`) and times with their zone have an order of their own; others count by when they came.
    """
    mine = _order(revision)
    for other in stored:
        theirs = _order(other)
        if mine is not None and theirs is not None and mine[0] == theirs[0] and theirs[1] > mine[1]:
            return other
    return None


def _order(revision: str) -> tuple[str, tuple[float, ...]] | None:
    if _NUMBERS.fullmatch(revision):
        return "number", tuple(int(part) for part in revision.split("."))
    try:
        return "time", (to_utc(datetime.fromisoformat(revision)).timestamp(),)
    except ValueError:
        return None
