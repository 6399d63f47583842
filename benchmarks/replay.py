"""`python -m benchmarks.replay`: Forebay against its peers and the oracle, on recorded demand and one simulated cloud.

The traces: `--traces FOLDER` or FOREBAY_TRACES (tidy Parquet with series.csv), else the two in sandbox/traces. Without
`--full` six services at one moment each; with it all of them, at two. Services run side by side, one a core.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.replay_cases import Case, Service, cases, services
from benchmarks.replay_picture import REPRESENTATIVE, picture
from benchmarks.replay_run import FOREBAY, ORACLE, Run, peers, run_forebay, run_oracle, run_peer
from benchmarks.replay_table import BEST_PEER, HEADROOMS, summary, views
from forebay import forecasting
from forebay.domain.errors import ForebayError

ROOT = Path(__file__).resolve().parent.parent
SEED = 20261124


def main() -> None:
    options = _options()
    folder = Path(options.traces or os.environ.get("FOREBAY_TRACES") or ROOT / "sandbox/traces")
    found, origins = services(folder), options.origins or (2 if options.full else 1)
    wanted = options.services or (0 if options.full else 6)
    if options.only:
        found = [service for service in found if service.name in options.only]
    elif wanted:
        order = np.random.default_rng(SEED).permutation(len(found))
        found = [found[i] for i in sorted(order[:wanted])]
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    began = time.monotonic()
    # A process for each service: what it remembers of forecasts is let go with it, not some gigabytes later.
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        tasks = {pool.submit(_service, service, origins, options.pictures): service.name for service in found}
        for task in as_completed(tasks):
            done, without = task.result()
            rows += done
            left_out += without
            print(f"{tasks[task]}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    count = table[["service", "kind", "truth", "now"]].drop_duplicates().shape[0]
    print(f"{count} cases on {len(found)} services of {folder.name}; {len(left_out)} left out")
    for line in sorted(left_out):
        print(f"  left out: {line}")
    for name, chosen in views(table):
        print(f"\n{name}\n{summary(chosen).to_string(float_format=lambda v: f'{v:.3g}')}")
    if options.rows:
        table.to_csv(options.rows, index=False)


def _service(service: Service, origins: int, pictures: Path | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of every case of one service, and in words what had to be left out."""
    # Other cores are busy with other services: more threads in this process would only be in their way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _remember_forecasts()
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for case in cases(service, origins):
        try:
            done, shown = _compared(case)
        except ForebayError as error:
            left_out.append(f"{service.name}, {case.kind}, truth {case.truth:g}: {error}")
            continue
        rows += done
        if pictures and (case.kind, case.truth) in REPRESENTATIVE and case.now == rows[0]["now"]:
            pictures.mkdir(parents=True, exist_ok=True)
            name = f"{service.name}-{case.kind}-{case.truth:g}x".replace(", ", "-").replace(" ", "")
            (pictures / f"{name}.svg").write_text(picture(case, shown), encoding="utf-8")
    return rows, left_out


def _compared(case: Case) -> tuple[list[dict[str, Any]], dict[str, Run]]:
    """Everyone on one case: the rows, and by policy the runs that a picture shows.

    Raises ForebayError where Forebay or the oracle finds no plan: nothing to compare.
    """
    shown = {ORACLE: run_oracle(case), FOREBAY: run_forebay(case)}
    rows = [_row(case, policy, 1.0, run) for policy, run in shown.items()]
    for name, peer in peers(case).items():
        runs = {headroom: run_peer(case, peer, headroom) for headroom in HEADROOMS}
        rows += [_row(case, name, headroom, run) for headroom, run in runs.items()]
        if name == BEST_PEER:
            shown[name] = runs[1.0]
    return rows, shown


def _row(case: Case, policy: str, headroom: float, run: Run) -> dict[str, Any]:
    outcome = run.outcome
    return {
        "service": case.service.name,
        "pattern": case.service.pattern,
        "lever": str(case.lever),
        "kind": case.kind,
        "truth": case.truth,
        "now": case.now,
        "policy": policy,
        "headroom": headroom,
        "short": outcome.short_unit_hours,
        "unmet": _unmet_unit_hours(run),
        "under": outcome.slots_under_target,
        "unit_hours": outcome.unit_hours,
        "money": float(outcome.money),
        "objective": outcome.objective,
        "moves": outcome.moves,
        "on_time": run.on_time,
        "limit": outcome.largest_move_of_soft_limit,
    }


def _unmet_unit_hours(run: Run) -> float:
    """What the serving units could not carry at all, in units x hours; of the resource where that is most.

    What a trace counts differs from service to service: only in units can it be summed over them.
    """
    workload, unmet = run.service.workload, run.outcome.unmet_demand.values()
    return max(amount / workload.unit[r] for r, amount in zip(workload.resources, unmet, strict=True))


def _remember_forecasts() -> None:
    """What follows the effective time differs between cases, what was forecast before it does not: compute it once."""
    known: dict[tuple[object, ...], Any] = {}
    compute: Callable[..., Any] = forecasting.forecast_series

    def remembered(history: pd.Series, **options: Any) -> Any:
        stable = {name: value for name, value in options.items() if name != "budget_seconds"}
        values: Sequence[bytes] = (history.to_numpy().tobytes(), history.index.asi8.tobytes())
        key = (*values, repr(sorted(stable.items())))
        if key not in known:
            known[key] = compute(history, **options)
        return known[key]

    forecasting.forecast_series = remembered


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", help="folder of traces; default: $FOREBAY_TRACES, else sandbox/traces")
    parser.add_argument("--services", type=int, default=0, help="so many of them, drawn by a fixed seed")
    parser.add_argument("--only", nargs="*", metavar="SERVICE", help="these services")
    parser.add_argument("--origins", type=int, default=0, help="moments a service")
    parser.add_argument("--full", action="store_true", help="every service, two moments each: nine times as long")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="services at a time")
    parser.add_argument("--rows", type=Path, help="also write every run as a row of this CSV file")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="also draw the representative cases here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
