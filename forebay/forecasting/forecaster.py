"""One series in, calibrated paths and quantiles out: choose the model that did best on the recent past."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.domain.wording import days, duration
from forebay.domain.workload import SAMPLE_PATHS
from forebay.forecasting import calibration
from forebay.forecasting.calendar import Calendar, WallClock, as_working_days, forgotten, is_holiday, rest_ratios
from forebay.forecasting.candidates import Candidate, chosen
from forebay.forecasting.cleaning import ALL_STAGES, StageName, cleaned
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.models import DEFAULT, named
from forebay.forecasting.regular import RegularSeries, regular_series
from forebay.forecasting.scores import SCORED_LEVELS, quantile_loss

Floats = npt.NDArray[np.float64]

DAY_AND_WEEK = (timedelta(hours=24), timedelta(days=7))
DEFAULT_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
DEFAULT_BUDGET_SECONDS = 20.0
DEFAULT_PATHS = SAMPLE_PATHS
INTERMITTENT = 0.3  # of the slots at zero
CONSTANT_SPREAD = 0.02  # one standard deviation, of the level: measurement noise nobody recorded


@dataclass(frozen=True)
class Forecast:
    """What the usage of one series may be, slot by slot."""

    index: pd.DatetimeIndex
    """Starts of the future slots, aware UTC; shape (horizon,)."""
    quantiles: pd.DataFrame
    """One row a slot, one column a level (float), absolute units; pointwise quantiles of `paths`."""
    paths: Floats = field(repr=False)
    """Shape (n_paths, horizon): joint samples, equally likely; a path keeps the persistence of real errors."""
    step: timedelta
    """Length of a slot."""
    whole: pd.DataFrame
    """Quantiles of the peak and of the total over the whole horizon: see `over`."""
    model: str
    reasons: list[str]
    """In people's words: which model and why, what was filled or left out, what was not reached."""
    seconds: float
    """Spent, by the clock passed in."""

    def over(self, begin: datetime, end: datetime) -> pd.DataFrame:
        """Quantiles of the rows `peak` and `total` (usage x hours) over the slots that start in [begin, end), aware.

        They come from the paths, at the levels of `quantiles`. Raises ValueError where the window holds no slot or the
        paths were dropped.
        """
        within = np.asarray((self.index >= pd.Timestamp(begin)) & (self.index < pd.Timestamp(end)))
        if not within.any():
            raise ValueError(f"no slot of the forecast, {self.index[0]} to {self.index[-1]}, is in {begin} to {end}")
        if not len(self.paths):
            raise ValueError("the forecast's paths were dropped: ask for them to be kept")
        return calibration.window_quantiles(
            self.paths[:, within], self.quantiles.columns.to_numpy(dtype=float).tolist(), self.step
        )

    def without_paths(self) -> Forecast:
        """The same, small enough to be kept in thousands: paths are fifty times what else there is."""
        return replace(self, paths=np.empty((0, len(self.index))))


