"""Many series in one call: the same answers whatever the number of processes, in order, errors by name."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.forecasting import History, HistoryError, SeriesKey, forecast_many
from forebay.forecasting.fleet import BATCH

HOURS = pd.date_range("2026-11-02T00:00Z", periods=96, freq="1h")


def fleet(count: int) -> dict[SeriesKey, pd.Series]:
    rng = np.random.default_rng(0)
    shape = 5 + np.sin(np.arange(96) / 24 * 2 * np.pi)
    return {
        SeriesKey(f"w{i}", "cpu", ""): pd.Series(shape * (i + 1) + rng.random(96), index=HOURS) for i in range(count)
    }


def test_the_number_of_processes_changes_nothing() -> None:
    history = History(fleet(2 * BATCH + 3))
    alone = list(forecast_many(history, timedelta(hours=6), budget_seconds=0, workers=1))
    shared = list(forecast_many(history, timedelta(hours=6), budget_seconds=0, workers=2))
    assert [key for key, _ in alone] == [key for key, _ in shared] == list(history.series)
    for (_, one), (_, other) in zip(alone, shared, strict=True):
        assert np.array_equal(one.paths, other.paths)
        assert one.reasons == other.reasons


def test_how_many_neighbours_there_are_changes_nothing() -> None:
    few = list(forecast_many(History(fleet(10)), timedelta(hours=6)))
    many = list(forecast_many(History(fleet(11)), timedelta(hours=6)))
    for (_, one), (_, other) in zip(few, many, strict=False):
        assert np.array_equal(one.paths, other.paths)
        assert one.reasons == other.reasons


@pytest.mark.parametrize("workers", [1, 2])
def test_a_series_that_cannot_be_forecast_is_named(workers: int) -> None:
    series = fleet(3)
    series[SeriesKey("broken", "cpu", "acme")] = -series[SeriesKey("w0", "cpu", "")]
    with pytest.raises(HistoryError, match=r"broken/cpu/acme: history: value -\d"):
        list(forecast_many(History(series), timedelta(hours=5), budget_seconds=0, workers=workers))
