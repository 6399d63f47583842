"""The models: what they forecast, and that no origin sees its own future."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.forecasting import arima, combination, naive
from forebay.forecasting.members import bridged, season_members

NAN = float("nan")


def daily(n: int, season: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = np.convolve(rng.normal(size=n + 40), 0.8 ** np.arange(40), mode="valid")[:n]
    return 20 + 6 * np.sin(2 * np.pi * np.arange(n) / season) + 0.5 * noise


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 2, 3, 4, 5, 6], [4, 5, 6, 4, 5, 6, 4], id="repeats the last season"),
        pytest.param([1, 2, 3, 4, NAN, 6], [4, 2, 6, 4, 2, 6, 4], id="a gap is bridged by the season before"),
        pytest.param([1, NAN, 3, 4, NAN, 6], [4, 6, 6, 4, 6, 6, 4], id="else by the newest value"),
        pytest.param([1, 2], [2, 1, 2, 2, 1, 2, 2], id="less than a season"),
    ],
)
def test_seasonal_naive(values: list[float], expected: list[float]) -> None:
    got = naive.seasonal_naive(np.array(values, dtype=float), 3, [len(values)], 7)
    assert got[0].tolist() == expected


def test_last_value_skips_gaps() -> None:
    got = naive.last_value(np.array([1.0, 2.0, NAN]), [1, 3], 2)
    assert got.tolist() == [[1, 1], [2, 2]]


@given(st.integers(25, 90), st.integers(1, 60), st.floats(0, 1e6))
def test_naive_forecasts_do_not_see_their_future(origin: int, horizon: int, surprise: float) -> None:
    values = daily(96)
    changed = values.copy()
    changed[origin:] = surprise
    for model in (
        lambda v: naive.seasonal_naive(v, 24, [origin], horizon),
        lambda v: naive.last_value(v, [origin], horizon),
    ):
        assert (model(values) == model(changed)).all()


@pytest.mark.parametrize("order", [(1, 0, 1), (0, 1, 1), (2, 1, 0)])
def test_arima_forecasts_as_statsmodels_does(order: arima.Order) -> None:
    values = daily(240)
    model = arima.fit(values, [24.0], order)
    ours = arima.forecast_from(model, values, [240], 30)[0]
    future = arima.fourier_terms(np.arange(240, 270, dtype=float), [24.0], constant=order[1] == 0)
    past = arima.fourier_terms(np.arange(240, dtype=float), [24.0], constant=order[1] == 0)
    theirs = arima.filtered(model, values, past).forecast(30, exog=future) * model.scale
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("order", [(1, 0, 1), (0, 1, 1)])
def test_arima_forecasts_from_past_origins_do_not_see_their_future(order: arima.Order) -> None:
    values = daily(240)
    model = arima.fit(values, [24.0], order)
    changed = values.copy()
    changed[150:] = 999.0
    before = arima.forecast_from(model, values, [100, 150], 24)
    assert before == pytest.approx(arima.forecast_from(model, changed, [100, 150], 24))
    assert before[1] == pytest.approx(arima.forecast_from(model, values[:150], [150], 24)[0])


def test_arima_learns_the_season() -> None:
    values = 20 + 6 * np.sin(2 * np.pi * np.arange(240) / 24) + np.random.default_rng(1).normal(0, 0.2, 240)
    model = arima.fit(values[:216], [24.0], (1, 0, 1))
    got = arima.forecast_from(model, values[:216], [216], 24)[0]
    assert np.abs(got - (20 + 6 * np.sin(2 * np.pi * np.arange(216, 240) / 24))).max() < 0.5


def test_arima_forecasts_over_gaps() -> None:
    values = daily(240)
    holed = values.copy()
    holed[120:150] = NAN
    holed[-3:] = NAN
    model = arima.fit(holed, [24.0], (1, 0, 1))
    got = arima.forecast_from(model, holed, [240], 24)
    assert np.isfinite(got).all()
    assert np.abs(got - 20).max() < 12


@pytest.mark.parametrize(
    ("values", "why"),
    [
        pytest.param(np.full(240, 3.0), "do not vary", id="constant"),
        pytest.param(daily(20), "only 20 values in a row", id="too short"),
        pytest.param(np.where(np.arange(240) % 9 == 0, NAN, daily(240)), "only 8 values", id="too many gaps"),
        pytest.param(np.full(30, NAN), "no values are known", id="nothing known"),
    ],
)
def test_arima_says_why_it_cannot_be_fitted(values: np.ndarray, why: str) -> None:
    with pytest.raises(arima.FitError, match=why):
        arima.fit(values, [24.0], (1, 0, 1))


def test_weekly_harmonics_that_are_daily_ones_are_left_out() -> None:
    times = np.arange(400, dtype=float)
    terms = arima.fourier_terms(times, [24.0, 48.0], constant=True)
    assert terms.shape[1] == 1 + 8 + 2 * 2  # 48/2 is 24: already there
    assert np.linalg.matrix_rank(terms) == terms.shape[1]


def members(values: np.ndarray, season: int, origins: list[int], horizon: int) -> dict[str, np.ndarray]:
    return dict(season_members(values, season, season, timedelta(hours=1), origins, horizon))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1, 2, 3, NAN, 5, NAN], [1, 2, 3, 1, 5, 3], id="the value a season before"),
        pytest.param([1, NAN, 3, 4, NAN], [1, 1, 3, 4, 1], id="else the newest one, and so on from it"),
        pytest.param([NAN, NAN, 3, 4], [3, 3, 3, 4], id="before the first value, that value"),
    ],
)
def test_gaps_are_bridged_from_the_past(values: list[float], expected: list[float]) -> None:
    assert bridged(np.array(values, dtype=float), 3).tolist() == expected


def test_what_was_seen_at_this_time_of_the_season() -> None:
    past = np.array([1, 10, 3, 10, 9, 10, 5, 30], dtype=float)  # seasons of 2: 1 3 9 5 and 10 10 10 30
    got = members(past, 2, [8], 3)
    assert got["same as 2 h before"][0].tolist() == [5, 30, 5]
    assert got["mean of the last 3 times 2 h"][0] == pytest.approx([17 / 3, 50 / 3, 17 / 3])
    assert got["usual at this time of 2 h"][0].tolist() == [4, 10, 4]
    assert got["half same as 2 h before, half usual"][0].tolist() == [4.5, 20, 4.5]
    assert got["usual level of 7 times 2 h"][0].tolist() == [9.5, 9.5, 9.5]
    assert got["usual level of the last 2 h"][0].tolist() == [17.5, 17.5, 17.5]


def test_a_short_memory_follows_a_jump_and_a_long_one_does_not() -> None:
    jump = np.where(np.arange(96) < 90, 10.0, 20.0)
    got = members(jump, 24, [96], 1)
    fast, slow = (
        got[f"level with a half-life of {span}, shaped as each 1 day"][0, 0] for span in ("28.8 min", "1.5 days")
    )
    assert fast > 19
    assert slow < 13


def test_noise_is_no_shape_but_a_wave_is() -> None:
    noise = 20 + np.random.default_rng(0).normal(size=168)
    wave = 20 + 5 * np.sin(2 * np.pi * np.arange(168) / 24)
    name = "level with a half-life of 1.5 days, shaped as each 1 day"
    assert np.ptp(members(noise, 24, [168], 24)[name]) < 1.0
    assert members(wave, 24, [168], 24)[name][0] == pytest.approx(wave[:24], abs=0.05)


@given(st.integers(25, 90), st.integers(1, 60), st.floats(0, 1e6))
def test_members_do_not_see_their_future_and_stay_above_zero(origin: int, horizon: int, surprise: float) -> None:
    values = np.maximum(daily(96) - 20, 0)
    changed = values.copy()
    changed[origin:] = surprise
    before, after = members(values, 24, [origin], horizon), members(changed, 24, [origin], horizon)
    assert all((before[name] == after[name]).all() for name in before)
    assert all((forecast >= 0).all() for forecast in before.values())


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        pytest.param([1.0, 1.0], [0.5, 0.5], id="alike"),
        pytest.param([1.0, 1.1], [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))], id="a tenth worse weighs a twentieth"),
        pytest.param([0.0, 0.1, 0.0], [0.5, 0.0, 0.5], id="without any error"),
        pytest.param([2.0, NAN], [0.5, 0.5], id="nothing known"),
    ],
)
def test_weights_fall_with_the_recent_error(errors: list[float], expected: list[float]) -> None:
    actual = np.full((3, 2), NAN if np.isnan(errors).any() else 10.0)
    actual[0, 0] = NAN  # a gap says nothing
    forecasts = 10 + np.array(errors)[:, None, None] * np.ones((1, 3, 2))
    got = combination.weights(actual, forecasts, 48)
    assert got == pytest.approx(np.array([expected, expected]).T)
    assert combination.combined(got, np.nan_to_num(forecasts)).shape == (3, 2)


def test_who_is_right_soon_weighs_soon_and_who_is_right_later_later() -> None:
    """Leads up to an hour, three, nine of a day, and the rest are weighed apart; what is beyond them as the last."""
    season, actual = 24, np.full((4, 24), 10.0)
    soon, later = np.full((4, 24), 10.0), np.full((4, 24), 10.0)
    soon[:, 3:], later[:, :3] = 12.0, 12.0
    got = combination.weights(actual, np.stack([soon, later]), season)
    assert got[0] == pytest.approx([1.0] * 3 + [0.0] * 21)
    assert got.sum(axis=0) == pytest.approx(1.0)
    ahead = np.stack([np.full((1, 30), 1.0), np.full((1, 30), 2.0)])
    assert combination.combined(got, ahead)[0] == pytest.approx([1.0] * 3 + [2.0] * 27)
