"""MSTL: seasons taken apart by loess, several at once, and the level of the rest smoothed.

Bandara, Hyndman & Bergmeir, "MSTL: a seasonal-trend decomposition algorithm for time series with multiple seasonal
patterns", 2021, by statsmodels; each season repeats its last cycle, as the paper forecasts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forebay.forecasting.grid import ModelGrid
from forebay.forecasting.members import SEASONS_REMEMBERED, bridged
from forebay.forecasting.refits import refits
from forebay.forecasting.smoothing import smoothed

Floats = npt.NDArray[np.float64]

NAME = "MSTL"


def member(grid: ModelGrid) -> dict[str, Floats]:
    """The one member this model is, decomposed four times a season."""
    seasons = [round(season) for season in grid.seasons]
    filled = bridged(grid.coarse, seasons[0])
    return {NAME: mstl_forecasts(filled, seasons, grid.origins, grid.steps)}


def mstl_forecasts(filled: Floats, seasons: Sequence[int], origins: Sequence[int], horizon: int) -> Floats:
    """Shape (len(origins), horizon), not negative; each origin knows what is before it only.

    `filled`: shape (n,), no NaN; `seasons`: whole numbers of steps, shortest first.
    """
    result = np.empty((len(origins), horizon))
    for fit in refits(origins, seasons[0]):
        begin = max(0, fit.origin - max(SEASONS_REMEMBERED * seasons[0], 2 * seasons[-1] + 1))
        ahead = origins[fit.rows[-1]] - fit.origin + horizon
        seasonal = _seasonal(filled[begin : fit.origin], seasons, ahead)
        for row in fit.rows:
            known = origins[row] - begin
            (level,), _ = smoothed((filled[begin : origins[row]] - seasonal[:known])[None, :])
            result[row] = level + seasonal[known : known + horizon]
    return np.maximum(result, 0.0)


def _seasonal(past: Floats, seasons: Sequence[int], ahead: int) -> Floats:
    """Shape (len(past) + ahead,): the sum of the seasons of which two are known, each going on as its last cycle."""
    from statsmodels.tsa.seasonal import MSTL  # takes a second to import: only when a model is fitted

    periods = [season for season in seasons if len(past) > 2 * season]
    if not periods:
        return np.zeros(len(past) + ahead)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an imperfect fit is judged by the backtest, not by its warnings
        parts = np.asarray(MSTL(past, periods=periods).fit().seasonal).reshape(len(past), -1)
    cycles = [np.resize(parts[-period:, column], ahead) for column, period in enumerate(periods)]
    return np.concatenate([parts.sum(axis=1), np.sum(cycles, axis=0)])
