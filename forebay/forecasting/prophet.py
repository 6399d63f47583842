"""Prophet: a piecewise straight trend with each season's harmonics (Taylor & Letham, "Forecasting at scale", 2018).

An extra (`pip install 'forebay[prophet]'`): it weighs 55 MB more and, measured, does not earn a place in the default.
"""

from __future__ import annotations

import logging
import warnings
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forebay.forecasting.arima import HARMONICS
from forebay.forecasting.errors import FitError
from forebay.forecasting.grid import ModelGrid
from forebay.forecasting.refits import refits

Floats = npt.NDArray[np.float64]

NAME = "Prophet"
KEPT = 14  # seasons; it fits the more slowly the more it is given


def member(grid: ModelGrid) -> dict[str, Floats]:
    """The one member this model is, fitted four times a season. Raises FitError."""
    result = np.empty((len(grid.origins), grid.steps))
    seasons = [season * grid.step for season in grid.seasons]
    for fit in refits(grid.origins, grid.seasons[0]):
        ahead = grid.origins[fit.rows[-1]] - fit.origin + grid.steps
        begin = max(0, fit.origin - round(KEPT * grid.seasons[0]))
        future = prophet_forecast(grid.coarse[begin : fit.origin], grid.step, seasons, ahead)
        for row in fit.rows:
            passed = grid.origins[row] - fit.origin
            result[row] = future[passed : passed + grid.steps]
    return {NAME: np.maximum(result, 0.0)}


def prophet_forecast(values: Floats, step: timedelta, seasons: list[timedelta], horizon: int) -> Floats:
    """Shape (horizon,): the trend with the seasons after `values` (NaN in gaps). Raises FitError."""
    import pandas as pd

    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)  # it misses plotly aloud; nothing is plotted
    from cmdstanpy import disable_logging
    from prophet import Prophet

    model = Prophet(daily_seasonality=False, weekly_seasonality=False, yearly_seasonality=False, uncertainty_samples=0)
    for number, season in enumerate(seasons):
        model.add_seasonality(f"season {number}", season / timedelta(days=1), HARMONICS[min(number, 1)])
    # seasons are given by their length, so any day will do for the first step
    times = pd.date_range("2000-01-01", periods=len(values) + horizon, freq=pd.Timedelta(step))
    try:
        with warnings.catch_warnings(), disable_logging():  # which reports the start and end of every fit
            warnings.simplefilter("ignore")
            model.fit(pd.DataFrame({"ds": times[: len(values)], "y": values}), seed=0)
            future = model.predict(pd.DataFrame({"ds": times[len(values) :]}))["yhat"].to_numpy(dtype=float)
    except (ValueError, RuntimeError) as error:
        raise FitError(str(error).splitlines()[0]) from error
    if not np.isfinite(future).all():
        raise FitError("the forecast is not finite")
    return np.asarray(future)
