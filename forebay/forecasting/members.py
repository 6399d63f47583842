"""The simple forecasts a combination is made of: how high the load is now, and what it does at this time of day.

All are forecast from many origins at once. An origin is the number of steps already seen: origin `o` knows
`values[:o]` and its lead 0 is step `o`. Each season (a day; a week once three of them are known) gives

- the recent level, remembered for minutes up to days, with the season's usual shape around it: exponential
  smoothing with an additive season (Holt 1957, Winters 1960; Hyndman & Athanasopoulos, "Forecasting: Principles and
  Practice", 3rd ed., ch. 8.3), the shape shrunk by what is noise in it (James & Stein, 1961);
- what was seen at this time of the season: last time, the last three times, usually;
- what is usual at any time: the level with no shape at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from forebay.domain.wording import duration
from forebay.forecasting.grid import ModelGrid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HALF_LIVES = (1.5, 0.5, 0.25, 0.125, 0.0625, 0.02)  # of the level's memory, in days (of the first season)
SEASONS_REMEMBERED = 7  # older shapes say little
RECENT = 3  # seasons


def members(grid: ModelGrid) -> dict[str, Floats]:
    """All of them, for each season of the grid."""
    day = round(grid.seasons[0])
    filled = bridged(grid.coarse, day)
    found: dict[str, Floats] = {}
    for season in grid.seasons:
        found.update(season_members(filled, round(season), day, grid.step, grid.origins, grid.steps))
    return found


def bridged(values: Floats, season: int) -> Floats:
    """Gaps filled by the value a season before, else by the newest known one: never by what came later.

    What comes before the first known value takes that one.
    """
    filled = values.copy()
    for at in np.flatnonzero(np.isnan(filled)):
        filled[at] = filled[at - season] if at >= season else filled[at - 1] if at else np.nan
    return np.where(np.isnan(filled), values[np.isfinite(values)][0], filled)


def recent_seasons(values: Floats, season: int, horizon: int) -> Floats:
    """Shape (seasons, horizon): as it was from each of the last seasons' beginnings on, newest first.

    What goes beyond the end begins there again. `values`: shape (n,), NaN in gaps.
    """
    filled = bridged(values, season)
    count = min(len(filled) // season, SEASONS_REMEMBERED)
    starts = [len(filled) - back * season for back in range(1, count + 1)]
    return np.stack([np.resize(filled[start:], horizon) for start in starts])


def season_members(
    filled: Floats, season: int, day: int, step: timedelta, origins: Sequence[int], horizon: int
) -> Mapping[str, Floats]:
    """Name -> forecasts of shape (len(origins), horizon), each from at least one whole season before its origin.

    `filled`: shape (n,), no NaN; `season` and `day` in steps of length `step`, which only names the members.
    """
    ages = np.arange(SEASONS_REMEMBERED * season)[::-1]
    memories = np.stack([0.5 ** (ages / (half_life * day)) for half_life in HALF_LIVES])
    phases = np.arange(horizon) % season
    smoothed = np.empty((len(HALF_LIVES), len(origins), horizon))
    recalled = np.empty((6, len(origins), horizon))
    for rows, past in _pasts(filled, season, origins):
        shape = shrunk_shape(past)
        span = past.shape[1] * season
        weights = memories[:, -span:]
        levels = (past - shape[:, None]).reshape(len(rows), span) @ weights.T / weights.sum(axis=1)
        smoothed[:, rows] = levels.T[:, :, None] + shape[:, phases]
        last, usual = past[:, -1], np.median(past, axis=1)
        recalled[:4, rows] = np.stack([last, past[:, -RECENT:].mean(axis=1), usual, (last + usual) / 2])[:, :, phases]
        recalled[4, rows] = np.median(past.reshape(len(rows), span), axis=1)[:, None]
        recalled[5, rows] = np.median(last, axis=1)[:, None]
    span = duration(season * step)
    names = [
        *(f"level with a half-life of {duration(h * day * step)}, shaped as each {span}" for h in HALF_LIVES),
        f"same as {span} before",
        f"mean of the last {RECENT} times {span}",
        f"usual at this time of {span}",
        f"half same as {span} before, half usual",
        f"usual level of {SEASONS_REMEMBERED} times {span}",
        f"usual level of the last {span}",
    ]
    return dict(zip(names, np.maximum(np.concatenate([smoothed, recalled]), 0.0), strict=True))


def usual(filled: Floats, season: int, origins: Sequence[int], horizon: int) -> Floats:
    """Shape (len(origins), horizon): the median of what was seen at each time of the season."""
    result = np.empty((len(origins), horizon))
    for rows, past in _pasts(filled, season, origins):
        result[rows] = np.median(past, axis=1)[:, np.arange(horizon) % season]
    return result


def _pasts(filled: Floats, season: int, origins: Sequence[int]) -> Iterator[tuple[Ints, Floats]]:
    """Which of the origins have equally many seasons before them, and these: shape (rows, seasons, season)."""
    ends = np.asarray(origins)
    assert season <= ends.min() and ends.max() <= len(filled), "an origin needs a whole season before it"
    counts = np.minimum(ends // season, SEASONS_REMEMBERED)
    for count in np.unique(counts):
        rows, span = np.flatnonzero(counts == count), int(count) * season
        yield rows, sliding_window_view(filled, span)[ends[rows] - span].reshape(len(rows), count, season)


def shrunk_shape(past: Floats) -> Floats:
    """Shape (..., season): mean deviation from the season's own mean, times the share of it that is not noise.

    `past`: shape (..., seasons, season).
    """
    deviations = past - past.mean(axis=-1, keepdims=True)
    shape = deviations.mean(axis=-2)
    if past.shape[-2] < 2:
        return np.zeros_like(shape)  # seen once, a pattern cannot be told from an accident
    noise = deviations.var(axis=-2, ddof=1).mean(axis=-1, keepdims=True) / past.shape[-2]
    signal = (shape**2).mean(axis=-1, keepdims=True)
    return np.asarray(shape * np.maximum(0.0, 1.0 - noise / np.where(signal > 0, signal, np.inf)))
