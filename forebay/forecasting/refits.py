"""Models that learn too much to be fitted once for all origins, and take too long to be fitted at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

A_SEASON = 4  # fits; an origin between two of them uses the older one, which knows nothing after itself


class Refit(NamedTuple):
    """One fit, on the values before `origin` only, and the origins (as their rows) that are forecast with it."""

    origin: int
    rows: list[int]


def refits(origins: Sequence[int], season: float) -> list[Refit]:
    """Fits at some of the origins (ascending), so that every origin has one at most a quarter of a season older.

    The last origin, from which the forecast that counts is made, always has its own.
    """
    found: list[Refit] = []
    for row, origin in enumerate(origins):
        if not found or row == len(origins) - 1 or origin >= found[-1].origin + season / A_SEASON:
            found.append(Refit(origin, []))
        found[-1].rows.append(row)
    return found
