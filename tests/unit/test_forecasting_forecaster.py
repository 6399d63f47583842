"""The whole forecast: which model, why, and whether its quantiles and paths can be trusted."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import warnings
from datetime import timedelta
from itertools import count

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.forecasting import (
    Forecast,
    History,
    HistoryError,
    SeriesKey,
    forecast,
    forecast_many,
    forecast_series,
)
from forebay.forecasting.combination import Floats
from forebay.forecasting.scores import coverage, share_above

HOUR = timedelta(hours=1)
MONDAY = pd.Timestamp("2026-11-02T00:00:00Z")
LEVELS = [0.05, 0.5, 0.95]
WITH_ARIMA = ("simple", "arima")


def hourly(values: np.ndarray, freq: str = "1h") -> pd.Series:
    return pd.Series(values, index=pd.date_range(MONDAY, periods=len(values), freq=freq))


def daily_load(n: int, season: int = 24, noise: float = 1.0, seed: int = 0) -> np.ndarray:
    """A daily wave with errors that persist for a few hours."""
    rng = np.random.default_rng(seed)
    drift = np.convolve(rng.normal(size=n + 40), 0.8 ** np.arange(40), mode="valid")[:n]
    return np.maximum(20 + 6 * np.sin(2 * np.pi * np.arange(n) / season) + noise * drift, 0)


def run(values: np.ndarray, horizon: int = 24, **more: object) -> Forecast:
    return forecast_series(hourly(values), horizon=horizon, step=HOUR, levels=LEVELS, **more)  # type: ignore[arg-type]


def test_the_stable_call_gives_a_table_of_levels_over_future_utc_slots() -> None:
    history = hourly(daily_load(240)).tz_convert("America/New_York")
    table = forecast(history, 5, [0.5, 0.95])
    assert table.columns.tolist() == [0.5, 0.95]
    assert str(table.index.tz) == "UTC"
    assert table.index[0] == MONDAY + pd.Timedelta(hours=240)
    assert (table.index.to_series().diff().dropna() == HOUR).all()
    assert (table[0.95] > table[0.5]).all()


def test_the_combination_says_what_weighs_and_how_it_did() -> None:
    got = run(daily_load(336))
    assert got.model.startswith("combination, most: ")
    assert "combination of 12 models: quantile loss 0." in got.reasons[0]
    assert "past origins" in got.reasons[0]
    assert got.model.removeprefix("combination, most: ") in got.reasons[1]


@pytest.mark.slow
def test_an_arima_that_does_not_pay_is_said() -> None:
    jobs = np.where(np.isin(np.arange(336) % 24, (3, 4, 11, 19)), 30.0, 5.0)  # sharp edges: no few harmonics follow
    got = run(jobs + np.random.default_rng(0).normal(0, 0.1, 336), models=WITH_ARIMA)
    assert "ARIMA(1,0,1)+Fourier did not pay: under 1 % of the weight" in got.reasons
    assert got.quantiles[0.5].to_numpy() == pytest.approx(jobs[:24], abs=1)


def test_seasonal_naive_is_kept_where_the_combination_is_worse_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    load = daily_load(336)
    alone = run(load, budget_seconds=0.0)

    def only_level(actual: Floats, members: Floats, season: int) -> Floats:
        """No shape at all: worse on a daily wave."""
        return np.outer(np.eye(len(members))[10], np.ones(actual.shape[1]))

    monkeypatch.setattr("forebay.forecasting.combination.weights", only_level)
    got = run(load, budget_seconds=0.0)
    assert alone.model != got.model == "seasonal naive"
    assert "seasonal naive: the combination of 12 models did no better" in got.reasons[0]
    assert np.abs(got.quantiles[0.5].to_numpy() - load[-24:]).mean() < 2


def test_a_level_shift_is_followed() -> None:
    load = np.concatenate([daily_load(240), 30 + daily_load(96, seed=1)])
    got = run(load)
    assert np.abs(got.quantiles[0.5].to_numpy() - (50 + 6 * np.sin(2 * np.pi * np.arange(24) / 24))).mean() < 4


@pytest.mark.parametrize("ratio", [0.25, 3.0])
@pytest.mark.parametrize("days", [3, 4, 5])
def test_days_from_before_a_level_shift_are_no_days_that_may_come_again(days: int, ratio: float) -> None:
    values = daily_load(336)
    values[-days * 24 :] *= ratio
    got = run(values)
    assert any("level shift" in reason and "used as it is" not in reason for reason in got.reasons)
    peak = float(np.quantile(got.paths.max(axis=1), 0.95))
    assert values[-days * 24 :].max() * 0.9 <= peak <= values[-days * 24 :].max() * 1.25


def test_bursts_of_a_history_that_was_dropped_may_come_again() -> None:
    """Five days of bursts at no fixed hour, then two and a half without: too few for models, and no proof of peace."""
    values = np.full(168, 4.0) + np.random.default_rng(3).normal(0, 0.2, 168)
    values[:108] += 3.0
    values[np.arange(3, 108, 7)] += 60.0
    forecast = run(values)
    assert "older history dropped" in str(forecast.reasons) and "seasonal naive: only" in str(forecast.reasons)
    assert np.quantile(forecast.paths.max(axis=1), 0.95) > 50.0


def test_the_bands_cover_what_they_promise() -> None:
    covered, above = [], []
    for seed in range(8):
        load = daily_load(336 + 24, seed=seed)
        quantiles, actual = run(load[:336]).quantiles, load[336:]
        covered.append(coverage(actual, quantiles[0.05].to_numpy(), quantiles[0.95].to_numpy()))
        above.append(share_above(actual, quantiles[0.95].to_numpy()))
    assert 0.82 <= np.mean(covered) <= 0.99
    assert np.mean(above) <= 0.09


def test_paths_keep_the_persistence_of_errors_and_agree_with_the_quantiles() -> None:
    got = run(daily_load(336, noise=2.0))
    assert got.paths.shape == (500, 24)
    assert pytest.approx(got.quantiles.to_numpy()) == np.quantile(got.paths, LEVELS, axis=0).T
    deviations = got.paths - np.median(got.paths, axis=0)
    neighbours = np.corrcoef(deviations[:, 10], deviations[:, 11])[0, 1]
    shuffled = np.corrcoef(deviations[:, 10], np.random.default_rng(0).permutation(deviations[:, 11]))[0, 1]
    assert neighbours > 0.4 > abs(shuffled), "slot-wise noise would not hang together"


def test_peak_and_total_of_a_window_come_from_its_paths() -> None:
    got = forecast_series(
        hourly(daily_load(336), "30min"), horizon=24, step=HOUR / 2, levels=LEVELS, seasons=[12 * HOUR]
    )
    window = got.over(got.index[4], got.index[12])
    paths = got.paths[:, 4:12]
    assert window.loc["peak"].to_numpy() == pytest.approx(np.quantile(paths.max(axis=1), LEVELS))
    assert window.loc["total"].to_numpy() == pytest.approx(np.quantile(paths.sum(axis=1) / 2, LEVELS)), "usage x hours"
    slots = got.quantiles.iloc[4:12]
    assert window.loc["peak", 0.95] > slots[0.95].max(), "some slot is high more often than any one of them"
    assert window.loc["total", 0.95] < slots[0.95].sum() / 2, "not all slots are high together"
    whole = got.over(got.index[0], got.index[-1] + pd.Timedelta(HOUR))
    assert got.whole.equals(whole) and got.without_paths().whole.equals(whole)


def test_a_window_needs_slots_and_paths() -> None:
    got = run(daily_load(96))
    with pytest.raises(ValueError, match="no slot of the forecast"):
        got.over(got.index[0], got.index[0])
    with pytest.raises(ValueError, match="paths were dropped"):
        got.without_paths().over(got.index[0], got.index[-1])


def test_the_same_seed_gives_the_same_paths() -> None:
    load = daily_load(240)
    assert (run(load, seed=1).paths == run(load, seed=1).paths).all()
    assert (run(load, seed=1).paths != run(load, seed=2).paths).any()


def test_a_peak_inside_a_model_step_is_covered_slot_by_slot() -> None:
    n = 7 * 288
    slots = np.arange(n)
    spikes = np.where(slots % 12 == 0, 40.0, 0.0)  # 5 min each hour; modelled on 15 min, whose mean hides it
    load = 10 + 3 * np.sin(2 * np.pi * slots / 288) + spikes + np.random.default_rng(0).normal(0, 0.5, n)
    series = pd.Series(load, index=pd.date_range(MONDAY, periods=n, freq="5min"))
    got = forecast_series(series, horizon=72, step=timedelta(minutes=5), levels=LEVELS)
    high = got.quantiles[0.95].to_numpy()
    expected = 10 + 3 * np.sin(2 * np.pi * np.arange(72) / 288) + spikes[:72]
    assert (high[::12] > expected[::12]).all(), "the spike is covered"
    assert np.delete(high, np.arange(0, 72, 12)).max() < 35, "and stays in its slot"


def test_a_weekly_pattern_is_learnt_from_three_weeks_on() -> None:
    hours = np.arange(4 * 168)
    weekend = (hours // 24) % 7 >= 5
    load = np.where(weekend, 8.0, 20.0) + 3 * np.sin(2 * np.pi * hours / 24)
    load += np.random.default_rng(0).normal(0, 0.5, len(load))
    got = run(load[: 3 * 168 + 5 * 24], horizon=48)  # Friday night: two weekend days follow
    assert any("7 days" in reason for reason in got.reasons)
    assert got.quantiles[0.5].mean() < 14, "seasonal naive alone says 20"


def test_the_longest_season_is_learned_however_short_the_shortest_is() -> None:
    n = 5 * 288
    slots = np.arange(n)
    load = 20 + 12 * np.sin(2 * np.pi * slots / 288) + 2 * np.sin(2 * np.pi * slots / 12)
    series = pd.Series(load + np.random.default_rng(0).normal(0, 0.5, n), pd.date_range(MONDAY, periods=n, freq="5min"))
    seasons = (HOUR, timedelta(days=1))
    got = forecast_series(series, horizon=288, step=timedelta(minutes=5), seasons=seasons, budget_seconds=0)
    assert any("used the last 4 days" in reason for reason in got.reasons), "28 hours hold no day three times"
    assert np.abs(got.quantiles[0.5].to_numpy() - load[:288]).mean() < 3


def test_a_day_may_be_24_minutes() -> None:
    series = pd.Series(daily_load(7 * 288, 288), index=pd.date_range(MONDAY, periods=7 * 288, freq="5s"))
    seasons = (timedelta(minutes=24), timedelta(minutes=168))
    got = forecast_series(
        series, horizon=60, step=timedelta(seconds=10), seasons=seasons, levels=LEVELS, budget_seconds=0.0
    )
    assert any("24 min" in reason for reason in got.reasons), "a day is called by its length"
    assert got.index[1] - got.index[0] == pd.Timedelta(seconds=10)
    expected = 20 + 6 * np.sin(2 * np.pi * (np.arange(60) + 0.25) / 144)
    assert np.abs(got.quantiles[0.5].to_numpy() - expected).mean() < 2


SHORT = {
    "one sample": (1, "last value", "only 1 h of history, 3 days needed"),
    "under a season": (20, "last value", "only 20 h of history, 3 days needed"),
    "a season": (24, "last value", "only 1 day of history, 3 days needed"),
    "over a season": (29, "seasonal naive", "only 1.2 days of history, 3 days needed"),
    "enough": (72, None, "past origins"),
}


@pytest.mark.parametrize(("n", "model", "said"), SHORT.values(), ids=SHORT.keys())
def test_short_histories_fall_back_and_say_so(n: int, model: str | None, said: str) -> None:
    got = run(daily_load(n))
    assert model is None or got.model == model
    assert any(said in reason for reason in got.reasons), got.reasons


def test_of_one_sample_no_more_is_known_of_the_total_than_of_a_slot() -> None:
    got = run(np.array([10.0]), horizon=48)
    assert np.ptp(got.paths, axis=1).max() == 0, "each path is a level"
    total = got.whole.loc["total"] / 48
    assert total[0.05] < 2 and total[0.95] > 18 and total[0.5] == pytest.approx(10, abs=1)


@pytest.mark.parametrize("minutes", [1, 5, 60])
def test_exactly_a_day_is_forecast_with_a_band_that_holds_the_next(minutes: int) -> None:
    """A day has come once: nothing says that it comes again, so the band alone must hold what it does."""
    season = 1440 // minutes
    load = daily_load(2 * season, season)
    step = timedelta(minutes=minutes)
    past = hourly(load[:season], freq=f"{minutes}min")
    got = forecast_series(past, horizon=season, step=step, levels=LEVELS)
    assert (got.model, got.index[0], len(got.index)) == ("last value", MONDAY + pd.Timedelta(days=1), season)
    assert "last value: only 1 day of history, 3 days needed" in got.reasons
    low, high = got.quantiles[0.05].to_numpy(), got.quantiles[0.95].to_numpy()
    assert coverage(load[season:], low, high) > 0.9
    assert low.min() >= 0 and high.max() < 3 * load.max()


def test_a_day_of_fine_samples_takes_no_more_memory_than_what_is_told_by_it() -> None:
    """4,320 samples: an error trajectory from each of them, either way, would be gigabytes, and tell nothing new."""
    tracemalloc.start()
    try:
        past = hourly(daily_load(4320, 4320), freq="20s")
        got = forecast_series(past, horizon=8640, step=timedelta(seconds=20), levels=LEVELS)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got.model == "last value" and most < 10**9
    width = (got.quantiles[0.95] - got.quantiles[0.05]).to_numpy()
    assert width[4320] > width[180] > width[9] > 0


@pytest.mark.parametrize("dirty", [False, True], ids=["clean", "dirty"])
def test_a_month_of_minutes(dirty: bool) -> None:
    """43,200 slots: the last 28 days are used, and the next hours follow the wave."""
    load = daily_load(31 * 1440, 1440)
    past, came = load[: 30 * 1440].copy(), load[30 * 1440 : 30 * 1440 + 180]
    if dirty:
        past[20 * 1440 + 600 : 20 * 1440 + 690] = 0.0  # a restart of an hour and a half
        past[22 * 1440 + 60 : 22 * 1440 + 90] = np.nan
        past[25 * 1440 : 26 * 1440] = np.nan
        past[27 * 1440 + 300 : 27 * 1440 + 310] = 10 * load.max()
    got = forecast_series(hourly(past, freq="1min"), horizon=180, step=timedelta(minutes=1), levels=LEVELS)
    assert "used the last 28 days of the history" in got.reasons
    assert (got.index[0], len(got.index)) == (MONDAY + pd.Timedelta(days=30), 180)
    assert np.abs(got.quantiles[0.5].to_numpy() - came).mean() < 2.5
    assert got.quantiles[0.95].max() < 1.5 * load.max() and got.quantiles[0.05].min() > 5
    said = " ".join(got.reasons)
    assert all((words in said) is dirty for words in ("a restart bridged", "slots filled", "left out", "an outlier"))


def test_the_band_of_a_last_value_widens() -> None:
    band = run(daily_load(20), horizon=48).quantiles
    width = (band[0.95] - band[0.05]).to_numpy()
    assert width[47] > width[11] > 0
    assert (np.diff(width[10:]) >= 0).all(), "beyond the leads seen it never falls back to what is soon"


def test_the_few_errors_of_a_day_and_some_hours_are_taken_for_either_way_at_any_time() -> None:
    """Two hours of the second day, both 3 higher: what the rest of it does is not known to be so too."""
    load = daily_load(24, noise=0.0) + 10
    got = run(np.concatenate([load, load[:3] + 3]))
    said = "its errors are taken from 3 h against 1 day before, either way and 1.25 times as large: few are known"
    assert got.model == "seasonal naive" and said in got.reasons
    quantiles, to_come = got.quantiles.to_numpy(), np.concatenate([load[3:], load[:3] + 3])
    assert quantiles[:, 1] == pytest.approx(to_come, abs=4)
    assert (quantiles[:, 2] >= to_come + 3).all() and (quantiles[:, 0] <= to_come - 3).all()


@pytest.mark.parametrize("days", [1.25, 2.0])
def test_the_band_of_little_more_than_a_day_holds_most_of_the_next(days: float) -> None:
    held = []
    for seed in range(8):
        load = 20 + daily_load(96, noise=3.0, seed=seed)
        known = round(24 * days)
        band = run(load[:known]).quantiles
        held.append(coverage(load[known : known + 24], band[0.05].to_numpy(), band[0.95].to_numpy()))
    assert np.mean(held) >= 0.8


def test_of_two_days_far_apart_no_figure_is_made_up() -> None:
    load = daily_load(14 * 24)
    load[24 : 13 * 24] = np.nan
    got = run(load)
    assert "combination of 12 models: too little is known of what followed 241 past origins to judge it" in got.reasons
    assert not any("nan" in reason for reason in got.reasons)


def test_errors_beyond_those_seen_are_said() -> None:
    got = run(daily_load(96), horizon=96)
    assert any("ahead are assumed" in reason for reason in got.reasons)


def ticking(start: float = 0.0, by: float = 1.0):  # type: ignore[no-untyped-def]
    ticks = count(start, by)
    return lambda: next(ticks)


def test_an_arima_is_not_started_after_the_budget() -> None:
    got = run(daily_load(336), models=WITH_ARIMA, budget_seconds=2.5, monotonic=ticking(by=3.0))
    assert "ARIMA left out: the time budget of 2.5 s was spent before it" in got.reasons
    assert got.model.startswith("combination")


def test_a_budget_too_short_for_an_arima_leaves_it_out() -> None:
    got = run(daily_load(336), models=WITH_ARIMA, budget_seconds=0.02)
    assert "ARIMA left out: a time budget of 0.02 s a series is too short to fit one" in got.reasons
    assert got.model.startswith("combination")


def test_a_gap_in_the_middle_is_left_out_not_taken_for_zero() -> None:
    load = daily_load(336)
    load[150:190] = np.nan
    got = run(load)
    assert any("used 12.3 days of 14 days" in reason for reason in got.reasons)
    assert got.quantiles[0.05].min() > 5


def test_a_gap_at_the_end_moves_nothing() -> None:
    load = daily_load(336)
    load[-30:] = np.nan
    got = run(load)
    assert got.index[0] == MONDAY + pd.Timedelta(hours=336)
    expected = 20 + 6 * np.sin(2 * np.pi * np.arange(336, 360) / 24)
    assert np.abs(got.quantiles[0.5].to_numpy() - expected).mean() < 2.5


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_a_constant_series_is_forecast_constant_without_a_warning(level: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = run(np.full(336, level))
    assert got.model == "constant"
    assert np.abs(got.quantiles.to_numpy() - level).max() <= 0.05 * level
    if level:
        assert (got.quantiles[0.95] > got.quantiles[0.05]).all()


def test_mostly_idle_loads_stay_at_or_above_zero() -> None:
    bursts = np.where(np.random.default_rng(0).random(336) < 0.1, 8.0, 0.0)
    got = run(bursts)
    assert (got.paths >= 0).all()
    assert (got.quantiles[0.5] < 2).mean() > 0.8
    assert got.quantiles[0.95].max() > 4


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.floats(0, 1e9), st.just(0.0), st.just(float("nan"))), min_size=2, max_size=90),
    st.integers(1, 40),
)
def test_any_history_gives_an_honest_table_or_a_refusal(values: list[float], horizon: int) -> None:
    try:
        got = run(np.array(values), horizon=horizon)
    except HistoryError:
        assert np.isnan(values).all()
        return
    table = got.quantiles.to_numpy()
    assert table.shape == (horizon, 3)
    assert np.isfinite(table).all()
    assert (table >= 0).all()
    assert (np.diff(table, axis=1) >= 0).all()
    assert got.reasons


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"levels": [0.5, 1.0]}, "between 0 and 1"),
        ({"levels": []}, "between 0 and 1"),
        ({"step": timedelta(0)}, "longer than 0"),
        ({"seasons": ()}, "shortest first"),
        ({"seasons": (timedelta(days=7), timedelta(days=1))}, "shortest first"),
        ({"seasons": (timedelta(hours=1),)}, "2 steps"),
        ({"n_paths": 0}, "n_paths is 0"),
    ],
)
def test_senseless_arguments_are_refused(wrong: dict[str, object], said: str) -> None:
    arguments: dict[str, object] = {"horizon": 5, "step": HOUR, **wrong}
    with pytest.raises(ValueError, match=said):
        forecast_series(hourly(daily_load(48)), **arguments)  # type: ignore[arg-type]


def test_a_history_is_forecast_series_by_series() -> None:
    load = hourly(daily_load(48))
    history = History({SeriesKey("web", "cpu", "acme"): load, SeriesKey("web", "memory", ""): load * 2})
    got = dict(forecast_many(history, timedelta(hours=5.5), levels=LEVELS))
    assert list(got) == list(history.series)
    assert all(len(each.index) == 6 for each in got.values())
    broken = History({SeriesKey("web", "cpu", "acme"): -load})
    with pytest.raises(HistoryError, match=r"web/cpu/acme: history: value -\d"):
        list(forecast_many(broken, timedelta(hours=5)))


@pytest.mark.slow
def test_pmdarima_is_imported_only_when_a_model_is_fitted() -> None:
    program = "import sys, forebay.forecasting; sys.exit('pmdarima' in sys.modules or 'statsmodels' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
