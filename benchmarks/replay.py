"""`python -m benchmarks.replay`: Forebay against its peers and the oracle, on recorded demand and one simulated cloud.

The traces: `--traces FOLDER` or FOREBAY_TRACES (tidy Parquet with series.csv), else the two in sandbox/traces.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.replay_cases import Case, cases, services
from benchmarks.replay_run import FOREBAY, ORACLE, peers, run_forebay, run_oracle, run_peer
from forebay import forecasting
from forebay.domain.errors import ForebayError
from forebay.replay.outcome import WorkloadOutcome

ROOT = Path(__file__).resolve().parent.parent
# Every policy has the same knob: aim at a utilisation lower by this. Scanned to compare at equal unmet demand.
HEADROOMS = (1.0, 1.1, 1.25, 1.5, 2.0)
SEED = 20261124


def main() -> None:
    options = _options()
    folder = Path(options.traces or os.environ.get("FOREBAY_TRACES") or ROOT / "sandbox/traces")
    found = services(folder)
    if options.services:
        order = np.random.default_rng(SEED).permutation(len(found))
        found = [found[i] for i in sorted(order[: options.services])]
    _remember_forecasts()
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    began = time.monotonic()
    for service in found:
        for case in cases(service, options.origins):
            try:
                rows += _compared(case)
            except ForebayError as error:
                left_out.append(f"{service.name}, {case.kind}, truth {case.truth:g}: {error}")
        print(f"{service.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    count = table[["service", "kind", "truth", "now"]].drop_duplicates().shape[0]
    print(f"{count} cases on {len(found)} services of {folder.name}; {len(left_out)} left out")
    for line in left_out:
        print(f"  left out: {line}")
    views: list[tuple[str, pd.Series]] = [("all", table.truth > 0), ("daily patterns", table.pattern == "daily")]
    views += [(f"true impact {t:g} x the estimate", table.truth == t) for t in (0.5, 1.0, 2.0)]
    views += [(kind, table.kind == kind) for kind in sorted(table.kind.unique())]
    for name, chosen in views:
        if chosen.any():
            print(f"\n{name}\n{summary(table[chosen]).to_string(float_format=lambda v: f'{v:.3g}')}")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a policy. The last two columns move each peer's head-room until it equals Forebay in the other one."""
    plain = table[table.headroom == 1.0]
    totals = plain.groupby("policy")[["short", "unmet", "unit_hours", "objective", "moves"]].sum()
    means = plain.groupby("policy")[["under", "limit", "on_time"]].agg(
        {"under": "mean", "limit": "max", "on_time": "mean"}
    )
    runs = plain.groupby("policy").size()
    oracle, ours = totals.loc[ORACLE], totals.loc[FOREBAY]
    shown = pd.DataFrame(
        {
            "short unit-h": totals.short,
            "under target %": 100 * means.under,
            "unit-h / oracle": totals.unit_hours / oracle.unit_hours,
            "objective / oracle": totals.objective / oracle.objective,
            "largest move / soft limit": means.limit,
            "moves a case": totals.moves / runs,
            "in force on time %": 100 * means.on_time,
        }
    )
    for policy, scan in table.groupby("policy"):
        curve = scan.groupby("headroom")[["short", "unit_hours"]].sum()
        if len(curve) < 2:
            continue
        by_hours, by_short = curve.sort_values("unit_hours"), curve.sort_values("short")
        shown.loc[policy, "short at our unit-h"] = np.interp(ours.unit_hours, by_hours.unit_hours, by_hours.short)
        equal = np.interp(ours.short, by_short.short, by_short.unit_hours, left=np.inf)
        shown.loc[policy, "unit-h / ours at our short"] = equal / ours.unit_hours
    return shown.sort_values("objective / oracle")


def _compared(case: Case) -> list[dict[str, Any]]:
    """Everyone on one case. Raises ForebayError where Forebay or the oracle finds no plan: nothing to compare."""
    ours, on_time = run_forebay(case)
    rows = [_row(case, ORACLE, 1.0, run_oracle(case)), _row(case, FOREBAY, 1.0, ours, on_time)]
    for name, peer in peers(case).items():
        rows += [_row(case, name, headroom, run_peer(case, peer, headroom)) for headroom in HEADROOMS]
    return rows


def _row(case: Case, policy: str, headroom: float, outcome: WorkloadOutcome, on_time: bool = True) -> dict[str, Any]:
    return {
        "service": case.service.name,
        "pattern": case.service.pattern,
        "kind": case.kind,
        "truth": case.truth,
        "now": case.now,
        "policy": policy,
        "headroom": headroom,
        "short": outcome.short_unit_hours,
        "unmet": sum(outcome.unmet_demand.values()),
        "under": outcome.slots_under_target,
        "unit_hours": outcome.unit_hours,
        "objective": outcome.objective,
        "moves": outcome.moves,
        "on_time": on_time,
        "limit": outcome.largest_move_of_soft_limit,
    }


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
    parser.add_argument("--services", type=int, default=0, help="only so many of them, drawn by a fixed seed; 0: all")
    parser.add_argument("--origins", type=int, default=2, help="moments a service")
    return parser.parse_args()


if __name__ == "__main__":
    main()
