"""What only the tasks of an ECS service tell: why they stopped, and whether they are protected from scale-in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call
from forebay.domain.workload import EcsTarget
from forebay.targets.causes import tells_trouble

if TYPE_CHECKING:
    from mypy_boto3_ecs.type_defs import TaskTypeDef

# As many as one call describes. ECS lists stopped tasks for an hour at least, in no order that it names.
LISTED = 100
# Stopped because fewer were wanted: no trouble, unless the reason says so (a load balancer's health check).
ASKED_FOR = ("ServiceSchedulerInitiated", "UserInitiated")


def stopped_tasks(clients: AwsClients, ref: EcsTarget, what: str) -> list[TaskTypeDef]:
    """Those of late, in no order. Two calls at most. Raises OutsideError.

    IAM: ecs:ListTasks, DescribeTasks.
    """
    if not (arns := _listed(clients, ref, what, "STOPPED")):
        return []
    with aws_call("ecs:DescribeTasks", what):
        return clients.ecs.describe_tasks(cluster=ref.cluster, tasks=arns)["tasks"]


def are_protected(clients: AwsClients, ref: EcsTarget, what: str) -> bool:
    """Whether any of the running tasks, of which a hundred are looked at, is. Two calls at most. Raises OutsideError.

    IAM: ecs:ListTasks, GetTaskProtection.
    """
    if not (arns := _listed(clients, ref, what, "RUNNING")):
        return False
    with aws_call("ecs:GetTaskProtection", what):
        answer = clients.ecs.get_task_protection(cluster=ref.cluster, tasks=arns)
    return any(task.get("protectionEnabled") for task in answer["protectedTasks"])


def stop_reasons(tasks: Iterable[TaskTypeDef]) -> list[tuple[datetime, str]]:
    """When and why tasks stopped that nobody wanted to stop. Pure; aware UTC."""
    return [(t["stoppedAt"].astimezone(UTC), "; ".join(_told(t))) for t in tasks if "stoppedAt" in t and _failed(t)]


def _failed(task: TaskTypeDef) -> bool:
    return task.get("stopCode") not in ASKED_FOR or tells_trouble(task.get("stoppedReason", ""))


def _told(task: TaskTypeDef) -> Iterator[str]:
    """On instances the task says no more than that it failed to start, and its container why."""
    reason = task.get("stoppedReason", "a task stopped")
    yield reason
    for container in task.get("containers", []):
        if code := container.get("exitCode"):
            yield f"exit code {code}"
        if (more := container.get("reason", "")) and more not in reason:
            yield more


def _listed(clients: AwsClients, ref: EcsTarget, what: str, status: Literal["RUNNING", "STOPPED"]) -> list[str]:
    with aws_call("ecs:ListTasks", what):
        answer = clients.ecs.list_tasks(
            cluster=ref.cluster, serviceName=ref.service, desiredStatus=status, maxResults=LISTED
        )
    return answer["taskArns"]
