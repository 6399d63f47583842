"""Forecasts that need no fitting: the value one season ago, and the last value.

Both forecast from many origins at once. An origin is the number of slots already seen: origin `o` knows
`values[:o]` and its lead 0 is slot `o`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def seasonal_naive(values: Floats, season: int, origins: Sequence[int], horizon: int) -> Floats:
    """Shape (len(origins), horizon): the newest known value a whole number of seasons before each slot.

    A gap one season ago is bridged by the season before it, at last by the newest known value before the origin.
    """
    leads = np.arange(horizon)
    result = np.empty((len(origins), horizon))
    for row, origin in enumerate(origins):
        back = origin + leads - season * (leads // season + 1)
        picked = values[np.maximum(back, 0)]
        while (open_ := np.isnan(picked) & (back >= season)).any():
            back = np.where(open_, back - season, back)
            picked = np.where(open_, values[np.maximum(back, 0)], picked)
        known = values[:origin][np.isfinite(values[:origin])]
        result[row] = np.where(np.isnan(picked) | (back < 0), known[-1], picked)
    return result


def last_value(values: Floats, origins: Sequence[int], horizon: int) -> Floats:
    """Shape (len(origins), horizon): the newest known value before each origin, held."""
    newest = [values[:origin][np.isfinite(values[:origin])][-1] for origin in origins]
    return np.repeat(np.asarray(newest, dtype=float)[:, None], horizon, axis=1)
