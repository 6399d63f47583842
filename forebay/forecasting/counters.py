"""Counters: usage recorded as a sum since the start, as Prometheus and cAdvisor export it, and brought back to a rate.

A counter is told by its unit (`core-seconds`, `bytes` of network). A series in a rate's unit that only ever rises is
refused instead of guessed at: nobody can tell whether it counts seconds or milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from forebay.domain.resources import UNIT_FACTOR, Resource

COUNTER_UNITS: Mapping[Resource, Mapping[str, float]] = {
    Resource.CPU: {"core-seconds": UNIT_FACTOR[Resource.CPU]["cores"]},
    Resource.MEMORY: {},
    Resource.NETWORK: {"bytes": UNIT_FACTOR[Resource.NETWORK]["bytes/s"]},
}
"""Factors from the counter's unit per second to the canonical unit. Memory is held, not spent: it has no counters."""

SAID = "said"
"""Key of a series' `attrs` (pandas hands them on): sentences of what reading it found, for whoever forecasts it."""
RESET_AT = "reset at"
"""Likewise: when a counter was reset."""

SAMPLES_NEEDED = 50  # a load may rise for some hours
RISING = 0.9  # of all steps; the rest stand still
RESETS = 0.02  # of all steps, each to less than half: a process that was started again counts from zero


def rate(counter: pd.Series) -> pd.Series:
    """Mean increase per second between two samples, at the earlier one's time.

    `counter`: on an aware index in order, NaN in gaps. The interval of a reset is left out, and that is said: how much
    was counted before it is not known. One sample fewer than known ones.
    """
    known = counter.dropna()
    times = pd.DatetimeIndex(known.index).as_unit("ns")
    increase = np.diff(known.to_numpy(dtype=float))
    resets = times[:-1][increase < 0]
    per_second = np.where(increase >= 0, increase / (np.diff(times.asi8) / 1e9), np.nan)
    found = pd.Series(per_second, index=known.index[:-1], name=counter.name)
    found.attrs[RESET_AT] = tuple(resets.tz_convert("UTC"))
    return since(found, found.index[0])


def since(series: pd.Series, begin: pd.Timestamp) -> pd.Series:
    """What is known from `begin` on; resets before it are not said."""
    late = series[series.index >= begin]
    if RESET_AT in late.attrs:
        resets = tuple(at for at in late.attrs[RESET_AT] if at >= begin)
        late.attrs = {RESET_AT: resets, SAID: (_said(pd.DatetimeIndex(resets)),)} if resets else {}
    return late


def _said(resets: pd.DatetimeIndex) -> str:
    last = f"after {resets[-1]:%d %b %H:%M} UTC"
    which = f"a counter reset {last}" if len(resets) == 1 else f"{len(resets)} counter resets, the last {last}"
    return f"{which}: usage from there to the next sample is not known"


def looks_like_a_counter(values: pd.Series) -> bool:
    """Whether a series practically only rises, but for a few falls to less than half; memory may well do so."""
    known = values.dropna().to_numpy(dtype=float)
    if len(known) < SAMPLES_NEEDED:
        return False
    steps = np.diff(known)
    falls = steps < 0
    resets = falls & (known[1:] < known[:-1] / 2)
    return bool((steps > 0).mean() >= RISING and (falls == resets).all() and resets.mean() <= RESETS)
