"""Tasks of shaping and enforcing. The controller retries by itself, after reading; these run once."""

from prefect import get_run_logger, runtime, task

from blocks.context import context
from forebay.app import arm
from forebay.app.advance import drive
from forebay.app.wakeups import fall_together
from forebay.control.decide import Decision, Hold
from tasks.policy import ONCE


def due_together(change: str, workload: str) -> list[tuple[str, str]]:
    """(change, workload) pairs for this run: the one it was made for, and those that fall together with it."""
    return fall_together(context(), change, workload)


@task(name="advance", task_run_name="advance {workload}", **ONCE)
def advance(change: str, workload: str) -> str:
    """Everything that is due on the workload, in order; returns why it ended."""
    log = get_run_logger()

    def report(decision: Decision) -> None:
        level = log.warning if isinstance(decision, Hold) else log.info
        level("%s: %s", type(decision).__name__.lower(), decision.reason)

    return drive(context(), change, workload, holder=f"run {runtime.flow_run.id}", report=report)


@task(name="arm", **ONCE)
def arm_if_aligned(change: str) -> str:
    """Arm what is aligned; disarm and hold what no longer is. Returns what is missing, or that nothing is."""
    text = arm.arm_if_aligned(context(), change)
    get_run_logger().info(text)
    return text


@task(name="enforce", **ONCE)
def enforce(change: str) -> str:
    """Sleep to the exact effective time, then record the activation and push it: nothing of Prefect in between.

    The decision point does not wait for this: it reads the clock itself.
    """
    arm.wait_until_effective(context(), change)
    text = arm.enforce(context(), change)
    get_run_logger().info(text)
    return text
