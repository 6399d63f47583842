"""Which past moments a model is judged from, and what really followed them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ORIGINS = 24  # a season: neighbours overlap almost wholly
SEASONS_JUDGED = 10  # measured in slots of 5 minutes (docs/benchmarks.md): fewer show too little of a load's bursts


@dataclass(frozen=True)
class Backtest:
    """Rolling origins, as numbers of slots already seen; `leads` slots after each are judged."""

    origins: list[int]
    leads: int

    def actual(self, values: Floats) -> Floats:
        """Shape (origins, leads): what followed each origin, NaN where it is not known, or not yet."""
        followed = np.concatenate([values, np.full(self.leads, np.nan)])
        return np.asarray(followed[np.asarray(self.origins, dtype=int)[:, None] + np.arange(self.leads)])


def rolling_origins(n: int, season: int, horizon: int, first: int, ratio: int) -> Backtest:
    """Origins from slot `first` of `n` on, 24 a season, aligned with model steps of `ratio` slots that end at slot `n`.

    Trajectories are as long as the horizon if at least a season of origins remains, else as long as leaves a
    season of origins, or half of what follows `first`. Of trajectories longer than a season, those of the last one
    are judged as far as they are known: what was wrong yesterday says most. Aligned origins keep a rhythm shorter
    than a 24th of a season (a job each quarter of an hour) in phase with the forecast.
    """
    leads = max(1, min(horizon, max(n - first - season, (n - first) // 2)))
    newest = n - -(-min(leads, season) // ratio) * ratio  # a whole number of model steps before the end
    stride = max(1, season // ORIGINS // ratio) * ratio
    oldest = max(first, newest - SEASONS_JUDGED * season)
    return Backtest(list(range(newest, oldest - 1, -stride))[::-1] or [newest], leads)
