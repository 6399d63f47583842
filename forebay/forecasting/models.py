"""The models that can be asked for by name. A model takes a grid and gives forecasts from all its origins at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from forebay.domain.errors import InputError
from forebay.forecasting import arima, lstm, members, mstl, naive, prophet, theta
from forebay.forecasting.grid import ModelGrid

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """What it takes to forecast one way: `members(grid)` gives name -> means of shape (origins, steps).

    An origin's row knows only the values before that origin; none is negative. Raises FitError.
    """

    title: str
    members: Callable[[ModelGrid], Mapping[str, Floats]]
    seconds: float = 0.0
    """Of the time budget of a series at least, or it is left out: what a fit takes, with the import of its library."""
    library: str = ""
    """The package it needs beyond the default install; the extra is called like the model."""

    @property
    def name(self) -> str:
        """What it is asked for by."""
        return self.title.lower().replace(" ", "-")

    @property
    def installed(self) -> bool:
        return not self.library or find_spec(self.library) is not None


def _seasonal_naive(grid: ModelGrid) -> dict[str, Floats]:
    return {
        "seasonal naive": naive.seasonal_naive(grid.coarse, round(grid.seasons[0]), grid.origins, grid.steps),
    }


def _last_value(grid: ModelGrid) -> dict[str, Floats]:
    return {"last value": naive.last_value(grid.coarse, grid.origins, grid.steps)}


def _time_of_day(grid: ModelGrid) -> dict[str, Floats]:
    season = round(grid.seasons[0])
    filled = members.bridged(grid.coarse, season)
    return {"time of day": members.usual(filled, season, grid.origins, grid.steps)}


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("seasonal naive", _seasonal_naive),
        Model("last value", _last_value),
        Model("time of day", _time_of_day),
        Model("simple", members.members),
        Model("theta", theta.member),
        Model("ARIMA", arima.member, seconds=2.0),
        Model("MSTL", mstl.member, seconds=2.0),
        Model("Prophet", prophet.member, seconds=5.0, library="prophet"),
        Model("LSTM", lstm.member, seconds=10.0, library="autograd"),
    )
}

DEFAULT = ("simple",)
"""What the combination is made of: an ARIMA beside it, measured, gained nothing (docs/benchmarks.md)."""


def named(names: Sequence[str]) -> list[Model]:
    """The models of these names. Raises InputError for one that is not known or not installed."""
    unknown = [name for name in names if name not in MODELS]
    if unknown or not names:
        raise InputError(f"there is no model {', '.join(map(repr, unknown))}: choose of {', '.join(MODELS)}")
    for name in names:
        if not MODELS[name].installed:
            raise InputError(
                f"model {name!r} needs {MODELS[name].library}, which is not installed: pip install 'forebay[{name}]'"
            )
    return [MODELS[name] for name in names]
