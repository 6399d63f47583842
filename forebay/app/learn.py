"""The rest of a change that is in force: what demand since then says of it, and the plan that follows."""

from __future__ import annotations

from datetime import datetime, timedelta

from forebay.app.context import Context
from forebay.app.others import bounds_on, forecast_beside_others
from forebay.app.outlook import luck_of, read_history, recently_needed
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.workload import Workload
from forebay.planning.demand import demand_paths
from forebay.planning.draft import Draft, Start
from forebay.planning.learning import doubted, learned
from forebay.planning.plan import draw_plan
from forebay.planning.problem import Clock
from forebay.planning.stacked import stacked_demand


def draw_rest(
    ctx: Context, workload: Workload, change: PolicyChange, began: datetime, budget: timedelta, wait: timedelta
) -> ShapingPlan | PlanRefusal:
    """The plan from now on of a change in force since `began`.

    The forecast is the one of `began`, or of when a change before it came into force: what came after holds the
    impact, which a forecast would take for the load's. What was seen since corrects both. `wait`: how long from now no
    step is made. Raises InputError, and OutsideError as the ports do.
    """
    now, change = ctx.clock.now(), change.model_copy(update={"effective_at": began})
    state = ctx.target(workload).observe()
    workload = workload.sized(state.setting.size)
    history = read_history(ctx, workload)
    outlook = forecast_beside_others(ctx, workload, change, history, now, budget, began)
    if outlook.passed >= len(outlook.index):
        raise InputError(f"{workload.name}: {change.change} is in force since {began.isoformat()}, its life is over")

    earlier = outlook.in_force
    luck = luck_of(workload, (*earlier, change))
    base, own = stacked_demand(workload, earlier, change, outlook.paths, outlook.entity, outlook.index, luck)
    demand = demand_paths(workload, doubted(change), base, outlook.index, luck(change), own)
    with ctx.store.snapshot() as tx:
        freezes = tx.rules().freezes_for(change, now, outlook.index.end)
        bounds = bounds_on(tx, [change], workload.name, now)
    floor = state.setting.floor
    needed = recently_needed(workload, history, outlook.rest.start)
    start = Start(state.desired, floor, needed=needed, autoscaled=floor is not None, resizable=False)
    clock, rest = Clock(now, now + wait, freezes), learned(demand, outlook.seen)
    return draw_plan(Draft(change, workload, rest, start, clock, in_force=True, bounds=bounds), outlook.notes)
