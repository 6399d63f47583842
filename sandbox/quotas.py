"""Service Quotas: the few limits a capacity plan has to look at."""

from __future__ import annotations

from typing import Any

from moto.servicequotas.models import ServiceQuotasBackend

from sandbox.world import Patches, World

EC2, FARGATE = "ec2/L-1216C47A", "fargate/L-3032A538"
NAMES = {
    EC2: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    FARGATE: "Fargate On-Demand vCPU resource count",
}
NAMESPACE, METRIC = "AWS/Usage", "ResourceCount"


def usage_dimensions(key: str) -> dict[str, str]:
    """Of the metric that says how much of a quota, `service/code`, is in use."""
    service = {"ec2": "EC2", "fargate": "Fargate"}.get(key.partition("/")[0], "")
    return {"Class": "Standard/OnDemand", "Resource": "vCPU", "Service": service, "Type": "Resource"}


def install(patches: Patches, world: World) -> None:
    known = ServiceQuotasBackend.get_service_quota

    def get_service_quota(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
        key = f"{service_code}/{quota_code}"
        value = world.config.quotas.get(key)
        if value is None:
            return known(self, service_code, quota_code)
        return {
            "ServiceCode": service_code,
            "ServiceName": service_code,
            "QuotaCode": quota_code,
            "QuotaName": NAMES.get(key, key),
            "Value": value,
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
            "UsageMetric": {
                "MetricNamespace": NAMESPACE,
                "MetricName": METRIC,
                "MetricDimensions": usage_dimensions(key),
                "MetricStatisticRecommendation": "Maximum",
            },
        }

    patches.set(ServiceQuotasBackend, "get_service_quota", get_service_quota)
