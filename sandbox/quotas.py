"""Service Quotas: the few limits a capacity plan has to look at."""

from __future__ import annotations

from typing import Any

from moto.servicequotas.models import ServiceQuotasBackend

from sandbox.world import Patches, World

NAMES = {
    "ec2/L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "fargate/L-3032A538": "Fargate On-Demand vCPU resource count",
}


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
        }

    patches.set(ServiceQuotasBackend, "get_service_quota", get_service_quota)
