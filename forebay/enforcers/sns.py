"""Announces a policy in force on an SNS topic."""

from __future__ import annotations

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call
from forebay.domain.policy import PolicyVersion
from forebay.enforcers.record import delivery_id, to_json


class SnsTopic:
    """An Enforcer. Delivery is at least once: receivers drop what they know by the attribute `id`.

    A FIFO topic keeps the versions of a policy in order and drops repeats itself, for five minutes.
    """

    name = "sns"

    def __init__(self, clients: AwsClients, topic: str) -> None:
        self._clients = clients
        self._topic = topic

    def prepare(self, version: PolicyVersion) -> None:
        """Makes the client; SNS has no call that would do nothing."""
        with aws_call("sns:Publish", f"topic {self._topic}"):
            _ = self._clients.sns

    def push(self, version: PolicyVersion) -> None:
        """One call. The message is the version as JSON; attributes, to filter by: entity, policy, kind and id.

        IAM: sns:Publish.
        """
        names = {
            "entity": version.entity,
            "policy": version.policy,
            "kind": version.kind,
            "id": delivery_id(version),
        }
        fifo = {"MessageGroupId": f"{version.entity}/{version.policy}", "MessageDeduplicationId": delivery_id(version)}
        with aws_call("sns:Publish", f"topic {self._topic}"):
            self._clients.sns.publish(
                TopicArn=self._topic,
                Message=to_json(version),
                MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in names.items()},
                **(fifo if self._topic.endswith(".fifo") else {}),
            )