def forecast_series(
    history: pd.Series,
    *,
    horizon: int,
    step: timedelta,
    seasons: Sequence[timedelta] = DAY_AND_WEEK,
    levels: Sequence[float] = DEFAULT_LEVELS,
    seed: int = 0,
    budget_seconds: float = DEFAULT_BUDGET_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
    n_paths: int = DEFAULT_PATHS,
    models: Sequence[str] = DEFAULT,
    fallback: bool = True,
    calendar: Calendar | None = None,
    stages: Collection[StageName] = ALL_STAGES,
) -> Forecast:
    """Forecast the mean usage of the `horizon` slots of length `step` after the history's last slot.

    `history`: usage in absolute units on a time-zone-aware DatetimeIndex (starts of the samples).
    `seasons`: lengths after which the load repeats, shortest first; the first is the workload's "day".
    `levels`: quantile levels within (0, 1). `seed` fixes the sampled paths. No new model is started once
    `budget_seconds` of `monotonic` are spent. `models`: names of those to combine, see `models.MODELS`; `fallback`:
    give them up for seasonal naive where that did better lately.
    `calendar`: the zone whose clock the load follows, and its holidays. `stages`: what the history is mended of.

    Raises HistoryError for a history that cannot be used, InputError for a model that is not there, ValueError for
    senseless arguments.
    """
    started = monotonic()
    levels = _checked_arguments(horizon, step, seasons, levels, n_paths)
    wanted = named(models)
    calendar = calendar or Calendar()
    series = regular_series(history, step, *seasons)
    index = pd.date_range(series.end, periods=horizon, freq=pd.Timedelta(step))
    clock = WallClock(calendar.zone, series.end)
    reasons: list[str] = []
    leads = np.arange(horizon)
    if changes := clock.changes(series.start, index[-1]):
        shown = regular_series(clock.history(history), step, *seasons)
        # said is what was missing of the history itself: the hour the clock left out is no gap in it
        series = replace(shown, reasons=series.reasons, utc=clock.utc)
        leads = np.maximum(np.asarray((clock.of(index) - series.end) // pd.Timedelta(step)), 0)
        reasons.append(f"clock change on {days(changes)} ({calendar.zone}): the pattern follows the wall clock")
    season_slots = [season / step for season in seasons]
    season = round(season_slots[0])
    series = cleaned(
        series,
        season,
        judge=lambda values, held_out: _held_out_loss(replace(series, values=values), season_slots, held_out),
        stages=stages,
    )
    series, ratios, said = _holidays(series, calendar, clock, index)
    reasons = [*series.reasons, *reasons, *said]
    known = series.values[np.isfinite(series.values)]
    if len(known) > 1 and np.ptp(known) <= 1e-9 * abs(known[-1]):
        paths = _constant_paths(float(known[-1]), horizon, n_paths, seed)
        model = "constant"
        reasons.append(f"constant: every value is {known[-1]:g}; a spread of {CONSTANT_SPREAD:.0%} is assumed")
    else:
        best: Candidate = chosen(
            series,
            season_slots,
            int(leads.max()) + 1,
            wanted,
            fallback=fallback,
            out_of_time=lambda: monotonic() - started >= budget_seconds,
            budget_seconds=budget_seconds,
        )
        model = best.name
        reasons += best.reasons
        if (idle := float(np.mean(known == 0))) >= INTERMITTENT:
            reasons.append(f"intermittent: {idle:.0%} of slots are zero")
        paths = calibration.sample_paths(best.futures, n_paths, seed)[:, leads]
    paths = paths * ratios
    quantiles = pd.DataFrame(calibration.path_quantiles(paths, levels), index=index, columns=levels)
    whole = calibration.window_quantiles(paths, levels, step)
    return Forecast(index, quantiles, paths, step, whole, model, reasons, monotonic() - started)


def _holidays(
    series: RegularSeries, calendar: Calendar, clock: WallClock, index: pd.DatetimeIndex
) -> tuple[RegularSeries, Floats, list[str]]:
    """The series to forecast, what the forecast of each slot is multiplied by, and the sentence about it.

    A holiday is forecast as a part of a working day: with one ahead, days of rest in the history are brought to a
    working day's usage first. Otherwise what follows a Sunday would be taken down twice.
    """
    local, offset, holidays = index.tz_convert(calendar.zone), clock.offset(), calendar.holidays
    usual, free = forgotten(series, offset, holidays), is_holiday(local, holidays)
    if not free.any():
        return usual, np.ones(len(index)), []
    when = days(sorted({time.normalize() for time in local[free]}))
    ratios = rest_ratios(series, offset, holidays)
    factors = ratios.of(local, holidays)
    said = f"holiday on {when}: like {ratios.like}, {np.mean(factors[free]):.0%} of a working day"
    return as_working_days(usual, offset, holidays, ratios), factors, [said]


def _held_out_loss(series: RegularSeries, season_slots: Sequence[float], held_out: int) -> float:
    """Mean quantile loss on the last `held_out` slots of a forecast from those before them."""
    past, future = series.values[:-held_out], series.values[-held_out:]
    best = chosen(
        replace(series, values=past),
        season_slots,
        held_out,
        named(DEFAULT),
        fallback=True,
        out_of_time=lambda: True,
        budget_seconds=0.0,
    )
    losses = quantile_loss(future, calibration.path_quantiles(best.futures, SCORED_LEVELS), SCORED_LEVELS)
    known = losses[np.isfinite(losses)]
    return float(known.mean()) if known.size else float("inf")


def forecast(history: pd.Series, horizon: int, levels: list[float]) -> pd.DataFrame:
    """Quantiles of the next `horizon` slots, which are as long as the history's own sampling interval.

    `history`: usage in absolute units on a time-zone-aware DatetimeIndex. Result: one row a future slot (start,
    aware UTC), one column a level named by the float level. Raises HistoryError and ValueError as
    `forecast_series` does.
    """
    step = sampling_interval(history)
    seasons = seasons_seen(DAY_AND_WEEK, step)
    if not seasons:
        raise HistoryError(
            f"history: samples every {duration(step)} show no season of {duration(DAY_AND_WEEK[-1])}: export it finer"
        )
    return forecast_series(history, horizon=horizon, step=step, seasons=seasons, levels=levels).quantiles


def seasons_seen(seasons: Sequence[timedelta], step: timedelta) -> tuple[timedelta, ...]:
    """Those that slots of length `step` can show: of a day, daily values know nothing, and still of a week."""
    return tuple(season for season in seasons if season >= 2 * step)


def sampling_interval(history: pd.Series) -> timedelta:
    """The median distance between samples; 5 minutes when there are fewer than two."""
    index = history.index
    if not isinstance(index, pd.DatetimeIndex) or len(index) < 2:
        return timedelta(minutes=5)
    gaps = np.diff(index.as_unit("ns").asi8)
    gaps = gaps[gaps > 0]
    # a history in the wrong order or with duplicates is refused later, by name
    if not gaps.size:
        return timedelta(minutes=5)
    return max(timedelta(microseconds=int(np.median(gaps)) / 1000), timedelta.resolution)


def _checked_arguments(
    horizon: int, step: timedelta, seasons: Sequence[timedelta], levels: Sequence[float], n_paths: int
) -> list[float]:
    if horizon < 1:
        raise ValueError(f"horizon is {horizon} slots; ask for at least 1")
    if n_paths < 1:
        raise ValueError(f"n_paths is {n_paths}; ask for at least 1")
    if step <= timedelta(0):
        raise ValueError(f"step is {step}; it must be longer than 0")
    if not seasons or list(seasons) != sorted(seasons) or seasons[0] < 2 * step:
        raise ValueError(f"seasons are {list(map(str, seasons))}; list them shortest first, each of 2 steps or more")
    checked = [float(level) for level in levels]
    wrong = [level for level in checked if not 0 < level < 1]
    if wrong or not checked:
        raise ValueError(f"levels are {checked}; give one or more numbers between 0 and 1, e.g. 0.5 and 0.95")
    return checked


def _constant_paths(level: float, horizon: int, n_paths: int, seed: int) -> Floats:
    """Whole paths shifted up or down: a load that never moved may sit at another level, not jitter around it."""
    shifts = np.random.default_rng(seed).standard_normal(n_paths) * CONSTANT_SPREAD
    return np.asarray(np.maximum(level * (1 + shifts), 0.0)[:, None] * np.ones(horizon))
