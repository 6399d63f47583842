"""What a peer may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """Units (not rounded) that the measured usage needed at the target utilisation: one value a slot, oldest first.

    `start` is the first slot's start, aware UTC; only slots whose datapoint is published are in it.
    """

    start: datetime
    slot: timedelta
    units: Floats = field(repr=False)

    @property
    def end(self) -> datetime:
        return self.start + len(self.units) * self.slot

    def between(self, start: datetime, end: datetime) -> Floats:
        """The slots that begin in [start, end) and are known."""
        first = max(0, -(-(start - self.start) // self.slot))
        last = max(0, -(-(end - self.start) // self.slot))
        return self.units[first:last]


@dataclass(frozen=True)
class Announced:
    """What a person knows of the change: its time, and by how much the whole load is expected to change."""

    asked_at: datetime
    effective_at: datetime
    until: datetime
    factor: float


# The floor a peer wants at this time, given what was seen.
Peer = Callable[[datetime, Load], float]
"""Times are aware UTC; the result need not be whole nor within the bounds: the benchmark rounds up and cuts."""
