"""Rolling-origin windows out of a folder of usage traces: what was known, and what then came."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

DAY = 24
ORIGINS = 3


@dataclass(frozen=True)
class Trace:
    """One hourly series: means or maxima of its samples."""

    name: str
    workload: str
    source: str
    resource: str
    pattern: str
    hours: pd.Series


@dataclass(frozen=True)
class Window:
    """What was known at an origin (NaN-free, hourly) and the `horizon` hours that followed."""

    trace: Trace
    history: pd.Series
    future: Floats


def read_traces(folder: Path, aggregate: str) -> list[Trace]:
    """Every series of the folder, by name. `aggregate`: "mean" or "max" of the samples in an hour.

    Read are tidy Parquet files (series_id, timestamp, resource, value; with a series.csv that may name source and
    pattern) and wide CSV files (timestamp, then one column a resource).
    """
    listed = folder / "series.csv"
    about = pd.read_csv(listed).set_index("series_id") if listed.exists() else pd.DataFrame()
    traces = [
        _trace(name, samples, aggregate, {"source": file.stem, **given})
        for file in sorted(folder.iterdir())
        if file != listed and file.suffix in (".parquet", ".csv")
        for name, samples, given in _series_of(file, about)
    ]
    return sorted(traces, key=lambda trace: trace.name)


def half_of(traces: list[Trace], half: str, seed: int) -> list[Trace]:
    """The half of the *workloads* to develop on, or the other, kept for the report; "all" for both.

    Series of one machine move together: they must not be on both sides.
    """
    if half == "all":
        return traces
    workloads = sorted({trace.workload for trace in traces})
    np.random.default_rng(seed).shuffle(workloads)
    developed = set(workloads[: len(workloads) // 2])
    return [trace for trace in traces if (trace.workload in developed) == (half == "develop")]


def sample_of(traces: list[Trace], count: int, seed: int) -> list[Trace]:
    """`count` of them at random, in their order; all when there are fewer."""
    picked = np.random.default_rng(seed).permutation(len(traces))[:count]
    return [traces[i] for i in sorted(picked)]


def windows_of(traces: list[Trace], days: int, horizon: int) -> list[Window]:
    """Three origins a trace, evenly spread over what has `days` before it and `horizon` hours after it."""
    windows = []
    for trace in traces:
        known = days * DAY
        if len(trace.hours) < known + horizon:
            continue
        for origin in np.linspace(known, len(trace.hours) - horizon, ORIGINS).astype(int):
            history, future = trace.hours.iloc[origin - known : origin], trace.hours.iloc[origin : origin + horizon]
            windows.append(Window(trace, history, future.to_numpy(dtype=float)))
    return windows


def _series_of(file: Path, about: pd.DataFrame) -> Iterator[tuple[str, pd.Series, dict[str, str]]]:
    if file.suffix == ".parquet":
        for name, rows in pd.read_parquet(file).groupby("series_id", observed=True):
            given = {"resource": str(rows["resource"].iloc[0])}
            if name in about.index:
                known = about.loc[name]
                given |= {key: str(known[key]) for key in ("source", "pattern", "workload") if key in about}
            yield str(name), rows.set_index("timestamp")["value"], given
        return
    table = pd.read_csv(file, parse_dates=["timestamp"], index_col="timestamp")
    for resource in table:
        yield f"{file.stem}.{resource}", table[resource], {"resource": str(resource)}


def _trace(name: str, samples: pd.Series, aggregate: str, given: dict[str, str]) -> Trace:
    hours = samples.astype(float).resample("1h").agg(aggregate).iloc[1:-1].interpolate()
    if hours.index.tz is None:  # type: ignore[attr-defined]
        hours = hours.tz_localize("UTC")
    pattern = given.get("pattern") or _pattern(samples.astype(float).resample("1h").mean().interpolate())
    workload = given.get("workload") or name.rpartition(".")[0]
    return Trace(name, workload, given["source"], given["resource"], pattern, hours)


def _pattern(hours: pd.Series) -> str:
    """As the shared traces define it: by autocorrelation at a day, variation, and how far the peaks are out."""
    median = hours.median()
    if hours.autocorr(DAY) >= 0.4:
        return "daily"
    variation = hours.std() / hours.mean() if hours.mean() else 0.0
    if variation < 0.25:
        return "steady"
    bursts = hours.quantile(0.99) >= 4 * median
    return "bursty" if variation >= 1 or bursts else "irregular"
