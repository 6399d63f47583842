"""The rest of a change that is in force: what demand since then says of it, and the plan that follows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from forebay.app.context import Context
from forebay.app.outlook import forecast_live, read_history, recently_needed, seed_for
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.workload import Workload
from forebay.planning.demand import Floats, demand_paths
from forebay.planning.learning import doubted, learned
from forebay.planning.plan import draw_plan
from forebay.planning.slots import SlotIndex

if TYPE_CHECKING:
    import pandas as pd


def draw_rest(
    ctx: Context, workload: Workload, change: PolicyChange, began: datetime, budget: timedelta, wait: timedelta
) -> ShapingPlan | PlanRefusal:
    """The plan from now on of a change in force since `began`.

    The forecast is the one of `began`, from the history before it: what came after holds the change's own impact,
    which a forecast would take for the load's. What was seen since corrects both. `wait`: how long from now no step
    is made. Raises InputError, and OutsideError as the ports do.
    """
    now, change = ctx.clock.now(), change.model_copy(update={"effective_at": began})
    state = ctx.target(workload).observe()
    workload = workload.sized(state.setting.size)
    history = read_history(ctx, workload)
    outlook = forecast_live(ctx, workload, change, history, began, budget)
    rng = np.random.default_rng(seed_for(change.change, workload.name))
    demand = demand_paths(
        workload, doubted(change), outlook.paths, outlook.index, rng, outlook.entity.get(change.entity)
    )
    passed = outlook.index.covering(now)
    if passed >= len(outlook.index):
        raise InputError(f"{workload.name}: {change.change} is in force since {began.isoformat()}, its life is over")
    seen = {r: _seen(history[r], outlook.index.part(0, passed), began) for r in workload.resources if r in history}
    with ctx.store.snapshot() as tx:
        freezes = tx.rules().freezes_for(change, now, outlook.index.end)
    floor = state.setting.floor
    return draw_plan(
        change=change,
        workload=workload,
        demand=learned(demand, seen),
        start_units=state.desired,
        floor=floor,
        now=now,
        earliest=now + wait,
        freezes=freezes,
        forecast_notes=outlook.notes,
        autoscaled=floor is not None,
        needed=recently_needed(workload, history, outlook.index.at(passed)),
        resizable=False,
        in_force=True,
    )


def _seen(history: pd.Series, index: SlotIndex, began: datetime) -> Floats:
    """Usage in each slot; NaN where unknown, and for the slot in the middle of which the change came into force."""
    known = history.reindex(list(index)).to_numpy(dtype=float)
    return np.where([at >= began for at in index], known, np.nan)
