"""A store of CloudWatch metrics: append datapoints, read statistics per clock-aligned period.

Times are epoch seconds. A series is found by namespace, name and its set of dimensions, in any order.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PERCENTILE = re.compile(r"^p(\d{1,2}(?:\.\d+)?|100)$")
STATISTICS = ("Average", "Sum", "Minimum", "Maximum", "SampleCount")


@dataclass(frozen=True)
class Metric:
    """Names a series. `dimensions` are sorted pairs, so their order in a call does not matter."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, namespace: str, name: str, dimensions: Mapping[str, str] | None = None) -> Metric:
        return cls(namespace, name, tuple(sorted((dimensions or {}).items())))


def _column() -> array[float]:
    return array("d")


@dataclass
class Series:
    """Datapoints as statistic sets (a plain value is a set of one sample), in order of arrival."""

    unit: str | None = None
    dimension_order: tuple[str, ...] = ()
    times: array[float] = field(default_factory=_column)
    sums: array[float] = field(default_factory=_column)
    counts: array[float] = field(default_factory=_column)
    minima: array[float] = field(default_factory=_column)
    maxima: array[float] = field(default_factory=_column)
    sorted: bool = True

    def append(self, time: float, total: float, count: float, low: float, high: float) -> None:
        if self.times and time < self.times[-1]:
            self.sorted = False
        self.times.append(time)
        self.sums.append(total)
        self.counts.append(count)
        self.minima.append(low)
        self.maxima.append(high)

    def columns(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Times, sums, counts, minima, maxima, ordered by time."""
        if not self.sorted:
            order = np.argsort(np.array(self.times), kind="stable")
            for name in ("times", "sums", "counts", "minima", "maxima"):
                setattr(self, name, array("d", np.array(getattr(self, name))[order].tolist()))
            self.sorted = True
        # Copies: a live buffer would forbid the next append.
        return (
            np.array(self.times),
            np.array(self.sums),
            np.array(self.counts),
            np.array(self.minima),
            np.array(self.maxima),
        )


class MetricStore:
    """All series of one account and region."""

    def __init__(self) -> None:
        self.series: dict[Metric, Series] = {}

    def put(self, metric: Metric, time: float, value: float, unit: str | None = None, samples: float = 1) -> None:
        """Appends `samples` equal samples that add up to `value`."""
        each = value / samples
        self.series_of(metric, unit).append(time, value, samples, each, each)

    def put_statistics(
        self, metric: Metric, time: float, total: float, count: float, low: float, high: float, unit: str | None
    ) -> None:
        self.series_of(metric, unit).append(time, total, count, low, high)

    def series_of(self, metric: Metric, unit: str | None = None) -> Series:
        """The series of `metric`, made if it is new."""
        found = self.series.get(metric)
        if found is None:
            found = self.series[metric] = Series(unit)
        return found

    def statistic(
        self, metric: Metric, stat: str, start: float, end: float, period: int, unit: str | None = None
    ) -> tuple[list[float], list[float]]:
        """Period starts and values, oldest first; periods without data are left out.

        Periods are aligned to the clock, `start` is rounded down to one, `end` is exclusive (as GetMetricData does).
        Raises ValueError for a statistic that is not known.
        """
        percentile = PERCENTILE.match(stat)
        if stat not in STATISTICS and not percentile:
            raise ValueError(f"statistic {stat!r} is not known; use {', '.join(STATISTICS)} or p0..p100")
        found = self.series.get(metric)
        if found is None or (unit is not None and unit != found.unit):
            return [], []
        times, sums, counts, minima, maxima = found.columns()
        first = np.floor(start / period) * period
        lo, hi = np.searchsorted(times, [first, end])
        if lo == hi:
            return [], []
        bins = np.floor(times[lo:hi] / period) * period
        starts, edges = np.unique(bins, return_index=True)
        total = np.add.reduceat(sums[lo:hi], edges)
        count = np.add.reduceat(counts[lo:hi], edges)
        if percentile:
            return self._percentile(
                float(percentile.group(1)), starts, edges, sums[lo:hi] / counts[lo:hi], maxima[lo:hi] - minima[lo:hi]
            )
        if stat == "Average":
            values = total / count
        elif stat == "Minimum":
            values = np.minimum.reduceat(minima[lo:hi], edges)
        elif stat == "Maximum":
            values = np.maximum.reduceat(maxima[lo:hi], edges)
        else:
            values = total if stat == "Sum" else count
        return starts.tolist(), values.tolist()

    @staticmethod
    def _percentile(
        q: float, starts: Floats, edges: NDArray[np.intp], values: Floats, spread: Floats
    ) -> tuple[list[float], list[float]]:
        """As AWS: a period that holds a statistic set with different minimum and maximum has no percentile."""
        kept_starts, kept = [], []
        for start, part, wide in zip(starts, np.split(values, edges[1:]), np.split(spread, edges[1:]), strict=True):
            if not np.any(wide > 0):
                kept_starts.append(float(start))
                kept.append(float(np.percentile(part, q)))
        return kept_starts, kept

    def find(
        self, namespace: str | None, name: str | None, dimensions: Iterable[tuple[str, str | None]]
    ) -> list[Metric]:
        """The series that match; a dimension's value None matches every value."""
        wanted = list(dimensions)
        return [
            m
            for m in self.series
            if (not namespace or m.namespace == namespace)
            and (not name or m.name == name)
            and all(any(n == k and v in (None, w) for k, w in m.dimensions) for n, v in wanted)
        ]
