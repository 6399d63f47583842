"""The models that compete for a series, and the backtest that chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forebay.forecasting import arima, calibration, naive
from forebay.forecasting.regular import RegularSeries
from forebay.forecasting.wording import duration

Floats = npt.NDArray[np.float64]

NAIVE_NEEDS = 1.125  # seasons: one to repeat and some errors to learn from
ARIMA_NEEDS = 3.0  # seasons: half to fit, half to be judged on
LONG_SEASON_NEEDS = 2.0  # of the longer season itself, else its harmonics fit the trend
MODEL_POINTS = 96  # a season; finer modelling costs 25 times as much for no better skill
ORIGINS = 24  # a season
ORDERS: tuple[arima.Order, ...] = ((1, 0, 1), (0, 1, 1), (2, 0, 1), (1, 1, 1))


@dataclass(frozen=True)
class Candidate:
    """A model's forecast of the horizon and the error trajectories it made on the recent past."""

    name: str
    centre: Floats
    """Shape (horizon,)."""
    errors: Floats
    """Shape (trajectories, horizon)."""
    reasons: list[str]


@dataclass(frozen=True)
class Backtest:
    """Rolling origins (slots seen) and how many leads of each are judged."""

    origins: list[int]
    leads: int


def rolling_origins(n: int, season: int, horizon: int, first: int, ratio: int) -> Backtest:
    """Origins from `first` on, 24 a season, aligned with the model steps that end at slot `n`.

    Trajectories are as long as the horizon if at least a season of origins remains, else up to half of what
    follows `first`.
    """
    leads = min(horizon, max(n - first - season, (n - first) // 2))
    stride = max(1, season // ORIGINS // ratio) * ratio
    return Backtest(list(range(n - leads, first - 1, -stride))[::-1], leads)


def chosen(
    series: RegularSeries,
    season_slots: Sequence[float],
    horizon: int,
    *,
    out_of_time: Callable[[], bool],
    budget_seconds: float,
) -> Candidate:
    """The candidate with the smallest quantile loss on the recent past; seasonal naive wins a tie."""
    values, step = series.values, series.step
    n, season = len(values), round(season_slots[0])
    span, needed = duration(n * step), duration(timedelta(seconds=ARIMA_NEEDS * season * step.total_seconds()))
    if n < NAIVE_NEEDS * season:
        return _last_value(values, horizon, f"last value: only {span} of history, {needed} needed")
    if n < ARIMA_NEEDS * season:
        backtest = rolling_origins(n, season, horizon, season, 1)
        reason = f"seasonal naive: only {span} of history, {needed} needed"
        found = _seasonal_naive(values, season, horizon, backtest, [reason])
        return found or _last_value(values, horizon, f"last value: {reason}, and no errors of it are known")

    ratio = max(1, -(-season // MODEL_POINTS))
    backtest = rolling_origins(n, season, horizon, n // 2, ratio)
    baseline = _seasonal_naive(values, season, horizon, backtest, [])
    if baseline is None:
        return _last_value(values, horizon, "last value: the recent past is unknown, so no model can be judged")
    actual = _actual(values, backtest)
    naive_loss = calibration.backtest_loss(
        actual, naive.seasonal_naive(values, season, backtest.origins, backtest.leads)
    )
    best, best_loss, reasons = baseline, naive_loss, []
    coarse = _coarsened(values, ratio)
    lost = n % ratio
    kept = [s / ratio for i, s in enumerate(season_slots) if i == 0 or n >= LONG_SEASON_NEEDS * s]
    for tried, order in enumerate(ORDERS):
        if out_of_time():
            reasons.append(f"time budget {budget_seconds:g} s spent after {tried} of {len(ORDERS)} ARIMA orders")
            break
        try:
            first = (backtest.origins[0] - lost) // ratio
            model = arima.fit(coarse[:first], kept, order)
            coarse_origins = [(o - lost) // ratio for o in [*backtest.origins, n]]
            means = arima.forecast_from(model, coarse, coarse_origins, -(-horizon // ratio))
        except arima.FitError as error:
            reasons.append(f"fit failed: ARIMA{order}: {error}".replace("(", "(", 1))
            continue
        held = np.repeat(means, ratio, axis=1)
        loss = calibration.backtest_loss(actual, held[:-1, : backtest.leads])
        if loss < best_loss:
            best_loss = loss
            errors = calibration.error_trajectories(values, backtest.origins, held[:-1, : backtest.leads])
            best = Candidate(model.name, held[-1, :horizon], calibration.extended(errors, horizon, season, False), [])
    origins = len(backtest.origins)
    if best is baseline:
        reasons.append(f"seasonal naive: no ARIMA beat it from {origins} past origins")
    else:
        reasons.append(
            f"{best.name} on {duration(ratio * step)} steps: quantile loss {best_loss / naive_loss:.2f} of "
            f"seasonal naive's from {origins} past origins"
        )
    if backtest.leads < horizon:
        reasons.append(
            f"errors more than {duration(backtest.leads * step)} ahead are assumed to be like those up to there"
        )
    return Candidate(best.name, best.centre, best.errors, reasons)


def _seasonal_naive(
    values: Floats, season: int, horizon: int, backtest: Backtest, reasons: list[str]
) -> Candidate | None:
    past = naive.seasonal_naive(values, season, backtest.origins, backtest.leads)
    errors = calibration.error_trajectories(values, backtest.origins, past)
    if len(errors) == 0:
        return None
    centre = naive.seasonal_naive(values, season, [len(values)], horizon)[0]
    return Candidate("seasonal naive", centre, calibration.extended(errors, horizon, season, False), reasons)


def _last_value(values: Floats, horizon: int, reason: str) -> Candidate:
    """The last value with its own errors from half of the history on, mirrored and widening: little is known."""
    n = len(values)
    centre = naive.last_value(values, [n], horizon)[0]
    leads = max(1, min(horizon, n // 2))
    origins = list(range(1, n - leads + 1))
    errors = np.empty((0, leads))
    if origins:
        errors = calibration.error_trajectories(values, origins, naive.last_value(values, origins, leads))
    if len(errors) == 0:
        spread = 0.5 * abs(centre[0]) * np.linspace(-1, 1, 21)
        return Candidate("last value", centre, np.repeat(spread[:, None], horizon, axis=1), [reason])
    both = np.concatenate([errors, -errors])
    return Candidate("last value", centre, calibration.extended(both, horizon, leads, True), [reason])


def _actual(values: Floats, backtest: Backtest) -> Floats:
    return np.asarray(values[np.asarray(backtest.origins)[:, None] + np.arange(backtest.leads)])


def _coarsened(values: Floats, ratio: int) -> Floats:
    """Means of the model steps that end at the last slot; slots before the first whole one are dropped."""
    blocks = values[len(values) % ratio :].reshape(-1, ratio)
    known = np.isfinite(blocks)
    sums, counts = np.where(known, blocks, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
