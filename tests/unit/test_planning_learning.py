"""What demand seen since the effective time says of the rest: where errors persist, and where they do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forebay.domain.change import PolicyChange
from forebay.domain.resources import Resource
from forebay.planning.demand import DemandPaths, Floats
from forebay.planning.learning import corrected, doubted, learned
from forebay.planning.slots import SlotIndex
from tests.support.planning_cases import change

CPU = Resource.CPU
START = datetime(2026, 11, 24, 9, tzinfo=UTC)
N_PATHS, N_SLOTS = 400, 12


def demand(paths: Floats) -> DemandPaths:
    index = SlotIndex(START, timedelta(minutes=5), paths.shape[1])
    return DemandPaths(index, {CPU: paths}, {CPU: paths / 2}, np.linspace(0, 1, len(paths)))


def level_errors() -> Floats:
    """Each path keeps its own level, from 5 to 15."""
    return np.repeat(np.linspace(5, 15, N_PATHS)[:, None], N_SLOTS, axis=1)


def bursts() -> Floats:
    """Mean 10; what one slot is says nothing about the next."""
    return np.random.default_rng(1).gamma(4, 2.5, (N_PATHS, N_SLOTS))


def test_a_level_once_seen_is_carried_on_and_the_doubt_is_gone() -> None:
    rest = learned(demand(level_errors()), {CPU: np.array([12.0])})
    assert rest.index.start == START + timedelta(minutes=5) and len(rest.index) == N_SLOTS - 1
    assert rest.with_change[CPU] == pytest.approx(np.full((N_PATHS, N_SLOTS - 1), 12.0), abs=0.2)


def test_a_level_outside_everything_thought_possible_is_believed() -> None:
    rest = learned(demand(level_errors()), {CPU: np.array([24.0, 24.0, 24.0])})
    assert rest.with_change[CPU] == pytest.approx(np.full((N_PATHS, N_SLOTS - 3), 24.0), rel=0.1)


def test_a_burst_says_nothing_about_what_comes() -> None:
    before = bursts()
    rest = learned(demand(before), {CPU: np.array([30.0])}).with_change[CPU]
    # 500 paths of chance correlate by about 1/sqrt(n): a twentieth of the surprise of 20, no more.
    assert rest.mean() == pytest.approx(before[:, 1:].mean(), abs=20 / np.sqrt(N_PATHS) * 3)
    assert rest.std() == pytest.approx(before[:, 1:].std(), rel=0.1)


def test_a_customers_part_follows_the_total_as_far_as_it_goes_with_it() -> None:
    """A quarter of each path is theirs, or one core whatever the rest does: seen is the total, 12 of 10."""
    total = level_errors()
    index = SlotIndex(START, timedelta(minutes=5), N_SLOTS)
    for own, expected in ((total / 4, 3.0), (np.ones_like(total), 1.0)):
        after, part = corrected({CPU: total}, {CPU: own}, {CPU: np.array([12.0, 12.0])}, {CPU: total}, index)
        assert after[CPU].shape == part[CPU].shape == (N_PATHS, N_SLOTS - 2)
        assert after[CPU] == pytest.approx(np.full((N_PATHS, N_SLOTS - 2), 12.0), abs=0.2)
        assert part[CPU] == pytest.approx(np.full((N_PATHS, N_SLOTS - 2), expected), abs=0.1)


@pytest.mark.parametrize("seen", [24, 48])
@pytest.mark.parametrize(
    "persistence", [pytest.param(0.0, id="bursts"), pytest.param(0.7, id="dips"), pytest.param(0.98, id="drift")]
)
def test_few_futures_are_not_fitted_to_noise(persistence: float, seen: int) -> None:
    """What came stays below the 95 % quantile as often as it did before anything was learned.

    A forecast from a few days repeats some 50 past errors. Over 60 lives the coverage of 12 later slots has a standard
    error of 0.01 (bursts) to 0.03 (drift, where the slots of a life move together): three of them may be lost.
    """
    rng = np.random.default_rng(7)
    before, after = [], []
    for _ in range(60):
        lives = _lives(rng, 51, seen + 12, persistence)
        paths, came = np.repeat(lives[1:], 10, axis=0), lives[0]
        rest = learned(demand(paths), {CPU: came[:seen]}).with_change[CPU]
        before.append(came[seen:] <= np.quantile(paths[:, seen:], 0.95, axis=0))
        after.append(came[seen:] <= np.quantile(rest, 0.95, axis=0))
    lost = np.mean(before) - np.mean(after)
    assert lost <= 3 * np.std(np.mean(after, axis=1)) / np.sqrt(len(after))


def test_what_drifts_is_followed() -> None:
    """Where errors persist the hours seen tell: the median is nearer to what came than before."""
    rng = np.random.default_rng(7)
    before, after = [], []
    for _ in range(60):
        lives = _lives(rng, 51, 36, 0.98)
        rest = learned(demand(lives[1:]), {CPU: lives[0, :24]}).with_change[CPU]
        before.append(np.abs(np.median(lives[1:, 24:], axis=0) - lives[0, 24:]))
        after.append(np.abs(np.median(rest, axis=0) - lives[0, 24:]))
    assert np.mean(after) < 0.8 * np.mean(before)


def _lives(rng: np.random.Generator, n_lives: int, n_slots: int, persistence: float) -> Floats:
    """Demand of mean 20 and standard deviation 2 whose deviation decays by `persistence` a slot."""
    noise = rng.standard_normal((n_lives, n_slots))
    off = noise[:, 0]
    lives = [off]
    for slot in range(1, n_slots):
        off = persistence * off + np.sqrt(1 - persistence**2) * noise[:, slot]
        lives.append(off)
    return 20 + 2 * np.stack(lives, axis=1)


def test_a_slot_without_data_says_nothing() -> None:
    paths = level_errors()
    assert np.array_equal(learned(demand(paths), {CPU: np.array([np.nan])}).with_change[CPU], paths[:, 1:])
    assert np.array_equal(learned(demand(paths), {}).with_change[CPU], paths)


def test_the_load_without_the_change_stays_what_was_forecast() -> None:
    paths = level_errors()
    assert np.array_equal(learned(demand(paths), {CPU: np.array([12.0])}).without_change[CPU], paths[:, 1:] / 2)


def test_nothing_left_is_refused() -> None:
    with pytest.raises(ValueError, match="12 slots seen leave none"):
        learned(demand(level_errors()), {CPU: np.ones(N_SLOTS)})


@given(
    arrays(np.float64, (8, 6), elements=st.floats(0, 1e6)),
    arrays(np.float64, (3,), elements=st.one_of(st.floats(0, 1e6), st.just(np.nan))),
)
def test_demand_stays_finite_and_never_falls_below_zero(paths: Floats, seen: Floats) -> None:
    rest = learned(demand(paths), {CPU: seen}).with_change[CPU]
    assert np.isfinite(rest).all() and (rest >= 0).all()


@pytest.mark.parametrize(
    ("stated", "low", "high"),
    [
        pytest.param({"factor": 2.0}, 1.5, 3.0, id="half and twice the effect of an exact estimate"),
        pytest.param({"factor": 2.0, "low": 1.8, "high": 2.2}, 1.4, 3.4, id="of its bounds, where it has some"),
        pytest.param({"factor": 0.5, "low": 0.4, "high": 0.6}, 0.0, 0.8, id="a decrease; nothing is below none"),
        pytest.param({"factor": 1.0}, 1.0, 1.0, id="no effect"),
    ],
)
def test_doubt_widens_the_range_around_no_effect(stated: dict[str, Any], low: float, high: float) -> None:
    (impact,) = doubted(_changed(stated)).impacts
    assert (impact.factor, impact.factor_range.low, impact.factor_range.high) == (
        stated["factor"], pytest.approx(low), pytest.approx(high),
    )  # fmt: skip


def test_doubt_widens_an_addition() -> None:
    (impact,) = doubted(_changed({"add": 4.0, "unit": "cores", "resource": "cpu"})).impacts
    assert (impact.add_range.low, impact.add_range.expected, impact.add_range.high) == (2.0, 4.0, 8.0)


def _changed(impact: dict[str, Any]) -> PolicyChange:
    return change(impacts=[{"workload": "web"} | impact])
