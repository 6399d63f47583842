"""Each stage of the cleaning: what it mends, what it must leave alone, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay.forecasting import Forecast, forecast_series
from forebay.forecasting.cleaning.censoring import lifted
from forebay.forecasting.cleaning.levels import level_shift, with_one_level
from forebay.forecasting.cleaning.outliers import without_outliers
from forebay.forecasting.cleaning.restarts import without_restarts
from forebay.forecasting.regular import RegularSeries
from forebay.forecasting.scores import quantile_loss

Floats = npt.NDArray[np.float64]
Edit = Callable[[Floats], None]

DAY, HOUR = 24, timedelta(hours=1)
MONDAY = pd.Timestamp("2026-11-02T00:00:00Z")
NOON = 9 * DAY + 12
TRACE = Path(__file__).resolve().parents[2] / "sandbox" / "traces" / "smd-1-6.csv"


def load(days: int = 14, noise: float = 0.3, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return 20 + 6 * np.sin(2 * np.pi * np.arange(days * DAY) / DAY) + rng.normal(0, noise, days * DAY)


def series(values: Floats) -> RegularSeries:
    return RegularSeries(values, MONDAY, HOUR, [])


def edited(edit: Edit, values: Floats | None = None) -> Floats:
    values = (load() if values is None else values).copy()
    edit(values)
    return values


def put(at: slice, value: float) -> Edit:
    def edit(values: Floats) -> None:
        values[at] = value

    return edit


def each_day(edit_day: Edit, every: int = 1) -> Edit:
    def edit(values: Floats) -> None:
        for day in values.reshape(-1, DAY)[::every]:
            edit_day(day)

    return edit


def test_a_restart_is_bridged_along_the_season_and_said() -> None:
    clean = load()
    mended = without_restarts(series(edited(put(slice(NOON, NOON + 2), 0.1))), DAY)
    assert np.abs(mended.values - clean).max() < 2.0
    assert mended.reasons == ["a restart bridged: near zero for 2 h on 11 Nov 12:00 UTC"]


def test_several_restarts_are_counted() -> None:
    dirty = edited(put(slice(NOON, NOON + 1), 0), edited(put(slice(60, 62), 0)))
    assert without_restarts(series(dirty), DAY).reasons == [
        "2 restarts bridged: near zero for up to 2 h, the last on 11 Nov 12:00 UTC"
    ]


NO_RESTART = {
    "nothing": edited(put(slice(0, 0), 0)),
    "longer than two hours": edited(put(slice(NOON, NOON + 3), 0)),
    "at the end, nobody knows yet": edited(put(slice(-1, None), 0)),
    "each night": edited(each_day(put(slice(2, 4), 0))),
    "a load that is often away": edited(each_day(put(slice(5, 6), 0), every=2)),
    "never back to what it was": edited(put(slice(NOON, None), 3), edited(put(slice(NOON, NOON + 2), 0))),
    "too little history": load(3),
}


@pytest.mark.parametrize("values", NO_RESTART.values(), ids=NO_RESTART.keys())
def test_what_is_no_restart_stays(values: Floats) -> None:
    given = series(values)
    assert without_restarts(given, DAY) is given


def test_an_outlier_is_damped_and_not_deleted() -> None:
    mended = without_outliers(series(edited(put(slice(NOON, NOON + 2), 200))), DAY)
    assert load()[NOON] < mended.values[NOON] < load()[NOON] + 3
    assert np.array_equal(np.delete(mended.values, [NOON, NOON + 1]), np.delete(load(), [NOON, NOON + 1]))
    (said,) = mended.reasons
    assert said.startswith("an outlier") and "on 11 Nov 12:00 UTC" in said
    assert "damped to 3 for the models only; bands and peaks keep it, for it may come again" in said


NO_OUTLIER = {
    "nothing": load(),
    "a repeated daily peak": edited(each_day(put(slice(12, 13), 200))),
    "a peak every third day": edited(each_day(put(slice(12, 13), 200), every=3)),
    "seen twice more, half as high": edited(
        put(slice(NOON, NOON + 1), 200), edited(put(slice(40, 41), 110), edited(put(slice(99, 100), 110)))
    ),
    "at the end": edited(put(slice(-2, None), 200)),
    "longer than three hours": edited(put(slice(NOON, NOON + 4), 200)),
    "all zero": np.zeros(14 * DAY),
}


@pytest.mark.parametrize("values", NO_OUTLIER.values(), ids=NO_OUTLIER.keys())
def test_what_is_no_outlier_stays(values: Floats) -> None:
    given = series(values)
    assert without_outliers(given, DAY) is given


@pytest.mark.parametrize("at", [5 * DAY, 6 * DAY + 7, 10 * DAY - 3], ids=["midnight", "morning", "night"])
@pytest.mark.parametrize("ratio", [0.4, 2.5])
def test_a_level_shift_is_found_where_it_is(at: int, ratio: float) -> None:
    values = load()
    values[:at] /= ratio
    found = level_shift(values, DAY)
    assert found is not None
    assert abs(found[0] - at) <= 1
    assert found[1] == pytest.approx(ratio, rel=0.15)


@given(
    at=st.integers(3 * DAY, 11 * DAY),
    ratio=st.sampled_from([0.33, 0.5, 0.6, 1.6, 2.0, 3.0]),
    swing=st.floats(0, 0.75),
    peak=st.integers(0, DAY - 1),
    grows=st.booleans(),
    seed=st.integers(0, 1000),
)
@example(at=9 * DAY, ratio=3.0, swing=0.6, peak=14, grows=True, seed=0)  # at the beginning of a night
@example(at=6 * DAY + 12, ratio=0.5, swing=0.6, peak=14, grows=True, seed=0)
def test_a_level_shift_is_dated_whether_the_swing_grows_with_it_or_not(
    at: int, ratio: float, swing: float, peak: int, grows: bool, seed: int
) -> None:
    slots = np.arange(14 * DAY)
    wave, level = swing * np.cos(2 * np.pi * (slots - peak) / DAY), np.where(slots < at, 1, ratio)
    values = level * (1 + wave) if grows else level + min(1, ratio) * wave
    found = level_shift(20 * values * (1 + 0.04 * np.random.default_rng(seed).standard_normal(len(slots))), DAY)
    assert found is not None
    assert abs(found[0] - at) <= 1
    assert found[1] == pytest.approx(ratio, rel=0.1)


NO_SHIFT = {
    "nothing": load(),
    "a weekend": edited(put(slice(5 * DAY, 7 * DAY), 4)),
    "since yesterday": edited(put(slice(-DAY, None), 60)),
    "for two days and a night": edited(put(slice(-2 * DAY - 8, None), 6)),
    "noise": np.random.default_rng(1).lognormal(0, 1, 14 * DAY),
    "a slow trend": load() + np.linspace(0, 20, 14 * DAY),
}


@pytest.mark.parametrize("values", NO_SHIFT.values(), ids=NO_SHIFT.keys())
def test_what_is_no_lasting_shift(values: Floats) -> None:
    assert level_shift(values, DAY) is None


CHOICES = {"rescaled": (0.5, 1.0, 1.0), "dropped": (1.0, 0.5, 1.0), "as it is": (0.95, 0.95, 1.0)}


@pytest.mark.parametrize("expected", CHOICES)
def test_older_history_is_treated_as_measures_best(expected: str) -> None:
    values = load()
    values[: 6 * DAY] *= 2.5
    losses = iter(CHOICES[expected])
    got = with_one_level(series(values), DAY, lambda _, __: next(losses))
    assert expected in got.reasons[0]
    assert "level shift on 08 Nov 00:00 UTC to 0.4 times" in got.reasons[0]
    if expected == "rescaled":
        assert got.values[: 6 * DAY].mean() == pytest.approx(20, rel=0.05)
    if expected == "dropped":
        assert got.start == MONDAY + pd.Timedelta(days=6) and len(got.values) == 8 * DAY
    assert got.end == series(values).end


def test_a_plateau_is_lifted_by_the_median_excess() -> None:
    day = np.array([*[5.0] * 20, 9.5, 10.0, 10.0, 10.0])
    got = lifted(series(np.tile(day, 14)), DAY)
    excess = np.log(2) * (0.05 + 3 * 0.10) / 1  # a slot seen 5 % above nine tenths for three hidden 10 % above them
    assert np.allclose(got.values, np.tile([*day[:-3], *[10 * (1 + excess)] * 3], 14))
    assert got.reasons == [
        "usage flat at its maximum of 10, taken for a ceiling, in 12.5% of slots: censored demand, "
        "lifted by 24% where it recurs at a time of day (median of an exponential tail)"
    ]


def test_a_plateau_that_does_not_recur_is_said_and_left() -> None:
    values = load(noise=0.1)
    values[5 * DAY : 5 * DAY + 4] = values[9 * DAY + 11 : 9 * DAY + 15] = 40.0
    got = lifted(series(values), DAY)
    assert np.array_equal(got.values, values)
    assert "does not recur" in got.reasons[0]


@pytest.mark.parametrize("values", [load(), np.full(14 * DAY, 7.0), np.zeros(14 * DAY)], ids=["load", "flat", "zero"])
def test_no_plateau_no_lift(values: Floats) -> None:
    assert np.array_equal(lifted(series(values), DAY).values, values)


def test_a_load_always_at_its_ceiling_is_said_and_left() -> None:
    values = np.tile([*[5.0] * 14, *[1.0] * 10], 14)
    got = lifted(series(values), DAY)
    assert np.array_equal(got.values, values)
    assert "58.3% of slots" in got.reasons[0] and "most of the time" in got.reasons[0]


def forecast_of(history: Floats, **more: object) -> Forecast:
    index = pd.date_range("2019-01-01T00:00Z", periods=len(history), freq="1h")
    return forecast_series(
        pd.Series(history, index=index),
        horizon=DAY,
        step=HOUR,
        budget_seconds=0,
        **more,  # type: ignore[arg-type]
    )


def test_a_burst_that_was_damped_may_come_again_at_any_time_of_day() -> None:
    values = load(days=14, noise=0.5)
    values[-40] = 8 * values.max()
    got = forecast_of(values)
    assert any("an outlier" in reason for reason in got.reasons)
    assert got.quantiles[0.75].max() < 2 * values[:-40].max(), "no time of day is forecast to have it"
    assert np.quantile(got.paths.max(axis=1), 0.95) > 3 * values[:-40].max(), "the day may well have it"


def a_spike(values: Floats) -> None:
    values[-100] += 8 * values.max()


def a_new_level(values: Floats) -> None:
    values[: -5 * DAY] *= 2.5


@pytest.mark.parametrize(("edit", "said"), [(a_spike, "an outlier"), (a_new_level, "level shift")])
def test_on_a_real_trace_the_cleaning_gives_back_most_of_what_a_defect_cost(edit: Edit, said: str) -> None:
    """Over three days together: on one alone a defect may even help by chance."""
    samples = pd.read_csv(TRACE, parse_dates=["timestamp"], index_col="timestamp")["cpu"]
    hours = samples.resample("1h").mean().interpolate().to_numpy(dtype=float)[1:]
    clean, off, on = np.zeros(3)
    for day in (9, 10, 11):
        past, future = hours[: day * DAY], hours[day * DAY : (day + 1) * DAY]
        dirty = edited(edit, past)

        def loss(forecast: Forecast, future: Floats = future) -> float:
            levels = [float(level) for level in forecast.quantiles]
            return float(quantile_loss(future, forecast.quantiles.to_numpy(), levels).mean())

        mended = forecast_of(dirty)
        assert any(said in reason for reason in mended.reasons)
        clean += loss(forecast_of(past, stages=()))
        off += loss(forecast_of(dirty, stages=()))
        on += loss(mended)
    assert on - clean < 0.5 * (off - clean)


DIRT: dict[str, tuple[Edit, str]] = {
    "restart": (
        put(slice(8 * DAY + 11, 8 * DAY + 13), 0.1),
        "a restart bridged: near zero for 2 h on 09 Jan 11:00 UTC",
    ),
    "spike": (put(slice(12 * DAY + 4, 12 * DAY + 5), 200), "an outlier"),
    "new level": (a_new_level, "level shift on 10 Jan"),
    "short gap": (put(slice(13 * DAY + 6, 13 * DAY + 7), np.nan), "0.3 % of slots filled"),
    "long gap": (put(slice(4 * DAY + 3, 4 * DAY + 20), np.nan), "longer gaps left out"),
    "a day away": (put(slice(3 * DAY, 4 * DAY), np.nan), "longer gaps left out"),
}


@pytest.mark.parametrize(
    "kinds",
    [pytest.param(kinds, id=" and ".join(kinds)) for kinds in [*combinations(DIRT, 2), tuple(DIRT)]],
)
def test_several_kinds_of_dirt_at_once_are_each_mended_and_said(kinds: tuple[str, ...]) -> None:
    """What one defect leaves behind is not taken for another, and hides none."""
    clean = load(days=15)
    dirty = clean[: 14 * DAY].copy()
    for kind in sorted(kinds, key="new level".__ne__):  # the level first: it moves what was recorded of the others
        DIRT[kind][0](dirty)
    got = forecast_of(dirty)
    for kind, (_, words) in DIRT.items():
        assert any(words in reason for reason in got.reasons) or kind not in kinds, (kind, got.reasons)
    assert not [r for r in got.reasons if "outlier" in r and "spike" not in kinds], got.reasons
    assert not [r for r in got.reasons if "restart" in r and "restart" not in kinds], got.reasons
    assert np.abs(got.quantiles[0.5].to_numpy() - clean[14 * DAY :]).mean() < 1.0
