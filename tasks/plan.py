"""Tasks of planning: receive, history, forecast, plan, persist."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pandas import Series
from prefect import get_run_logger, task

from blocks.context import context
from forebay.app import outlook as outlooks
from forebay.app import plan as planning
from forebay.app.lead import FIRST_STEP_LEAD
from forebay.app.others import forecast_beside_others
from forebay.app.people import deny
from forebay.app.plan_failure import tell_unplanned
from forebay.app.receive import receive
from forebay.app.recurring import asked_at
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.resources import Resource
from forebay.domain.ticket import door_of
from tasks.policy import REPEATABLE


@task(name="receive", **REPEATABLE)
def receive_change(request: ChangeRequest, scheduled_at: datetime, ticket: str = "") -> ChangeRecord:
    """Store the change, or find the one stored by an earlier delivery. `scheduled_at`: the time of the run.

    `ticket`: whose the change is to be, be this or the ticket's own delivery the first. Nobody takes over another's by
    it: what is stored already keeps its door.
    """
    ctx = context()
    door = door_of(*ticket.split(" ")) if ticket else "prefect"
    record = receive(ctx, request, asked_at(scheduled_at, ctx.clock.now()), door=door)
    get_run_logger().info("%s is %s: %s", record.change.change, record.state, record.note)
    return record


@task(name="read history", task_run_name="history of {workload}", **REPEATABLE)
def read_history(workload: str) -> Mapping[Resource, Series]:
    """Usage of the workload's history window."""
    history = outlooks.read_history(context(), context().workload(workload))
    for resource, series in history.items():
        get_run_logger().info("%s %s: %d samples since %s", workload, resource, len(series), series.index[0])
    return history


@task(name="forecast", task_run_name="forecast of {workload}", **REPEATABLE)
def forecast(
    workload: str, change: PolicyChange, history: Mapping[Resource, Series], now: datetime
) -> outlooks.Outlook:
    """Demand without the change, on the slots the plan needs, beside what other changes do to it."""
    ctx = context()
    outlook = forecast_beside_others(ctx, ctx.workload(workload), change, history, now, ctx.forecast_budget)
    for resource, notes in outlook.notes.items():
        get_run_logger().info("%s %s: %s", workload, resource, "; ".join(notes))
    return outlook


def see(workload: str, history: Mapping[Resource, Series], outlook: outlooks.Outlook, now: datetime) -> planning.Seen:
    """What the plan of `workload` is drawn from."""
    return planning.Seen(context().workload(workload), history, outlook, now)


@task(name="plan", task_run_name="plan of {seen.workload.name}", **REPEATABLE)
def draw_plan(seen: planning.Seen, change: PolicyChange, scheduled_at: datetime) -> ShapingPlan | PlanRefusal:
    """The optimal plan from what the target stands at. `scheduled_at`: the time of the run."""
    plan = planning.draw_in_time(context(), seen, change, scheduled_at)
    if isinstance(plan, PlanRefusal):
        get_run_logger().warning("refused: %s", plan.text)
    else:
        get_run_logger().info(
            "%s: %d steps, %d to %d units", plan.workload, len(plan.steps), plan.start_units, plan.aligned_units
        )
    return plan


@task(name="all workloads", **REPEATABLE)
def agree(
    change: PolicyChange, seen: Sequence[planning.Seen], plans: Sequence[ShapingPlan | PlanRefusal]
) -> Sequence[ShapingPlan | PlanRefusal]:
    """Where a workload is refused: the earliest time that would do for all of them."""
    return planning.agree_live(context(), change, seen, plans, FIRST_STEP_LEAD)


@task(name="persist", **REPEATABLE)
def persist(change: PolicyChange, plans: Sequence[ShapingPlan | PlanRefusal]) -> ChangeRecord:
    """Plans, steps, transition and audit entries, in one transaction."""
    record = planning.store_plans(context(), change.change, plans, change.fingerprint)
    get_run_logger().info("%s is %s: %s", change.change, record.state, record.note)
    return record


@task(name="deny", **REPEATABLE)
def deny_change(change: str, reason: str) -> ChangeRecord:
    """What cannot be planned from what there is, is denied with the reason."""
    return deny(context(), change, reason)


@task(name="tell why not", **REPEATABLE)
def tell_failure(change: PolicyChange, error: Exception) -> None:
    """What planning failed with, for whoever looks at the change; another run tries again."""
    tell_unplanned(context(), change, error)
