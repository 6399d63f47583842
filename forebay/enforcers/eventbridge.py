"""Announces a policy in force on an EventBridge bus."""

from __future__ import annotations

import json

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call, kind_of_code
from forebay.domain.errors import OutsideError
from forebay.domain.policy import PolicyVersion
from forebay.enforcers.record import delivery_id, to_json

SOURCE = "forebay"
DETAIL_TYPE = "Policy in force"


class EventBridgeEvent:
    """An Enforcer. Delivery is at least once: receivers drop what they know by `detail.id`."""

    name = "eventbridge"

    def __init__(self, clients: AwsClients, bus: str = "default") -> None:
        self._clients = clients
        self._bus = bus

    def prepare(self, version: PolicyVersion) -> None:
        """Makes the client; EventBridge has no call that would do nothing."""
        with aws_call("events:PutEvents", f"event bus {self._bus}"):
            _ = self._clients.events

    def push(self, version: PolicyVersion) -> None:
        """One call. `detail` is the version as JSON plus `id`, the same for every delivery of it.

        IAM: events:PutEvents.
        """
        detail = {"id": delivery_id(version), **json.loads(to_json(version))}
        with aws_call("events:PutEvents", f"event bus {self._bus}"):
            answer = self._clients.events.put_events(
                Entries=[
                    {
                        "Source": SOURCE,
                        "DetailType": DETAIL_TYPE,
                        "Detail": json.dumps(detail, sort_keys=True),
                        "EventBusName": self._bus,
                    }
                ]
            )
        # The call itself succeeds when an entry fails.
        if answer["FailedEntryCount"]:
            entry = answer["Entries"][0]
            kind = kind_of_code(entry.get("ErrorCode", ""), 0)
            raise OutsideError(
                f"events:PutEvents on event bus {self._bus} {kind.what} "
                f"({entry.get('ErrorCode')}: {entry.get('ErrorMessage')}): {kind.mend}",
                retryable=kind.retryable,
            )
