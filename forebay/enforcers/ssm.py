"""Pushes a policy into an SSM parameter, where services that read their limits from there find it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call
from forebay.domain.errors import OutsideError
from forebay.domain.policy import PolicyVersion
from forebay.enforcers.record import to_json


class SsmParameter:
    """An Enforcer: one parameter `{prefix}/{entity}/{policy}`, whose value is the version in force as JSON."""

    name = "ssm"

    def __init__(self, clients: AwsClients, prefix: str = "/forebay/policies") -> None:
        self._clients = clients
        self._prefix = prefix.rstrip("/")

    def prepare(self, version: PolicyVersion) -> None:
        """Reads the parameter, which leaves an open connection."""
        self._value(self._parameter(version))

    def push(self, version: PolicyVersion) -> None:
        """Two calls. What took force later stays, the same is not written again, foreign content is never overwritten.

        IAM: ssm:GetParameter, ssm:PutParameter. The read and the write are not one: two versions pushed at the same
        moment may end with the older one, until the next push.
        """
        parameter = self._parameter(version)
        if not self._put(parameter, version):
            self._put(parameter, version)  # another push created it: read that, then overwrite it or leave it

    def _parameter(self, version: PolicyVersion) -> str:
        return f"{self._prefix}/{version.entity}/{version.policy}"

    def _put(self, parameter: str, version: PolicyVersion) -> bool:
        """False if the parameter came into being between the read and the write."""
        value = to_json(version)
        before = self._value(parameter)
        if before is not None and (before == value or _began(before, parameter) > _began(value, parameter)):
            return True
        with aws_call("ssm:PutParameter", parameter):
            client = self._clients.ssm
            try:
                # Intelligent-Tiering: a document above 4 KiB needs the advanced tier, a small one must not pay for it.
                client.put_parameter(
                    Name=parameter,
                    Value=value,
                    Type="String",
                    Overwrite=before is not None,
                    Tier="Intelligent-Tiering",
                )
            except client.exceptions.ParameterAlreadyExists:
                return False
        return True

    def _value(self, parameter: str) -> str | None:
        with aws_call("ssm:GetParameter", parameter):
            client = self._clients.ssm
            try:
                answer = client.get_parameter(Name=parameter)
            except client.exceptions.ParameterNotFound:
                return None
        value: str = answer["Parameter"]["Value"]
        return value


def _began(value: str, parameter: str) -> tuple[datetime, int]:
    """What `in_force` orders by. The number alone does not tell which version took force later: one may have been set
    back, or put in force at once.
    """
    try:
        content: Any = json.loads(value)
        return datetime.fromisoformat(content["in_force_from"]), int(content["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise OutsideError(
            f"{parameter} holds something that Forebay did not write: move it away, or use another prefix",
            retryable=False,
        ) from error
