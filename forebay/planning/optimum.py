"""The cheapest way to the required units: an exact dynamic programme over (shaping point, units).

Minimised: unit price x units asked + shortfall price x expected shortfall + move price x moves, over all slots.
Under an autoscaler units are the larger of what is asked for and what it brings, on each path.

Why the state (slot, units) is enough. A move from u to v at slot t bars further moves until t + spacing, and an
increase serves from t + lead on. Since lead <= spacing, no two increases are ever under way at once: whenever a move
is free to be made, all that was asked for serves. The cost of slots t until t + spacing therefore depends on u and v
only, and a move can be taken as one jump from (t, u) to (t + spacing, v), free to move again. The time since the last
move never enters the state, so the recursion looks at every admissible plan, and its minimum is the minimum.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from forebay.planning.demand import Floats
from forebay.planning.problem import ShapingProblem, latest_descent
from forebay.planning.required import Ints

# Plans this close in cost are equal: then the later and smaller move wins. A move that is free is not taken idly.
TIE = 1e-9


@dataclass(frozen=True)
class Move:
    """At the start of `slot` the units asked for go from `before` to `after`.

    Under an autoscaler `before` is what stands then, if that is more than was asked for, but at most `after`.
    """

    slot: int
    before: int
    after: int


@dataclass(frozen=True)
class Optimum:
    """Units asked for and serving per slot (n_slots,), the moves that make them, and what all of it costs."""

    moves: tuple[Move, ...]
    asked: Ints = field(repr=False)
    serving: Ints = field(repr=False)
    cost: float


def solve(problem: ShapingProblem) -> Optimum | None:
    """The optimum; None if no plan meets the constraints."""
    if problem.least[-1] > problem.high or (problem.start > problem.high and problem.ceiling != problem.high):
        return None  # nothing lies within the bounds, or what may not shrink lies above them
    programme = Programme(problem, worthwhile(problem))
    programme.fill()
    place = problem.start - int(programme.units[0])
    if not np.isfinite(programme.value[0, place]):
        return None
    moves = programme.walk(0, place)[0]
    return Optimum(moves, *profile(problem.start, moves, problem.lead, problem.n_slots), cost=cost_of(problem, moves))


def worthwhile(problem: ShapingProblem) -> Ints:
    """The consecutive numbers of units to look at.

    More than any path ever requires is never worth asking for, and opens no shorter way to anything.
    """
    top = max(problem.start, int(problem.least[-1]), min(problem.most, int(problem.required.max())))
    return np.arange(problem.bottom, top + 1)


def expected_shortfall(required: Ints, units: Ints) -> Floats:
    """E over paths of max(0, required - u) for each slot and each u of the consecutive `units`: (n_slots, n_units)."""
    base, top = int(units[0]), int(units[-1])
    n_paths, n_slots = required.shape
    cells = np.clip(required, base, top)
    cells += np.arange(n_slots) * len(units) - base
    counts = np.bincount(cells.ravel(), minlength=n_slots * len(units)).reshape(n_slots, len(units))
    above = _sum_of_later(counts)  # paths that need more than u
    short = _sum_of_later(above) + above
    if required.max() > top:
        short += np.maximum(required - top, 0).sum(axis=0)[:, None]
    return np.asarray(short / n_paths)


def allocated(problem: ShapingProblem, units: Ints) -> Floats:
    """E over paths of the units allocated if `units` (n_units, consecutive) are asked for: (n_slots, n_units)."""
    asked = np.broadcast_to(units.astype(np.float64), (problem.n_slots, len(units)))
    return asked if problem.tracked is None else asked + expected_shortfall(problem.tracked, units)


def missing(problem: ShapingProblem, units: Ints) -> Floats:
    """E over paths of the units missing if `units` (n_units, consecutive) serve: (n_slots, n_units).

    Where the autoscaler has more, that serves: max(0, r - max(u, a)) = max(0, r - u) - max(0, min(a, r) - u).
    """
    short = expected_shortfall(problem.required, units)
    if problem.tracked is None:
        return short
    return short - expected_shortfall(np.minimum(problem.tracked, problem.required), units)


def profile(start: int, moves: tuple[Move, ...], lead: int, n_slots: int) -> tuple[Ints, Ints]:
    """Units asked for and units serving, each (n_slots,): increases serve after `lead` slots, decreases at once."""
    asked = np.full(n_slots, start, dtype=np.int64)
    serving = asked.copy()
    for move in moves:
        rises = move.after > asked[move.slot]
        asked[move.slot :] = move.after
        serving[move.slot + (lead if rises else 0) :] = move.after
    return asked, serving


def had(problem: ShapingProblem, asked: Ints) -> Floats:
    """Mean over paths of the units allocated, (n_slots,), where `asked` are asked for."""
    return asked.astype(np.float64) if problem.tracked is None else np.maximum(problem.tracked, asked).mean(axis=0)


def short(problem: ShapingProblem, serving: Ints) -> Floats:
    """Mean over paths of the units missing, (n_slots,), where `serving` serve."""
    serves = serving if problem.tracked is None else np.maximum(problem.tracked, serving)
    return np.asarray(np.maximum(problem.required - serves, 0).mean(axis=0), dtype=np.float64)


def cost_of(problem: ShapingProblem, moves: tuple[Move, ...]) -> float:
    """The objective's value for these moves."""
    asked, serving = profile(problem.start, moves, problem.lead, problem.n_slots)
    return float(
        problem.unit_price * had(problem, asked).sum()
        + problem.shortfall_price * short(problem, serving).sum()
        + problem.move_price * len(moves)
    )


