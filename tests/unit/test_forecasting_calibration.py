"""Calibration: from past errors to whole futures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from forebay.forecasting import calibration
from forebay.forecasting.backtest import rolling_origins

NAN = float("nan")
errors_of_any_shape = arrays.arrays(
    float,
    st.tuples(st.integers(1, 40), st.integers(1, 30)),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False),
)


def test_errors_are_actual_minus_forecast() -> None:
    got = calibration.error_trajectories(np.array([[2.0, 4.0], [4.0, 8.0]]), np.array([[1.0, 1.0], [2.0, 2.0]]), 2)
    assert got.tolist() == [[1, 3], [2, 6]]


def test_unknown_errors_are_borrowed_at_the_same_lead() -> None:
    actual = np.array([[0.0, NAN], [NAN, 5.0], [5.0, 9.0]])
    assert calibration.error_trajectories(actual, np.zeros((3, 2)), 2).tolist() == [[0, 5], [5, 5], [5, 9]]


def test_an_origin_of_which_nothing_is_known_gives_no_trajectory() -> None:
    actual = np.array([[1.0, 2.0], [NAN, NAN], [3.0, NAN]])
    assert calibration.known_origins(actual).tolist() == [True, False, True]
    assert calibration.error_trajectories(actual, np.zeros((3, 2)), 2).tolist() == [[1, 2], [3, 2]]
    assert len(calibration.error_trajectories(np.full((4, 2), NAN), np.zeros((4, 2)), 2)) == 0


def test_a_trajectory_whose_end_is_not_known_yet_goes_on_as_a_season_before() -> None:
    actual = np.array([[1.0, 2.0, 3.0, 4.0, 9.0], [5.0, 6.0, NAN, NAN, NAN], [NAN, 7.0, 6.0, 8.0, NAN]])
    got = calibration.error_trajectories(actual, np.zeros((3, 5)), 2)
    # the gap of the third is another's error at the same lead; its end is its own
    assert got.tolist() == [[1, 2, 3, 4, 9], [5, 6, 5, 6, 5], [1, 7, 6, 8, 6]]


def test_trajectories_of_the_last_seasons_count_twice_where_there_are_older_ones() -> None:
    origins = np.arange(0, 10 * 24, 24)
    assert origins[calibration.recent_twice(origins, 24)].tolist() == [*origins, 96, 120, 144, 168, 192, 216]
    assert calibration.recent_twice(origins[4:], 24).tolist() == list(range(6)), "a short past counts once"


def test_errors_of_this_time_of_day_are_about_a_third() -> None:
    origins = np.arange(48, 120)
    errors = origins[:, None].astype(float)
    got = calibration.with_same_hour(errors, errors + 1000.0, origins, 120, 24)[:, 0]
    assert got[:72].tolist() == errors[:, 0].tolist(), "every trajectory stays"
    assert set((got[72:] - 1000) % 24) == {22, 23, 0, 1, 2}, "repeated are those without outliers"
    assert len(got) - 72 == pytest.approx(36, abs=8)


def test_without_an_origin_at_this_time_of_day_all_count_alike() -> None:
    assert len(calibration.with_same_hour(np.zeros((3, 2)), np.ones((3, 2)), np.array([30, 31, 32]), 44, 24)) == 3


def test_leads_never_seen_repeat_the_last_block_and_may_grow() -> None:
    errors = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert calibration.extended(errors, 7, 2, growing=False).tolist() == [[1, 2, 3, 4, 3, 4, 3]]
    assert calibration.extended(errors, 3, 2, growing=False).tolist() == [[1, 2, 3]]
    grown = calibration.extended(errors, 16, 1, growing=True)[0]
    assert grown[15] == pytest.approx(4 * np.sqrt(16 / 4))


@given(errors_of_any_shape)
def test_stretching_keeps_the_order_and_never_narrows(futures: np.ndarray) -> None:
    wide = calibration.stretched(futures)
    median = np.median(futures, axis=0)
    before, after = np.abs(futures - median), np.abs(wide - median)
    slack = 1e-6 * (1 + np.abs(futures).max())
    assert (after >= before - slack).all()
    assert (after <= (1 + calibration.STRETCH) * before + slack).all()
    order = futures.argsort(axis=0, kind="stable")
    assert (np.diff(np.take_along_axis(wide, order, axis=0), axis=0) >= -slack).all()


def test_stretching_moves_the_tails_and_leaves_the_middle() -> None:
    futures = np.linspace(-1, 1, 1001)[:, None]
    got = np.quantile(calibration.stretched(futures)[:, 0], (0.05, 0.25, 0.5, 0.75, 0.95))
    # by hand: x * (1 + 0.25 * x ** 4) for x uniform in [-1, 1]
    assert got == pytest.approx([-0.9 * (1 + 0.25 * 0.6561), -0.508, 0, 0.508, 0.9 * (1 + 0.25 * 0.6561)], abs=0.005)


@given(st.integers(1, 150), st.integers(3, 7))
def test_a_fifth_of_the_futures_is_what_was_recorded(errors: int, seasons: int) -> None:
    futures, recorded = np.zeros((errors, 2)), np.arange(1.0, seasons + 1)[:, None] * np.ones(2)
    got = calibration.with_recorded(futures, recorded, season=2)
    _, counts = np.unique(got[:, 1], return_counts=True)
    assert len(counts) == 1 + seasons and len(set(counts[1:])) == 1, "each season as often as the others"
    assert 0.14 <= counts[1:].sum() / len(got) <= 0.28, "to within one repetition"


def test_what_was_recorded_grows_out_of_what_the_forecast_knows_of_now() -> None:
    futures, recorded = np.linspace(1.0, 2.0, 12)[:, None] * np.ones(72), np.full((3, 72), 10.0)
    got = calibration.with_recorded(futures, recorded, season=72)
    assert got[12:, 0].tolist() == pytest.approx(futures[::4, 0].tolist()), "now: as the futures, one for each"
    assert got[12:, 1] == pytest.approx(futures[::4, 0] + (10 - futures[::4, 0]) / 3)
    assert (got[12:, 3:] == 10).all(), "from a 24th of a season on: as it was"


def test_the_higher_a_peak_ranks_the_more_its_path_is_stretched_there() -> None:
    level = np.linspace(-1, 1, 1001)
    futures = np.stack([level, level / 2], axis=1)
    got = calibration.peaks_stretched(futures)
    assert got[:501] == pytest.approx(futures[:501], abs=1e-9), "the lower half stays"
    # by hand: a path whose peak ranks at the 0.95 quantile is 0.9 up, and moved by 1 + 1.1 * 0.9 ** 4 where it peaks
    assert got[950, 0] == pytest.approx(futures[950, 0] * (1 + 1.1 * 0.6561), rel=0.01)
    assert got[950, 1] == pytest.approx(futures[950, 1] * (1 + 1.1 * 0.6561 / 16), rel=0.01), (
        "at half of the peak: by little"
    )


def test_how_far_a_record_is_broken_is_told_by_how_far_the_peaks_lie_apart() -> None:
    futures, record = np.array([[5.0, 10.0, 40.0]]), np.full(3, 10.0)
    alike, apart = np.full((7, 24), 10.0), np.full((7, 24), 10.0) * np.array([1, 2, 1, 2, 1, 2, 1])[:, None]
    got = calibration.records_rarely_broken(futures, record, alike)
    assert got[0] == pytest.approx([5, 10, 10 * 4**0.3]), "what was seen before stays"
    spread = np.log(2) * np.sqrt(3 / 7 * 4 / 7)
    assert calibration.records_rarely_broken(futures, record, apart)[0, 2] == pytest.approx(
        10 * 4 ** (0.3 + 0.35 * spread)
    )
    wild = apart * np.array([1, 1e6, 1, 1, 1, 1, 1])[:, None]
    assert calibration.records_rarely_broken(futures, record, wild)[0, 2] == pytest.approx(10 * 4**0.6)


def test_a_load_of_zeros_breaks_no_record() -> None:
    assert (calibration.records_rarely_broken(np.zeros((3, 2)), np.zeros(2), np.zeros((3, 24))) == 0).all()


@given(errors_of_any_shape, st.integers(1, 200), st.integers(0, 9))
def test_paths_are_whole_futures_used_evenly(futures: np.ndarray, n_paths: int, seed: int) -> None:
    paths = calibration.sample_paths(futures, n_paths, seed)
    rows, counts = np.unique(paths, axis=0, return_counts=True)
    there, known = np.unique(futures, axis=0, return_counts=True)
    assert {tuple(row) for row in rows} <= {tuple(row) for row in there}
    assert counts.max() <= known.max() * -(-n_paths // len(futures))
    assert (paths == calibration.sample_paths(futures, n_paths, seed)).all()


@given(errors_of_any_shape)
def test_quantiles_never_cross(paths: np.ndarray) -> None:
    quantiles = calibration.path_quantiles(paths, [0.05, 0.5, 0.9, 0.95])
    assert (np.diff(quantiles, axis=1) >= -1e-9 * (1 + np.abs(quantiles[:, 1:]))).all()


def test_backtest_loss_ranks_the_better_forecast_first_and_ignores_gaps() -> None:
    rng = np.random.default_rng(0)
    actual = 10 + rng.normal(size=(60, 24))
    exact, noisy = np.full((60, 24), 10.0), 10 + 3 * rng.normal(size=(60, 24))
    good, bad = calibration.backtest_loss(actual, exact, 24), calibration.backtest_loss(actual, noisy, 24)
    assert good < bad
    holed = np.where(rng.random((60, 24)) < 0.1, NAN, actual)
    assert calibration.backtest_loss(holed, exact, 24) == pytest.approx(good, rel=0.1)
    assert calibration.backtest_loss(np.full((60, 24), NAN), exact, 24) == float("inf")


def test_the_loss_of_a_half_does_not_come_from_its_own_errors() -> None:
    # the second half sits 5 higher: only a half that saw itself could have known
    actual = np.repeat([[10.0]] * 20 + [[15.0]] * 20, 4, axis=1)
    assert calibration.backtest_loss(actual, np.full((40, 4), 10.0), 4) == pytest.approx(5.0)


@given(st.integers(2, 20), st.integers(30, 400), st.integers(1, 300), st.integers(1, 8), st.floats(0.1, 0.9))
def test_origins_stay_inside_the_past(season: int, n: int, horizon: int, ratio: int, share: float) -> None:
    first = int(share * n)
    backtest = rolling_origins(n, season, horizon, first, ratio)
    assert 1 <= backtest.leads <= horizon
    assert backtest.origins == sorted(set(backtest.origins))
    assert all((n - origin) % ratio == 0 for origin in backtest.origins)
    # of a forecast longer than a season the last season is judged too, as far as it is known
    assert backtest.origins[-1] + min(backtest.leads, season) <= n
