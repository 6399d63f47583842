"""A total and what was measured of its parts: what is forecast apart, what as a share, and what is left of the total.

Parts are brought to the total's slots, so that a coarser one costs the total nothing. One known for a short while only
is a share of what is left: forecast apart, it would take all older history of the total with it. So is one too coarse
to have a shape of the season, and one that ends before the total does: what the total did since would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.domain.wording import duration
from forebay.forecasting.counters import SAID
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.forecaster import sampling_interval
from forebay.forecasting.regular import COARSER, gridded

Floats = npt.NDArray[np.float64]

MOSTLY = 0.75  # of the total's history: three weeks of the four read by default, of which a week is still learned
TIMES_OF_SEASON = 24  # an hour of a day: fine enough for its shape, coarse enough for two days to tell
ABOVE = 0.1  # of the total, at least of its mean: below, two measurements of one thing differ, or one is late
CONTRADICTED = 0.25  # of what is known of both: beyond, one of the two measures something else


@dataclass(frozen=True)
class Share:
    """A part as a share of what is left of the total, by the time of the season."""

    of_season: Floats
    """Shape (TIMES_OF_SEASON,), from 0 to 1; counted from the epoch on."""
    season: timedelta
    known: timedelta
    """For how long both were measured."""
    said: str
    """How it is known, in people's words."""

    def at(self, times: pd.DatetimeIndex) -> Floats:
        """Shape (len(times),)."""
        return np.asarray(self.of_season[_time_of_season(times, self.season)])


@dataclass(frozen=True)
class Parts:
    """What to forecast of a total, in its unit."""

    apart: Mapping[str, pd.Series]
    """As they were measured."""
    shares: Mapping[str, Share]
    """Of `rest`."""
    rest: pd.Series
    """The total without what is `apart`, where it is known."""
    notes: tuple[str, ...] = field(default=())


def parted(total: pd.Series, measured: Mapping[str, pd.Series], slot: timedelta, seasons: Sequence[timedelta]) -> Parts:
    """Take the `measured` parts from the `total`, each known throughout on an aware index. `seasons`: shortest first.

    Raises HistoryError where the parts are above their total for much of the time.
    """
    spacing = sampling_interval(total)
    step = spacing if spacing > COARSER * slot else slot
    whole = _slots(total, step, seasons)
    parts = {name: _slots(own, step, seasons).reindex(whole.index) for name, own in measured.items()}
    intervals = {name: sampling_interval(own) for name, own in measured.items()}
    whole, notes = _without_contradictions(whole, parts, max(step, *intervals.values()), round(seasons[0] / step))
    known = whole.notna()
    shaped = [name for name in parts if intervals[name] <= seasons[0] / TIMES_OF_SEASON]
    ends = {name: own.dropna().index[-1] for name, own in parts.items() if own.notna().any()}
    late = whole.dropna().index[-1] - pd.Timedelta(seasons[0] / TIMES_OF_SEASON)
    fresh = [name for name in shaped if name in ends and ends[name] >= late]
    long = [name for name in fresh if (parts[name].notna() & known).sum() >= MOSTLY * known.sum()]
    rest = whole
    for name in long:
        own, said = _carried_on(parts[name], whole, seasons[0] / TIMES_OF_SEASON, step)
        rest, notes = rest - own, notes + tuple(f"{name}: {words}" for words in said)
    rest = rest.clip(lower=0.0)
    shares = {}
    for name in [name for name in parts if name not in long]:
        both = parts[name].notna() & rest.notna()
        if not both.any():
            notes = (*notes, f"{name}: measured at no time at which the total is")
            continue
        why = f"measured for {duration(both.sum() * step)} of {duration(known.sum() * step)}"
        if name not in shaped:
            why = f"measured every {duration(intervals[name])}"
        elif name not in fresh:
            why = f"measured until {ends[name] + step:%d %b %H:%M} UTC"
        why = f"{why}: taken for its share of {'the rest' if long else 'the total'} then"
        shares[name] = _share(parts[name][both], rest[both], seasons[0], both.sum() * step, name in shaped, why)
    return Parts({name: measured[name] for name in long}, shares, rest.dropna(), notes)