class Programme:
    """Backward recursion over slots, vectorised over consecutive `units`; then a walk forward along the decisions.

    `value` (n_slots + 1, n_units): cost of everything from the slot's start on, if a move is free to be made then.
    `leaving` (n_slots, n_units), if given: cost of everything where another programme takes over for good at the
    slot's start, which then must happen before the last slot ends.
    """

    def __init__(self, problem: ShapingProblem, units: Ints, leaving: Floats | None = None) -> None:
        self.problem, self.units, self.leaving = problem, units, leaving
        self.move_price = max(problem.move_price, TIE)
        moves = np.array([problem.soft.largest_move(int(u)) for u in range(int(units[-1]) + 1)])
        self.reach = np.arange(len(moves)) + moves
        self.places = np.arange(len(units))
        self.standing = np.minimum(problem.standing, units[-1])
        self.lowest_down = np.maximum(self.places - moves[units[0] :], 0)
        self.descent = latest_descent(problem)
        self.free = np.minimum(np.arange(problem.n_slots) + problem.spacing, problem.n_slots)
        self.value = np.zeros((problem.n_slots + 1, len(units)))
        self.moving = np.full((problem.n_slots, len(units)), np.inf)  # the same, where a move is made at the slot
        self._price()

    def _price(self) -> None:
        """What each decision costs until the next one, (n_slots, n_units), or infinity where it is barred.

        `staying`: of one slot. `risen` and `fallen`, by units moved to: of a move and all slots until one is free to
        be made again. `before_serving`, by units moved from: what is missing until an increase is there.
        """
        problem, slots = self.problem, np.arange(self.problem.n_slots)
        short = problem.shortfall_price * missing(problem, self.units)
        paid = problem.unit_price * allocated(problem, self.units)
        outside = self.units < problem.least[:, None]
        outside[problem.deadline :] |= self.units > problem.high
        self.staying = np.where(outside, np.inf, paid + short)
        short_until, paid_until = summed(short), summed(paid)
        serves = np.minimum(slots + problem.lead, problem.n_slots)
        self.before_serving = short_until[serves] - short_until[slots]
        moved = self.move_price + paid_until[self.free] - paid_until[slots] + short_until[self.free]
        barred = outside[self.free - 1]  # the bounds only tighten: whoever meets the last slot's meets all until then
        self.fallen = np.where(barred, np.inf, moved - short_until[slots])
        self.risen = np.where(barred | (self.units > problem.most), np.inf, moved - short_until[serves])

    def fill(self) -> None:
        if self.leaving is not None:
            self.value[-1] = np.inf
        # Few slots differ in where a move may land: the ranges are worked out once for each difference.
        rises: dict[int, RangeMinimum] = {}
        falls: dict[int, RangeMinimum] = {}
        for slot in reversed(range(self.problem.n_slots)):
            best = self.staying[slot] + self.value[slot + 1]
            if self.problem.legal[slot]:
                then, moving = self.value[self.free[slot]], self.moving[slot]
                if (stands := int(self.standing[slot])) not in rises:
                    rises[stands] = RangeMinimum(*self._up(slot))
                np.add(rises[stands](self.risen[slot] + then), self.before_serving[slot], out=moving)
                if (least := int(self.descent[slot])) < self.units[-1]:
                    if least not in falls:
                        falls[least] = RangeMinimum(*self._down(slot))
                    np.minimum(moving, falls[least](self.fallen[slot] + then), out=moving)
                best = np.minimum(best, moving)
            self.value[slot] = best if self.leaving is None else np.minimum(best, self.leaving[slot])

    def walk(self, slot: int, place: int) -> tuple[tuple[Move, ...], int, int]:
        """The best moves from there on, and the slot and place at which the programme is left, or ends."""
        moves: list[Move] = []
        while slot < self.problem.n_slots:
            staying = self.staying[slot, place] + self.value[slot + 1, place]
            moving = self.moving[slot, place]
            leaving = np.inf if self.leaving is None else self.leaving[slot, place]
            if leaving <= moving and leaving < staying - TIE * (1 + abs(leaving)):
                break
            if moving < staying - TIE * (1 + abs(moving)):
                landing = self._landing(slot, place)
                before, after = int(self.units[place]), int(self.units[landing])
                if after > before:  # from what nearly surely stands then; a floor below it moves nothing
                    before = max(before, min(after, int(self.standing[slot])))
                moves.append(Move(slot, before, after))
                slot, place = slot + self.problem.spacing, landing
            else:
                slot += 1
        return tuple(moves), slot, place

    def _up(self, slot: int) -> tuple[Ints, Ints]:
        """Places (not units) that a rising move from each place may land on, first and last."""
        stands = np.maximum(self.units, self.standing[slot])
        return self.places + 1, np.minimum(self.reach[stands] - int(self.units[0]), len(self.units) - 1)

    def _down(self, slot: int) -> tuple[Ints, Ints]:
        least = int(self.descent[slot]) - int(self.units[0])
        return np.maximum(self.lowest_down, max(least, 0)), self.places - 1

    def _landing(self, slot: int, place: int) -> int:
        """Where the best move from `place` lands; of equal ones the smallest."""
        then = self.value[self.free[slot]]
        first, last = (int(ends[place]) for ends in self._up(slot))
        rising = (self.risen[slot] + then)[first : last + 1]
        lowest, highest = (int(ends[place]) for ends in self._down(slot))
        falling = (self.fallen[slot] + then)[lowest : highest + 1][::-1]
        up = rising.min(initial=np.inf) + self.before_serving[slot, place]
        return first + _first_least(rising) if up <= falling.min(initial=np.inf) else highest - _first_least(falling)


class RangeMinimum:
    """Minima of values over many fixed ranges at once.

    `first`, `last` (both included): one range per place; an empty one has the minimum infinity.
    """

    def __init__(self, first: Ints, last: Ints) -> None:
        size = len(first)
        empty = last < first
        self.padded = np.full(size + 1, np.inf)  # an empty range is the padding's
        self.ends = np.stack([np.where(empty, size, first), np.where(empty, size, last + 1)], axis=1).ravel()

    def __call__(self, values: Floats) -> Floats:
        self.padded[:-1] = values
        return np.asarray(np.minimum.reduceat(self.padded, self.ends)[::2])


def summed(per_slot: Floats) -> Floats:
    """Sums of the slots before each, (n_slots + 1, n_units)."""
    return np.vstack([np.zeros(per_slot.shape[1]), np.cumsum(per_slot, axis=0)])


def _first_least(costs: Floats) -> int:
    least = costs.min()
    return int(np.argmax(costs <= least + TIE * (1 + abs(least))))


def _sum_of_later(values: Ints) -> Ints:
    """Along the last axis, the sum of all entries after each."""
    return np.asarray(np.cumsum(values[:, ::-1], axis=1)[:, ::-1] - values, dtype=np.int64)
