"""The score of a workload: what it wanted, what it got, what stood idle. Read from the record of its ticks."""

from __future__ import annotations

from typing import Any

import numpy as np

from sandbox.config import RESOURCES
from sandbox.play import COLUMNS, Play

EPSILON = 1e-9


def report(play: Play) -> dict[str, Any]:
    """Totals since the workload began to play.

    `demand`, `served`, `unmet`: resource x seconds per resource (core-seconds, GiB-seconds, Mbit), and `units`:
    unit-seconds of the configured unit, by the resource that needs most. `share_ticks_unmet`: share of time in which
    some demand was not served. `share_ticks_over_target`: share of time in which the serving units were fewer than the
    target utilisation asks. `max_move`, `moves`: of the desired count, between two ticks.
    """
    c = {name: np.array(play.record[name]) for name in COLUMNS}
    seconds = c["seconds"]
    total = float(seconds.sum())
    result: dict[str, Any] = {"workload": play.config.name, "target": play.config.target, "seconds": total}
    if not seconds.size:
        return result  # the service or group has not existed yet
    whole = total or 1.0
    unit = play.config.unit.vector()
    demand = np.stack([c[f"demand_{r}"] for r in RESOURCES])
    usage = np.stack([c[f"usage_{r}"] for r in RESOURCES])
    capacity = np.stack([c[f"capacity_{r}"] for r in RESOURCES])
    unmet = np.maximum(0, demand - usage)
    in_units = {name: (v / np.array(unit)[:, None]).max(axis=0) for name, v in (("demand", demand), ("unmet", unmet))}
    for name, values in (("demand", demand), ("served", usage), ("unmet", unmet)):
        result[name] = {r: float((values[i] * seconds).sum()) for i, r in enumerate(RESOURCES)}
    for name, values in in_units.items():
        result[name]["units"] = float((values * seconds).sum())
    result["served"]["units"] = result["demand"]["units"] - result["unmet"]["units"]
    over = (demand > capacity * play.config.target_utilisation * (1 + EPSILON)).any(axis=0)
    short = (unmet > EPSILON).any(axis=0)
    moves = np.diff(c["desired"])
    return result | {
        "share_ticks_unmet": float((short * seconds).sum() / whole),
        "share_ticks_over_target": float((over * seconds).sum() / whole),
        "unit_hours_running": float((c["serving"] * seconds).sum() / 3600),
        "unit_hours_desired": float((c["desired"] * seconds).sum() / 3600),
        "max_move": int(np.abs(moves).max()) if moves.size else 0,
        "moves": int(np.count_nonzero(moves)),
        "now": {name: float(c[name][-1]) for name in COLUMNS if name != "seconds"},
    }


def ticks(play: Play, every: int = 1) -> list[dict[str, float]]:
    """Every n-th tick of the record, oldest first, one value per column."""
    rows = zip(*(play.record[name][::every] for name in COLUMNS), strict=True)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]
