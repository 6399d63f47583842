"""Small planning inputs with round numbers: one unit is one core at 50 % target utilisation, so demand 1 needs 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.freeze import FreezeWindow
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.planning.demand import DemandPaths, demand_paths
from forebay.planning.draft import Draft, Start
from forebay.planning.plan import draw_plan
from forebay.planning.problem import Clock
from forebay.planning.slots import horizon_slots

NOW = datetime(2026, 11, 24, 9, 2, tzinfo=UTC)
EFFECTIVE = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def workload(*, soft: dict[str, Any] | None = None, **fields: Any) -> Workload:
    """Lead time 4 min and 6 min of verification: a step is verified 10 minutes after it was made."""
    given: dict[str, Any] = {
        "name": "web",
        "target": {"type": "ecs", "cluster": "c", "service": "s"},
        "unit": {"cpu_cores": 1},
        "objectives": {"cpu": 0.5},
        "limits": {"min_units": 2, "max_units": 40, "soft": {"units": 3, "dwell": "PT10M"} | (soft or {})},
        "lead_time": "PT4M",
        "price": {"per_unit_hour": "0.05"},
        "shares": {"acme": 0.5},
    }
    return Workload.model_validate(given | fields)


def change(**fields: Any) -> PolicyChange:
    """The demand of acme doubles at 12:00, for certain."""
    given: dict[str, Any] = {
        "change": "CHG-1",
        "entity": "acme",
        "policy": "quota",
        "kind": "quota",
        "effective_at": EFFECTIVE,
        "impacts": [{"workload": "web", "factor": 2.0}],
        "requested_by": "ann",
    }
    return ChangeRequest.model_validate(given | fields).accepted(NOW)


def demand(
    work: Workload, to_be: PolicyChange, level: float = 4.0, n_paths: int = 40, noise: float = 0.0
) -> DemandPaths:
    """Flat demand of `level` in every planned resource, each path off by a constant of relative size `noise`."""
    index, rng = horizon_slots(to_be, work, NOW), np.random.default_rng(7)
    scale = 1 + noise * rng.standard_normal((n_paths, 1))
    forecasts: dict[Resource, Any] = {r: level * scale * np.ones(len(index)) for r in work.resources}
    return demand_paths(work, to_be, forecasts, index, rng)


def plan(
    work: Workload | None = None,
    to_be: PolicyChange | None = None,
    *,
    level: float = 4.0,
    noise: float = 0.0,
    start: int = 8,
    floor: int | None = None,
    autoscaled: bool = False,
    resizable: bool = True,
    now: datetime = NOW,
    earliest: datetime = NOW + timedelta(seconds=5),
    freezes: Sequence[FreezeWindow] = (),
    forecast_notes: Mapping[str, tuple[str, ...]] = {"cpu": ("flat",)},
    **fields: Any,
) -> ShapingPlan | PlanRefusal:
    work, to_be = work or workload(), to_be or change()
    stands = Start(start, floor, autoscaled=autoscaled, resizable=resizable)
    drawn_from = demand(work, to_be, level, noise=noise)
    return draw_plan(Draft(to_be, work, drawn_from, stands, Clock(now, earliest, freezes), **fields), forecast_notes)


def drawn(*args: Any, **fields: Any) -> ShapingPlan:
    result = plan(*args, **fields)
    assert isinstance(result, ShapingPlan), result.text
    return result


def refused(*args: Any, **fields: Any) -> PlanRefusal:
    result = plan(*args, **fields)
    assert isinstance(result, PlanRefusal), [(step.due_at, step.to_units) for step in result.steps]
    return result


def moves(result: ShapingPlan) -> list[tuple[str, int, int]]:
    return [(f"{step.due_at:%H:%M}", step.from_units, step.to_units) for step in result.steps]
