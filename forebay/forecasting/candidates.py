"""The forecast of one series: models weighed by their recent past, or what is left when little is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forebay.domain.wording import duration
from forebay.forecasting import arima, calibration, combination, lstm, mstl, naive, prophet
from forebay.forecasting.backtest import ORIGINS, Backtest, rolling_origins
from forebay.forecasting.errors import FitError
from forebay.forecasting.grid import ModelGrid
from forebay.forecasting.members import recent_seasons
from forebay.forecasting.models import Model
from forebay.forecasting.regular import RegularSeries

Floats = npt.NDArray[np.float64]

NAIVE_NEEDS = 1.125  # seasons: one to repeat, and some errors to learn from
WIDENED = 1.25  # measured below JUDGED_FROM: what one or two days differ by shows too little of what days may
JUDGED_FROM = 3.0  # seasons on: before, a usual day is not known
LONG_SEASON_NEEDS = 3.0  # of the longer season itself: with fewer, measured, one odd week misleads
MODEL_POINTS = 96  # a season; measured, finer modelling costs 25 times as much for no better skill
UNPAID = 0.01  # of the weight
COSTLY = (arima.name(arima.ORDER), mstl.NAME, prophet.NAME, lstm.NAME)
LAST_VALUE_ERRORS = 2**23  # in all: of a day of minutes each origin's; of one of seconds those would be many gigabytes
SAID_FROM = 0.1  # of the weight: smaller ones would fill the page


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
    models: Sequence[Model],
    *,
    out_of_time: Callable[[], bool],
    budget_seconds: float,
    fallback: bool = True,
) -> Candidate:
    """The combination of all models, or seasonal naive alone where that had the smaller quantile loss lately.

    `fallback`: whether it is given up for seasonal naive; without, a model can be judged by itself.
    """
    values, step = series.values, series.step
    n, season = len(values), round(season_slots[0])
    history, needed = duration(n * step), duration(JUDGED_FROM * season * step)
    if n < NAIVE_NEEDS * season:
        return _last_value(values, horizon, f"only {history} of history, {needed} needed")
    if n < JUDGED_FROM * season:
        short = _day_by_day(series, season, horizon)
        if short is None:
            return _last_value(values, horizon, f"only {history} of history, with gaps, {needed} needed")
        return replace(short, reasons=[f"seasonal naive: only {history} of history, {needed} needed", *short.reasons])

    ratio = -(-season // MODEL_POINTS)
    seasons = [slots for slots in season_slots if slots == season_slots[0] or n >= LONG_SEASON_NEEDS * slots]
    # a longer season cannot be told from a trend before it has passed once
    first = min(max(round(JUDGED_FROM * season), round(seasons[-1])), max(n // 2, season + ratio))
    backtest = rolling_origins(n, season, horizon, first, ratio)
    if not calibration.known_origins(backtest.actual(values)).any():
        return _last_value(values, horizon, "nothing is known of the recent past, so no model can be judged")

    grid = ModelGrid(values, ratio, [slots / ratio for slots in seasons], backtest, horizon, step)
    members, reasons = _members(grid, models, out_of_time, budget_seconds)
    if not members:
        past = naive.seasonal_naive(values, season, backtest.origins, backtest.leads)
        return _seasonal_naive(series, grid, past, season, ["seasonal naive: no model could be fitted", *reasons])
    return _combination(series, grid, members, season, reasons, fallback)


def _members(
    grid: ModelGrid, models: Sequence[Model], out_of_time: Callable[[], bool], budget_seconds: float
) -> tuple[dict[str, Floats], list[str]]:
    """The members of all models there is time for, and of each model left out why."""
    members: dict[str, Floats] = {}
    reasons = []
    for model in models:
        if budget_seconds < model.seconds:
            why = f"a time budget of {budget_seconds:.2g} s a series is too short to fit one"
        elif model.seconds and out_of_time():
            why = f"the time budget of {budget_seconds:g} s was spent before it"
        else:
            try:
                members.update(model.members(grid))
                continue
            except FitError as error:
                why = f"fit failed: {error}"
        reasons.append(f"{model.title} left out: {why}")
    return members, reasons


def _combination(
    series: RegularSeries,
    grid: ModelGrid,
    members: dict[str, Floats],
    season: int,
    reasons: list[str],
    fallback: bool,
) -> Candidate:
    """What is judged is the combination with the weights it is shipped with; its errors are cross-fitted.

    Weighing it by the other half of the past instead, measured, sends one window in six back to seasonal naive for
    no reason: three days are few, and the weights have too little freedom to learn them by heart.
    """
    values, backtest = series.values, grid.backtest
    names, means = list(members), np.stack(list(members.values()))
    actual, past = backtest.actual(values), grid.past_slots(means)
    by_lead = combination.weights(actual, past, season)
    forecasts = combination.combined(by_lead, past)
    shares = by_lead.mean(axis=1)
    loss = calibration.backtest_loss(actual, forecasts, season)
    naive_past = naive.seasonal_naive(values, season, backtest.origins, backtest.leads)
    naive_loss = calibration.backtest_loss(actual, naive_past, season)
    judged = f"from {len(backtest.origins)} past origins"
    beyond = _beyond(backtest, grid.horizon, grid.slot)
    if fallback and loss > naive_loss:
        verdict = f"seasonal naive: {_called('the ', names)} did no better {judged}"
        return _seasonal_naive(series, grid, naive_past, season, [verdict, *reasons, *beyond])
    best = names[int(shares.argmax())]
    said = [f"{shares[i]:.0%} {names[i]}" for i in np.argsort(-shares) if shares[i] >= SAID_FROM]
    of_naive = f"{loss / naive_loss:.2f} of seasonal naive's" if naive_loss > 0 else "as seasonal naive's"
    verdict = f"{_called('', names)}: quantile loss {of_naive} {judged}"
    if not np.isfinite(naive_loss):
        followed = f"{len(backtest.origins)} past origins"
        verdict = f"{_called('', names)}: too little is known of what followed {followed} to judge it"
    most = "; ".join(said) or f"none above {SAID_FROM:.0%}"
    weighed = f"weights by their recent errors, mean of all leads: {most}"
    unpaid = [
        f"{name} did not pay: under 1 % of the weight"
        for name, share in zip(names, shares, strict=True)
        if share < UNPAID and name in COSTLY
    ]
    centre = combination.combined(by_lead, grid.future_slots(means))[0]
    futures = _futures(centre, series, forecasts, backtest, season)
    if len(names) == 1:
        return Candidate(best, futures, [verdict, *reasons, *beyond])
    return Candidate(f"combination, most: {best}", futures, [verdict, weighed, *unpaid, *reasons, *beyond])


def _called(the: str, names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{the}combination of {len(names)} models"


def _seasonal_naive(series: RegularSeries, grid: ModelGrid, past: Floats, season: int, reasons: list[str]) -> Candidate:
    """`past`: seasonal naive from each origin of the grid's backtest."""
    values = series.values
    centre = naive.seasonal_naive(values, season, [len(values)], grid.horizon)[0]
    return Candidate("seasonal naive", _futures(centre, series, past, grid.backtest, season), reasons)


