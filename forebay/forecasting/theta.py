"""The theta method: half a straight line through the past, half its level, with the season's shape around both.

Assimakopoulos & Nikolopoulos, "The theta model", 2000, in the form of Hyndman & Billah, "Unmasking the theta method",
2003: exponential smoothing with half the slope of the past's regression line. The season is taken out and put back
as the members' shrunk shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forebay.forecasting.grid import ModelGrid
from forebay.forecasting.members import SEASONS_REMEMBERED, bridged, shrunk_shape
from forebay.forecasting.smoothing import smoothed

Floats = npt.NDArray[np.float64]

NAME = "theta"


def member(grid: ModelGrid) -> dict[str, Floats]:
    """The one member this model is, fitted anew at every origin."""
    season = round(grid.seasons[0])
    return {NAME: theta_forecasts(bridged(grid.coarse, season), season, grid.origins, grid.steps)}


def theta_forecasts(filled: Floats, season: int, origins: list[int], horizon: int) -> Floats:
    """Shape (len(origins), horizon), not negative; each origin (at least one season in) knows what is before it.

    `filled`: shape (n,), no NaN.
    """
    result = np.empty((len(origins), horizon))
    counts = np.minimum(np.asarray(origins) // season, SEASONS_REMEMBERED)
    leads = np.arange(horizon)
    for count in np.unique(counts):  # those with as long a past are smoothed together
        rows, length = np.flatnonzero(counts == count), int(count) * season
        pasts = np.stack([filled[origins[row] - length : origins[row]] for row in rows])
        shapes = np.stack([shrunk_shape(past.reshape(-1, season)) for past in pasts])
        adjusted = pasts - np.tile(shapes, count)
        levels, factors = smoothed(adjusted)
        times = np.arange(length) - (length - 1) / 2
        slopes = adjusted @ times / (times**2).sum()
        drift = leads[None, :] + ((1 - (1 - factors) ** length) / factors)[:, None]
        result[rows] = levels[:, None] + slopes[:, None] / 2 * drift + shapes[:, leads % season]
    return np.maximum(result, 0.0)
