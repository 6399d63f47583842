"""The simulated cloud and Forebay's clients at it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from forebay.aws import AwsClients
from forebay.domain.workload import AsgTarget, EcsTarget, Workload
from sandbox.sandbox import Sandbox

ECS = EcsTarget(type="ecs", cluster="prod", service="web")
ASG = AsgTarget(type="asg", group="web")
TRACKING = {"metric": "cpu", "target_percent": 60}
TIMING = {"launch_lag_s": 30, "start_rate_per_s": 5}
REGION = "us-east-1"


class CloudClock:
    """Forebay's Clock on the sandbox's manual clock: sleeping moves the cloud on."""

    def __init__(self, cloud: Sandbox) -> None:
        self._cloud = cloud

    def now(self) -> datetime:
        return self._cloud.now()

    def sleep(self, duration: timedelta) -> None:
        self._cloud.advance(max(0.0, duration.total_seconds()))


@cache
def _clients(url: str, total_max_attempts: int) -> AwsClients:
    return AwsClients(REGION, url, total_max_attempts=total_max_attempts)


def clients(cloud: Sandbox, monkeypatch: pytest.MonkeyPatch, total_max_attempts: int = 1) -> AwsClients:
    """Clients at the sandbox; one attempt by default, so that a fault shows at once."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    return _clients(cloud.url, total_max_attempts)


def played(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """A sandbox workload of 4 units with a constant demand of 2 cores, 2 GiB, 10 Mbit/s: 50 % of the CPU."""
    trace = tmp_path / "flat.csv"
    trace.write_text(
        "timestamp,cpu,memory,network\n" + "".join(f"2026-01-01T00:{m:02}:00Z,0.25,0.5,0.1\n" for m in (0, 5))
    )
    where = {} if "asg" in changes else {"ecs_service": "prod/web"}
    return {
        "name": "web",
        "unit": {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100},
        "peak": {"cpu_cores": 8, "memory_gib": 4, "network_mbps": 100},
        "trace": str(trace),
        "units": 4,
        "min_units": 1,
        "max_units": 20,
        **where,
        **changes,
    }


def a_workload(target: EcsTarget | AsgTarget, **changes: Any) -> Workload:
    """Forebay's description of what `played` plays."""
    return Workload.model_validate(
        {
            "name": "web",
            "target": target.model_dump(),
            "unit": {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100},
            "objectives": {"cpu": 0.6, "memory": 0.8, "network": 0.5},
            "limits": {"min_units": 1, "max_units": 20, "soft": {"units": 4}},
            "lead_time": "PT1M",
            "price": {"per_unit_hour": "0.05"},
            **changes,
        }
    )


def an_alarm(aws, name):
    """One that is not in ALARM."""
    aws.cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="shop",
        MetricName="errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )


def track_group(aws: AwsClients) -> None:
    """The group `web` gets a policy of its own, as TRACKING says for a service."""
    aws.autoscaling.put_scaling_policy(
        AutoScalingGroupName="web",
        PolicyName="tracking",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration={
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
            "TargetValue": TRACKING["target_percent"],
        },
    )
