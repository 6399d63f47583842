"""Dirt in a history: what is refused and by which words, what is filled, what is left out."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.forecasting.errors import HistoryError
from forebay.forecasting.regular import regular_series

DAY = timedelta(hours=24)
STEP = timedelta(minutes=5)
MONDAY = pd.Timestamp("2026-11-02T00:00:00Z")


def history(values: list[float], freq: str = "5min", start: pd.Timestamp = MONDAY) -> pd.Series:
    return pd.Series(values, index=pd.date_range(start, periods=len(values), freq=freq))


def at(times: list[str], values: list[float]) -> pd.Series:
    return pd.Series(values, index=pd.DatetimeIndex([pd.Timestamp(time) for time in times]))


REFUSED = {
    "empty": (history([]), ["no samples"]),
    "no timestamps": (pd.Series([1.0, 2.0]), ["RangeIndex", "DatetimeIndex"]),
    "naive": (history([1.0, 2.0]).tz_localize(None), ["2026-11-02 00:00:00", "no time zone", "tz_localize"]),
    "repeated": (
        at(["2026-11-02T00:00Z", "2026-11-02T00:05Z", "2026-11-02T00:05Z"], [1, 2, 3]),
        ["2026-11-02T00:05:00+00:00", "more than once", "average"],
    ),
    "unordered": (
        at(["2026-11-02T00:00Z", "2026-11-02T00:10Z", "2026-11-02T00:05Z"], [1, 2, 3]),
        ["2026-11-02T00:05:00+00:00", "after 2026-11-02T00:10:00+00:00", "sort"],
    ),
    "negative": (history([1.0, -2.0, -3.0]), ["-2", "2026-11-02T00:05:00+00:00", "negative"]),
    "infinite": (history([1.0, 2.0, np.inf]), ["inf", "2026-11-02T00:10:00+00:00"]),
    "absurd": (history([1.0, 2e15, 1e308]), ["2e+15", "2026-11-02T00:05:00+00:00", "more than anything uses"]),
    "all missing": (history([np.nan, np.nan]), ["every value is missing"]),
    "not numbers": (pd.Series(["a"], index=[MONDAY]), ["not numbers"]),
}


@pytest.mark.parametrize(("wrong", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_the_first_offender_and_the_mend(wrong: pd.Series, said: list[str]) -> None:
    with pytest.raises(HistoryError) as refusal:
        regular_series(wrong, STEP, DAY)
    for words in said:
        assert words in str(refusal.value)


def test_any_zone_is_brought_to_utc() -> None:
    berlin = history([1.0, 2.0]).tz_convert("Europe/Berlin")
    series = regular_series(berlin, STEP, DAY)
    assert str(series.start) == "2026-11-02 00:00:00+00:00"
    assert series.end == MONDAY + pd.Timedelta("10min")


def test_short_gaps_are_filled_on_a_line_and_said() -> None:
    series = regular_series(history([1.0, np.nan, np.nan, 4.0]), STEP, DAY)
    assert series.values.tolist() == [1, 2, 3, 4]
    assert any("50.0 % of slots filled" in reason for reason in series.reasons)
    one_of_many = regular_series(history([1.0, np.nan, *[1.0] * 3000]), STEP, DAY)
    assert one_of_many.reasons == ["under 0.1 % of slots filled (gaps up to 1 h)"]


def test_missing_timestamps_are_gaps_too() -> None:
    series = regular_series(history([1.0, 2.0, 3.0, 4.0]).drop(MONDAY + STEP), STEP, DAY)
    assert series.values.tolist() == [1, 2, 3, 4]


def test_long_gaps_stay_unknown_and_are_never_zero() -> None:
    values = [5.0] * 100 + [np.nan] * 13 + [7.0] * 100  # a 24th of a day is 12 slots
    series = regular_series(history(values), STEP, DAY)
    assert np.isnan(series.values[100:113]).all()
    assert not (series.values == 0).any()
    assert any("longer gaps left out" in reason for reason in series.reasons)


def test_an_open_end_is_not_invented() -> None:
    series = regular_series(history([1.0, 2.0, np.nan]), STEP, DAY)
    assert np.isnan(series.values[-1])
    assert series.end == MONDAY + 3 * pd.Timedelta(STEP)


def test_finer_samples_are_averaged() -> None:
    series = regular_series(history([1.0, 3.0, 5.0, 7.0], freq="150s"), STEP, DAY)
    assert series.values.tolist() == [2, 6]


def test_irregular_samples_are_averaged_and_said() -> None:
    times = ["2026-11-02T00:00:10Z", "2026-11-02T00:04:00Z", "2026-11-02T00:06:30Z", "2026-11-02T00:11:00Z"]
    series = regular_series(at(times, [1, 3, 5, 7]), STEP, DAY)
    assert series.values.tolist() == [2, 5, 7]
    assert any("irregular" in reason for reason in series.reasons)


def test_coarser_samples_are_held_over_their_interval_and_said() -> None:
    series = regular_series(history([1.0, 2.0, 4.0], freq="15min"), STEP, DAY)
    assert series.values.tolist() == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert series.end == MONDAY + pd.Timedelta("45min")
    assert any("coarser" in reason for reason in series.reasons)


def test_a_gap_between_coarse_samples_is_a_gap() -> None:
    hourly = history([1.0] * 10 + [3.0] * 10, freq="1h").drop([MONDAY + pd.Timedelta(hours=h) for h in (9, 10, 11)])
    series = regular_series(hourly, STEP, DAY)
    assert np.isnan(series.values[9 * 12 : 12 * 12]).all()


def test_a_stray_old_sample_does_not_span_a_huge_grid() -> None:
    stray = pd.concat([at(["1999-01-01T00:00Z"], [1.0]), history([1.0, 2.0])])
    series = regular_series(stray, timedelta(seconds=1), DAY)
    assert len(series.values) <= 600
    assert any("the last 28 days" in reason for reason in series.reasons)


def test_seconds_work_like_minutes() -> None:
    series = regular_series(history([1.0, np.nan, 3.0], freq="5s"), timedelta(seconds=5), timedelta(minutes=24))
    assert series.values.tolist() == [1, 2, 3]
    assert series.step == timedelta(seconds=5)
