"""A policy change comes in: receive, read history, forecast, plan, persist, schedule its steps."""

from datetime import UTC, datetime
from typing import Annotated

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed

from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.ticket import OfTicket
from tasks.form import shown
from tasks.plan import agree, deny_change, draw_plan, forecast, persist, read_history, receive_change, see, tell_failure
from tasks.preview import preview
from tasks.wake import schedule_steps


def _run_name() -> str:
    change = runtime.flow_run.parameters["change"]
    request = change if isinstance(change, ChangeRequest) else ChangeRequest.model_validate(change)
    return f"{request.entity} {request.policy}: plan {request.change}".strip()


@flow(name="policy-change", flow_run_name=_run_name)
def policy_change(change: ChangeRequest, ticket: Annotated[OfTicket, shown("Ticket", "jira OPS-12")] = "") -> State:
    """Ask for a policy change: its load is forecast, its plan drawn and stored, and its steps scheduled.

    Args:
        change: What is asked for
        ticket: Source and name of the ticket that may edit and close it; empty where it has none
    """
    # A plain datetime: the zone of Prefect's own is lost in arithmetic.
    scheduled_at = datetime.fromisoformat(runtime.flow_run.scheduled_start_time.isoformat())
    try:
        record = receive_change(change.named(scheduled_at), scheduled_at, ticket)
    except RuleRefusal as refusal:
        return Completed(name="Denied", message=str(refusal))  # an edit; the change stands as it was
    name, plans, seen = record.change.change, [], []
    if record.state is ChangeState.RECEIVED:
        try:
            for workload in record.change.workloads:
                now = datetime.now(UTC)
                history = read_history(workload)
                outlook = forecast(workload, record.change, history, now)
                seen.append(see(workload, history, outlook, now))
                plans.append(draw_plan(seen[-1], record.change, scheduled_at))
            plans = list(agree(record.change, seen, plans))
            record = persist(record.change, plans)
        except InputError as error:
            record = deny_change(name, str(error))
        except Exception as error:  # the run fails with it; the change waits for the next one, and says why
            tell_failure(record.change, error)
            raise
    scheduled = schedule_steps(name)
    if plans:
        preview(record.change, plans)
    if record.state is ChangeState.DENIED:
        get_run_logger().error("denied: %s", record.note)
        return Completed(name="Denied", message=record.note)
    return Completed(message=f"{name} is {record.state}: {scheduled} runs scheduled")
