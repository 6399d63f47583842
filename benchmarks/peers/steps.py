"""Fixed moves at fixed times: how the oracle's plan (our optimiser with the true future) is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from benchmarks.peers.seen import Load


@dataclass(frozen=True)
class FixedSteps:
    """`moves`: (from when, floor), in order; nothing is held from `until` on."""

    moves: Sequence[tuple[datetime, int]]
    until: datetime

    def __call__(self, now: datetime, load: Load) -> float:
        made = [units for at, units in self.moves if at <= now]
        return float(made[-1]) if made and now < self.until else 0.0
