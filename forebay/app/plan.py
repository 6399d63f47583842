"""From an accepted change to a stored plan: history, forecast, demand with the impact, the optimum, its steps."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from forebay.app.context import Context
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.resources import Resource
from forebay.domain.rules import FreezeWindow
from forebay.domain.workload import Workload
from forebay.planning import demand_paths, draw_plan, horizon_slots

if TYPE_CHECKING:
    import pandas as pd

    from forebay.forecasting import Forecast

PLANNABLE = frozenset({ChangeState.RECEIVED, ChangeState.PLANNED})


def change_record(ctx: Context, name: str) -> ChangeRecord:
    """Raises InputError if there is no change of that name."""
    with ctx.store.transaction() as tx:
        record = tx.change(name)
    if record is None:
        raise InputError(f"there is no change {name!r}: `forebay status` lists them")
    return record


def read_history(ctx: Context, workload: Workload) -> Mapping[Resource, pd.Series]:
    """Usage of the workload's history window, per slot. Raises OutsideError."""
    now = ctx.clock.now()
    return ctx.usage(workload).history(now - workload.history, now, workload.slot)


def forecast_workload(
    ctx: Context, workload: Workload, change: PolicyChange, history: Mapping[Resource, pd.Series], now: datetime
) -> Mapping[Resource, Forecast]:
    """One forecast a planned resource, on the slots the plan needs. Raises InputError if data lacks."""
    from forebay.forecasting import forecast_series

    index = horizon_slots(change, workload, now)
    budget = ctx.forecast_budget.total_seconds() / len(workload.resources)
    forecasts = {}
    for resource in workload.resources:
        series = history.get(resource)
        if series is None or series.dropna().empty:
            raise InputError(
                f"{workload.name}: no {resource} usage in the last {workload.history}: check the metric's name and "
                f"dimensions, or leave {resource} out of the objectives"
            )
        forecasts[resource] = forecast_series(
            series,
            index=index,
            step=workload.slot,
            seasons=workload.seasons,
            seed=seed_for(change.change, workload.name),  # one seed: errors of one moment stay together over resources
            budget_seconds=budget,
        )
    return forecasts


def draw(
    workload: Workload,
    change: PolicyChange,
    forecasts: Mapping[Resource, Forecast],
    *,
    start_units: int,
    floor: int | None,
    now: datetime,
    earliest: datetime,
    freezes: Sequence[FreezeWindow] = (),
) -> ShapingPlan | PlanRefusal:
    """The optimal plan of one workload for these forecasts. Deterministic: the random draw is seeded by the change."""
    index = horizon_slots(change, workload, now)
    paths = {resource: forecast.paths for resource, forecast in forecasts.items()}
    rng = np.random.default_rng(seed_for(change.change, workload.name))
    demand = demand_paths(workload, change, paths, index, rng)
    notes = {resource.value: tuple(forecast.reasons) for resource, forecast in forecasts.items()}
    return draw_plan(
        change=change,
        workload=workload,
        demand=demand,
        start_units=start_units,
        floor=floor,
        now=now,
        earliest=earliest,
        freezes=freezes,
        forecast_notes=notes,
    )


def store_plans(ctx: Context, name: str, plans: Sequence[ShapingPlan | PlanRefusal]) -> ChangeRecord:
    """All plans of a change and its transition to `scheduled`, or, if one was refused, to `denied`: one transaction."""
    with ctx.store.transaction() as tx:
        record = tx.change(name)
        assert record is not None
        if record.state not in PLANNABLE:
            return record
        change = record.change
        refusals = [plan for plan in plans if isinstance(plan, PlanRefusal)]
        if refusals:
            event = ctx.event(change, "denied", "; ".join(refusal.text for refusal in refusals))
            record = tx.move(name, ChangeState.DENIED, event)
        else:
            for plan in plans:
                assert isinstance(plan, ShapingPlan)
                words = f"{len(plan.steps)} steps, {plan.start_units} to {plan.aligned_units} units"
                more = {"workload": plan.workload, "plan_hash": plan.hash}
                tx.add_plan(plan, ctx.event(change, "plan stored", words, **more))
            if record.state is ChangeState.RECEIVED:
                tx.move(name, ChangeState.PLANNED, ctx.event(change, "planned", "every workload has its plan"))
            event = ctx.event(change, "scheduled", f"effective {change.effective_at.isoformat()}")
            record = tx.move(name, ChangeState.SCHEDULED, event)
    ctx.notifier.notify(event)
    return record


def plan_change(ctx: Context, name: str, lead: timedelta = timedelta(0)) -> ChangeRecord:
    """The whole of this module for a stored change. `lead`: how far ahead the first step must be."""
    record = change_record(ctx, name)
    if record.state not in PLANNABLE:
        return record
    plans = []
    for workload_name in record.change.workloads:
        workload = ctx.workload(workload_name)
        now = ctx.clock.now()
        forecasts = forecast_workload(ctx, workload, record.change, read_history(ctx, workload), now)
        plans.append(draw_live(ctx, workload, record.change, forecasts, now, lead))
    return store_plans(ctx, name, plans)


def draw_live(
    ctx: Context,
    workload: Workload,
    change: PolicyChange,
    forecasts: Mapping[Resource, Forecast],
    now: datetime,
    lead: timedelta,
) -> ShapingPlan | PlanRefusal:
    """`draw` from what the target stands at; `now` is the time the forecasts were made for."""
    state = ctx.target(workload).observe()
    with ctx.store.transaction() as tx:
        freezes = tx.rules().freezes
    return draw(
        workload,
        change,
        forecasts,
        start_units=state.desired,
        floor=state.setting.floor,
        now=now,
        earliest=ctx.clock.now() + lead,
        freezes=freezes,
    )


def seed_for(*words: str) -> int:
    """A seed that is the same for the same change and workload on every machine."""
    return zlib.crc32("/".join(words).encode())
