"""The calendar a load follows: its wall clock, whose days have 23 or 25 hours twice a year, and its holidays."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.forecasting.regular import RegularSeries

Floats = npt.NDArray[np.float64]

SATURDAY, SUNDAY = 5, 6
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

    def utc(self, shown: pd.Timestamp) -> pd.Timestamp:
        """The aware time at which the clock showed `shown`: the first of two, the next one of an hour left out."""
        local = (shown + self.offset()).tz_localize(None)
        return local.tz_localize(self.zone, ambiguous=True, nonexistent="shift_forward").tz_convert("UTC")

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
    return np.asarray(local.tz_localize(None).normalize().isin(free) & (local.dayofweek < SATURDAY))


@dataclass(frozen=True)
class RestRatios:
    """Usage of each hour of a day of rest over a working day's: what a forecast of working days is multiplied by.

    Each of shape (24,); all 1 where such a day is like any other. `like`: what holidays are like, in words.
    """

    saturdays: Floats
    sundays: Floats
    holidays: Floats
    like: str

    def of(self, local: pd.DatetimeIndex, holidays: Collection[date]) -> Floats:
        """Of each local time, 1 on working days."""
        day = np.asarray(local.dayofweek)
        kind = np.select([is_holiday(local, holidays), day == SATURDAY, day == SUNDAY], [1, 2, 3])
        by_kind = np.stack([np.ones(24), self.holidays, self.saturdays, self.sundays])
        return np.asarray(by_kind[kind, np.asarray(local.hour)])


def rest_ratios(series: RegularSeries, offset: pd.Timedelta, holidays: Collection[date]) -> RestRatios:
    """From the history; a holiday is as those in it, else as its Sundays, else as any day.

    `offset`: what to add to the series' times to get local ones.
    """
    local = _local(series, offset, len(series.values))
    values, free = pd.Series(series.values, index=local), is_holiday(local, holidays)
    working = values[~free & (local.dayofweek < SATURDAY)]
    saturdays, sundays = (_ratios(values[local.dayofweek == day], working) for day in (SATURDAY, SUNDAY))
    before = _ratios(values[free], working)
    of_holidays, like = (sundays, "Sundays") if before is None else (before, "the holidays before")
    if of_holidays is None:
        like = "any day, as the history holds neither a whole holiday nor a whole Sunday"
    elif (of_holidays == 1).all():
        like = f"any day, as {like} are"
    any_day = np.ones(24)
    return RestRatios(
        any_day if saturdays is None else saturdays,
        any_day if sundays is None else sundays,
        any_day if of_holidays is None else of_holidays,
        like,
    )


def forgotten(series: RegularSeries, offset: pd.Timedelta, holidays: Collection[date]) -> RegularSeries:
    """The series with holidays unknown, so that no other day is forecast after them."""
    left = _changed(
        series, lambda values: np.where(is_holiday(_local(series, offset, len(values)), holidays), np.nan, values)
    )
    if not np.isfinite(left.values).any():
        return series
    first = int(np.argmax(np.isfinite(left.values)))
    undamped = None if left.undamped is None else left.undamped[first:]
    return replace(left, values=left.values[first:], undamped=undamped, start=series.start + first * series.step)


def as_working_days(
    series: RegularSeries, offset: pd.Timedelta, holidays: Collection[date], ratios: RestRatios
) -> RegularSeries:
    """The series with each day of rest at the usage a working day would have had instead."""
    return _changed(series, lambda values: values / ratios.of(_local(series, offset, len(values)), holidays))


def _local(series: RegularSeries, offset: pd.Timedelta, count: int) -> pd.DatetimeIndex:
    """Local times of the last `count` slots."""
    return pd.date_range(end=series.end + offset, periods=count + 1, freq=pd.Timedelta(series.step))[:-1]


def _changed(series: RegularSeries, change: Callable[[Floats], Floats]) -> RegularSeries:
    undamped = None if series.undamped is None else change(series.undamped)
    recorded = None if series.recorded is None else change(series.recorded)
    return replace(series, values=change(series.values), undamped=undamped, recorded=recorded)


def _ratios(resting: pd.Series, working: pd.Series) -> Floats | None:
    """Shape (24,); None where an hour, or a whole day, of either was never seen.

    All 1 where the mean of a resting day lies within those of the working days: such a load, measured, keeps no week,
    and ratios would be noise.
    """
    of_working, of_resting = _by_hour(working), _by_hour(resting)
    days, lazy = _daily_means(working), _daily_means(resting)
    if not np.isfinite([of_working, of_resting]).all() or not (days.size and lazy.size):
        return None
    if not (lazy.max() < days.min() or lazy.min() > days.max()):
        return np.ones(24)
    return np.clip(np.where(of_working > 0, of_resting / np.maximum(of_working, 1e-300), 1.0), *RATIO_BOUNDS)


def _by_hour(values: pd.Series) -> Floats:
    return np.asarray(values.groupby(pd.DatetimeIndex(values.index).hour).median().reindex(range(24)), dtype=float)


def _daily_means(values: pd.Series) -> Floats:
    """Of whole days only: the night of one that is not over yet is no quiet day."""
    known = values.dropna()
    times = pd.DatetimeIndex(known.index)
    whole = pd.Series(times.hour, index=known.index).groupby(times.normalize()).nunique() == 24
    return np.asarray(known.groupby(times.normalize()).mean()[whole], dtype=float)
