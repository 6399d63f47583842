"""What a target tracking policy wants, given its datapoints. Pure.

Out when the last `out_points` datapoints are all above the target, in when the last `in_points` are all below 90 % of
it, each time in proportion. A missing datapoint (None) never lets capacity go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

IN_MARGIN = 0.9


class Wish(Enum):
    OUT = "out"
    IN = "in"
    HOLD = "hold"


@dataclass(frozen=True)
class Proposal:
    wish: Wish
    capacity: int

    def still_moves(self, bounded: int, desired: int) -> bool:
        """Whether the capacity, once bounded by minimum and maximum, still goes the way of the wish."""
        return bounded > desired if self.wish is Wish.OUT else self.wish is Wish.IN and bounded < desired


def propose(
    points: Sequence[float | None],
    target: float,
    serving: int,
    desired: int,
    out_points: int,
    in_points: int,
    scale_in: bool = True,
) -> Proposal:
    """The capacity one policy asks for. `points` are oldest first; `serving` is what runs now.

    Proportion: serving x last datapoint / target, rounded up (Application Auto Scaling starts from what runs).
    """
    hold = Proposal(Wish.HOLD, desired)
    last = points[-1] if points else None
    if last is None:
        return hold
    wanted = math.ceil(serving * last / target - 1e-9)
    if wanted > desired and _all(points[-out_points:], out_points, lambda v: v > target):
        return Proposal(Wish.OUT, wanted)
    below = _all(points[-in_points:], in_points, lambda v: v < IN_MARGIN * target)
    if scale_in and wanted < desired and below:
        return Proposal(Wish.IN, wanted)
    return hold


def _all(points: Sequence[float | None], count: int, test: Callable[[float], bool]) -> bool:
    return len(points) == count and all(p is not None and test(p) for p in points)


def combine(proposals: Sequence[Proposal], desired: int) -> Proposal:
    """Several policies on one target: the largest capacity wins; in only if all of them want in."""
    outs = [p for p in proposals if p.wish is Wish.OUT]
    if outs:
        return max(outs, key=lambda p: p.capacity)
    if proposals and all(p.wish is Wish.IN for p in proposals):
        return max(proposals, key=lambda p: p.capacity)
    return Proposal(Wish.HOLD, desired)
