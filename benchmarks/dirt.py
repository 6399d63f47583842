"""`python -m benchmarks.dirt`: what dirt in a history costs a forecast, and how much of it the cleaning gives back.

Into each history (14 days of hourly means, 3 windows a series) one defect is put by a fixed seed; the 24 hours that
followed stay as they were. Scored is the quantile loss (levels 0.05 to 0.95), as the geometric mean over
the windows relative to the forecast from the clean history: `off` with that stage off, `on` with it on. `seen` is the
share of windows in which the stage acted. The first row is the clean history with all stages on: what the cleaning
costs where there is nothing to clean.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import dirt_defects as defects
from benchmarks.forecast import BUNDLED, SEED, relative
from benchmarks.forecast_models import HOUR
from benchmarks.forecast_windows import Window, half_of, read_traces, sample_of, windows_of
from forebay.forecasting import Forecast, forecast_series
from forebay.forecasting.scores import SCORED_LEVELS, quantile_loss

Options = Mapping[str, Any]
DAYS, HORIZON = 14, 24


def forecast_of(history: pd.Series, options: Options) -> Forecast:
    return forecast_series(history, horizon=HORIZON, step=HOUR, levels=SCORED_LEVELS, budget_seconds=0.0, **options)


def loss(forecast: Forecast, window: Window) -> float:
    return float(quantile_loss(window.future, forecast.quantiles.to_numpy(), SCORED_LEVELS).mean())


def row(windows: list[Window], inject: defects.Defect, acted: str) -> dict[str, float]:
    """One line of the table. `acted`: the words by which a forecast says that the stage did something."""
    found = []
    for number, window in enumerate(windows):
        dirty = inject(window, np.random.default_rng([SEED, number]))
        if dirty is None:
            continue
        clean = forecast_of(dirty.clean.history, {"stages": ()})
        off, on = forecast_of(dirty.history, dirty.off), forecast_of(dirty.history, dirty.on)
        found.append(
            {
                "clean": loss(clean, dirty.clean),
                "off": loss(off, dirty.clean),
                "on": loss(on, dirty.clean),
                "seen": any(acted in reason for reason in on.reasons),
            }
        )
    table = pd.DataFrame(found)
    return {
        "off": relative(table["off"], table["clean"]),
        "on": relative(table["on"], table["clean"]),
        "seen": float(table["seen"].mean()),
        "windows": len(table),
    }


DEFECTS: dict[str, tuple[Callable[..., Any], str]] = {
    "none": (defects.nothing, ""),
    "3 restarts of 1-2 h": (defects.restarts, "restart"),
    "a spike, 5-10 x the maximum": (defects.outlier, "outlier"),
    "level x 0.4 or 2.5 before": (defects.level_shift, "level shift"),
    "ceiling hiding a tenth": (defects.ceiling, "taken for a ceiling"),
    "clock change": (defects.clock_change, "clock change"),
    "holiday ahead": (defects.holiday, "holiday"),
    "gaps and a missing day": (defects.gaps, "filled"),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("FOREBAY_TRACES") or BUNDLED
    parser.add_argument("--traces", type=Path, default=folder, help="default: $FOREBAY_TRACES, else bundled")
    parser.add_argument("--half", choices=("develop", "report", "all"), default="all")
    parser.add_argument("--series", type=int, default=40, help="how many series, drawn by a fixed seed")
    parser.add_argument("--defect", choices=DEFECTS, action="append", help="may be repeated; default: all")
    options = parser.parse_args()
    traces = sample_of(half_of(read_traces(options.traces, "mean"), options.half, SEED), options.series, SEED)
    windows = windows_of(traces, DAYS, HORIZON)
    if not windows:
        parser.error(f"{options.traces}: no series is long enough for {DAYS} days and {HORIZON} h")
    print(f"hourly means, {len(windows)} windows of {len(traces)} series, workloads: {options.half}\n")
    rows = {name: row(windows, *DEFECTS[name]) for name in options.defect or DEFECTS}
    print(pd.DataFrame(rows).T.astype({"windows": int}).to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
