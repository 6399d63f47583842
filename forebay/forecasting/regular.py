"""From a history as it was recorded to usage on a regular grid of slots: dirt is refused, filled or left out, aloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.domain.wording import duration
from forebay.forecasting.counters import SAID
from forebay.forecasting.errors import HistoryError

Floats = npt.NDArray[np.float64]

GAPS_FILLED_UP_TO = 1 / 24  # of a season: an hour of a day; longer gaps would be invention
SEASONS_KEPT = 28  # older load says little about the next days and would cost memory and time
LONG_SEASONS_KEPT = 4  # of the longest season: it is learned once it has passed three times
MOST_USED = 1e15  # cores, GiB, Mbit/s: more is no measurement, and its powers and units leave what numbers hold
COARSER = 1.5  # samples further apart than this many steps are held instead of averaged


def _itself(time: pd.Timestamp) -> pd.Timestamp:
    return time


@dataclass(frozen=True)
class RegularSeries:
    """Mean usage of consecutive slots; NaN where it is not known."""

    values: Floats
    """Shape (n,), absolute units, first value known."""
    start: pd.Timestamp
    """Start of the first slot, aware UTC, a multiple of the step since the epoch."""
    step: timedelta
    reasons: list[str]
    undamped: Floats | None = None
    """Shape (n,): `values` with their outliers; None where there are none."""
    recorded: Floats | None = None
    """Shape (m,): as recorded up to the same end, mended only where a level was left behind; None if `values`."""

    utc: Callable[[pd.Timestamp], pd.Timestamp] = _itself
    """From a time of the slots to UTC, where they lie on another clock that is only labelled so."""

    def moment(self, slot: int) -> str:
        """When a slot began, in words."""
        return f"{self.utc(self.start + slot * self.step):%d %b %H:%M} UTC"

    @property
    def end(self) -> pd.Timestamp:
        """End of the last slot: where the forecast begins."""
        return self.start + len(self.values) * pd.Timedelta(self.step)


def regular_series(history: pd.Series, step: timedelta, season: timedelta, *longer: timedelta) -> RegularSeries:
    """Put a history on slots of length `step`, as `gridded` does, with short gaps filled.

    Gaps up to a 24th of `season`, the shortest, are filled on a straight line; longer ones stay NaN, never zero.
    Raises HistoryError.
    """
    series = gridded(history, step, season, *longer)
    reasons = list(series.reasons)
    values = _filled(series.values, max(1, round(GAPS_FILLED_UP_TO * (season / step))), step, reasons)
    return replace(series, values=values, reasons=reasons)


def gridded(history: pd.Series, step: timedelta, *seasons: timedelta) -> RegularSeries:
    """What was recorded of slots of length `step`, NaN in every gap.

    Samples are averaged into the slot they start in; a history coarser than `step` is held over each sample's
    interval. Of a long history the last SEASONS_KEPT of the shortest season are used, or LONG_SEASONS_KEPT of the
    longest where these are more.

    Raises HistoryError for what cannot be mended by guessing: no samples, naive or repeated or unordered
    timestamps, negative or infinite usage.
    """
    samples = _checked(history)
    reasons: list[str] = list(history.attrs.get(SAID, ()))
    step_ns = pd.Timedelta(step).value
    # keep an old sample or two from spanning a grid of millions of slots
    kept = max(SEASONS_KEPT * min(seasons), LONG_SEASONS_KEPT * max(seasons))
    oldest = samples.index[-1] - pd.Timedelta(kept)
    if samples.index[0] <= oldest:
        samples = samples[samples.index > oldest]
        reasons.append(f"used the last {duration(kept)} of the history")
    samples = samples.loc[samples.first_valid_index() :] if samples.notna().any() else samples
    if samples.isna().all():
        raise HistoryError(
            f"history: no usage is known in the {duration(kept)} before {samples.index[-1]}; "
            "export a history with recent values"
        )

    times = np.asarray(samples.index, dtype="datetime64[ns]").astype(np.int64)
    spacing_ns = int(np.median(np.diff(times))) if len(times) > 1 else step_ns
    held = spacing_ns > COARSER * step_ns
    if held:
        reasons.append(
            f"samples every {duration(timedelta(microseconds=spacing_ns / 1000))} are coarser than the "
            f"{duration(step)} step: each is held over its interval, peaks inside it are not seen"
        )
    elif len(times) > 2 and np.any((np.diff(times) % spacing_ns) != 0):
        reasons.append(f"irregular sampling: averaged into {duration(step)} slots")
    values, first_slot = _held(samples, step_ns, spacing_ns) if held else _averaged(times, samples.to_numpy(), step_ns)
    start = pd.Timestamp(first_slot * step_ns, unit="ns", tz="UTC")
    return RegularSeries(values, start, step, reasons)


def _checked(history: pd.Series) -> pd.Series:
    """The history as float64 on a UTC nanosecond index, or HistoryError naming the first offender."""
    if len(history) == 0:
        raise HistoryError("history: it has no samples; export at least a few seasons of usage")
    index = history.index
    if not isinstance(index, pd.DatetimeIndex):
        raise HistoryError(
            f"history: the index is {type(index).__name__}, not timestamps; index it by a DatetimeIndex in UTC"
        )
    if index.tz is None:
        raise HistoryError(f"history: timestamp {index[0]} has no time zone; add one, e.g. history.tz_localize('UTC')")
    if index.hasnans:
        raise HistoryError(f"history: sample {int(np.argmax(index.isna()))} has no timestamp; drop or date it")
    index = index.tz_convert("UTC").as_unit("ns")
    if index.has_duplicates:
        raise HistoryError(
            f"history: timestamp {index[index.duplicated()][0].isoformat()} occurs more than once; "
            "keep one sample per timestamp, e.g. average them"
        )
    if not index.is_monotonic_increasing:
        late = int(np.argmax(np.diff(index.asi8) < 0)) + 1
        raise HistoryError(
            f"history: timestamp {index[late].isoformat()} comes after {index[late - 1].isoformat()}; "
            "sort the samples by time, e.g. history.sort_index()"
        )
    try:
        values = history.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise HistoryError(f"history: the values are not numbers ({error}); convert them") from error
    for wrong, what, mend in (
        (np.isinf(values), "infinite", "leave the sample out if it is not known"),
        (values > MOST_USED, "more than anything uses", "mend the export, or leave the sample out"),
        (values < 0, "negative", "usage is never below zero: mend the export, or leave the sample out"),
    ):
        if wrong.any():
            at = int(np.argmax(wrong))
            raise HistoryError(f"history: value {values[at]:g} at {index[at].isoformat()} is {what}; {mend}")
    if np.isnan(values).all():
        raise HistoryError("history: every value is missing (NaN); export a history with values")
    return pd.Series(values, index=index)


def _averaged(times: npt.NDArray[np.int64], values: Floats, step_ns: int) -> tuple[Floats, int]:
    slots = times // step_ns
    first = int(slots[0])
    n = int(slots[-1]) - first + 1
    known = np.isfinite(values)
    counts = np.bincount(slots[known] - first, minlength=n)
    sums = np.bincount(slots[known] - first, weights=values[known], minlength=n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), first


def _held(samples: pd.Series, step_ns: int, spacing_ns: int) -> tuple[Floats, int]:
    times = np.asarray(samples.index, dtype="datetime64[ns]").astype(np.int64)
    first = int(times[0]) // step_ns
    # a slot belongs to the newest sample started by the slot's end, so that slots never lag behind their sample
    last = (int(times[-1]) + spacing_ns - 1) // step_ns
    slot_times = np.arange(first, last + 1, dtype=np.int64) * step_ns
    owner = np.clip(np.searchsorted(times, slot_times, side="right") - 1, 0, None)
    values = samples.to_numpy()[owner]
    return np.where(slot_times < times[owner] + spacing_ns, values, np.nan), first


def _filled(values: Floats, longest: int, step: timedelta, reasons: list[str]) -> Floats:
    """Fill inner gaps of at most `longest` slots on a straight line; gaps at the end stay open."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    edges = np.flatnonzero(np.diff(np.concatenate(([0], missing.view(np.int8), [0]))))
    fill = np.zeros(len(values), dtype=bool)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin <= longest and end < len(values):
            fill[begin:end] = True
    if fill.any():
        known = np.flatnonzero(~missing)
        values = values.copy()
        values[fill] = np.interp(np.flatnonzero(fill), known, values[known])
        share = 100 * fill.sum() / len(values)
        shown = f"{share:.1f}" if share >= 0.05 else "under 0.1"
        reasons.append(f"{shown} % of slots filled (gaps up to {duration(longest * step)})")
    known_slots = int(np.isfinite(values).sum())
    if known_slots < len(values):
        reasons.append(f"used {duration(known_slots * step)} of {duration(len(values) * step)}: longer gaps left out")
    return values
