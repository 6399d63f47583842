"""Approve or reject what a change asks for, by Prefect's form."""

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from forebay.domain.approval import Decision, PlanHash
from forebay.domain.errors import InputError, RuleRefusal
from tasks.approve import answer
from tasks.form import shown
from tasks.wake import schedule_steps


@flow(name="approve", flow_run_name="{decision} {change} by {by}")
def approve(
    change: Annotated[str, shown("Change", "CHG-1042")],
    decision: Annotated[Decision, shown("Decision", "approve")],
    by: Annotated[str, shown("Your name", "eve@example.com")],
    reason: Annotated[str, shown("Reason", "as planned with the customer")],
    plan: Annotated[PlanHash, shown("Plan", "3f9a61c2")],
) -> State:
    """Approve or reject the plan of a change that waits for it.

    Args:
        change: The change's name
        decision: Approve or reject
        by: Who answers; the audit log keeps it
        reason: Why; the audit log keeps it
        plan: First digits (8 or more) of the hash that the change's page shows of its plan; any other plan is refused
    """
    try:
        said = answer(change, decision, by, reason, plan)
    except (InputError, RuleRefusal) as refusal:
        return Completed(name="Refused", message=str(refusal))
    schedule_steps(change)
    return Completed(message=said)
