"""Which periods CloudWatch still keeps, and how a stretch of time is cut into queries. Pure; times are epoch seconds.

Retention (CloudWatch user guide): periods under 60 s 3 hours, 60 s 15 days, 300 s 63 days, 3600 s 455 days.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

HOUR, DAY = 3600, 86400
MARGIN = 300  # a query must still be allowed when it arrives
# Finest multiple that a period must be of, for data at most so old.
_KEPT = ((3 * HOUR - MARGIN, 1), (15 * DAY - MARGIN, 60), (63 * DAY - MARGIN, 300), (math.inf, 3600))
_SHORT = (30, 20, 10, 5, 1)
# Per metric and query: a week of 5-minute slots. Keeps an answer well under the 100,800 points of one page.
MOST_PERIODS = 2016


@dataclass(frozen=True)
class Window:
    """One query: [start, end), both multiples of `period`."""

    start: int
    end: int
    period: int

    @property
    def periods(self) -> int:
        return (self.end - self.start) // self.period


def period_for(step: float, age: float) -> int:
    """The coarsest period that divides `step` seconds and is kept at `age` seconds; a coarser one if only that is."""
    kept = next(kept for oldest, kept in _KEPT if age <= oldest)
    if kept == 1 and step % 60:
        return next(short for short in _SHORT if step % short == 0 or short == 1)
    multiple = max(kept, 60)
    return max(1, math.ceil(step / multiple)) * multiple


def windows(start: float, end: float, step: float, now: float) -> Iterator[Window]:
    """[start, end) cut where retention changes and where an answer would become large, oldest first.

    Only whole clock-aligned periods: half of one would be half the truth.
    """
    boundaries = [now - oldest for oldest, _ in reversed(_KEPT) if start < now - oldest < end]
    since = start
    for until in [*boundaries, end]:
        period = period_for(step, now - since)
        first = math.ceil(since / period) * period
        last = (math.ceil(until / period) if until != end else math.floor(until / period)) * period
        last = min(last, math.floor(end / period) * period)
        for left in range(first, last, MOST_PERIODS * period):
            yield Window(left, min(last, left + MOST_PERIODS * period), period)
        since = max(since, last)
