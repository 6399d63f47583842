"""From demand to units, the alignment window, and the slot grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from forebay.domain.resources import Resource
from forebay.planning.required import aligned_units, alignment_window, required
from forebay.planning.slots import SlotIndex, horizon_slots, plan_end
from tests.support.planning_cases import EFFECTIVE, NOW, change, workload

CPU, MEMORY = Resource.CPU, Resource.MEMORY


def test_the_resource_that_needs_most_binds() -> None:
    work = workload(unit={"cpu_cores": 1, "memory_gib": 2}, objectives={"cpu": 0.5, "memory": 0.8})
    needs = required(work, {CPU: np.array([[1.0, 2.0]]), MEMORY: np.array([[4.0, 2.0]])})
    assert needs.needs.tolist() == [[2.5, 4.0]]
    assert needs.units.tolist() == [[3, 4]]
    assert [needs.binding(slot, 0.95) for slot in (0, 1)] == [MEMORY, CPU]


def test_a_rounding_error_is_no_unit() -> None:
    needs = required(workload(objectives={"cpu": 0.7}), {CPU: np.array([[0.7 * 3, 0.7 * 3 + 1e-4]])})
    assert needs.units.tolist() == [[3, 4]]


def test_needs_beyond_all_numbers_of_units_stay_needs() -> None:
    """Cast as they are, they would be the most negative number: none needed at all."""
    needs = required(workload(), {CPU: np.array([[1e18, 1e30, np.inf]])})
    assert (needs.units > 10**9).all() and (np.diff(needs.units) >= 0).all()


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [
        pytest.param(0.5, 5, id="half of the paths"),
        pytest.param(0.9, 9, id="nine of ten"),
        pytest.param(0.91, 10, id="just more than nine of ten needs the tenth"),
    ],
)
def test_aligned_units_cover_the_stated_share_of_paths(confidence: float, expected: int) -> None:
    needs = np.arange(1.0, 11.0)[:, None]
    assert aligned_units(needs, confidence) == expected


def test_aligned_units_cover_the_window_as_a_whole() -> None:
    """Each slot alone is covered by 1 unit on 9 of 10 paths, but every path peaks in some slot."""
    needs = np.where(np.eye(10), 5.0, 1.0)
    assert np.quantile(needs, 0.9, axis=0, method="inverted_cdf").max() == 1
    assert aligned_units(needs, 0.9) == 5


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        pytest.param(0, (2, 4), id="on the grid: 12:00 until 12:10"),
        pytest.param(3, (2, 5), id="within a slot: 12:03 until 12:13"),
    ],
)
def test_alignment_window_lasts_until_a_correction_could_help(minutes: int, expected: tuple[int, int]) -> None:
    index = SlotIndex(EFFECTIVE - timedelta(minutes=10), timedelta(minutes=5), 12)
    assert alignment_window(workload(), EFFECTIVE + timedelta(minutes=minutes), index) == expected


def test_the_horizon_runs_from_nows_slot_past_the_plans_end() -> None:
    ramp = {"shape": "ramp", "over": "PT1H"}
    to_be = change(impacts=[{"workload": "web", "factor": 2.0, "adoption": ramp}], settle="PT20M")
    assert plan_end(to_be, workload()) == EFFECTIVE + timedelta(hours=1, minutes=10)
    index = horizon_slots(to_be, workload(), NOW)
    assert index.start == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    assert index.end == index.start + timedelta(days=2), "a whole number of days, one of them after the plan's end"


def test_slots_and_times_agree() -> None:
    index = SlotIndex(EFFECTIVE, timedelta(minutes=5), 3)
    late = EFFECTIVE + timedelta(minutes=7)
    assert (index.covering(late), index.first_from(late)) == (1, 2)
    assert (index.covering(index.at(2)), index.first_from(index.at(2))) == (2, 2)
    assert list(index) == [EFFECTIVE + timedelta(minutes=5 * slot) for slot in range(3)]
    assert list(index.part(1, 3)) == list(index)[1:]
