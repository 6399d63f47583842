"""One series in, calibrated paths and quantiles out: choose the model that did best on the recent past."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.forecasting import calibration
from forebay.forecasting.candidates import Candidate, chosen
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.history import History, SeriesKey
from forebay.forecasting.models import DEFAULT, named
from forebay.forecasting.regular import RegularSeries, regular_series

Floats = npt.NDArray[np.float64]

DAY_AND_WEEK = (timedelta(hours=24), timedelta(days=7))
DEFAULT_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
DEFAULT_BUDGET_SECONDS = 20.0
DEFAULT_PATHS = 500
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
    model: str
    reasons: list[str]
    """In people's words: which model and why, what was filled or left out, what was not reached."""
    seconds: float
    """Spent, by the clock passed in."""


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
) -> Forecast:
    """Forecast the mean usage of the `horizon` slots of length `step` after the history's last slot.

    `history`: usage in absolute units on a time-zone-aware DatetimeIndex (starts of the samples).
    `seasons`: lengths after which the load repeats, shortest first; the first is the workload's "day".
    `levels`: quantile levels within (0, 1). `seed` fixes the sampled paths. No new model is started once
    `budget_seconds` of `monotonic` are spent. `models`: names of those to combine, see `models.MODELS`; `fallback`:
    give them up for seasonal naive where that did better lately.

    Raises HistoryError for a history that cannot be used, InputError for a model that is not there, ValueError for
    senseless arguments.
    """
    started = monotonic()
    levels = _checked_arguments(horizon, step, seasons, levels, n_paths)
    wanted = named(models)
    series = regular_series(history, step, seasons[0])
    season_slots = [season / step for season in seasons]
    reasons = list(series.reasons)
    known = series.values[np.isfinite(series.values)]
    if len(known) > 1 and np.ptp(known) <= 1e-9 * abs(known[-1]):
        paths = _constant_paths(float(known[-1]), horizon, n_paths, seed)
        model = "constant"
        reasons.append(f"constant: every value is {known[-1]:g}; a spread of {CONSTANT_SPREAD:.0%} is assumed")
    else:
        best: Candidate = chosen(
            series,
            season_slots,
            horizon,
            wanted,
            fallback=fallback,
            out_of_time=lambda: monotonic() - started >= budget_seconds,
            budget_seconds=budget_seconds,
        )
        model = best.name
        reasons += best.reasons
        paths = calibration.sample_paths(best.futures, n_paths, seed)
    return _forecast(series, paths, levels, model, reasons, monotonic() - started)


def forecast(history: pd.Series, horizon: int, levels: list[float]) -> pd.DataFrame:
    """Quantiles of the next `horizon` slots, which are as long as the history's own sampling interval.

    `history`: usage in absolute units on a time-zone-aware DatetimeIndex. Result: one row a future slot (start,
    aware UTC), one column a level named by the float level. Raises HistoryError and ValueError as
    `forecast_series` does.
    """
    return forecast_series(history, horizon=horizon, step=sampling_interval(history), levels=levels).quantiles


def forecast_history(
    history: History,
    horizon: timedelta,
    *,
    step: timedelta | None = None,
    seasons: Sequence[timedelta] = DAY_AND_WEEK,
    levels: Sequence[float] = DEFAULT_LEVELS,
    seed: int = 0,
    budget_seconds: float = DEFAULT_BUDGET_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
    models: Sequence[str] = DEFAULT,
) -> dict[SeriesKey, Forecast]:
    """Forecast every series of a history, in canonical units; the time budget is for all of them together.

    `step`: length of a slot; without it each series keeps its own sampling interval. `horizon` is rounded up to
    whole slots. Raises HistoryError naming the series, else as `forecast_series`.
    """
    deadline = monotonic() + budget_seconds
    forecasts: dict[SeriesKey, Forecast] = {}
    for done, (key, series) in enumerate(history.series.items()):
        slot = step or sampling_interval(series)
        try:
            forecasts[key] = forecast_series(
                series,
                horizon=-(-horizon // slot),
                step=slot,
                seasons=seasons,
                levels=levels,
                seed=seed,
                budget_seconds=max(0.0, deadline - monotonic()) / (len(history.series) - done),
                monotonic=monotonic,
                models=models,
            )
        except HistoryError as error:
            raise HistoryError(f"{'/'.join(filter(None, key))}: {error}") from error
    return forecasts


def sampling_interval(history: pd.Series) -> timedelta:
    """The median distance between samples; 5 minutes when there are fewer than two."""
    index = history.index
    if not isinstance(index, pd.DatetimeIndex) or len(index) < 2:
        return timedelta(minutes=5)
    gaps = np.diff(index.as_unit("ns").asi8)
    gaps = gaps[gaps > 0]
    # a history in the wrong order or with duplicates is refused later, by name
    return timedelta(microseconds=int(np.median(gaps)) / 1000) if gaps.size else timedelta(minutes=5)


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


def _forecast(
    series: RegularSeries, paths: Floats, levels: list[float], model: str, reasons: list[str], seconds: float
) -> Forecast:
    index = pd.date_range(series.end, periods=paths.shape[1], freq=pd.Timedelta(series.step))
    quantiles = pd.DataFrame(calibration.path_quantiles(paths, levels), index=index, columns=levels)
    return Forecast(index, quantiles, paths, model, reasons, seconds)
