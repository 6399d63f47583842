"""What was asked of this cloud's API: every call is counted, every write is kept with its values and its caller."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

READS = ("Describe", "List", "Get")


@dataclass
class Call:
    """A write. `port` is the caller's own: who owns it made the call. `state`: where it stands.

    Held: on its way still, or told to wait. Made: it is in effect. Refused or lost: it never was.
    """

    number: int
    at: datetime
    service: str
    operation: str
    port: int
    parameters: dict[str, Any]
    state: Literal["held", "made", "refused", "lost"] = "held"


@dataclass
class CallLog:
    """Writes in the order in which they arrived, and how often each operation was called. Guard it with a lock."""

    writes: list[Call] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def arrived(self, at: datetime, service: str, operation: str, port: int, parameters: dict[str, Any]) -> Call:
        """A new call; reads are counted only."""
        call = Call(next(self._numbers), at, service, operation, port, parameters)
        self.counts[f"{service}:{operation}"] += 1
        if not operation.startswith(READS):
            self.writes.append(call)
        return call

    def since(self, number: int) -> list[Call]:
        """Writes that arrived after call `number`."""
        return [call for call in self.writes if call.number > number]
