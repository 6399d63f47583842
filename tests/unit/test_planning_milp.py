"""The dynamic programme finds what an independent solver of the same problem finds: 560 times, 9,000 by `make milp`.

What the optimum is promised to respect, and which test holds it: *milp* is this file (problems as plain numbers),
*whole* is `test_planning_milp_whole.py` (from a workload, a change and demand in three resources, with nothing of ours
between them and the solver), *property* is `test_planning_properties.py` (every drawn plan).

| what | milp: feature | whole | property |
|---|---|---|---|
| three resources | | yes | three_resources_are_carried |
| whole units | all | yes | each_step_begins_where_the_last_one_ended |
| lead time | lead | yes | a_rise_serves_after_the_lead_time, serving_before_it_is_verified |
| soft limit in units | unit limit | yes | soft_limit_in_units |
| soft limit in percent | percent limit | yes | soft_limit_in_percent |
| dwell, and a verdict between steps | tight dwell | yes | dwell_between_steps, a_verdict_between_steps |
| price of a move | all (0, small, large) | yes | dearer_moves_are_never_more |
| freeze windows | freeze | yes | no_step_in_a_freeze_window |
| entitlement's floor from its time on | entitlement floor | yes | entitlement_floor_from_the_effective_time_on |
| entitlement's ceiling from its time on | entitlement ceiling | yes | entitlement_ceiling_from_the_effective_time_on |
| decreases | decrease | yes | no_shrink_without_a_ceiling, no_shrink_below_the_ceiling |
| alignment at the confidence | | yes, by a choice of paths | aligned_at_its_confidence |
| a guarantee, until its version is replaced | a guarantee until it is replaced | | guaranteed_until_it_is_replaced |
| until settled | after the effective time | yes | within_the_bounds |
| in force: as soon as the limits let it | in force | yes | `test_planning_in_force.py` |
| handed back to the autoscaler | after-life: a floor handed back | | within_the_bounds (and `test_control_life.py`) |
| another change's effective time on the way | another change's time | yes | `test_planning_joint.py` |
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from forebay.planning.optimum import Optimum, solve
from forebay.planning.problem import ShapingProblem, as_soon_as_can_be
from tests.support.planning_problems import (
    bound_by_search,
    in_force,
    optimum_by_milp,
    random_problem,
    under_an_autoscaler,
)

pytestmark = pytest.mark.slow

LONG = os.environ.get("FOREBAY_LONG") == "1"
BLOCKS, IN_FORCE, SEEDS = (60, 30, 50) if LONG else (5, 2, 40)
KINDS = {"count": random_problem, "autoscaler": under_an_autoscaler}


def features(problem: ShapingProblem) -> list[str]:
    """What binds in the problem, or acts in its optimum."""
    optimum = solve(problem)
    if optimum is None:
        return ["infeasible"]
    moves = optimum.moves
    rises, falls = [m for m in moves if m.after > m.before], [m for m in moves if m.after < m.before]
    free = solve(replace(problem, guarded=()))
    bare_moves = free.moves if free else ()
    at_percent = [m for m in moves if abs(m.after - m.before) == int(m.before * problem.soft.percent / 100) > 0]
    named = {
        "rise": rises,
        "decrease": falls,
        "no move": not moves,
        "tight dwell": [1 for a, b in pairwise(moves) if b.slot - a.slot == problem.spacing],
        "percent limit": at_percent,
        "unit limit": [m for m in moves if abs(m.after - m.before) == problem.soft.units],
        "freeze": not problem.legal[: problem.deadline + 1].all() and bool(moves),
        "entitlement ceiling": problem.ceiling is not None,
        "entitlement floor": optimum.asked[problem.deadline] == problem.low > problem.required.max(),
        "another change's time": any(
            slot < problem.deadline and units > problem.start for slot, units in problem.promises
        ),
        "a guarantee until it is replaced": bool(problem.guarded) and moves != bare_moves,
        "after-life: a floor handed back": problem.tracked is not None
        and any(m.slot > problem.deadline for m in falls),
        "lead": problem.lead > 1 and bool(rises),
        "after the effective time": [m for m in moves if m.slot > problem.deadline],
        "autoscaler": problem.tracked is not None,
    }
    return [name for name, there in named.items() if there]


def agree(ours: Optimum | None, theirs: float | None, seed: int, problem: ShapingProblem) -> None:
    assert (ours is None) == (theirs is None), f"seed {seed}: {ours} against {theirs}: {problem}"
    if ours is not None:
        assert ours.cost == pytest.approx(theirs, abs=1e-5), f"seed {seed}: {ours.moves} in {problem}"


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_the_one_a_milp_solver_finds(kind: str, block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        problem = KINDS[kind](seed)
        agree(solve(problem), optimum_by_milp(problem), seed, problem)


@pytest.mark.parametrize("block", range(IN_FORCE))
@pytest.mark.parametrize("kind", KINDS)
def test_once_in_force_it_is_the_one_that_is_within_the_bounds_as_soon_as_can_be(kind: str, block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        problem = in_force(KINDS[kind](seed), seed)
        agree(solve(as_soon_as_can_be(problem, None)), optimum_by_milp(bound_by_search(problem)), seed, problem)


def test_the_cases_hold_every_feature() -> None:
    counts = Counter(f for make in KINDS.values() for seed in range(200) for f in features(make(seed)))
    assert min(counts.values()) >= 10, counts
    assert len(counts) == 16, counts


def test_the_cases_in_force_are_of_every_kind() -> None:
    counts = Counter[str]()
    for kind, make in KINDS.items():
        for seed in range(200):
            problem = in_force(make(seed), seed)
            bound = as_soon_as_can_be(problem, None)
            counts[f"{kind}: nothing in the way"] += bound.deadline == 0
            counts[f"{kind}: up as fast as can be"] += bound.deadline > 0 and problem.start < bound.low == problem.low
            counts[f"{kind}: the last slot is too early"] += bound.low < problem.low or bound.high > problem.high
            waited = bound.deadline > 0 and problem.start > bound.high
            counts["count: down as fast as can be"] += waited
    assert len(counts) == 7 and min(counts.values()) >= 10, counts
