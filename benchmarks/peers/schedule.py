"""A schedule made by hand when the change is announced: one jump, or k equal steps, and back after the change settled.

Source: AWS, "Scheduled scaling for Application Auto Scaling" (a one-time action sets the minimum at a time; it does
not keep track of old values, so a second action puts them back).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from benchmarks.peers.seen import Announced, Load

DAY = timedelta(days=1)


def number_by_hand(change: Announced, load: Load) -> float:
    """What a careful person would schedule: the peak of the same hours on the last day known, times the factor."""
    days = 1
    while change.until - days * DAY > change.asked_at:
        days += 1
    same_hours = load.between(change.effective_at - days * DAY, change.until - days * DAY)
    known = load.between(load.start, change.asked_at)
    peak = np.nanmax(same_hours) if len(same_hours) else np.nanmax(known)
    return float(peak) * change.factor


@dataclass(frozen=True)
class Scheduled:
    """`steps` equal moves, `spacing` apart, the last one `ahead` of the effective time."""

    change: Announced
    steps: int
    ahead: timedelta
    spacing: timedelta

    def __call__(self, now: datetime, load: Load) -> float:
        if now >= self.change.until:
            return 0.0
        goal = number_by_hand(self.change, load)
        first = self.change.effective_at - self.ahead - (self.steps - 1) * self.spacing
        made = min(self.steps, (now - first) // self.spacing + 1)
        if made <= 0:
            return 0.0
        before = load.between(first - timedelta(hours=1), first)
        start = min(goal, float(before.max())) if len(before) else 0.0
        return start + (goal - start) * made / self.steps
