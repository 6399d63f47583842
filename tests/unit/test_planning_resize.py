"""The best plan with one resize, against every plan there is; and what a deployment takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest

from forebay.domain.workload import Deployment, SoftLimit
from forebay.planning.optimum import Move, Optimum, profile
from forebay.planning.problem import ShapingProblem
from forebay.planning.resize import Rollout, cost_resized, rollout, solve_resized
from tests.support.planning_cases import EFFECTIVE, NOW, demand, workload
from tests.support.planning_cases import change as a_change


def random_case(seed: int) -> tuple[ShapingProblem, ShapingProblem, Rollout]:
    """A small problem in units of one size, the same in units of another that brings more, and a deployment."""
    rng = np.random.default_rng(seed)
    n_slots, lead, most = int(rng.integers(4, 9)), int(rng.integers(1, 3)), int(rng.integers(3, 7))
    deadline, ratio = int(rng.integers(1, n_slots)), float(rng.choice([1.0, 1.5, 2.0]))
    effective = int(rng.integers(deadline, n_slots + 1))
    legal = rng.random(n_slots) < rng.choice([0.6, 1.0])
    legal[deadline + 1 : effective] = False
    required = rng.integers(0, most + 3, size=(2, n_slots))
    autoscaled = rng.random() < 0.4
    tracked = rng.integers(0, most + 1, size=(2, n_slots)) if autoscaled else None
    first = ShapingProblem(
        start=int(rng.integers(0, most)),
        legal=legal,
        spacing=lead + int(rng.integers(0, 2)),
        lead=lead,
        deadline=deadline,
        low=int(rng.integers(0, most + 3)),
        high=most,
        most=most,
        ceiling=None,
        soft=SoftLimit(units=int(rng.integers(1, 4)), percent=float(rng.choice([50, 100]))),
        required=required,
        unit_price=float(rng.choice([0.0, 0.1, 0.5])),
        shortfall_price=float(rng.choice([0.0, 0.5, 3.0])),
        move_price=float(rng.choice([0.01, 0.3])),
        tracked=tracked,
        lowest=0,
    )
    second = replace(
        first,
        low=int(np.ceil(first.low / ratio)),
        required=np.ceil(required / ratio).astype(np.int64),
        unit_price=first.unit_price * float(rng.choice([1.0, 1.3, 2.0])),
        shortfall_price=first.shortfall_price * ratio,
        tracked=None if tracked is None else np.ceil(tracked / ratio).astype(np.int64),
    )
    replaced = rng.integers(1, 3, size=most + 1) + lead - 1
    barred = np.maximum(replaced + int(rng.integers(0, 2)), first.spacing)
    latest = np.maximum(deadline - (replaced - lead), -1)
    return first, second, Rollout(replaced, barred, latest, extra=float(rng.choice([0.5, 1.0])), price=0.2)


def moves_of(problem: ShapingProblem, slot: int, units: int, until: int) -> Iterator[tuple[tuple[Move, ...], int, int]]:
    """Every way to move from `units`, free at `slot`, until `until`: the moves, units then, and when free again."""
    yield (), units, slot
    for at in range(slot, until):
        if not problem.legal[at]:
            continue
        stands = max(units, int(problem.standing[at]))
        lowest = problem.bottom if problem.tracked is not None else units
        for to in range(max(lowest, units - problem.soft.largest_move(units)), problem.most + 1):
            if to == units or (to > units and to > stands + problem.soft.largest_move(stands)):
                continue
            for more, end, free in moves_of(problem, at + problem.spacing, to, until):
                yield (Move(at, units, to), *more), end, free


def keeps_bounds(problem: ShapingProblem, asked: np.ndarray, since: int) -> bool:
    held = asked[max(since, problem.deadline) :]
    return bool(((held >= problem.low) & (held <= problem.high)).all())


def every_cost(first: ShapingProblem, second: ShapingProblem, deploy: Rollout) -> Iterator[float]:
    n_slots = first.n_slots
    for at in np.flatnonzero(first.legal):
        for before, units, free in moves_of(first, 0, first.start, int(at)):
            if free > at or units == 0 or units > first.most or deploy.latest[units] < at:
                continue
            asked, serving = profile(first.start, before, first.lead, n_slots)
            resume = int(at + deploy.barred[units])
            for after, _, _ in moves_of(second, resume, units, n_slots):
                later = profile(units, after, second.lead, n_slots)
                # What is asked for before and during the deployment must lie within the bounds as well.
                if not keeps_bounds(second, later[0], int(at)) or not keeps_bounds(first, asked[: int(at)], 0):
                    continue
                replaced = min(int(at + deploy.replaced[units]), n_slots)
                yield cost_resized(
                    first,
                    second,
                    deploy,
                    Optimum(before, asked, serving, 0),
                    Optimum(after, *later, 0),
                    int(at),
                    replaced,
                )


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_it_is_the_best_of_every_plan_with_one_resize(block: int) -> None:
    found = 0
    for seed in range(block * 40, block * 40 + 40):
        first, second, deploy = random_case(seed)
        ours = solve_resized(first, second, deploy)
        best = min(every_cost(first, second, deploy), default=None)
        assert (ours is None) == (best is None), f"seed {seed}: {ours} against {best}"
        if ours is not None and best is not None:
            found += 1
            assert ours.cost == pytest.approx(best, abs=1e-6), f"seed {seed}: {ours}"
            gaps = [b.slot - a.slot for a, b in pairwise([*ours.before.moves, *ours.after.moves])]
            assert all(gap >= first.spacing for gap in gaps)
            assert all(m.slot + first.spacing <= ours.at for m in ours.before.moves)
            assert all(m.slot >= ours.at + deploy.barred[ours.units] for m in ours.after.moves)
    assert found >= 10


@pytest.mark.parametrize(
    ("maximum", "units", "waves"),
    [(200, 8, 1), (150, 8, 2), (150, 5, 3), (125, 8, 4), (125, 3, None), (110, 9, None), (110, 10, 10), (200, 0, 0)],
)
def test_a_deployment_comes_in_waves(maximum: int, units: int, waves: int | None) -> None:
    assert Deployment(maximum_percent=maximum).waves(units) == waves


def test_a_deployment_is_verified_before_the_effective_time() -> None:
    """Two waves of 4 + 5 minutes, then 6 minutes to its verdict: 24 in all, and one slot to spare."""
    work = workload(deployment={"maximum_percent": 150})
    index = demand(work, a_change()).index
    deploy = rollout(work, EFFECTIVE, index, 1, autoscaled=False, most=8)
    assert (deploy.replaced[8], deploy.barred[8]) == (4, 5)
    made = index.at(int(deploy.latest[8]))
    assert made + timedelta(minutes=24 + 5) <= EFFECTIVE < made + timedelta(minutes=24 + 5) + work.slot
    assert deploy.latest[1] == -1, "one task and half a task more: nothing could be started"
    assert made > NOW


def test_under_an_autoscaler_it_takes_as_long_as_for_any_number_above() -> None:
    work = workload(deployment={"maximum_percent": 150, "drain": "PT0S"})
    index = demand(work, a_change()).index
    alone = rollout(work, EFFECTIVE, index, 0, autoscaled=False, most=5)
    above = rollout(work, EFFECTIVE, index, 0, autoscaled=True, most=5)
    assert (alone.replaced[4], above.replaced[4]) == (2, 3), "a fifth task would make a third wave"
