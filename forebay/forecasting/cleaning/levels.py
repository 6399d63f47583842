"""Level shifts: a load that became lastingly larger or smaller, and what older history is then worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from forebay.forecasting.cleaning.usual import by_season, median
from forebay.forecasting.regular import RegularSeries

Floats = npt.NDArray[np.float64]
Judge = Callable[[Floats, int], float]
"""Loss, on the last season of a series of slots, of a forecast made from what came before it."""

SEASONS_EACH_SIDE = 3  # longer than a weekend
LEAST_RATIO = 1.25
CLEAR = 4.0  # robust standard deviations of the seasons' own levels
LEFT_BEHIND = 0.5  # or less of the old level: from milder falls, measured, loads come back often enough to plan for it
BETTER = 0.9  # of the loss with history as it is: what is no better changes nothing


def level_shift(values: Floats, season: int) -> tuple[int, float] | None:
    """The slot at which the level changed for good, and the new level over the old; None if it did not.

    The split of the seasons' medians that leaves the smallest absolute deviations, then the slot within a season of it
    that does, whether the swing grows with the level or stays. `values`: shape (n,), NaN in gaps.
    """
    whole = by_season(values, season)[1 if len(values) % season else 0 :]
    seen = np.flatnonzero(np.isfinite(whole).any(axis=1))  # a season of which nothing is known hides no shift
    levels = median(whole[seen], axis=1)
    if len(levels) < 2 * SEASONS_EACH_SIDE:
        return None
    splits = range(SEASONS_EACH_SIDE, len(levels) - SEASONS_EACH_SIDE + 1)
    strayed = {k: np.abs(np.concatenate([_centred(levels[:k]), _centred(levels[k:])])) for k in splits}
    split = min(splits, key=lambda k: float(strayed[k].sum()))
    before, after = float(np.median(levels[:split])), float(np.median(levels[split:]))
    noise = max(CLEAR * 1.4826 * float(np.median(strayed[split])), float(strayed[split].max()))
    if min(before, after) <= 0 or max(after / before, before / after) < LEAST_RATIO or abs(after - before) < noise:
        return None
    around = whole[seen[split - 1] : seen[split] + 1]
    relative = whole[seen] / np.where(levels > 0, levels, np.nan)[:, None]  # an idle season has no shape
    grown = np.nan_to_num(median(relative, axis=0), nan=1.0)
    same = np.nan_to_num(median(whole[seen] - levels[:, None], axis=0))
    _, turn = min(
        _turn(around, before * grown, after * grown),
        _turn(around, before + same, after + same),
    )
    at = len(values) - (len(whole) - int(seen[split - 1])) * season + turn
    if len(values) - at < (SEASONS_EACH_SIDE - 0.5) * season:
        return None  # the first of its seasons was for the most part an old one
    return at, after / before


def with_one_level(series: RegularSeries, season: int, judge: Judge) -> RegularSeries:
    """Rescale what came before a level shift, or drop it, or leave it: whichever forecast the last season best."""
    found = level_shift(series.values, season)
    if found is None:
        return series
    at, ratio = found
    rescaled = _rescaled(series.values, at, ratio)
    first = at + int(np.argmax(np.isfinite(series.values[at:])))
    choices = {
        "older history rescaled": (rescaled, 0),
        "older history dropped": (series.values[first:], first),
        "history used as it is": (series.values, 0),
    }
    losses = {name: judge(values, season) for name, (values, _) in choices.items()}
    best = min(losses, key=lambda name: losses[name])
    if losses[best] > BETTER * losses["history used as it is"]:
        best = "history used as it is"
    values, dropped = choices[best]
    said = f"level shift on {series.moment(at)} to {ratio:.2g} times: {best}, which forecast the last season best"
    recorded = series.recorded
    if recorded is not None and ratio <= LEFT_BEHIND and best != "history used as it is":
        # days of a level that is gone are no days that may come again
        recorded = recorded[dropped:] if dropped else _rescaled(recorded, at, ratio)
    return replace(
        series,
        values=values,
        recorded=recorded,
        start=series.start + dropped * series.step,
        reasons=[*series.reasons, said],
    )


def _rescaled(values: Floats, at: int, ratio: float) -> Floats:
    return np.concatenate([values[:at] * ratio, values[at:]])


def _centred(levels: Floats) -> Floats:
    return np.asarray(levels - np.median(levels))


def _turn(around: Floats, old: Floats, new: Floats) -> tuple[float, int]:
    """The slot of `around`, shape (seasons, season), from which on it is rather `new` than `old`, shapes (season,).

    In front of it how far all slots stray then. With one shape for a small and a large swing, a night at a larger level
    would look like one at the old level.
    """
    from_old, from_new = (np.abs(around - usual).ravel() for usual in (old, new))
    known = np.flatnonzero(np.isfinite(from_old))
    until, since = np.cumsum(from_old[known])[:-1], np.cumsum(from_new[known][::-1])[-2::-1]
    best = int(np.argmin(until + since))
    return float(until[best] + since[best]), int(known[best + 1])
