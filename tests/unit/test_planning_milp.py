"""The dynamic programme finds what an independent solver of the same problem finds. FOREBAY_LONG=1: 6,000 cases.

What the optimum is promised to respect, and which test holds it: *milp* is this file (problems as plain numbers),
*whole* is `test_planning_milp_whole.py` (from a workload, a change and demand in three resources, with nothing of ours
between them and the solver), *property* is `test_planning_properties.py` (every drawn plan).

| what | milp: feature | whole | property |
|---|---|---|---|
| three resources | | yes | three_resources_are_carried |
| integer units | all | yes | integer_units |
| lead time | lead | yes | serving_before_it_is_verified |
| soft limit in units | unit limit | yes | soft_limit_in_units |
| soft limit in percent | percent limit | yes | soft_limit_in_percent |
| dwell, and a verdict between steps | tight dwell | yes | dwell_between_steps, a_verdict_between_steps |
| price of a move | all (0, small, large) | yes | dearer_moves_are_never_more |
| freeze windows | freeze | yes | no_step_in_a_freeze_window |
| entitlement's floor from its time on | entitlement floor | yes | entitlement_floor_from_the_effective_time_on |
| entitlement's ceiling from its time on | entitlement ceiling | yes | entitlement_ceiling_from_the_effective_time_on |
| decreases | decrease | yes | no_shrink_without_a_ceiling, no_shrink_below_the_ceiling |
| alignment at the confidence | | yes, by a choice of paths | aligned_at_its_confidence |
| until settled | after the effective time | yes | within_the_bounds |
| handed back to the autoscaler | after-life: a floor handed back | | within_the_bounds (and `test_control_life.py`) |
| another change's effective time on the way | another change's time | yes | `test_planning_joint.py` |
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise

import pytest

from forebay.planning.optimum import solve
from forebay.planning.problem import ShapingProblem
from tests.support.planning_problems import optimum_by_milp, random_problem, under_an_autoscaler

LONG = os.environ.get("FOREBAY_LONG") == "1"
BLOCKS, SEEDS = (60, 50) if LONG else (5, 40)
KINDS = {"count": random_problem, "autoscaler": under_an_autoscaler}


def features(problem: ShapingProblem) -> list[str]:
    """What binds in the problem, or acts in its optimum."""
    optimum = solve(problem)
    if optimum is None:
        return ["infeasible"]
    moves = optimum.moves
    rises, falls = [m for m in moves if m.after > m.before], [m for m in moves if m.after < m.before]
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
        "after-life: a floor handed back": problem.tracked is not None
        and any(m.slot > problem.deadline for m in falls),
        "lead": problem.lead > 1 and bool(rises),
        "after the effective time": [m for m in moves if m.slot > problem.deadline],
        "autoscaler": problem.tracked is not None,
    }
    return [name for name, there in named.items() if there]


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_the_one_a_milp_solver_finds(kind: str, block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        problem = KINDS[kind](seed)
        ours, theirs = solve(problem), optimum_by_milp(problem)
        assert (ours is None) == (theirs is None), f"seed {seed}: {ours} against {theirs}: {problem}"
        if ours is not None:
            assert ours.cost == pytest.approx(theirs, abs=1e-5), f"seed {seed}: {ours.moves} in {problem}"


def test_the_cases_hold_every_feature() -> None:
    counts = Counter(f for make in KINDS.values() for seed in range(200) for f in features(make(seed)))
    assert min(counts.values()) >= 10, counts
    assert len(counts) == 15, counts
