"""The dynamic programme: every constraint on random problems, and small cases by name."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.domain.workload import SoftLimit
from forebay.planning.draft import solve_holding
from forebay.planning.optimum import RangeMinimum, cost_of, expected_shortfall, solve
from forebay.planning.problem import ShapingProblem, latest_descent, reachable
from tests.support.planning_problems import descent_by_search, random_problem, under_an_autoscaler

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
@settings(max_examples=300, deadline=None)
def test_every_constraint_holds(seed: int) -> None:
    problem = random_problem(seed, most_slots=60, most_units=40)
    optimum = solve(problem)
    if optimum is None:
        return
    moves, asked = optimum.moves, optimum.asked
    slots = [move.slot for move in moves]
    assert all(problem.legal[slot] for slot in slots)
    assert all(later - earlier >= problem.spacing for earlier, later in pairwise(slots))
    assert all(1 <= abs(move.after - move.before) <= problem.soft.largest_move(move.before) for move in moves)
    assert all(problem.low <= units <= problem.high for units in asked[problem.deadline :])
    assert all(move.after <= problem.most for move in moves if move.after > move.before)
    shrinks = [move for move in moves if move.after < move.before]
    assert problem.ceiling is not None or not shrinks
    assert all(move.after >= problem.ceiling and move.slot <= problem.deadline for move in shrinks)
    assert [move.before for move in moves] == [problem.start, *[move.after for move in moves]][: len(moves)]
    assert optimum.cost == pytest.approx(cost_of(problem, moves))


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_an_increase_serves_after_the_lead_time_and_a_decrease_at_once(seed: int) -> None:
    problem = random_problem(seed, most_slots=40, most_units=20)
    optimum = solve(problem)
    if optimum is None:
        return
    asked = np.concatenate([np.full(problem.lead, problem.start), optimum.asked])
    least = [asked[slot : slot + problem.lead + 1].min() for slot in range(problem.n_slots)]
    assert optimum.serving.tolist() == least


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_capacity_shrinks_as_late_as_the_ceiling_allows(seed: int) -> None:
    problem = random_problem(seed, most_slots=20, most_units=20)
    if problem.ceiling is None:
        return
    expected = descent_by_search(problem)
    assert latest_descent(replace(problem, guarded=())).tolist() == expected
    optimum = solve(problem)
    for move in optimum.moves if optimum else ():
        assert move.after > move.before or move.after >= expected[move.slot]


CALM = ShapingProblem(
    start=4, legal=np.arange(12) >= 1, spacing=2, lead=1, deadline=8, low=4, high=20, most=20, ceiling=None,
    soft=SoftLimit(units=3), required=np.zeros((1, 12), dtype=np.int64), unit_price=1.0, shortfall_price=0.0,
    move_price=0.1,
)  # fmt: skip


@given(seeds)
@settings(max_examples=300, deadline=None)
def test_what_is_reachable_is_what_can_be_solved(seed: int) -> None:
    problem = random_problem(seed, most_slots=20, most_units=20)
    problem.legal[0] = False
    assert reachable(problem) == (solve(problem) is not None)


@given(seeds)
@settings(max_examples=300, deadline=None)
def test_under_an_autoscaler_what_can_be_solved_is_reachable(seed: int) -> None:
    """With one milestone nothing else is; what reaches one of several may not reach another."""
    problem = under_an_autoscaler(seed)
    problem.legal[0] = False
    solved = solve(problem) is not None
    assert reachable(problem) or not solved
    assert problem.promises or reachable(problem) == solved


def calm(**fields: Any) -> ShapingProblem:
    return replace(CALM, **fields)


def moves_of(problem: ShapingProblem) -> list[tuple[int, int, int]] | None:
    optimum = solve(problem)
    return None if optimum is None else [(move.slot, move.before, move.after) for move in optimum.moves]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, [], id="nothing to do, nothing done"),
        pytest.param({"low": 9}, [(6, 4, 6), (8, 6, 9)], id="as late and as little as the soft limit lets it"),
        pytest.param({"low": 9, "unit_price": 0.0}, [(6, 4, 6), (8, 6, 9)], id="free units are not taken early"),
        pytest.param({"low": 6, "unit_price": 0.0, "move_price": 0.0}, [(8, 4, 6)], id="free moves are not made idly"),
        pytest.param({"low": 17}, None, id="4 moves of 3 reach 16, not 17"),
        pytest.param({"low": 16}, [(2, 4, 7), (4, 7, 10), (6, 10, 13), (8, 13, 16)], id="4 moves of 3 reach 16"),
        pytest.param({"low": 21}, None, id="above the hard bound"),
        pytest.param({"start": 9, "ceiling": 5, "high": 5}, [(6, 9, 8), (8, 8, 5)], id="down late, in soft steps"),
        pytest.param({"start": 9}, [], id="without a ceiling nothing shrinks, though it would be cheaper"),
        pytest.param(
            {"required": np.full((1, 12), 5), "shortfall_price": 3.0}, [(1, 4, 5)], id="worth its price at once"
        ),
        pytest.param({"required": np.full((1, 12), 5), "shortfall_price": 0.9}, [], id="not worth its price"),
    ],
)
def test_small_cases(fields: dict[str, object], expected: list[tuple[int, int, int]] | None) -> None:
    assert moves_of(calm(**fields)) == expected


def test_a_frozen_point_moves_the_step_before_it() -> None:
    frozen = np.ones(12, dtype=bool)
    frozen[7:9] = False
    assert moves_of(calm(low=7, legal=frozen)) == [(6, 4, 7)]


@pytest.mark.parametrize(
    ("floor", "fields", "expected"),
    [
        pytest.param(None, {}, [(7, 4, 5)], id="a count stays where it is"),
        pytest.param(4, {}, [(7, 4, 5)], id="the floor holds already"),
        pytest.param(2, {}, [(5, 4, 4), (8, 4, 5)], id="hold the floor, and keep the distance from it"),
        pytest.param(2, {"unit_price": 1.0}, [(5, 4, 5)], id="moving early is cheaper"),
        pytest.param(2, {"legal": np.arange(12) > 5}, None, id="no point to hold the floor at"),
    ],
)
def test_a_floor_is_held_by_the_deadline(
    floor: int | None, fields: dict[str, Any], expected: list[tuple[int, int, int]] | None
) -> None:
    """Five units are needed from slot 8 on, four until then; moves keep 3 slots apart."""
    required = np.where(np.arange(12) >= 8, 5, 0)[None, :]
    rising = calm(spacing=3, deadline=5, required=required, unit_price=2.0, shortfall_price=4.0)
    optimum = solve_holding(replace(rising, **fields), floor)
    made = None if optimum is None else [(move.slot, move.before, move.after) for move in optimum.moves]
    assert made == expected


def test_a_lead_longer_than_the_spacing_is_not_this_problem() -> None:
    with pytest.raises(ValueError, match="spacing"):
        calm(lead=3)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_expected_shortfall_is_the_mean_over_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    required = rng.integers(0, 30, size=(int(rng.integers(1, 9)), int(rng.integers(1, 9))))
    units = np.arange(int(rng.integers(0, 15)), 20)
    direct = np.maximum(required[:, :, None] - units, 0).mean(axis=0)
    assert expected_shortfall(required, units) == pytest.approx(direct)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_range_minima_are_the_minima_of_the_ranges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 40))
    first, last = rng.integers(0, size, size=(2, size))
    values = rng.normal(size=size)
    expected = [values[a : b + 1].min() if a <= b else np.inf for a, b in zip(first, last, strict=True)]
    assert RangeMinimum(first, last)(values).tolist() == expected
