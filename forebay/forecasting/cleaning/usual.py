"""What a load usually does: its level of each season and the shape around it, by medians that dirt does not move."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ROUNDS = 2  # a season's median moves with its shape: taken again once that is known, it hardly does
SEASONS_NEEDED = 4  # with fewer, a median is not robust against a single odd day


def usual(values: Floats, season: int) -> Floats | None:
    """Shape (n,): each season's level plus the usual deviation at this time of it; None if too little is known.

    Both are medians (Tukey's median polish, "Exploratory Data Analysis", 1977). `values`: shape (n,), NaN in gaps;
    `season` in slots. Seasons are counted from the end.
    """
    if np.isfinite(values).sum() < SEASONS_NEEDED * season:
        return None
    days = by_season(values, season)
    levels, shape = np.zeros(len(days)), np.zeros(season)
    for _ in range(ROUNDS):
        levels = median(days - shape, axis=1)
        levels = np.where(np.isnan(levels), np.nanmedian(levels), levels)
        shape = np.nan_to_num(median(days - levels[:, None], axis=0))
    return np.asarray((levels[:, None] + shape).ravel()[-len(values) :])


def by_season(values: Floats, season: int) -> Floats:
    """Shape (seasons, season): the oldest one is filled up with NaN in front."""
    padded = np.full(-(-len(values) // season) * season, np.nan)
    padded[len(padded) - len(values) :] = values
    return padded.reshape(-1, season)


def median(values: Floats, axis: int) -> Floats:
    """The median of what is known; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty slice is answered by NaN, which is what is wanted
        return np.asarray(np.nanmedian(values, axis=axis))


def mean(values: Floats, axis: int) -> Floats:
    """The mean of what is known; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))


def runs(flags: Flags) -> Iterator[slice]:
    """The stretches in which `flags` holds."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.view(np.int8), [0]))))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        yield slice(int(begin), int(end))
