"""Revisions of an ECS task definition: the size one has, and a copy of it in another size."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call
from forebay.aws_tasks import reservation
from forebay.domain.errors import OutsideError
from forebay.domain.size import TaskSize

if TYPE_CHECKING:
    from mypy_boto3_ecs.type_defs import TaskDefinitionTypeDef

# What a copy is found again by: the plan it was made for, and the revision it was made from.
PLAN_TAG, COPY_TAG = "forebay:plan", "forebay:copy-of"
# A copy is looked for among so many of the newest revisions: it was made moments ago, and each is one call.
LOOKED_AT = 10


class Revisions:
    """The task definitions of one service. `what`: how errors name the service."""

    def __init__(self, clients: AwsClients, what: str) -> None:
        self._clients = clients
        self._what = what

    def size(self, arn: str) -> TaskSize:
        """What one task of a revision reserves. Raises OutsideError, not retryable where the revision does not say.

        IAM: ecs:DescribeTaskDefinition.
        """
        cpu, memory = self.reserved(arn)
        if not (cpu and memory):
            raise OutsideError(
                f"{self._what}: its task definition {arn} does not say how much CPU and memory a task has: "
                "set cpu and memory in it, or list no sizes",
                retryable=False,
            )
        return TaskSize(cpu_units=cpu, memory_mib=memory)

    def reserved(self, arn: str) -> tuple[int, int]:
        """CPU units and MiB that one task of a revision reserves; 0 where it does not say. Raises OutsideError.

        IAM: ecs:DescribeTaskDefinition.
        """
        definition, _ = self._describe(arn)
        return reservation(definition)

    def copy(self, source: str, size: TaskSize, key: str) -> str:
        """The ARN of `source`'s copy in another size made under `key`; it is registered if there is none yet.

        Raises OutsideError. After a retryable one it may or may not be registered: the same call again finds it.

        IAM: ecs:ListTaskDefinitions, DescribeTaskDefinition, RegisterTaskDefinition, ecs:TagResource, iam:PassRole.
        """
        definition, tags = self._describe(source)
        mark = {PLAN_TAG: key, COPY_TAG: source}
        for arn in self._newer(definition):
            made, its_tags = self._describe(arn)
            if mark.items() <= its_tags.items() and reservation(made) == (size.cpu_units, size.memory_mib):
                return arn
        accepted = self._clients.ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape
        call: Any = in_size(definition, size, accepted.members if accepted else ())
        own = {name: value for name, value in tags.items() if not name.startswith("aws:")}
        call["tags"] = [{"key": name, "value": value} for name, value in (own | mark).items()]
        with aws_call("ecs:RegisterTaskDefinition", self._what):
            # One attempt: a repeated call would register a second revision where only the answer was lost.
            answer = self._clients.ecs_once.register_task_definition(**call)
        return answer["taskDefinition"]["taskDefinitionArn"]

    def _describe(self, arn: str) -> tuple[TaskDefinitionTypeDef, dict[str, str]]:
        with aws_call("ecs:DescribeTaskDefinition", self._what):
            answer = self._clients.ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        return answer["taskDefinition"], {tag["key"]: tag["value"] for tag in answer.get("tags", [])}

    def _newer(self, source: TaskDefinitionTypeDef) -> list[str]:
        with aws_call("ecs:ListTaskDefinitions", self._what):
            answer = self._clients.ecs.list_task_definitions(
                familyPrefix=source["family"], status="ACTIVE", sort="DESC", maxResults=LOOKED_AT
            )
        return [arn for arn in answer["taskDefinitionArns"] if int(arn.rsplit(":", 1)[-1]) > source["revision"]]


def in_size(definition: TaskDefinitionTypeDef, size: TaskSize, accepted: Collection[str]) -> dict[str, Any]:
    """The same definition in another size, as a call that registers it. `accepted`: the fields such a call may have.

    Containers with limits of their own get them in proportion, rounded down: together they must fit into the task.
    """
    cpu, memory = reservation(definition)
    scales = {
        "cpu": (size.cpu_units, cpu),
        "memory": (size.memory_mib, memory),
        "memoryReservation": (size.memory_mib, memory),
    }
    call: dict[str, Any] = {name: value for name, value in definition.items() if name in accepted}
    call["containerDefinitions"] = [
        {
            name: value * scales[name][0] // scales[name][1] if name in scales and value else value
            for name, value in container.items()
        }
        for container in call["containerDefinitions"]
    ]
    return call | {"cpu": str(size.cpu_units), "memory": str(size.memory_mib)}
