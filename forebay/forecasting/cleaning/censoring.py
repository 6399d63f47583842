"""Censored demand: usage that is flat at its maximum says only that demand was at least that."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from forebay.forecasting.cleaning.usual import by_season, mean, runs
from forebay.forecasting.regular import RegularSeries

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

TAIL = 0.9  # of the ceiling: usage above says how fast demand thins out up there; measured, unbiased from here on
MOST_LIFTED = 0.25  # of the ceiling: what was hardly ever below it says nothing of how far above it was
OFTEN = 0.5  # of the seasons; measured, lifting what was at the ceiling by chance makes the forecast worse
MOST = 0.5  # of all slots: of a load that is at its ceiling more often nothing is known above it
FLAT = 0.005  # of the maximum: a plateau is this flat
PLATEAUS, PLATEAU_SLOTS, RARE = (
    2,
    3,
    0.01,
)  # stretches, slots in each, of all slots: a maximum reached once is no ceiling
PILE = 5.0  # times as many slots as in the band right below: demand thins out toward its maximum, a limit piles it up


def lifted(series: RegularSeries, season: int) -> RegularSeries:
    """Usage on a plateau at its maximum, raised by how far demand is expected to have been above that ceiling.

    Lifted is what is at the ceiling at this time of at least half the seasons, by the median
    excess of an exponential tail: ln 2 times its mean, estimated from what lies above nine tenths of the ceiling with
    the censored slots counted as such (maximum likelihood under censoring is the sum of all excesses over the number
    of those seen in full; Lawless, "Statistical Models and Methods for Lifetime Data", 2nd ed., ch. 4.1). Such a
    tail has no memory: it is the same above the ceiling.
    """
    values = series.values
    censored = plateau(values)
    if not censored.any():
        return series
    top = float(np.nanmax(values))
    where = f"flat at its maximum of {top:.3g}, taken for a ceiling,"
    said = f"usage {where} in {censored.mean():.1%} of slots: censored demand, "
    recurring = censored & _often(censored, np.isfinite(values), season)
    if censored.mean() > MOST or not recurring.any():
        why = "that is most of the time" if censored.mean() > MOST else "it does not recur at a time of day"
        return replace(series, reasons=[*series.reasons, f"{said}used as it is, as {why}"])
    excess = _median_excess(values[np.isfinite(values) & ~censored] / top, int(censored.sum()))
    demand = np.where(recurring, top * (1 + excess), values)
    said += f"lifted by {excess:.0%} where it recurs at a time of day (median of an exponential tail)"
    return replace(series, values=demand, reasons=[*series.reasons, said])


def _often(censored: Flags, known: Flags, season: int) -> Flags:
    share = mean(by_season(np.where(known, censored.astype(float), np.nan), season), axis=0)
    return np.resize(share[::-1], len(censored))[::-1] >= OFTEN


def _median_excess(below: Floats, censored: int) -> float:
    """Of demand above the ceiling, relative to it. `below`: what was seen in full, relative to the ceiling."""
    begin = max(TAIL, float(np.median(below)) if below.size else TAIL)
    seen = below[below > begin] - begin
    if not seen.size:
        return MOST_LIFTED
    return min(math.log(2) * float(seen.sum() + censored * (1 - begin)) / len(seen), MOST_LIFTED)


def plateau(values: Floats) -> Flags:
    """The slots at a ceiling: flat stretches at the maximum, where demand piles up."""
    top = float(np.nanmax(values))
    with np.errstate(invalid="ignore"):
        flat = values >= (1 - FLAT) * top
        below = (values >= (1 - 2 * FLAT) * top) & ~flat
    stretches = [run for run in runs(flat) if run.stop - run.start >= PLATEAU_SLOTS]
    found = np.zeros(len(values), dtype=bool)
    if top > 0 and len(stretches) >= PLATEAUS and flat.mean() >= RARE and flat.sum() >= PILE * below.sum():
        for run in stretches:
            found[run] = True
    return found
