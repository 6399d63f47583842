"""Defects put into clean histories, each with the options that switch the stage against it off and on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.forecast_windows import DAY, Window
from forebay.forecasting.calendar import Calendar

ZONE, CHANGED = "Europe/Berlin", pd.Timestamp("2026-10-25")


@dataclass(frozen=True)
class Dirty:
    """A history with a defect, and the window it was made from."""

    clean: Window
    history: pd.Series
    off: Mapping[str, Any] = field(default_factory=lambda: {"stages": ()})
    on: Mapping[str, Any] = field(default_factory=dict)


Defect = Callable[[Window, np.random.Generator], Dirty | None]


def _with(window: Window, values: np.ndarray[Any, Any], **more: Any) -> Dirty:
    return Dirty(window, pd.Series(values, index=window.history.index), **more)


def nothing(window: Window, rng: np.random.Generator) -> Dirty:
    return Dirty(window, window.history)


def restarts(window: Window, rng: np.random.Generator) -> Dirty:
    values = window.history.to_numpy(copy=True)
    for begin in rng.integers(2 * DAY, len(values) - 3, size=3):
        values[begin : begin + rng.integers(1, 3)] *= 0.02
    return _with(window, values, on={"stages": ("restarts",)})


def outlier(window: Window, rng: np.random.Generator) -> Dirty:
    values = window.history.to_numpy(copy=True)
    begin = int(rng.integers(len(values) - 6 * DAY, len(values) - 3))
    values[begin : begin + int(rng.integers(1, 3))] += values.max() * rng.uniform(5, 10)
    return _with(window, values, on={"stages": ("outliers",)})


def level_shift(window: Window, rng: np.random.Generator) -> Dirty:
    values = window.history.to_numpy(copy=True)
    values[: len(values) - int(rng.integers(3.5 * DAY, 8 * DAY))] *= rng.choice([0.4, 2.5])
    return _with(window, values, on={"stages": ("level shifts",)})


def ceiling(window: Window, rng: np.random.Generator) -> Dirty:
    """Demand was above the allocation in a tenth of the hours."""
    values = window.history.to_numpy(copy=True)
    return _with(window, np.minimum(values, float(np.quantile(values, 0.9))), on={"stages": ("censoring",)})


def clock_change(window: Window, rng: np.random.Generator) -> Dirty:
    """The load follows the wall clock of Berlin, which went back an hour some days before the origin."""
    back = CHANGED + pd.Timedelta(hours=int(rng.integers(2 * DAY, 8 * DAY)))
    wall = pd.date_range(end=back, periods=len(window.history), freq="h")
    index = wall.tz_localize(ZONE, ambiguous=True).tz_convert("UTC")
    history = pd.Series(window.history.to_numpy(), index=index)
    return Dirty(window, history, on={"stages": (), "calendar": Calendar(ZONE)})


def holiday(window: Window, rng: np.random.Generator) -> Dirty | None:
    """The working day ahead is a holiday: what came was the Sunday after it."""
    first = window.history.index[-1] + pd.Timedelta(hours=1)
    begin = first.floor("D")
    hours = window.trace.hours
    sunday = begin + pd.Timedelta(days=6 - begin.dayofweek)
    if begin.dayofweek > 4 or sunday + pd.Timedelta(days=1) > hours.index[-1]:
        return None
    known = hours.loc[: begin - pd.Timedelta(hours=1)].iloc[-14 * DAY :]
    if len(known) < 14 * DAY:
        return None
    future = hours.loc[sunday : sunday + pd.Timedelta(hours=23)].to_numpy(dtype=float)
    clean = replace(window, history=known, future=future)
    return Dirty(clean, known, on={"stages": (), "calendar": Calendar(holidays=(begin.date(),))})


def gaps(window: Window, rng: np.random.Generator) -> Dirty:
    """A day without data, and a tenth of the other hours; there is no way to forecast without filling: off is on."""
    history = window.history[rng.random(len(window.history)) > 0.1]
    lost = window.history.index[int(rng.integers(2, 12)) * DAY]
    history = history[(history.index < lost) | (history.index >= lost + pd.Timedelta(days=1))]
    return Dirty(window, history)
