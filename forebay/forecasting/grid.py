"""Slots modelled in coarser steps: what models see of a series, and their forecasts back on its slots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from forebay.forecasting.backtest import Backtest

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ModelGrid:
    """The means of model steps of `ratio` slots that end at the last slot, and the origins to forecast from on it."""

    values: Floats
    ratio: int
    seasons: list[float]
    """In model steps, shortest first."""
    backtest: Backtest
    horizon: int
    slot: timedelta

    @property
    def step(self) -> timedelta:
        """Length of a model step."""
        return self.ratio * self.slot

    @property
    def coarse(self) -> Floats:
        """Shape (steps,); slots before the first whole step are dropped."""
        blocks = self.values[len(self.values) % self.ratio :].reshape(-1, self.ratio)
        known = np.isfinite(blocks)
        sums, counts = np.where(known, blocks, 0.0).sum(axis=1), known.sum(axis=1)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    @property
    def origins(self) -> list[int]:
        """The past origins and now, in model steps seen."""
        n = len(self.values)
        return [(origin - n % self.ratio) // self.ratio for origin in [*self.backtest.origins, n]]

    @property
    def steps(self) -> int:
        return -(-self.horizon // self.ratio)

    def past_slots(self, means: Floats) -> Floats:
        """Shape (..., origins, leads): each slot forecast as its step's mean, from the past origins.

        How slots stray from that mean is part of the errors, which are taken slot by slot: the paths hold it again.
        """
        return np.repeat(means[..., :-1, :], self.ratio, axis=-1)[..., : self.backtest.leads]

    def future_slots(self, means: Floats) -> Floats:
        """Shape (..., 1, horizon): the same from now."""
        return np.repeat(means[..., -1:, :], self.ratio, axis=-1)[..., : self.horizon]
