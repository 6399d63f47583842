"""The vCPU quota that a target's units count against, and how much of it is in use: Service Quotas and CloudWatch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call
from forebay.domain.allocation import Foreseen
from forebay.domain.errors import OutsideError

# (service, quota) codes of Service Quotas; both count the vCPUs of an account that run in a region.
FARGATE = ("fargate", "L-3032A538")
EC2_STANDARD = ("ec2", "L-1216C47A")
# The families that EC2_STANDARD counts (EC2 guide, "On-Demand Instance quotas"): by the letters before the generation.
STANDARD_FAMILIES = ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z")
# Usage metrics are published every five minutes.
LOOKED_BACK = timedelta(minutes=20)


@dataclass(frozen=True)
class Quota:
    """`limit` and `used` in vCPUs of the whole account; `used` is None where no usage is published."""

    name: str
    limit: float
    used: float | None

    def foresee(self, units: int, running: int, cpu_cores: float) -> Foreseen:
        """Whether `units` of `cpu_cores` each fit where `running` of them run now. Pure."""
        needed = units * cpu_cores
        need = f"{units} units of {cpu_cores:g} vCPU need {needed:g}, and the quota {self.name} is {self.limit:g} vCPU"
        mend = "raise it in Service Quotas first"
        if needed > self.limit:
            return Foreseen(refusals=(f"{need}: {mend}",))
        others = 0.0 if self.used is None else max(0.0, self.used - running * cpu_cores)
        if others + needed > self.limit:
            return Foreseen(warnings=(f"{need}, of which others use {others:g} now: {mend}, or capacity may not come",))
        return Foreseen()

    def __str__(self) -> str:
        used = "usage not published" if self.used is None else f"{self.used:g} in use"
        return f"the quota {self.name} is {self.limit:g} vCPU, {used}"


def read_quota(clients: AwsClients, codes: tuple[str, str], now: datetime) -> Quota:
    """Two calls. Raises OutsideError.

    IAM: servicequotas:GetServiceQuota, cloudwatch:GetMetricData.
    """
    service, code = codes
    with aws_call("servicequotas:GetServiceQuota", f"{service} quota {code}"):
        found = clients.service_quotas.get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]
    name = f"{found['QuotaName']!r} ({code})"
    return Quota(name, float(found["Value"]), _used(clients, found.get("UsageMetric"), name, now))


def quota_in_words(clients: AwsClients, codes: tuple[str, str], now: datetime) -> tuple[str, ...]:
    """For the causes of capacity that does not come: the cloud has named the quota, this adds its figures.

    Empty where it cannot be read: the figures are a courtesy.
    """
    try:
        return (str(read_quota(clients, codes, now)),)
    except OutsideError:
        return ()


def is_standard(instance_type: str) -> bool:
    """Whether EC2_STANDARD counts `m5.large` and the like; another family (`g5`, `inf2`, `x2`) has another quota."""
    family = instance_type.partition(".")[0]
    letters = family[: next((i for i, c in enumerate(family) if c.isdigit()), len(family))]
    return letters in STANDARD_FAMILIES


def _used(clients: AwsClients, metric: dict[str, Any] | None, name: str, now: datetime) -> float | None:
    """The latest of the metric that the quota itself names."""
    if not metric or not metric.get("MetricName"):
        return None
    query = {
        "Metric": {
            "Namespace": metric["MetricNamespace"],
            "MetricName": metric["MetricName"],
            "Dimensions": [{"Name": k, "Value": v} for k, v in metric.get("MetricDimensions", {}).items()],
        },
        "Period": 300,
        "Stat": metric.get("MetricStatisticRecommendation", "Maximum"),
    }
    with aws_call("cloudwatch:GetMetricData", f"usage of the quota {name}"):
        asked: Any = [{"Id": "used", "MetricStat": query}]
        answer = clients.cloudwatch.get_metric_data(
            MetricDataQueries=asked, StartTime=now - LOOKED_BACK, EndTime=now, ScanBy="TimestampDescending"
        )
    values = answer["MetricDataResults"][0]["Values"]
    return float(values[0]) if values else None
