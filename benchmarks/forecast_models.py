"""The forecasts that are compared. Each takes hourly history and gives quantiles and the peak to plan for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.forecasting import arima, forecast_series
from forebay.forecasting.members import season_members
from forebay.forecasting.scores import SCORED_LEVELS

Floats = npt.NDArray[np.float64]

DAY = 24
HOUR = timedelta(hours=1)
NORMAL = (-1.645, -1.282, -1.036, -0.842, -0.674, -0.524, -0.385, -0.253, -0.126, 0.0)
"""Quantiles of the standard normal at 0.05, 0.10, ... 0.50."""


class Answer(NamedTuple):
    quantiles: Floats
    """Shape (horizon, 19), levels 0.05 to 0.95."""
    peak: float
    """0.95 quantile of the window's maximum where there are paths, else the largest 0.95 quantile."""


Model = Callable[[pd.Series, int], Answer]


def default(history: pd.Series, horizon: int) -> Answer:
    return _forebay(history, horizon, budget_seconds=20.0)


def default_without_arima(history: pd.Series, horizon: int) -> Answer:
    """What a fleet gets: the time budget of a series is too short for an ARIMA."""
    return _forebay(history, horizon, budget_seconds=0.0)


def seasonal_naive(history: pd.Series, horizon: int) -> Answer:
    """The reference: yesterday, with the quantiles of its one-day errors."""
    values = history.to_numpy()
    errors = np.quantile(values[DAY:] - values[:-DAY], SCORED_LEVELS)
    return _slotwise(np.resize(values[-DAY:], horizon)[:, None] + errors)


def last_value(history: pd.Series, horizon: int) -> Answer:
    """The last value, with the quantiles of its past errors at each lead."""
    values = history.to_numpy()
    errors = np.stack([values[o : o + horizon] - values[o - 1] for o in range(1, len(values) - horizon + 1)])
    return _slotwise(values[-1] + np.quantile(errors, SCORED_LEVELS, axis=0).T)


def time_of_day(history: pd.Series, horizon: int) -> Answer:
    """Quantiles of what was seen within an hour of this time of day."""
    values = history.to_numpy()
    slots = [
        [len(values) - DAY * d + h + s for d in range(1, len(values) // DAY + 1) for s in (-1, 0, 1)]
        for h in range(DAY)
    ]
    seen = [np.quantile(values[[i for i in near if 0 <= i < len(values)]], SCORED_LEVELS) for near in slots]
    return _slotwise(np.resize(np.stack(seen), (horizon, len(SCORED_LEVELS))))


def level_and_shape(history: pd.Series, horizon: int) -> Answer:
    """One member alone: the level of the last 6 hours with the day's shrunk shape, and its past errors."""
    values = history.to_numpy()
    origins = [*range(3 * DAY, len(values) - horizon + 1), len(values)]
    means = list(season_members(values, DAY, DAY, HOUR, origins, horizon).values())[2]
    errors = np.stack([values[o : o + horizon] for o in origins[:-1]]) - means[:-1]
    return _slotwise(means[-1][:, None] + np.quantile(errors, SCORED_LEVELS, axis=0).T)


def arima_fourier(history: pd.Series, horizon: int) -> Answer:
    """pmdarima ARIMA(1,0,1) with daily harmonics, and its past errors."""
    values = history.to_numpy()
    origins = [*range(3 * DAY, len(values) - horizon + 1), len(values)]
    try:
        means = arima.forecast_from(arima.fit(values, [float(DAY)], (1, 0, 1)), values, origins, horizon)
    except arima.FitError:
        return seasonal_naive(history, horizon)
    errors = np.stack([values[o : o + horizon] for o in origins[:-1]]) - means[:-1]
    return _slotwise(means[-1][:, None] + np.quantile(errors, SCORED_LEVELS, axis=0).T)


def auto_arima(history: pd.Series, horizon: int) -> Answer:
    """pmdarima's own search, season of 24, limited orders, with its Gaussian interval."""
    import pmdarima

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about every order it discards
        model = pmdarima.auto_arima(
            history.to_numpy(), m=DAY, max_p=2, max_q=2, max_P=1, max_Q=1, max_order=4, suppress_warnings=True
        )
        mean, band = model.predict(horizon, return_conf_int=True, alpha=0.1)
    deviation = (band[:, 1] - band[:, 0]) / 2 / -NORMAL[0]
    return _slotwise(
        np.asarray(mean)[:, None] + deviation[:, None] * np.array([*NORMAL, *(-z for z in NORMAL[-2::-1])])
    )


MODELS: dict[str, Model] = {
    "seasonal naive": seasonal_naive,
    "last value": last_value,
    "time of day": time_of_day,
    "level and shape": level_and_shape,
    "ARIMA+Fourier": arima_fourier,
    "default, no ARIMA": default_without_arima,
    "default": default,
}
"""auto_arima is left to the speed comparison: it takes seconds a series."""


def _forebay(history: pd.Series, horizon: int, budget_seconds: float) -> Answer:
    forecast = forecast_series(history, horizon=horizon, step=HOUR, levels=SCORED_LEVELS, budget_seconds=budget_seconds)
    return Answer(forecast.quantiles.to_numpy(), float(np.quantile(forecast.paths.max(axis=1), 0.95)))


def _slotwise(quantiles: Floats) -> Answer:
    quantiles = np.maximum(quantiles, 0.0)
    return Answer(quantiles, float(quantiles[:, -1].max()))
