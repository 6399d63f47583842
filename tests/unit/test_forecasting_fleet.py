"""Many series in one call: the same answers whatever the number of processes, in order, errors by name."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.forecasting import History, HistoryError, SeriesKey, forecast_many
from forebay.forecasting import fleet as fleet_module
from forebay.forecasting.fleet import BATCH
from forebay.forecasting.forecaster import DEFAULT_LEVELS
from forebay.forecasting.models import DEFAULT
from tests.support.world import a_workload

pytestmark = pytest.mark.slow

HOURS = pd.date_range("2026-11-02T00:00Z", periods=96, freq="1h")


def fleet(count: int) -> dict[SeriesKey, pd.Series]:
    rng = np.random.default_rng(0)
    shape = 5 + np.sin(np.arange(96) / 24 * 2 * np.pi)
    return {
        SeriesKey(f"w{i}", "cpu", ""): pd.Series(shape * (i + 1) + rng.random(96), index=HOURS) for i in range(count)
    }


def test_the_number_of_processes_changes_nothing() -> None:
    history = History(fleet(2 * BATCH + 3))
    alone = list(forecast_many(history, timedelta(hours=6), budget_seconds=0, workers=1, keep_paths=True))
    shared = list(forecast_many(history, timedelta(hours=6), budget_seconds=0, workers=2, keep_paths=True))
    assert [key for key, _ in alone] == [key for key, _ in shared] == list(history.series)
    for (_, one), (_, other) in zip(alone, shared, strict=True):
        assert len(one.paths) == 500 and np.array_equal(one.paths, other.paths)
        assert one.reasons == other.reasons


def test_how_many_neighbours_there_are_changes_nothing() -> None:
    few = list(forecast_many(History(fleet(10)), timedelta(hours=6), keep_paths=True))
    many = list(forecast_many(History(fleet(11)), timedelta(hours=6), keep_paths=True))
    for (_, one), (_, other) in zip(few, many, strict=False):
        assert len(one.paths) == 500 and np.array_equal(one.paths, other.paths)
        assert one.reasons == other.reasons


@pytest.mark.parametrize("workers", [1, 2])
def test_a_series_that_cannot_be_forecast_is_named(workers: int) -> None:
    series = fleet(3)
    series[SeriesKey("broken", "cpu", "acme")] = -series[SeriesKey("w0", "cpu", "")]
    with pytest.raises(HistoryError, match=r"broken/cpu/acme: history: value -\d"):
        list(forecast_many(History(series), timedelta(hours=5), budget_seconds=0, workers=workers))


def peak_bytes(history: History, **more: object) -> int:
    """The most that is allocated at once while all forecasts of 92 days are made, and kept."""
    tracemalloc.start()
    try:
        kept = list(forecast_many(history, timedelta(days=92), budget_seconds=0, workers=1, **more))  # type: ignore[arg-type]
        assert len(kept) == len(history.series)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_memory_needed_is_that_of_one_series_at_work_however_many_there_are() -> None:
    one, many = peak_bytes(History(fleet(1))), peak_bytes(History(fleet(8)))
    assert many < 1.2 * one
    assert peak_bytes(History(fleet(8)), keep_paths=True) > 2 * one, "which paths would break"


@pytest.mark.parametrize(
    ("days", "minutes", "keep_paths", "batch"),
    [
        (2, 5, False, BATCH),
        (92, 5, False, 8),
        (92, 1, False, 1),
        (2, 60, True, BATCH),
        (2, 5, True, 7),
        (92, 5, True, 1),
    ],
)
def test_a_message_is_bounded_in_bytes(days: int, minutes: int, keep_paths: bool, batch: int) -> None:
    asked = fleet_module.asked_of(History(fleet(3)), step=timedelta(minutes=minutes))
    terms = fleet_module.Terms(timedelta(days=days), DEFAULT_LEVELS, 0, 0.0, DEFAULT, keep_paths)
    assert fleet_module._batch(asked, terms) == batch


def test_a_workloads_series_are_forecast_by_its_slots_seasons_and_calendar() -> None:
    workload = a_workload(slot="PT2H", seasons=["P1D"], zone="Europe/Berlin", holidays=["2026-11-06"])
    key, other = SeriesKey(workload.name, "cpu", ""), SeriesKey("w0", "cpu", "")
    history = History({key: next(iter(fleet(1).values())), **fleet(1)})
    got = dict(forecast_many(history, timedelta(hours=24), workloads=[workload], budget_seconds=0))
    assert (len(got[key].index), len(got[other].index)) == (12, 24)
    assert any("holiday on 06 Nov 2026" in reason for reason in got[key].reasons)
    assert not any("holiday" in reason for reason in got[other].reasons)
