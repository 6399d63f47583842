"""The peers do what their documentation says: each on a load of which the answer can be told by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from benchmarks.peers.combined import Combined
from benchmarks.peers.last_value import floor as last_value
from benchmarks.peers.predictive import Predictive
from benchmarks.peers.reactive import floor as reactive
from benchmarks.peers.schedule import Scheduled, number_by_hand
from benchmarks.peers.seen import Announced, Load
from benchmarks.peers.steps import FixedSteps

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
HOUR, SLOT = timedelta(hours=1), timedelta(minutes=5)
CHANGE = Announced(MIDNIGHT, MIDNIGHT + 3 * HOUR, MIDNIGHT + 5 * HOUR, 1.5)


def load(days: int = 3, until: datetime = MIDNIGHT) -> Load:
    """As many units as the hour of the day, every day; 12 slots an hour."""
    start = MIDNIGHT - timedelta(days=days)
    count = int((until - start) / SLOT)
    return Load(start, SLOT, np.array([(i // 12) % 24 for i in range(count)], dtype=float))


def test_reactive_asks_for_nothing_and_last_value_for_the_last() -> None:
    assert (reactive(MIDNIGHT, load()), last_value(MIDNIGHT, load())) == (0, 23)


def test_the_number_by_hand_is_yesterdays_peak_of_the_same_hours_times_the_factor() -> None:
    assert number_by_hand(CHANGE, load()) == 4 * 1.5


@pytest.mark.parametrize(
    ("minutes", "one_jump", "four_steps"),
    [
        pytest.param(100, 0, 0, id="before"),
        pytest.param(120, 0, 2.25, id="the first of four: an hour before"),
        pytest.param(164, 0, 4.75, id="the third"),
        pytest.param(165, 6, 6, id="a quarter of an hour before"),
        pytest.param(299, 6, 6, id="held"),
        pytest.param(300, 0, 0, id="put back by a second action"),
    ],
)
def test_schedules(minutes: int, one_jump: float, four_steps: float) -> None:
    now, ahead = MIDNIGHT + timedelta(minutes=minutes), timedelta(minutes=15)
    seen = load(until=max(MIDNIGHT, MIDNIGHT + 2 * HOUR))
    assert Scheduled(CHANGE, 1, ahead, ahead)(now, seen) == one_jump
    # The load stands at 1 in the hour before the first step, the goal is 6.
    assert Scheduled(CHANGE, 4, ahead, ahead)(now, seen) == pytest.approx(four_steps)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        pytest.param(timedelta(hours=6, minutes=30), 6, id="its hour"),
        pytest.param(timedelta(hours=6, minutes=55), 7, id="the next hour, five minutes ahead"),
        pytest.param(timedelta(hours=23, minutes=55), 23, id="the larger of the two"),
    ],
)
def test_predictive_scaling_knows_the_hours_of_the_day(at: timedelta, expected: float) -> None:
    assert Predictive()(MIDNIGHT + at, load(until=MIDNIGHT + at)) == pytest.approx(expected)


def test_predictive_scaling_needs_a_day_and_forgets_after_fourteen() -> None:
    assert Predictive()(MIDNIGHT, load(days=1, until=MIDNIGHT - HOUR)) == 0
    old = load(days=20)
    recent = np.concatenate([np.full(6 * 288, 500.0), old.units[6 * 288 :]])
    assert Predictive()(MIDNIGHT, Load(old.start, SLOT, recent)) == pytest.approx(Predictive()(MIDNIGHT, load(days=14)))


def test_it_refreshes_every_six_hours_only() -> None:
    """A level that doubled at 05:00 is not in the forecast at 05:55, made at midnight; it is at 06:00."""
    seen = load(until=MIDNIGHT + 6 * HOUR)
    doubled = np.concatenate([seen.units[:-12], 2 * seen.units[-12:]])
    before = Predictive()(MIDNIGHT + timedelta(hours=5, minutes=50), Load(seen.start, SLOT, doubled))
    after = Predictive()(MIDNIGHT + 6 * HOUR, Load(seen.start, SLOT, doubled))
    assert before == pytest.approx(5) and after > 6


def test_the_largest_of_several_wins_and_fixed_steps_end() -> None:
    fixed = FixedSteps([(MIDNIGHT, 4), (MIDNIGHT + HOUR, 30)], MIDNIGHT + 2 * HOUR)
    assert [fixed(MIDNIGHT + t * HOUR, load()) for t in (-1, 0, 1, 2)] == [0, 4, 30, 0]
    assert Combined((fixed, last_value))(MIDNIGHT, load()) == 23
    assert Combined((fixed, last_value))(MIDNIGHT + HOUR, load()) == 30
