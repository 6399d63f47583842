"""What a change does to demand: shares, factors, additions, adoption, and how its uncertainty is sampled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.domain.errors import InputError
from forebay.domain.impact import Range
from forebay.domain.resources import Resource
from forebay.planning.demand import demand_paths, triangular
from forebay.planning.slots import horizon_slots
from tests.support.planning_cases import EFFECTIVE, NOW, change, demand, workload

CPU, MEMORY = Resource.CPU, Resource.MEMORY
BOTH = {"unit": {"cpu_cores": 1, "memory_gib": 2}, "objectives": {"cpu": 0.5, "memory": 0.5}}


def impact(**fields: Any) -> dict[str, Any]:
    return {"workload": "web"} | fields


@pytest.mark.parametrize(
    ("impacts", "expected"),
    [
        pytest.param([impact(factor=2.0)], 6.0, id="half of 4 doubles"),
        pytest.param([impact(factor=2.0, scope="workload")], 8.0, id="all of 4 doubles"),
        pytest.param([impact(factor=0.0)], 2.0, id="the entity leaves"),
        pytest.param([impact(resource="cpu", add=1.5, unit="cores")], 5.5, id="an addition is not scaled by the share"),
        pytest.param([impact(resource="cpu", add=500, unit="millicores")], 4.5, id="an addition has a unit"),
        pytest.param([impact(resource="cpu", factor=2.0, add=1, unit="cores")], 7.0, id="multiply, then add"),
        pytest.param([impact(factor=2.0), impact(resource="cpu", factor=1.5)], 8.0, id="factors on one share multiply"),
        pytest.param(
            [impact(factor=2.0, scope="workload"), impact(factor=2.0)], 12.0, id="the workload after the entity"
        ),
        pytest.param([impact(resource="cpu", add=-9, unit="cores")], 0.0, id="never below zero"),
        pytest.param([impact(factor=2.0, workload="other")], 4.0, id="another workload's impact"),
        pytest.param([impact(resource="memory", factor=3.0)], 4.0, id="another resource's impact"),
    ],
)
def test_demand_after_the_effective_time(impacts: list[dict[str, Any]], expected: float) -> None:
    paths = demand(workload(**BOTH), change(impacts=impacts))
    at = paths.index.first_from(EFFECTIVE)
    assert paths.with_change[CPU][:, at:] == pytest.approx(expected)
    assert (paths.with_change[CPU][:, :at] == 4).all()
    assert (paths.without_change[CPU] == 4).all()


def test_an_effective_time_within_a_slot_counts_for_the_whole_slot() -> None:
    paths = demand(workload(), change(effective_at=EFFECTIVE + timedelta(minutes=2)))
    at = paths.index.first_from(EFFECTIVE)
    assert paths.with_change[CPU][0, at - 1 : at + 2].tolist() == [4, 6, 6]


def test_a_ramp_rises_in_a_straight_line_of_slot_means() -> None:
    ramp = {"shape": "ramp", "over": "PT20M"}
    paths = demand(workload(), change(impacts=[impact(factor=2.0, adoption=ramp)]))
    at = paths.index.first_from(EFFECTIVE)
    assert paths.with_change[CPU][0, at - 1 : at + 6].tolist() == [4, 4.25, 4.75, 5.25, 5.75, 6, 6]


def test_one_rank_per_path_is_shared_by_all_resources_and_impacts() -> None:
    impacts = [impact(factor=2, low=1, high=4), impact(resource="memory", add=1, add_low=0, add_high=2, unit="GiB")]
    paths = demand(workload(**BOTH), change(impacts=impacts))
    cpu, memory = paths.with_change[CPU][:, -1], paths.with_change[MEMORY][:, -1]
    assert (np.argsort(cpu) == np.argsort(memory)).all()
    assert (np.argsort(cpu) == np.argsort(paths.impact_ranks)).all()


def test_the_rank_is_independent_of_the_forecast_error() -> None:
    paths = demand(workload(), change(), n_paths=500, noise=0.2)
    assert abs(np.corrcoef(paths.impact_ranks, paths.without_change[CPU][:, 0])[0, 1]) < 0.15


def test_ranks_fill_their_range_evenly() -> None:
    ranks = np.sort(demand(workload(), change(), n_paths=50).impact_ranks)
    assert (np.floor(ranks * 50) == np.arange(50)).all()


@given(st.tuples(*[st.floats(-50, 50)] * 3).map(sorted))
@settings(max_examples=100, deadline=None)
def test_triangular_stays_within_its_range_and_has_its_mean(bounds: list[float]) -> None:
    low, expected, high = bounds
    ranks = (np.arange(20_000) + 0.5) / 20_000
    values = triangular(Range(expected=expected, low=low, high=high), ranks)
    assert low - 1e-9 <= values.min() and values.max() <= high + 1e-9
    assert (np.diff(values) >= -1e-9).all()
    assert values.mean() == pytest.approx((low + expected + high) / 3, abs=0.01)


@given(seed=st.integers(0, 2**32 - 1), factors=st.tuples(*[st.floats(0, 3)] * 3).map(sorted), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_changed_demand_lies_between_the_changes_bounds(seed: int, factors: list[float], share: float) -> None:
    low, expected, high = factors
    work = workload(shares={"acme": share})
    to_be = change(impacts=[impact(factor=expected, low=low, high=high)])
    index, rng = horizon_slots(to_be, work, NOW), np.random.default_rng(seed)
    paths = demand_paths(work, to_be, {CPU: rng.exponential(3, (20, len(index)))}, index, rng)
    after = index.first_from(EFFECTIVE)
    base, changed = paths.without_change[CPU], paths.with_change[CPU]
    assert (changed[:, :after] == base[:, :after]).all()
    assert (changed[:, after:] >= base[:, after:] * (1 + share * (low - 1)) - 1e-9).all()
    assert (changed[:, after:] <= base[:, after:] * (1 + share * (high - 1)) + 1e-9).all()


def test_another_effective_time_keeps_the_luck() -> None:
    work, to_be = workload(), change(impacts=[impact(factor=2, low=1, high=4)])
    paths = demand(work, to_be, noise=0.1)
    begin = paths.index.first_from(EFFECTIVE) - 3
    earlier = change(effective_at=EFFECTIVE - timedelta(hours=1), impacts=[impact(factor=2, low=1, high=4)])
    same = paths.under(work, to_be, begin, begin + 6)[CPU]
    assert same == pytest.approx(paths.with_change[CPU][:, begin : begin + 6])
    moved = paths.under(work, earlier, begin, begin + 3)[CPU]
    assert moved == pytest.approx(paths.with_change[CPU][:, begin + 3 : begin + 6])


def test_a_share_that_is_not_stated_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"shares: \{acme: 0\.25\}.*scope: workload"):
        demand(workload(shares={"other": 0.5}), change())


def test_a_pure_addition_needs_no_share() -> None:
    to_be = change(impacts=[impact(resource="cpu", add=1, unit="cores")])
    assert demand(workload(shares={}), to_be).with_change[CPU][0, -1] == 5


def test_a_planned_resource_without_a_forecast_is_asked_for() -> None:
    work, to_be = workload(**BOTH), change()
    index = horizon_slots(to_be, work, NOW)
    with pytest.raises(InputError, match="no forecast of memory"):
        demand_paths(work, to_be, {CPU: np.ones((3, len(index)))}, index, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("cpu", "memory", "message"),
    [
        pytest.param((3, -1), (3, 0), "shape", id="too short"),
        pytest.param((3, 0), (4, 0), "jointly", id="not sampled together"),
    ],
)
def test_arrays_of_the_wrong_shape_are_refused(cpu: tuple[int, int], memory: tuple[int, int], message: str) -> None:
    work, to_be = workload(**BOTH), change()
    index = horizon_slots(to_be, work, NOW)
    forecasts = {r: np.ones((n, len(index) + more)) for r, (n, more) in {CPU: cpu, MEMORY: memory}.items()}
    with pytest.raises(ValueError, match=message):
        demand_paths(work, to_be, forecasts, index, np.random.default_rng(0))


def test_missing_values_never_pass_for_demand() -> None:
    work, to_be = workload(), change()
    index = horizon_slots(to_be, work, NOW)
    holes = np.ones((3, len(index)))
    holes[1, 4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        demand_paths(work, to_be, {CPU: holes}, index, np.random.default_rng(0))


def test_what_is_measured_of_the_entity_carries_the_impact_and_no_share_is_needed() -> None:
    work, to_be = workload(shares={}), change(impacts=[impact(factor=3)])
    index = horizon_slots(to_be, work, NOW)
    total, own = np.full((4, len(index)), 10.0), np.full((4, len(index)), 2.0)
    paths = demand_paths(work, to_be, {CPU: total}, index, np.random.default_rng(0), {CPU: own})
    assert paths.with_change[CPU][:, -1] == pytest.approx(14)
    assert paths.with_change[CPU][:, 0] == pytest.approx(10)
    begin = len(index) - 2
    assert paths.under(work, to_be, begin, len(index))[CPU] == pytest.approx(14)