def _day_by_day(series: RegularSeries, season: int, horizon: int) -> Candidate | None:
    """Seasonal naive of one or two seasons, with what they differ by: at any time of the season, and either way."""
    values, undamped = series.values, series.values if series.undamped is None else series.undamped
    errors = undamped[season:] - undamped[:-season]
    errors = errors[np.isfinite(errors)]
    if not errors.size:
        return None
    centre = naive.seasonal_naive(values, season, [len(values)], horizon)[0]
    starts = np.arange(0, len(errors), max(1, len(errors) // ORIGINS))
    turned = WIDENED * errors[(starts[:, None] + np.arange(horizon)) % len(errors)]
    futures = calibration.stretched(centre + np.concatenate([turned, -turned]))
    known, before = duration(len(errors) * series.step), duration(season * series.step)
    assumed = f"its errors are taken from {known} against {before} before, either way and {WIDENED:g} times as large"
    return Candidate("seasonal naive", _with_recorded(futures, centre, series, season), [f"{assumed}: few are known"])


def _futures(centre: Floats, series: RegularSeries, past: Floats, backtest: Backtest, season: int) -> Floats:
    """Shape (futures, horizon), none below 0: the forecast with each past error trajectory added, and what was seen.

    Errors are judged on what was recorded, outliers and all: what is rare comes again, only nobody knows when.
    """
    values, actual = series.values, backtest.actual(series.values)
    usual = errors = calibration.error_trajectories(actual, past, season)
    if series.undamped is not None:
        errors = calibration.error_trajectories(backtest.actual(series.undamped), past, season)
    origins = np.asarray(backtest.origins)[calibration.known_origins(actual)]
    counted = calibration.recent_twice(origins, season)
    errors, usual, origins = errors[counted], usual[counted], origins[counted]
    errors = calibration.with_same_hour(errors, usual, origins, len(values), season)
    errors = calibration.extended(errors, len(centre), season, growing=False)
    return _with_recorded(calibration.stretched(centre + errors), centre, series, season)


def _with_recorded(futures: Floats, centre: Floats, series: RegularSeries, season: int) -> Floats:
    """Shape (futures, horizon), none below 0: with what was recorded lately among them, where that is enough to show
    how high a season peaks. It may be more than what is forecast from: older history that was dropped can come again.
    """
    recorded = series.values if series.recorded is None else series.recorded
    seasons = recent_seasons(recorded, season, len(centre))
    if len(seasons) >= JUDGED_FROM:
        futures = calibration.peaks_stretched(calibration.with_recorded(futures, seasons, season))
        futures = calibration.records_rarely_broken(
            futures, np.maximum(centre, np.nanmax(recorded)), seasons[:, :season]
        )
    return np.asarray(np.maximum(futures, 0.0))


def _last_value(values: Floats, horizon: int, why: str) -> Candidate:
    """The last value with its own errors, mirrored and widening as a random walk's: little is known."""
    n = len(values)
    centre = naive.last_value(values, [n], horizon)[0]
    leads = max(1, min(horizon, n // 2))
    apart = max(1, -(-(n - leads) * horizon // LAST_VALUE_ERRORS))
    past = Backtest(list(range(1, n - leads + 1, apart)), leads)
    errors = calibration.error_trajectories(past.actual(values), naive.last_value(values, past.origins, leads), leads)
    reasons = [f"last value: {why}"]
    if not errors.any():
        # nothing was seen to move yet: assume it may do anything from vanishing to doubling
        levels = centre[0] * np.linspace(0, 2, 21)
        reasons.append("no errors are known: the load is assumed to lie between zero and twice the last value")
        return Candidate("last value", np.repeat(levels[:, None], horizon, axis=1), reasons)
    both = calibration.extended(np.concatenate([errors, -errors]), horizon, 1, growing=True)
    return Candidate("last value", np.maximum(calibration.stretched(centre + both), 0.0), reasons)


def _beyond(backtest: Backtest, horizon: int, step: timedelta) -> list[str]:
    if backtest.leads >= horizon:
        return []
    return [f"errors beyond {duration(backtest.leads * step)} ahead are assumed to be like those up to there"]
