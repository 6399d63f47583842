"""Scores of probabilistic forecasts, as the M4/M5 and GIFT-Eval competitions define them.

All functions take arrays of actual values of any shape and quantile forecasts whose last axis is the level.
Slots whose actual value is missing (NaN) do not count; when none is left the score is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SCORED_LEVELS: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(1, 20))


def mean(values: Floats) -> float:
    """Of what is known, in the data's unit; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def quantile_loss(actual: Floats, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """Pinball loss of each slot and level, times 2 so that the median's loss is the absolute error.

    `actual`: shape (...); `quantiles`: shape (..., len(levels)); result like `quantiles`, in the data's unit.
    Koenker & Bassett (1978); the factor 2 as in Makridakis et al., "The M5 uncertainty competition" (2022).
    """
    tau = np.asarray(levels, dtype=float)
    error = actual[..., None] - quantiles
    return np.asarray(2.0 * np.maximum(tau * error, (tau - 1.0) * error))


def mase(actual: Floats, median: Floats, history: Floats, season: int) -> float:
    """Mean absolute error scaled by the history's own one-season-ago error (Hyndman & Koehler, 2006).

    `history`: shape (n,), n > season slots; NaN when the history repeats itself exactly or is too short.
    """
    if history.shape[0] <= season:
        return float("nan")
    scale = mean(np.abs(history[season:] - history[:-season]))
    return mean(np.abs(actual - median)) / scale if scale > 0 else float("nan")


def coverage(actual: Floats, low: Floats, high: Floats) -> float:
    """Share of slots within [low, high]; a calibrated 0.05-0.95 band covers 0.90."""
    known = np.isfinite(actual)
    inside = (actual >= low) & (actual <= high)
    return float(inside[known].mean()) if known.any() else float("nan")


def share_above(actual: Floats, quantile: Floats) -> float:
    """Share of slots above a quantile; above the 0.95 quantile it should be at most 0.05."""
    known = np.isfinite(actual)
    return float((actual > quantile)[known].mean()) if known.any() else float("nan")
