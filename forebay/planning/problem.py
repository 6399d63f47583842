"""The planning problem as plain numbers: what the optimum needs to know, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forebay.domain.bounds import Outgoing
from forebay.domain.change import PolicyChange
from forebay.domain.freeze import FreezeWindow
from forebay.domain.workload import SoftLimit, Workload
from forebay.planning.required import Ints
from forebay.planning.slots import SlotIndex, slots_in

Bools = npt.NDArray[np.bool_]

# Where less stands than the plan counted on, the step is cut to the soft limit from there and made in two.
UNSURE = 0.05


@dataclass(frozen=True)
class ShapingProblem:
    """Choose the units asked for in each slot. Slots count from 0; prices are per unit and slot, and per move.

    `start`: units asked before slot 0. `legal` (n_slots,): a move may be made at the slot's start.
    `spacing`: slots from one move to the next at least; `lead`: slots until an increase serves, at most `spacing`
    (a decrease is out at once). From slot `deadline` on units lie within [low, high]; before it, no move goes above
    `most`. No move shrinks, except toward `ceiling` and as late as it can (`latest_descent`), nor to less than what is
    `guarded`: (slot, units) of versions in force that are replaced from that slot on.
    `required` (n_paths, n_slots): units each path needs.
    `tracked` (n_paths, n_slots), where an autoscaler stands above: units it has serving by itself. What is asked for
    is then a floor: it costs and carries what it adds to them, may be as low as `lowest`, and a lower one takes no
    capacity away. A move is measured from what nearly surely stands (`standing`).
    `promises`: (slot, units) of other changes that this path carries too: at least so many units from that slot on.
    """

    start: int
    legal: Bools = field(repr=False)
    spacing: int
    lead: int
    deadline: int
    low: int
    high: int
    most: int
    ceiling: int | None
    soft: SoftLimit
    required: Ints = field(repr=False)
    unit_price: float
    shortfall_price: float
    move_price: float
    tracked: Ints | None = field(default=None, repr=False)
    lowest: int | None = None
    promises: tuple[tuple[int, int], ...] = ()
    guarded: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.lead <= self.spacing:
            raise ValueError(f"lead {self.lead} must lie within 1 and the spacing {self.spacing}")

    @property
    def n_slots(self) -> int:
        return len(self.legal)

    @property
    def bottom(self) -> int:
        """The fewest units that may be asked for."""
        start = min(self.start, self.high)
        return start if self.tracked is None or self.lowest is None else min(start, self.lowest)

    @property
    def milestones(self) -> list[tuple[int, int]]:
        """(slot, units): what must be asked for at least from that slot on, by slot."""
        return sorted([*self.promises, (self.deadline, self.low)])

    @property
    def least(self) -> Ints:
        """The fewest units (n_slots,) that may be asked for in each slot."""
        least = np.zeros(self.n_slots, dtype=np.int64)
        for slot, units in self.milestones:
            least[slot:] = np.maximum(least[slot:], units)
        return least

    @property
    def guard(self) -> Ints:
        """The fewest units (n_slots,) that a move which shrinks may ask for, whatever else lets it."""
        guard = np.zeros(self.n_slots, dtype=np.int64)
        for slot, units in self.guarded:
            guard[:slot] = np.maximum(guard[:slot], units)
        return guard

    @property
    def standing(self) -> Ints:
        """Units (n_slots,) that the autoscaler has on all but one path in twenty; 0 without one."""
        if self.tracked is None:
            return np.zeros(self.n_slots, dtype=np.int64)
        return left_standing(self.tracked)


def left_standing(tracked: Ints) -> Ints:
    """Units (n_slots,) that are there on all but one path in twenty of `tracked` (n_paths, n_slots)."""
    return np.asarray(np.quantile(tracked, UNSURE, axis=0, method="lower"), dtype=np.int64)


@dataclass(frozen=True)
class Promise:
    """`units` must serve, verified, at `effective_at` for another `change` that the same path carries."""

    change: str
    effective_at: datetime
    units: int


@dataclass(frozen=True)
class Clock:
    """When moves may be made: slot starts after `now`, from `earliest` on, outside the freeze windows."""

    now: datetime
    earliest: datetime
    freezes: Sequence[FreezeWindow] = ()

    def allows(self, at: datetime) -> bool:
        return at > self.now and at >= self.earliest and not any(freeze.covers(at) for freeze in self.freezes)


def alignment_slot(workload: Workload, effective_at: datetime, index: SlotIndex, slack: int) -> int:
    """The last slot at whose start a move can still be verified `slack` slots before the effective time.

    Negative if that lies before the grid.
    """
    return index.covering(effective_at - workload.verified_after - slack * workload.slot)


def legal_points(clock: Clock, index: SlotIndex, alignments: Sequence[tuple[int, datetime]]) -> Bools:
    """Which slot starts are shaping points, (n_slots,). `alignments`: each change's alignment slot and effective time.

    None between the two: such a step would still await its verdict when the change comes into force, and a change is
    armed only with every step behind it passed.
    """
    return np.array(
        [
            clock.allows(at) and all(slot <= last or at >= effective_at for last, effective_at in alignments)
            for slot, at in enumerate(index)
        ],
        dtype=np.bool_,
    )


def shaping_problem(
    workload: Workload,
    change: PolicyChange,
    index: SlotIndex,
    clock: Clock,
    *,
    start_units: int,
    aligned: int,
    required: Ints,
    slack: int,
    tracked: Ints | None = None,
    promises: Sequence[Promise] = (),
    outgoing: Sequence[Outgoing] = (),
    own_cap: int | None = None,
) -> ShapingProblem:
    """The problem of `workload` under `change`. `aligned`: units that must serve when it comes into force; `outgoing`
    and `own_cap`: as in PolicyBounds.
    """
    limits, entitlement = workload.limits, change.entitlement(workload.name)
    floor = (entitlement and entitlement.min_units) or 0
    ceiling = entitlement.max_units if entitlement else None
    alignment = alignment_slot(workload, change.effective_at, index, slack)
    others = [(alignment_slot(workload, p.effective_at, index, slack), p) for p in promises]
    hours = workload.slot / timedelta(hours=1)
    return ShapingProblem(
        start=start_units,
        legal=legal_points(
            clock, index, [(alignment, change.effective_at), *((slot, p.effective_at) for slot, p in others)]
        ),
        spacing=slots_in(workload.step_spacing, workload.slot),
        lead=slots_in(workload.lead_time, workload.slot),
        deadline=max(0, alignment),
        low=max(aligned, limits.min_units, floor),
        high=limits.max_units if ceiling is None else min(limits.max_units, ceiling),
        most=limits.max_units if own_cap is None else min(limits.max_units, own_cap),
        ceiling=ceiling,
        soft=limits.soft,
        required=required,
        unit_price=float(workload.price.per_unit_hour) * hours,
        shortfall_price=float(workload.risk.shortfall_per_unit_hour) * hours,
        move_price=float(workload.move_price),
        tracked=tracked,
        lowest=limits.min_units,
        promises=tuple((max(0, slot), p.units) for slot, p in others),
        guarded=tuple((max(0, min(index.first_from(one.at), len(index))), one.min_units) for one in outgoing),
    )


def latest_points(problem: ShapingProblem, deadline: int | None = None) -> list[int]:
    """Shaping points up to the deadline, latest first, as late and as dense as the spacing lets them be."""
    points: list[int] = []
    for slot in range(problem.deadline if deadline is None else deadline, -1, -1):
        if problem.legal[slot] and (not points or points[-1] - slot >= problem.spacing):
            points.append(slot)
    return points


def latest_climb(problem: ShapingProblem) -> Ints:
    """Units (n_slots,) that must be asked for in each slot at least, or a milestone is out of reach by its slot."""
    climbs = [climb_to(problem, slot, units) for slot, units in problem.milestones]
    return np.asarray(np.max(climbs, axis=0), dtype=np.int64)


def climb_to(problem: ShapingProblem, deadline: int, units: int) -> Ints:
    """Units (n_slots,) that must be asked for in each slot at least, or `units` are out of reach by the deadline."""
    least = np.zeros(problem.n_slots, dtype=np.int64)
    level, until = units, problem.n_slots
    for point in latest_points(problem, deadline):
        least[point:until] = level
        until = point
        while level > 0 and level - 1 + problem.soft.largest_move(level - 1) >= least[point]:
            level -= 1
    least[:until] = level
    return least


def latest_descent(problem: ShapingProblem) -> Ints:
    """Units (n_slots,) above which the ceiling is out of reach by the deadline: no shrink goes below them.

    Capacity leaves only as far and as early as an entitlement's ceiling demands. Without a ceiling nothing may; a
    floor under an autoscaler holds no capacity that demand needs, and may go, down to what is guaranteed.
    """
    top = max(problem.start, problem.most)
    most = np.full(problem.n_slots, top, dtype=np.int64)
    if problem.tracked is not None:
        return np.maximum(problem.guard, problem.bottom)
    if problem.ceiling is None:
        return most
    level, until = min(problem.ceiling, top), problem.n_slots
    for point in latest_points(problem):
        most[point:until] = level
        until = point
        while level < top and level + 1 - problem.soft.largest_move(level + 1) <= most[point]:
            level += 1
    most[:until] = level
    return np.maximum(most, problem.guard)


def earliest_climb(problem: ShapingProblem) -> Ints:
    """The most units (n_slots,) that can be asked for in each slot."""
    standing = problem.standing
    return _soonest(problem, lambda slot, units: climbed(problem, units, int(standing[slot])), max)


def climbed(problem: ShapingProblem, units: int, standing: int) -> int:
    """The most units that one move leads to from `units`, where so many are `standing`."""
    stands = max(units, standing)
    return max(units, min(stands + problem.soft.largest_move(stands), problem.high))


def earliest_descent(problem: ShapingProblem) -> Ints:
    """The fewest units (n_slots,) that can be asked for in each slot on the way to the ceiling; `start` without one."""
    soft, ceiling, guard = problem.soft, problem.ceiling, problem.guard

    def descended(slot: int, units: int) -> int:
        if ceiling is None:
            return units
        return min(units, max(units - soft.largest_move(units), ceiling, int(guard[slot])))

    return _soonest(problem, descended, min)


def _soonest(problem: ShapingProblem, moved: Callable[[int, int], int], best: Callable[[int, int], int]) -> Ints:
    """The best units (n_slots,) that can be asked for in each slot. `moved`: the best one move leads to at a slot.

    From better units at least as good ones are within reach, so of all plans the best so far is enough to know. It
    need not be the one that moves at once: where more will stand by itself, waiting may lead further.
    """
    asked: list[int] = []
    for slot in range(problem.n_slots):
        units = asked[-1] if asked else problem.start
        if problem.legal[slot]:
            free_with = asked[slot - problem.spacing] if slot >= problem.spacing else problem.start
            units = best(units, moved(slot, free_with))
        asked.append(units)
    return np.array(asked, dtype=np.int64)


def as_soon_as_can_be(problem: ShapingProblem, floor: int | None) -> ShapingProblem:
    """The problem of a change that is in force: its bounds hold from the first slot on by which they can be met.

    Nothing makes the units stand at once that ought to; held from slot 0 on, the bounds would leave no plan at all
    just where one is needed. Where even the last slot is too early, they are come as near to as can be. `floor`: as
    in `Draft`; one below `low` takes a step to hold the units, even where they stand.
    """
    climb, descent = earliest_climb(problem), earliest_descent(problem)
    high = max(problem.high, int(descent[-1]))
    low = min(problem.low, int(climb[-1]), high)
    met = (climb >= low) & (descent <= high)
    if floor is not None and floor < low:
        met &= np.logical_or.accumulate(problem.legal)
    ceiling = None if problem.ceiling is None else max(problem.ceiling, high)
    return replace(problem, deadline=int(np.argmax(met)), low=low, high=high, ceiling=ceiling)


def reachable(problem: ShapingProblem) -> bool:
    """Whether any plan meets the constraints, without solving for the best one. No move at slot 0 is looked at.

    Under an autoscaler: whether one may, as what reaches one milestone may not reach another.
    """
    if max(units for _, units in problem.milestones) > problem.high:
        return False
    if problem.start <= problem.high:
        climb = earliest_climb(problem)
        return all(climb[slot] >= units for slot, units in problem.milestones)
    # Only a ceiling lets capacity shrink; once down at it, nothing is missing.
    return problem.ceiling == problem.high and int(earliest_descent(problem)[problem.deadline]) <= problem.high
