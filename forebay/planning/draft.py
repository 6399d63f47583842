"""Everything one plan is drawn from, and the solution of its problem: shared by the plan and the counter-proposal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forebay.domain.bounds import NO_BOUNDS, Cap, Outgoing, PolicyBounds
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.workload import Limits, Workload
from forebay.planning.demand import DemandPaths
from forebay.planning.optimum import Move, Optimum, solve
from forebay.planning.problem import Clock, Promise, ShapingProblem, as_soon_as_can_be, reachable, shaping_problem
from forebay.planning.required import Ints, aligned_units, alignment_window, required
from forebay.planning.slots import SlotIndex, plan_end

# First with one slot to spare between the last verdict and the effective time; without it only if nothing else does.
SLACKS: Sequence[int] = (1, 0)


@dataclass(frozen=True)
class Start:
    """Where a plan starts: what stands at now.

    `units`: asked for; `counted`: those of them that stay until the first step, None for all. `floor`: where the floor
    lever stands, None for a count lever. `needed`: what an autoscaler's units rest on (see `tracked_units`); None: it
    stays at those counted until it has seen enough. `autoscaled`: target tracking above the floor is counted on, so
    that the floor carries only what comes too fast for it. `resizable`: where the workload has other sizes, one resize
    may be part of the plan.
    """

    units: int
    floor: int | None
    counted: int | None = None
    needed: Ints | None = None
    autoscaled: bool = False
    resizable: bool = True


@dataclass(frozen=True)
class Draft:
    """One workload under one change, as it stands now.

    `demand`: paths over `horizon_slots(change, workload, now)` at least until the plan's end; where they reach further,
    a refusal can look for a later effective time. `tracked`: what the autoscaler above the floor brings by itself,
    (n_paths, slots of the demand); None where none is counted on. `in_force`: the change is, so that nothing has to be
    aligned any more: what is planned is the rest of its life, within its bounds as soon as can be. `promises`: what the
    same path must have for other changes, none of them later than `change`. `bounds`: of policies in force; once
    `bounded`, those of others are in the limits of `workload`, and `cap` is the one that is its `max_units`, if one is.
    """

    change: PolicyChange
    workload: Workload
    demand: DemandPaths
    start: Start
    clock: Clock
    tracked: Ints | None = None
    in_force: bool = False
    promises: Sequence[Promise] = ()
    bounds: PolicyBounds = NO_BOUNDS
    cap: Cap | None = None

    @property
    def index(self) -> SlotIndex:
        """The plan's slots: those of the demand, cut where the plan ends."""
        whole = self.demand.index
        return whole.part(0, min(len(whole), whole.first_from(plan_end(self.change, self.workload))))

    def check(self) -> None:
        """Raises InputError if the effective time is not ahead, or if what is in force has no life left to plan;
        ValueError if the demand does not cover the plan.
        """
        if self.change.effective_at <= self.clock.now and not self.in_force:
            raise InputError(
                f"change {self.change.change}: effective_at {self.change.effective_at.isoformat()} is not after now "
                f"({self.clock.now.isoformat()}): there is no time left to move capacity in; set a later effective_at"
            )
        whole, end = self.demand.index, plan_end(self.change, self.workload)
        if whole.start >= end:  # as of one that a pin keeps up
            raise InputError(
                f"change {self.change.change}: in force since {self.change.effective_at.isoformat()}, settled, and its "
                f"life over at {end.isoformat()}: there is nothing left to plan"
            )
        if whole.start > self.clock.now or whole.end < end:
            raise ValueError(
                f"demand covers {whole.start.isoformat()} until {whole.end.isoformat()}; the plan needs "
                f"{self.clock.now.isoformat()} until {end.isoformat()}: forecast the slots of horizon_slots()"
            )

    def aligned(self) -> int:
        """Units that must serve when the change comes into force, by demand alone; 0 once it is."""
        if self.in_force:
            return 0
        begin, end = alignment_window(self.workload, self.change.effective_at, self.demand.index)
        demand = self.demand.under(self.workload, self.change, begin, end)
        return aligned_units(required(self.workload, demand).needs, self.workload.risk.confidence)

    @property
    def most_units(self) -> int:
        """The most units that may be had once the change is in force."""
        entitlement, most = self.change.entitlement(self.workload.name), self.workload.limits.max_units
        return most if entitlement is None or entitlement.max_units is None else min(most, entitlement.max_units)

    @property
    def outgoing(self) -> list[Outgoing]:
        """What versions in force guarantee; that of its own policy until `change` takes effect, whenever that is."""
        own, at = self.change.change, self.change.effective_at
        return [one.model_copy(update={"at": at}) if one.change == own else one for one in self.bounds.outgoing]

    @property
    def most_of(self) -> str:
        """What the workload's `max_units` is called."""
        return f"max_units of {self.cap.whose}" if self.cap else "max_units of its limits"

    @property
    def floor(self) -> int | None:
        return self.start.floor

    @property
    def start_units(self) -> int:
        """Units that the plan starts from: those that are counted."""
        return self.start.units if self.start.counted is None else self.start.counted

    @property
    def asked_now(self) -> int:
        """Units asked for at now: under an autoscaler that is counted on, the floor alone."""
        return self.start_units if self.tracked is None or self.floor is None else self.floor

    @property
    def needed_before(self) -> Ints:
        """Units needed before the first slot, one for each of its reaction slots or one for all of them."""
        return np.asarray(self.start_units if self.start.needed is None else self.start.needed, dtype=np.int64)

    def had(self, units: Ints) -> Ints:
        """What is had where `units` (n_slots,) are asked for or serve; on each path the autoscaler's, if more."""
        return units if self.tracked is None else np.maximum(units, self.tracked)

    def problem(self, aligned: int, units: Ints, index: SlotIndex, slack: int) -> ShapingProblem:
        problem = shaping_problem(
            self.workload,
            self.change,
            index,
            self.clock,
            start_units=self.asked_now,
            aligned=aligned,
            required=units,
            slack=slack,
            tracked=self.tracked,
            promises=self.promises,
            outgoing=self.outgoing,
            own_cap=self.bounds.own_cap,
        )
        return as_soon_as_can_be(problem, self.floor) if self.in_force else problem

    def bare_problem(self, aligned: int) -> ShapingProblem:
        """The constraints alone, without demand and prices, up to the effective time."""
        index = self.demand.index.part(0, self.demand.index.first_from(self.change.effective_at))
        tracked = None if self.tracked is None else self.tracked[:, : len(index)]
        problem = self.problem(aligned, np.zeros((1, len(index)), dtype=np.int64), index, slack=0)
        return replace(problem, unit_price=0.0, shortfall_price=0.0, tracked=tracked)

    def bounded(self) -> Draft:
        """Within the bounds of other policies, which count units, whatever their size: no resize is open then."""
        return replace(
            self,
            workload=self.bounds.on(self.workload),
            cap=self.bounds.cap(self.workload),
            start=replace(self.start, resizable=self.start.resizable and not self.bounds.text),
        )

    def counting_on(self, units: int) -> Draft:
        """The draft that starts from no more than `units` of what stands."""
        return replace(self, start=replace(self.start, counted=units))

    def with_limits(self, limits: Limits) -> Draft:
        return replace(self, workload=self.workload.model_copy(update={"limits": limits}))

    def with_change(self, **fields: object) -> Draft:
        return replace(self, change=self.change.model_copy(update=fields))


