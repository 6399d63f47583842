"""What the replay benchmark prints: one row a policy, as it is, and at equal unit-hours or equal shortage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.replay_run import FOREBAY, ORACLE

# Every policy has the same knob: aim at a utilisation lower by this. Scanned to compare at equal unmet demand.
HEADROOMS = (1.0, 1.1, 1.25, 1.5, 2.0)
CASE = ("service", "kind", "truth", "now")
BEST_PEER = "predictive + jump"  # the most a user can build from what the cloud offers


def views(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Under an autoscaler by pattern, truth and kind of change; a count has other peers, and a table of its own.

    Where Forebay held the policy back, the change brought it no load: such cases compare nothing, and come last.
    """
    floors, counts = table[table.lever == "floor"], table[table.lever == "count"]
    late = _held_back(floors)
    alike = floors[~late]
    parts = [("all in force on time, under an autoscaler", alike)]
    parts += [(f"{pattern} services", alike[alike.pattern == pattern]) for pattern in sorted(alike.pattern.unique())]
    parts += [(f"true impact {t:g} x the estimate", alike[alike.truth == t]) for t in (0.5, 1.0, 2.0)]
    parts += [(kind, alike[alike.kind == kind]) for kind in sorted(alike.kind.unique())]
    parts += [("held back", floors[late]), ("count lever", counts)]
    return ((f"{name}: {_cases(part)} cases", part) for name, part in parts if len(part))


def _held_back(table: pd.DataFrame) -> pd.Series:
    """Row by row: whether Forebay's policy was not in force at its effective time in the row's case."""
    came = table.on_time.where(table.policy == FOREBAY)
    return came.groupby([table[name] for name in CASE]).transform("min") == 0.0


def _cases(table: pd.DataFrame) -> int:
    return len(table[list(CASE)].drop_duplicates())


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a policy. The last two columns move each peer's head-room until it equals Forebay in the other one.

    The cost at equal shortage is infinite where no head-room looked at brings a peer there.
    """
    plain = table[table.headroom == 1.0]
    totals = plain.groupby("policy")[["short", "unmet", "unit_hours", "money", "objective", "moves"]].sum()
    means = plain.groupby("policy").agg(under=("under", "mean"), limit=("limit", "max"), on_time=("on_time", "mean"))
    runs = plain.groupby("policy").size()
    oracle, ours = totals.loc[ORACLE], totals.loc[FOREBAY]
    shown = pd.DataFrame(
        {
            "short unit-h": totals.short,
            "unmet unit-h": totals.unmet,
            "under target %": 100 * means.under,
            "unit-h / oracle": totals.unit_hours / oracle.unit_hours,
            "objective / oracle": totals.objective / oracle.objective,
            "largest move / soft limit": means.limit,
            "moves a case": totals.moves / runs,
            "in force on time %": 100 * means.on_time,
        }
    )
    for policy, scan in table.groupby("policy"):
        curve = scan.groupby("headroom")[["short", "unit_hours", "money"]].sum()
        if len(curve) < 2:
            continue
        by_hours, by_short = curve.sort_values("unit_hours"), curve.sort_values("short")
        shown.loc[policy, "short at our unit-h"] = np.interp(ours.unit_hours, by_hours.unit_hours, by_hours.short)
        shown.loc[policy, "cost at our short / ours"] = (
            np.interp(ours.short, by_short.short, by_short.money, left=np.inf) / ours.money
        )
    return shown.sort_values("objective / oracle")
