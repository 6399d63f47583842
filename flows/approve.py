"""Approve or reject what a change asks for, by Prefect's form."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from forebay.domain.approval import Decision
from forebay.domain.errors import RuleRefusal
from tasks.approve import answer
from tasks.wake import schedule_steps


@flow(name="approve", flow_run_name="{decision} {change} by {by}")
def approve(change: str, decision: Decision, by: str, reason: str, plan: str = "") -> State:
    """Approve or reject the plan of a change that waits for it.

    Args:
        change: The change's name
        decision: Approve or reject
        by: Your name; the audit log keeps it
        reason: Why; the audit log keeps it
        plan: First digits (8 or more) of the hash of the plan you looked at; any other plan is then refused
    """
    try:
        said = answer(change, decision, by, reason, plan)
    except RuleRefusal as refusal:
        return Completed(name="Refused", message=str(refusal))
    schedule_steps(change)
    return Completed(message=said)
