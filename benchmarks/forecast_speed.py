"""`python -m benchmarks.forecast_speed`: a fleet's forecasts against pmdarima's own search, in the same run.

1,000 hourly series of 14 days, 48 hours ahead, by the default; pmdarima's auto_arima (season of 24, limited orders) on
a sample of the same series, one after the other. The series are the traces' own, cut and rescaled until there are
enough.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.forecast_models import auto_arima
from benchmarks.forecast_windows import DAY, read_traces
from forebay.forecasting import History, SeriesKey, forecast_many

BUNDLED = Path(__file__).resolve().parent.parent / "sandbox" / "traces"
DAYS, HORIZON = 14, 48
SAMPLE = 10
"""Series auto_arima is run on: it takes seconds each."""


def fleet(folder: Path, count: int) -> dict[SeriesKey, pd.Series]:
    """`count` series of 14 days, cut from the traces at random places by a fixed seed."""
    traces = [trace for trace in read_traces(folder, "mean") if len(trace.hours) >= DAYS * DAY]
    rng = np.random.default_rng(0)
    cut = {}
    for number in range(count):
        hours = traces[number % len(traces)].hours
        begin = int(rng.integers(0, len(hours) - DAYS * DAY + 1))
        cut[SeriesKey(f"w{number}", "cpu", "")] = hours.iloc[begin : begin + DAYS * DAY] * rng.uniform(0.5, 2.0)
    return cut


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Print seconds a series of both, their ratio, and the peak memory of the default's part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("FOREBAY_TRACES") or BUNDLED
    parser.add_argument("--traces", type=Path, default=folder, help="default: $FOREBAY_TRACES, else bundled")
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many of them auto_arima gets")
    options = parser.parse_args()
    series = fleet(options.traces, options.series)
    before = cpu_seconds()

    wall = time.perf_counter()
    count = sum(1 for _ in forecast_many(History(series), timedelta(hours=HORIZON)))
    wall = time.perf_counter() - wall
    cores = len(os.sched_getaffinity(0))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ours = (cpu_seconds() - before) / count
    here, worker = (usage.ru_maxrss / 2**20 for usage in used)
    print(
        f"default: {count} series in {wall:.1f} s on {cores} cores, {ours:.4f} CPU s each, "
        f"peak {here:.2f} GiB here, {worker:.2f} GiB the largest of {cores} workers (shared libraries counted in each)"
    )

    sample = list(series.values())[:: max(1, len(series) // options.sample)][: options.sample]
    auto_arima(sample[0], HORIZON)  # pays for the import
    cpu = time.process_time()
    for hours in sample:
        auto_arima(hours, HORIZON)
    theirs = (time.process_time() - cpu) / len(sample)
    print(f"auto_arima: {theirs:.2f} CPU s each of {len(sample)}: {theirs / ours:.0f} times as long")


if __name__ == "__main__":
    main()
