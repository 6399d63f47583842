"""Restarts: the service was away for a moment, the demand was not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from forebay.domain.wording import duration
from forebay.forecasting.cleaning.usual import runs, usual
from forebay.forecasting.regular import RegularSeries

AWAY = 0.1  # of what is usual: below, nothing was served
BACK = 0.5  # of what is usual: above, on both sides, it was there
LONGEST = 1 / 12  # of a season: two hours of a day; longer is a gap in demand until someone says otherwise
RARE = 0.02  # of all slots: a load that is away more often is like that


def without_restarts(series: RegularSeries, season: int) -> RegularSeries:
    """Bridge short drops to almost nothing, from full load and back to it, as if the service had stayed.

    A drop that comes each season is usual and stays; so does a load that is often near zero, or a drop at the end,
    of which nobody knows yet whether it is one. The shape of the season is kept inside the bridge.
    """
    values = series.values
    expected = usual(values, season)
    if expected is None:
        return series
    with np.errstate(invalid="ignore"):
        away = (values < AWAY * expected) & (expected > 0)
    if not away.any() or away.mean() > RARE:
        return series
    known = np.flatnonzero(np.isfinite(values) & ~away)
    mended = np.zeros(len(values), dtype=bool)
    for run in runs(away):
        before, after = known[known < run.start], known[known >= run.stop]
        if run.stop - run.start > max(1, round(LONGEST * season)) or not (before.size and after.size):
            continue
        sides = np.array([before[-1], after[0]])
        if (values[sides] >= BACK * expected[sides]).all():
            mended[run] = True
    if not mended.any():
        return series
    strayed = np.interp(np.arange(len(values)), known, (values - expected)[known])
    found = list(runs(mended))
    longest = max(run.stop - run.start for run in found) * series.step
    return replace(
        series,
        values=np.where(mended, np.maximum(expected + strayed, 0.0), values),
        reasons=[*series.reasons, _said(len(found), longest, series.moment(found[-1].start))],
    )


def _said(count: int, longest: timedelta, last: str) -> str:
    if count == 1:
        return f"a restart bridged: near zero for {duration(longest)} on {last}"
    return f"{count} restarts bridged: near zero for up to {duration(longest)}, the last on {last}"
