"""Outliers: what happened once, was far from usual and short, and says nothing about the next days."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from forebay.forecasting.cleaning.usual import runs, usual
from forebay.forecasting.regular import RegularSeries

Floats = npt.NDArray[np.float64]

FAR, EDGE = 8.0, 3.0  # robust standard deviations from what is usual: of its top, and where it begins
DAMPED_TO = 3.0  # of them: it was high, but no more is known of it than that
LONGEST = 1 / 8  # of a season: three hours of a day
SEASONS_APART = 5  # at most one in so many: more often, they are what this load does
ALIKE = 0.4  # of an outlier's height, seen at any other time: then it is not alone
LEAST_SCALE = 0.02  # of the usual level: a load that hardly moves has no outliers within it


def without_outliers(series: RegularSeries, season: int) -> RegularSeries:
    """Damp rare, short, lone excursions of the season-adjusted series to three robust standard deviations.

    A peak that comes each season is usual; one whose like was seen at any other time is what the load does, and one
    at the end may be the beginning of something: all three stay.
    """
    values = series.values
    expected = usual(values, season)
    if expected is None:
        return series
    strayed = values - expected
    scale = max(1.4826 * float(np.nanmedian(np.abs(strayed))), LEAST_SCALE * float(np.nanmedian(values)))
    found = _lone(np.where(np.isfinite(strayed), np.abs(strayed), 0.0), scale, season)
    if not found:
        return series
    mended = values.copy()
    for run in found:
        mended[run] = np.maximum(expected[run] + np.clip(strayed[run], -DAMPED_TO * scale, DAMPED_TO * scale), 0.0)
    count = "an outlier" if len(found) == 1 else f"{len(found)} outliers, the largest"
    when = series.moment(found[0].start)
    far = f"{np.abs(strayed[found[0]]).max() / scale:.0f} standard deviations from usual on {when}"
    damped = f"damped to {DAMPED_TO:g} for the models only; bands and peaks keep it, for it may come again"
    said = f"{count} {far}, the like not seen otherwise: {damped}"
    return replace(series, values=mended, undamped=values, reasons=[*series.reasons, said])


def _lone(distance: Floats, scale: float, season: int) -> list[slice]:
    """The excursions that stand alone, highest first: as many as may be, if the next highest is far below them."""
    if not scale > 0:
        return []
    excursions = sorted(runs(distance > EDGE * scale), key=lambda run: -distance[run].max())
    heights = [float(distance[run].max()) for run in excursions] + [EDGE * scale]
    most = min(max(1, len(distance) // (SEASONS_APART * season)), len(excursions))
    for count in range(most, 0, -1):
        lone = excursions[:count]
        short = all(run.stop - run.start <= max(1, LONGEST * season) and run.stop < len(distance) for run in lone)
        if short and heights[count - 1] > FAR * scale and heights[count] <= ALIKE * heights[count - 1]:
            return lone
    return []
