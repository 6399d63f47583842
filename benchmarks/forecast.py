"""`python -m benchmarks.forecast`: how right every model's forecasts are on a folder of usage traces.

80 series x 3 origins, 7 days of hourly means (or maxima) known, 24 hours ahead. rWQL and rMAE: geometric mean over
the windows of the quantile loss (levels 0.05 to 0.95) and of the median's absolute error, each relative to seasonal
naive's; below 1 is better. cover90: share of slots within [0.05, 0.95]; above95: above the 0.95 quantile.
peak_under: share of windows whose peak is above the largest 0.95 quantile, headroom: geometric mean of that quantile
over the peak; joint_under and joint_headroom: the same for the 0.95 quantile of the window's maximum, from paths.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.forecast_models import HEAVY, MODELS, Answer
from benchmarks.forecast_windows import DAY, Window, half_of, read_traces, sample_of, windows_of
from forebay.forecasting.scores import SCORED_LEVELS, coverage, mase, quantile_loss, share_above

Floats = npt.NDArray[np.float64]

BUNDLED = Path(__file__).resolve().parent.parent / "sandbox" / "traces"
SEED = 0
REFERENCE = "seasonal naive"
WARM_UP = 2  # windows forecast before the clock runs: they pay for the imports
RATIO_BOUNDS = (1e-3, 1e3)  # one window without any error must not decide a geometric mean


def scores(windows: Sequence[Window], model: str) -> pd.DataFrame:
    """One row a window: losses, coverage, peaks and CPU seconds of a model."""
    run = MODELS[model]
    for window in windows[:WARM_UP]:
        run(window.history, len(window.future))
    return pd.DataFrame([_scored(window, model) for window in windows])


def _scored(window: Window, model: str) -> dict[str, float | str]:
    began = _cpu_seconds()
    answer: Answer = MODELS[model](window.history, len(window.future))
    seconds = _cpu_seconds() - began
    actual, quantiles = window.future, answer.quantiles
    median, high = quantiles[:, len(SCORED_LEVELS) // 2], quantiles[:, -1]
    return {
        "pattern": window.trace.pattern,
        "source": window.trace.source,
        "resource": window.trace.resource,
        "loss": float(quantile_loss(actual, quantiles, SCORED_LEVELS).mean()),
        "error": float(np.abs(actual - median).mean()),
        "mase": mase(actual, median, window.history.to_numpy(), DAY),
        "cover90": coverage(actual, quantiles[:, 0], high),
        "above95": share_above(actual, high),
        "peak": float(actual.max()),
        "high": float(high.max()),
        "joint": answer.peak,
        "cpu_s": seconds,
    }


def _cpu_seconds() -> float:
    """Of this process and of the ended ones it started: Prophet's fits are such."""
    return sum(os.times()[:4])


def relative(ours: pd.Series, reference: pd.Series) -> float:
    """Geometric mean of the ratios; windows in which the reference makes no error say nothing and are left out."""
    judged = reference > 0
    ratios = (ours[judged] / reference[judged]).clip(*RATIO_BOUNDS)
    return float(np.exp(np.log(ratios).mean()))


def summary(rows: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """One line of the table."""
    line = {
        "rWQL": relative(rows["loss"], reference["loss"]),
        "rMAE": relative(rows["error"], reference["error"]),
        "MASE": float(rows["mase"].replace(np.inf, np.nan).median()),
        "cover90": float(rows["cover90"].mean()),
        "above95": float(rows["above95"].mean()),
    }
    loaded = (rows["peak"] > 0) & (rows["high"] > 0) & (rows["joint"] > 0)
    for name, column in (("peak", "high"), ("joint", "joint")):
        line[f"{name}_under"] = float((rows["peak"] > rows[column] * (1 + 1e-9)).mean())
        line["headroom" if name == "peak" else "joint_headroom"] = float(
            np.exp(np.log(rows[column][loaded] / rows["peak"][loaded]).mean())
        )
    return {**line, "cpu_s": float(rows["cpu_s"].mean())}


def main() -> None:
    """Print the table of all models, and the default's by pattern, source and resource."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("FOREBAY_TRACES") or BUNDLED
    parser.add_argument("--traces", type=Path, default=folder, help="default: $FOREBAY_TRACES, else bundled")
    parser.add_argument(
        "--half", choices=("develop", "report", "all"), default="all", help="which half of the workloads"
    )
    parser.add_argument("--series", type=int, default=80, help="how many series, drawn by a fixed seed")
    parser.add_argument("--aggregate", choices=("mean", "max"), default="mean", help="of the samples in an hour")
    parser.add_argument("--days", type=int, default=7, help="of history before each origin")
    parser.add_argument("--horizon", type=int, default=24, help="hours ahead")
    parser.add_argument(
        "--model", choices=MODELS, action="append", help="one to score, may be repeated; default: all but the heavy"
    )
    options = parser.parse_args()
    traces = sample_of(
        half_of(read_traces(options.traces, options.aggregate), options.half, SEED), options.series, SEED
    )
    windows = windows_of(traces, options.days, options.horizon)
    if not windows:
        parser.error(f"{options.traces}: no series is long enough for {options.days} days and {options.horizon} h")
    asked = options.model or [name for name in MODELS if name not in HEAVY]
    wanted = [name for name in MODELS if name == REFERENCE or name in asked]
    print(f"hourly {options.aggregate}s, {len(windows)} windows of {len(traces)} series, workloads: {options.half}\n")
    rows = {name: scores(windows, name) for name in wanted}
    table = {name: summary(rows[name], rows[REFERENCE]) for name in wanted}
    print(pd.DataFrame(table).T.to_string(float_format="%.3f"), end="\n\n")
    last = wanted[-1]
    groups = {
        f"{column} {value}": summary(rows[last].loc[chosen.index], rows[REFERENCE].loc[chosen.index])
        for column in ("pattern", "source", "resource")
        for value, chosen in rows[last].groupby(column)
    }
    print(f"{last}, by group\n" + pd.DataFrame(groups).T.to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
