"""`python -m benchmarks.weeks`: what more weeks of history are worth, on the same windows.

Traces: hourly means, 24 hours ahead, origins where so many days are known that the longest history fits; each window
is forecast from its last 14 days and from more. Made loads: working hours, weekends at a part of them, noise that
lasts; 48 hours ahead from noon of each day of a week. rWQL: geometric mean of the quantile loss relative to seasonal
naive's; of14: relative to the forecast from 14 days, window by window; worse: the share of windows with 10 % more
loss than that. Monday: the median forecast on Sunday noon for Monday 09:00, relative to what comes on average.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.forecast import BUNDLED, SEED, relative
from benchmarks.forecast_models import MODELS
from benchmarks.forecast_windows import DAY, Trace, Window, half_of, read_traces, sample_of, windows_of
from forebay.forecasting.scores import SCORED_LEVELS, quantile_loss

Floats = npt.NDArray[np.float64]

SHORT = 14
MADE = (14, 28)
COMPARED = ((14, 22), (14, 28))
"""Days; a week counts as a season from 21 days on. Of a trace of 30 days only the last one has 28 before it."""
WEEKENDS = (0.3, 0.6, 0.85, 1.0)
SEEDS = 6
MIDDLE = SCORED_LEVELS.index(0.5)
SUNDAY, MONDAY_AT_NINE = 6, 21  # hours after Sunday noon


def made(weekend: float, seed: int, days: int) -> pd.Series:
    """Hourly from a Monday on: 10, in working hours 40, all of it `weekend` times that on Saturdays and Sundays."""
    index = pd.date_range("2026-08-03T00:00Z", periods=days * DAY, freq="1h")
    rng = np.random.default_rng(seed)
    lasting = np.convolve(rng.normal(size=len(index) + 60), 0.9 ** np.arange(60), mode="valid")[: len(index)]
    busy = (index.hour >= 8) & (index.hour < 18)
    level = (10 + 30 * busy) * np.where(index.dayofweek > 4, weekend, 1.0)
    return pd.Series(level * np.exp(0.05 * lasting + 0.05 * rng.normal(size=len(index))), index=index)


def made_windows(weekend: float) -> list[Window]:
    """From noon of each day of the fifth week, 28 days known."""
    windows = []
    for seed in range(SEEDS):
        load = made(weekend, seed, 40)
        trace = Trace(f"made {weekend}", "made", "made", "cpu", "daily", load)
        for origin in range(28 * DAY + 12, 35 * DAY, DAY):
            windows.append(Window(trace, load.iloc[:origin], load.iloc[origin : origin + 48].to_numpy()))
    return windows


def scored(windows: Sequence[Window], histories: Sequence[int]) -> pd.DataFrame:
    """One row a window: the loss of seasonal naive, and from each history; and what is said of a Monday, else NaN."""
    return pd.DataFrame([_scored(window, histories) for window in windows])


def _scored(window: Window, histories: Sequence[int]) -> dict[str, float | str]:
    def loss(quantiles: Floats) -> float:
        return float(quantile_loss(window.future, quantiles, SCORED_LEVELS).mean())

    naive = MODELS["seasonal naive"](window.history, len(window.future)).quantiles
    row: dict[str, float | str] = {"source": window.trace.source, "naive": loss(naive)}
    for days in histories:
        quantiles = MODELS["default"](window.history.iloc[-days * DAY :], len(window.future)).quantiles
        monday = window.trace.source == "made" and window.history.index[-1].dayofweek == SUNDAY
        row |= {
            f"{days}": loss(quantiles),
            f"monday {days}": quantiles[MONDAY_AT_NINE, MIDDLE] / 40 if monday else np.nan,
        }
    return row


def summary(rows: pd.DataFrame, histories: Sequence[int]) -> str:
    """One line a history."""
    short = rows[str(SHORT)]
    lines = {
        f"{days} days": {
            "rWQL": relative(rows[str(days)], rows["naive"]),
            "of14": relative(rows[str(days)], short),
            "worse": float((rows[str(days)] > 1.1 * short).mean()),
            "Monday": float(rows[f"monday {days}"].mean()),
        }
        for days in histories
    }
    return pd.DataFrame(lines).T.dropna(axis="columns").to_string(float_format="%.3f")


def main() -> None:
    """Print a table of each made load, and of each source of the traces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("FOREBAY_TRACES") or BUNDLED
    parser.add_argument("--traces", type=Path, default=folder, help="default: $FOREBAY_TRACES, else bundled")
    parser.add_argument("--half", choices=("develop", "report", "all"), default="all")
    parser.add_argument("--series", type=int, default=80)
    options = parser.parse_args()
    for weekend in WEEKENDS:
        rows = scored(made_windows(weekend), MADE)
        print(f"made, weekends at {weekend}: {len(rows)} windows\n{summary(rows, MADE)}\n", flush=True)
    traces = sample_of(half_of(read_traces(options.traces, "mean"), options.half, SEED), options.series, SEED)
    for histories in COMPARED:
        rows = scored(windows_of(traces, max(histories), DAY), histories)
        print(f"traces: {len(rows)} windows\n{summary(rows, histories)}\n", flush=True)
        for source, chosen in rows.groupby("source"):
            print(f"{source}: {len(chosen)} windows\n{summary(chosen, histories)}\n", flush=True)


if __name__ == "__main__":
    main()
