"""The calendar a load follows: its wall clock, whose days have 23 or 25 hours twice a year, and its holidays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.forecasting.regular import RegularSeries

Floats = npt.NDArray[np.float64]

SUNDAY, FIRST_OF_WEEKEND = 6, 5
RATIO_BOUNDS = (0.1, 3.0)  # of a holiday's hour to a working day's: beyond, a few odd values speak


@dataclass(frozen=True)
class Calendar:
    """`zone`: an IANA name. `holidays`: dates in it; those within the history are learned from."""

    zone: str = "UTC"
    holidays: Collection[date] = ()


@dataclass(frozen=True)
class WallClock:
    """Times as the clock on the wall shows them, moved so that they agree with UTC at the anchor.

    On it every day has 24 hours, so that a season stays in phase across a clock change; only differences matter
    to a forecast, so that before and after the last change nothing moves at all.
    """

    zone: str
    anchor: pd.Timestamp
    """Aware UTC; the newest sample."""

    def offset(self) -> pd.Timedelta:
        """What the wall showed at the anchor, minus UTC."""
        return self.anchor.tz_convert(self.zone).tz_localize(None) - self.anchor.tz_localize(None)

    def of(self, index: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Wall-clock times of aware times, labelled UTC; the hour that comes twice is there twice."""
        shown = index.tz_convert(self.zone).tz_localize(None).tz_localize("UTC")
        return pd.DatetimeIndex(shown - self.offset())

    def changes(self, begin: pd.Timestamp, end: pd.Timestamp) -> list[pd.Timestamp]:
        """Days in [begin, end] on which the clock is changed."""
        days = pd.date_range(begin.floor("D"), end.ceil("D"), freq="D")
        lengths = np.diff(self.of(days))
        return [day for day, length in zip(days, lengths, strict=False) if length != np.timedelta64(1, "D")]

    def history(self, samples: pd.Series) -> pd.Series:
        """A history on the wall clock: the hour that came twice is its own mean, the one left out a gap."""
        moved = pd.Series(samples.to_numpy(dtype=float), index=self.of(pd.DatetimeIndex(samples.index)))
        return moved.groupby(level=0).mean()


def is_holiday(local: pd.DatetimeIndex, holidays: Collection[date]) -> npt.NDArray[np.bool_]:
    """Which local times lie on a holiday that is not on a weekend anyway."""
    free = pd.DatetimeIndex([pd.Timestamp(day) for day in holidays])
    return np.asarray(local.tz_localize(None).normalize().isin(free) & (local.dayofweek < FIRST_OF_WEEKEND))


def holiday_ratios(series: RegularSeries, offset: pd.Timedelta, holidays: Collection[date]) -> tuple[Floats, str]:
    """Shape (24,): usage of each hour of a holiday over a working day's; and in words what a holiday is like.

    As the holidays in the history, else as its Sundays; all 1 where it holds neither, or where the mean of one of
    them lies within those of the working days: such a load, measured, keeps no week, and ratios would be noise.
    `offset`: what to add to the series' times to get local ones.
    """
    local = pd.date_range(series.start + offset, periods=len(series.values), freq=pd.Timedelta(series.step))
    values = pd.Series(series.values, index=local)
    free = is_holiday(local, holidays)
    working = values[~free & (local.dayofweek < FIRST_OF_WEEKEND)]
    for resting, what in ((values[free], "the holidays before"), (values[local.dayofweek == SUNDAY], "Sundays")):
        of_working, of_resting = _by_hour(working), _by_hour(resting)
        if np.isfinite([of_working, of_resting]).all():
            days, lazy = _daily_means(working), _daily_means(resting)
            if not (lazy.max() < days.min() or lazy.min() > days.max()):
                return np.ones(24), f"any day, as {what} are"
            ratios = np.where(of_working > 0, of_resting / np.maximum(of_working, 1e-300), 1.0)
            return np.clip(ratios, *RATIO_BOUNDS), what
    return np.ones(24), "any day, as the history holds neither a holiday nor a Sunday"


def forgotten(series: RegularSeries, offset: pd.Timedelta, holidays: Collection[date]) -> RegularSeries:
    """The series with holidays unknown, so that no other day is forecast after them."""

    def left(values: Floats) -> Floats:
        local = pd.date_range(end=series.end + offset, periods=len(values) + 1, freq=pd.Timedelta(series.step))[:-1]
        return np.where(is_holiday(local, holidays), np.nan, values)

    values = left(series.values)
    if not np.isfinite(values).any():
        return series
    first = int(np.argmax(np.isfinite(values)))
    undamped = None if series.undamped is None else left(series.undamped)[first:]
    recorded = None if series.recorded is None else left(series.recorded)
    series = replace(series, values=values[first:], undamped=undamped, recorded=recorded)
    return replace(series, start=series.start + first * series.step)


def _by_hour(values: pd.Series) -> Floats:
    return np.asarray(values.groupby(pd.DatetimeIndex(values.index).hour).median().reindex(range(24)), dtype=float)


def _daily_means(values: pd.Series) -> Floats:
    return np.asarray(values.groupby(pd.DatetimeIndex(values.index).normalize()).mean().dropna(), dtype=float)
