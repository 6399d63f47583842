"""Clients of the AWS services Forebay calls: the one place for region, endpoint, timeouts and retries."""

from __future__ import annotations

import os
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from forebay.aws_errors import aws_call

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ecs import ECSClient

# A write is two calls at most, three attempts each: 48 s, within the 60 s for which a writer holds its lease.
CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 6


class AwsClients:
    """Clients of one region, each made on first use and then shared; safe to share between threads.

    `region` None: the usual AWS settings decide (AWS_REGION, AWS_DEFAULT_REGION, profile). `endpoint_url` None: the
    public endpoints, or AWS_ENDPOINT_URL. `total_max_attempts` counts the first try too: the SDK only bridges a
    hiccup, a longer disturbance is the caller's to retry, who can see whether the write is still wanted.
    """

    def __init__(
        self, region: str | None = None, endpoint_url: str | None = None, *, total_max_attempts: int = 3
    ) -> None:
        # Of the two variables the SDK for Python reads the second only; all others, and Amazon's tools, know the first.
        self._region = region or os.environ.get("AWS_REGION") or None
        self._endpoint_url = endpoint_url
        self._total_max_attempts = total_max_attempts
        self._clients: dict[str, Any] = {}
        self._elsewhere: dict[str, AwsClients] = {}
        self._lock = Lock()  # a session makes clients for one thread at a time only

    def in_region(self, region: str | None) -> AwsClients:
        """Those of another region, on the same session; None, or their own: these."""
        if region is None or region == self._region:
            return self
        with self._lock:
            if region not in self._elsewhere:
                there = AwsClients(region, self._endpoint_url, total_max_attempts=self._total_max_attempts)
                there.session = self.session
                self._elsewhere[region] = there
            return self._elsewhere[region]

    def ready(self) -> None:
        """Raises OutsideError where there is no region or no credentials, as each call would, one after the other."""
        from botocore.exceptions import NoCredentialsError

        with aws_call("signing a call", "AWS"):
            if self.session.get_credentials() is None:
                raise NoCredentialsError
        self._client("cloudwatch")

    @cached_property
    def session(self) -> Session:
        """The session behind all clients; handlers registered on its events see their calls."""
        import boto3

        return boto3.Session(region_name=self._region)

    @property
    def ecs(self) -> ECSClient:
        client: ECSClient = self._client("ecs")
        return client

    @property
    def ecs_once(self) -> ECSClient:
        """For calls that must not be repeated: one attempt."""
        client: ECSClient = self._client("ecs", total_max_attempts=1)
        return client

    @property
    def application_autoscaling(self) -> ApplicationAutoScalingClient:
        client: ApplicationAutoScalingClient = self._client("application-autoscaling")
        return client

    @property
    def autoscaling(self) -> AutoScalingClient:
        client: AutoScalingClient = self._client("autoscaling")
        return client

    @property
    def cloudwatch(self) -> CloudWatchClient:
        client: CloudWatchClient = self._client("cloudwatch")
        return client

    @property
    def service_quotas(self) -> Any:
        return self._client("service-quotas")

    @property
    def ssm(self) -> Any:
        return self._client("ssm")

    @property
    def sns(self) -> Any:
        return self._client("sns")

    @property
    def events(self) -> Any:
        return self._client("events")

    def _client(self, service: str, total_max_attempts: int | None = None) -> Any:
        from botocore.config import Config

        attempts = total_max_attempts or self._total_max_attempts
        name = f"{service} {attempts}"
        with self._lock:
            if name not in self._clients:
                config = Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    # Not `adaptive`: after a throttled write it slows every read of the same client.
                    retries={"mode": "standard", "total_max_attempts": attempts},
                )
                with aws_call(f"setting up the {service} client", f"region {self._region or '(from the settings)'}"):
                    make: Any = self.session.client
                    self._clients[name] = make(
                        service, region_name=self._region, endpoint_url=self._endpoint_url, config=config
                    )
            return self._clients[name]