def not_counted(stood: int, counted: int) -> str:
    """That of the units that stood at now no more than `counted` are sure to stand at the first step."""
    return f"{stood - counted} of {stood} units may scale in before the first step: not counted"


def feasible(draft: Draft, aligned: int) -> bool:
    """Whether any plan meets the constraints, if `aligned` units must serve; under an autoscaler: may meet."""
    problem = draft.bare_problem(aligned)
    hold_by = must_hold_by(problem, draft.floor)
    return (hold_by is None or bool(problem.legal[: hold_by + 1].any())) and reachable(problem)


def must_hold_by(problem: ShapingProblem, floor: int | None) -> int | None:
    """The last slot by which a step must have raised the floor; None where nothing can take away what must serve.

    A count stays; a floor below a milestone's units lets an autoscaler drop them.
    """
    return next((slot for slot, units in problem.milestones if floor is not None and floor < units), None)


def solve_holding(problem: ShapingProblem, floor: int | None) -> Optimum | None:
    """The optimum in which a floor lever holds the units of each milestone by its slot.

    Any move up to it sets the floor. Where the optimum makes none and the floor is too low, a step that
    asks for what is there already is put at the last shaping point; later moves keep their distance from it. The
    step itself is not priced: there is no plan without it.
    """
    optimum, hold_by = solve(problem), must_hold_by(problem, floor)
    if optimum is None or hold_by is None or any(move.slot <= hold_by for move in optimum.moves):
        return optimum
    points = np.flatnonzero(problem.legal[: hold_by + 1])
    if not len(points):
        return None
    hold = int(points[-1])
    legal = problem.legal.copy()
    legal[hold_by + 1 : hold + problem.spacing] = False
    optimum = solve(replace(problem, legal=legal))
    if optimum is None or any(move.slot <= hold_by for move in optimum.moves):
        return optimum
    held = int(optimum.asked[hold])
    return replace(optimum, moves=(Move(hold, held, held), *optimum.moves))