def _carried_on(
    own: pd.Series, whole: pd.Series, hour: timedelta, step: timedelta
) -> tuple[pd.Series, tuple[str, ...]]:
    """A part until the total ends, and the sentence where it is late: the rest is known of only where the part is."""
    known = own.dropna().index
    late = (own.index > known[-1]) & whole.notna()
    before = (own.index > known[-1] - hour) & own.notna() & whole.notna()
    if not late.any() or not before.any():
        return own, ()
    theirs, all_of_it = own[before].sum(), whole[before].sum()
    share = min(theirs / all_of_it, 1.0) if all_of_it > 0 else 0.0
    said = f"of the total since then it is taken for its share of the {duration(hour)} before, {share:.0%}"
    return own.where(~late, share * whole), (f"measured until {known[-1] + step:%d %b %H:%M} UTC: {said}",)


def _slots(series: pd.Series, step: timedelta, seasons: Sequence[timedelta]) -> pd.Series:
    regular = gridded(series, step, *seasons)
    index = pd.date_range(regular.start, periods=len(regular.values), freq=pd.Timedelta(step))
    on_slots = pd.Series(regular.values, index=index)
    on_slots.attrs[SAID] = tuple(regular.reasons)
    return on_slots


def _without_contradictions(
    whole: pd.Series, parts: Mapping[str, pd.Series], interval: timedelta, season: int
) -> tuple[pd.Series, tuple[str, ...]]:
    """The total, unknown where its parts are clearly more than it, in the mean of an interval; and the sentence.

    Less than a `season` (in slots) of both is too little to refuse anything for.
    """
    above = _above(whole, parts, interval)
    if not above.any():
        return whole, ()
    together = pd.concat(parts, axis=1).sum(axis=1, min_count=1)
    excess = together - whole
    both = excess.notna().sum()
    alone = {n: own for n, own in parts.items() if _above(whole, {n: own}, interval).sum() > CONTRADICTED * both}
    if alone and len(alone) < len(parts):
        return _without_contradictions(whole, alone, interval, season)
    much = above.sum() / both
    worst = pd.DatetimeIndex(whole.index)[int(np.nanargmax(excess))]
    said = (
        f"{' and '.join(parts)} {'are together' if len(parts) > 1 else 'is'} measured above the total "
        f"{100 * much:.3g} % of the time, most on {worst:%d %b %H:%M} UTC ({together[worst]:.3g} of {whole[worst]:.3g})"
    )
    if much > CONTRADICTED and both >= min(season, MOSTLY * whole.notna().sum()):
        raise HistoryError(
            f"{said}: one of the two measures something else. Mend the unit, or what the total holds; or leave the "
            f"usage of {' and '.join(parts)} out, and state shares"
        )
    return whole.mask(above), (f"{said}: one of the two is wrong, and the rest is taken for unknown then",)


def _above(whole: pd.Series, parts: Mapping[str, pd.Series], interval: timedelta) -> pd.Series:
    """Where the parts are clearly more than the total, in the mean of an interval."""
    excess = pd.concat(parts, axis=1).sum(axis=1, min_count=1) - whole
    mean = excess.groupby(pd.DatetimeIndex(whole.index).floor(pd.Timedelta(interval))).transform("mean")
    return (mean > ABOVE * whole.clip(lower=whole.mean())) & excess.notna()


def _share(own: pd.Series, rest: pd.Series, season: timedelta, known: timedelta, shaped: bool, why: str) -> Share:
    """Over all, and where `shaped` at each time of the season that is known."""
    times = _time_of_season(pd.DatetimeIndex(own.index), season) * shaped
    theirs, all_of_it = (np.bincount(times, weights=each, minlength=TIMES_OF_SEASON) for each in (own, rest))
    overall = theirs.sum() / max(all_of_it.sum(), np.finfo(float).tiny)
    of_season = np.divide(theirs, all_of_it, out=np.full(TIMES_OF_SEASON, overall), where=all_of_it > 0).clip(0, 1)
    low, high = f"{of_season.min():.0%}", f"{of_season.max():.0%}"
    shown = low if low == high else f"{low} to {high} by the time of the season"
    return Share(of_season, season, known, f"{why}, {shown}")


def _time_of_season(times: pd.DatetimeIndex, season: timedelta) -> npt.NDArray[np.int64]:
    length = pd.Timedelta(season).value
    return np.asarray(times.as_unit("ns").asi8 % length * TIMES_OF_SEASON // length)
