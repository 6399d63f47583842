"""The models that compete for a series, and the choice among them by their recent past."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forebay.forecasting import arima, calibration, naive
from forebay.forecasting.backtest import Backtest, rolling_origins
from forebay.forecasting.regular import RegularSeries
from forebay.forecasting.wording import duration

Floats = npt.NDArray[np.float64]

NAIVE_NEEDS = 1.125  # seasons: one to repeat, and some errors to learn from
ARIMA_NEEDS = 3.0  # seasons: with fewer, half of them would decide by a single day
LONG_SEASON_NEEDS = 2.0  # of the longer season itself, else its harmonics fit the trend
JUDGED_FROM = 2.5  # seasons on, at latest from half of the history: before, the filter is still learning the season
FITTED_ON = 7  # seasons: more values do not move an ARMA coefficient, but cost time
MODEL_POINTS = 96  # a season; measured, finer modelling costs 25 times as much for no better skill
ORDERS: tuple[arima.Order, ...] = ((1, 0, 1), (0, 1, 1))  # back to the usual level, or on from the last one


@dataclass(frozen=True)
class Candidate:
    """A model's possible futures."""

    name: str
    futures: Floats
    """Shape (futures, horizon), equally likely, absolute units, never negative."""
    reasons: list[str]


def chosen(
    series: RegularSeries,
    season_slots: Sequence[float],
    horizon: int,
    *,
    out_of_time: Callable[[], bool],
    budget_seconds: float,
) -> Candidate:
    """Seasonal naive, or an ARIMA pooled with it if that pool had the smaller quantile loss on the recent past.

    A linear pool (Stone, 1961): half of the futures are the ARIMA's, half seasonal naive's. It hedges what either
    gets wrong, and its bands are wider where the two disagree. What is judged is what is shipped.
    """
    values, step = series.values, series.step
    n, season = len(values), round(season_slots[0])
    history, needed = duration(n * step), duration(ARIMA_NEEDS * season * step)
    if n < NAIVE_NEEDS * season:
        return _last_value(values, horizon, f"only {history} of history, {needed} needed")
    if n < ARIMA_NEEDS * season:
        backtest = rolling_origins(n, season, horizon, season, 1)
        futures = _naive_futures(values, season, horizon, backtest)
        if futures is None:
            return _last_value(values, horizon, f"only {history} of history, with gaps, {needed} needed")
        reason = f"seasonal naive: only {history} of history, {needed} needed"
        return Candidate("seasonal naive", futures, [reason, *_beyond(backtest, horizon, step)])

    ratio = -(-season // MODEL_POINTS)
    seasons = [slots for slots in season_slots if slots < ARIMA_NEEDS * season or n >= LONG_SEASON_NEEDS * slots]
    # a longer season cannot be told from a trend before it has passed once
    first = min(max(round(JUDGED_FROM * season), round(seasons[-1])), n // 2)
    backtest = rolling_origins(n, season, horizon, first, ratio)
    baseline = _naive_futures(values, season, horizon, backtest)
    if baseline is None:
        return _last_value(values, horizon, "nothing is known of the recent past, so no model can be judged")
    actual = backtest.actual(values)
    naive_past = naive.seasonal_naive(values, season, backtest.origins, backtest.leads)
    naive_loss = best_loss = calibration.backtest_loss(actual, [naive_past])
    best, reasons = Candidate("seasonal naive", baseline, []), []
    for tried, order in enumerate(ORDERS):
        if out_of_time():
            reasons.append(f"time budget {budget_seconds:g} s spent after {tried} of {len(ORDERS)} ARIMA orders")
            break
        try:
            past, future = _arima_means(values, seasons, horizon, backtest, order, ratio)
        except arima.FitError as error:
            reasons.append(f"fit failed: {arima.name(order)}: {error}")
            continue
        loss = calibration.backtest_loss(actual, [past, naive_past])
        if loss < best_loss:
            best_loss = loss
            errors = calibration.error_trajectories(values, backtest.origins, past)
            own = _futures(future, errors, horizon, season)
            best = Candidate(arima.name(order), np.concatenate([own, baseline]), [])
    judged = f"from {len(backtest.origins)} past origins"
    if best.futures is baseline:
        verdict = f"seasonal naive: no ARIMA did better {judged}"
    else:
        verdict = (
            f"{best.name} on {duration(ratio * step)} steps, pooled with seasonal naive: quantile loss "
            f"{best_loss / naive_loss:.2f} of seasonal naive's alone {judged}"
        )
    return Candidate(best.name, best.futures, [verdict, *reasons, *_beyond(backtest, horizon, step)])


def _arima_means(
    values: Floats, seasons: Sequence[float], horizon: int, backtest: Backtest, order: arima.Order, ratio: int
) -> tuple[Floats, Floats]:
    """Forecasts per slot from the past origins, shape (origins, leads), and from now, shape (horizon,).

    Modelled are the means of model steps of `ratio` slots; each slot is forecast as its step's mean. How slots
    stray from that mean is part of the errors, which are taken slot by slot: the paths hold it again.
    """
    coarse, lost = _coarsened(values, ratio), len(values) % ratio
    lengths = [slots / ratio for slots in seasons]
    model = arima.fit(coarse[-round(FITTED_ON * lengths[0]) :], lengths, order)
    origins = [(origin - lost) // ratio for origin in [*backtest.origins, len(values)]]
    means = arima.forecast_from(model, coarse, origins, -(-horizon // ratio))
    slots = np.repeat(means, ratio, axis=1)
    return slots[:-1, : backtest.leads], slots[-1, :horizon]


def _naive_futures(values: Floats, season: int, horizon: int, backtest: Backtest) -> Floats | None:
    past = naive.seasonal_naive(values, season, backtest.origins, backtest.leads)
    errors = calibration.error_trajectories(values, backtest.origins, past)
    if len(errors) == 0:
        return None
    return _futures(naive.seasonal_naive(values, season, [len(values)], horizon)[0], errors, horizon, season)


def _last_value(values: Floats, horizon: int, why: str) -> Candidate:
    """The last value with its own errors, mirrored and widening as a random walk's: little is known."""
    n = len(values)
    centre = naive.last_value(values, [n], horizon)[0]
    leads = max(1, min(horizon, n // 2))
    origins = list(range(1, n - leads + 1))
    errors = calibration.error_trajectories(values, origins, naive.last_value(values, origins, leads))
    reasons = [f"last value: {why}"]
    if not errors.any():
        # nothing was seen to move yet: assume it may do anything from vanishing to doubling
        errors = np.repeat(np.linspace(-1, 1, 21)[:, None] * centre[0], leads, axis=1)
        reasons.append("no errors are known: the load is assumed to lie between zero and twice the last value")
        return Candidate("last value", np.maximum(centre + np.resize(errors, (21, horizon)), 0.0), reasons)
    both = calibration.widened(np.concatenate([errors, -errors]))
    futures = np.maximum(centre + calibration.extended(both, horizon, leads, growing=True), 0.0)
    return Candidate("last value", futures, reasons)


def _futures(centre: Floats, errors: Floats, horizon: int, season: int) -> Floats:
    long = calibration.extended(calibration.widened(errors), horizon, season, growing=False)
    return np.asarray(np.maximum(centre + long, 0.0))


def _beyond(backtest: Backtest, horizon: int, step: timedelta) -> list[str]:
    if backtest.leads >= horizon:
        return []
    return [f"errors beyond {duration(backtest.leads * step)} ahead are assumed to be like those up to there"]


def _coarsened(values: Floats, ratio: int) -> Floats:
    """Means of the model steps that end at the last slot; slots before the first whole one are dropped."""
    blocks = values[len(values) % ratio :].reshape(-1, ratio)
    known = np.isfinite(blocks)
    sums, counts = np.where(known, blocks, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
