"""Tasks of the daily backtest."""

from prefect import get_run_logger, task

from blocks.context import context
from forebay.app.accuracy import backtest_workload
from tasks.policy import REPEATABLE


@task(name="workloads", **REPEATABLE)
def workload_names() -> list[str]:
    """The workloads whose forecasts are judged: all there are."""
    return [workload.name for workload in context().catalog.workloads]


@task(name="backtest", task_run_name="backtest of {workload}", **REPEATABLE)
def backtest_one(workload: str) -> str:
    """Judge, record, warn."""
    said = backtest_workload(context(), context().workload(workload))
    get_run_logger().info(said)
    return said
