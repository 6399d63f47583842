"""The forecasts that are compared. Each takes hourly history and gives quantiles and the peak to plan for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.forecasting import forecast_series
from forebay.forecasting.models import DEFAULT
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


def with_arima(history: pd.Series, horizon: int) -> Answer:
    """What an ARIMA adds to the default."""
    return _forebay(history, horizon, budget_seconds=20.0, models=(*DEFAULT, "arima"))


def seasonal_naive(history: pd.Series, horizon: int) -> Answer:
    """The reference: yesterday, with the quantiles of its one-day errors."""
    values = history.to_numpy()
    errors = np.quantile(values[DAY:] - values[:-DAY], SCORED_LEVELS)
    return _slotwise(np.resize(values[-DAY:], horizon)[:, None] + errors)


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


def alone(name: str) -> Model:
    """One of Forebay's models with its own errors around it, whether seasonal naive was better or not."""
    return lambda history, horizon: _forebay(history, horizon, math.inf, models=(name,), fallback=False)


LIGHT = ("last-value", "time-of-day", "simple", "theta", "arima", "mstl")
HEAVY = ("prophet", "lstm")
"""They take seconds a window: only when asked for, on a smaller sample (--series)."""

MODELS: dict[str, Model] = {
    "seasonal naive": seasonal_naive,
    **{name: alone(name) for name in (*LIGHT, *HEAVY)},
    "default and ARIMA": with_arima,
    "default": default,
}
"""auto_arima is left to the speed comparison: it takes seconds a series."""


def _forebay(history: pd.Series, horizon: int, budget_seconds: float, **more: Any) -> Answer:
    forecast = forecast_series(
        history, horizon=horizon, step=HOUR, levels=SCORED_LEVELS, budget_seconds=budget_seconds, **more
    )
    return Answer(forecast.quantiles.to_numpy(), float(np.quantile(forecast.paths.max(axis=1), 0.95)))


def _slotwise(quantiles: Floats) -> Answer:
    quantiles = np.maximum(quantiles, 0.0)
    return Answer(quantiles, float(quantiles[:, -1].max()))
