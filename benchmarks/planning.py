"""`python -m benchmarks.planning`: seconds from 14 days of 5-minute usage of three resources to a plan."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
PEAK = {"cpu": 50.0, "memory": 12.0, "network": 800.0}
RUNS = 5


def timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    """Medians over five runs of each part and of each optimum, after one warm-up that pays for the imports."""
    import pandas as pd

    from forebay.app.outlook import forecast_workload
    from forebay.app.plan import draw
    from forebay.domain.change import ChangeRequest
    from forebay.domain.resources import Resource
    from forebay.planning import draft
    from forebay.planning.optimum import Optimum, solve
    from forebay.planning.problem import Clock, ShapingProblem
    from forebay.wiring import read_catalog

    optima: list[float] = []

    def watched(problem: ShapingProblem) -> Optimum | None:
        seconds, optimum = timed(lambda: solve(problem))
        optima.append(seconds)
        return optimum

    draft.solve = watched

    trace = pd.read_csv(ROOT / "sandbox/traces/smd-1-6.csv", parse_dates=["timestamp"], index_col=0).iloc[: 14 * 288]
    history = {Resource(name): trace[name] * peak for name, peak in PEAK.items()}
    workload = read_catalog(ROOT / "examples/workloads.yaml").workloads[0]
    now = (trace.index[-1] + pd.Timedelta(minutes=5)).to_pydatetime()
    request = ChangeRequest.parse((ROOT / "examples/change.yaml").read_text())
    change = request.model_copy(update={"effective_in": timedelta(hours=72)}).accepted(now)

    first, _ = timed(lambda: forecast_workload(workload, change, history, now, timedelta(seconds=60)))
    forecasts, plans = [], []
    for _ in range(RUNS):
        seconds, outlook = timed(lambda: forecast_workload(workload, change, history, now, timedelta(seconds=60)))
        forecasts.append(seconds)
        seconds, plan = timed(
            lambda outlook=outlook: draw(workload, change, outlook, draft.Start(8, 2), Clock(now, now))
        )
        plans.append(seconds)
    print(f"14 days of 5-minute data, 3 resources, effective in 72 h; median of {RUNS} (min to max), one process")
    print(f"  forecast, first call with imports  {first:7.3f} s")
    for name, values in (
        ("forecast", forecasts),
        ("plan (demand, optimum, reasons)", plans),
        (f"  of it one optimum ({len(optima) // RUNS} a plan)", optima),
    ):
        print(f"  {name:<33}  {statistics.median(values):7.3f} s ({min(values):.3f} to {max(values):.3f})")
    print(f"  paths {outlook.paths[Resource.CPU].shape}, {len(getattr(plan, 'steps', ()))} steps")


if __name__ == "__main__":
    main()
