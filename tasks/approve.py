"""The task of approving: one person's answer, given in Prefect."""

from prefect import get_run_logger, task

from blocks.context import context
from forebay.app import approvals
from forebay.domain.approval import Decision
from tasks.policy import ONCE


@task(name="answer", **ONCE)
def answer(change: str, decision: Decision, by: str, reason: str, plan: str) -> str:
    """Approve or reject in the name of `by`. Raises InputError and RuleRefusal, and then nothing was changed."""
    act = approvals.approve if decision is Decision.APPROVE else approvals.reject
    record = act(context(), change, by, reason, door="prefect", plan=plan)
    get_run_logger().info("%s is %s: %s", change, record.state, record.note)
    return f"{change} is {record.state}: {record.note}"
