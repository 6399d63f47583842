"""The three resources an allocation is made of, and the units they are counted in."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from forebay.domain.model import Model


class Resource(StrEnum):
    """A shaped resource. Its canonical unit: cores, GiB, Mbit/s."""

    CPU = "cpu"
    MEMORY = "memory"
    NETWORK = "network"


CANONICAL_UNIT: Mapping[Resource, str] = {
    Resource.CPU: "cores",
    Resource.MEMORY: "GiB",
    Resource.NETWORK: "Mbit/s",
}

# What usage x hours is counted in
UNIT_OF_TOTAL: Mapping[Resource, str] = {
    Resource.CPU: "core-hours",
    Resource.MEMORY: "GiB-hours",
    Resource.NETWORK: "Mbit/s-hours",
}

# Factors to the canonical unit. KB and MB are decimal (what CloudWatch and the traces use), MiB and GiB binary.
UNIT_FACTOR: Mapping[Resource, Mapping[str, float]] = {
    Resource.CPU: {"cores": 1.0, "millicores": 1e-3},
    Resource.MEMORY: {"GiB": 1.0, "MiB": 1 / 1024, "bytes": 1 / 1024**3},
    Resource.NETWORK: {"Mbit/s": 1.0, "MB/s": 8.0, "KB/s": 8e-3, "bytes/s": 8e-6},
}

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def to_canonical(value: float, unit: str, resource: Resource) -> float:
    """`value` in the resource's canonical unit. Raises ValueError naming the accepted units."""
    factors = UNIT_FACTOR[resource]
    if unit not in factors:
        raise ValueError(f"unit {unit!r} does not measure {resource}: use one of {', '.join(factors)}")
    return value * factors[unit]


class ResourceVector(Model):
    """CPU in cores, memory in GiB, network in Mbit/s. As a unit size: what one task or instance brings."""

    cpu_cores: NonNegative = 0.0
    memory_gib: NonNegative = 0.0
    network_mbps: NonNegative = 0.0

    def __getitem__(self, resource: Resource) -> float:
        match resource:
            case Resource.CPU:
                return self.cpu_cores
            case Resource.MEMORY:
                return self.memory_gib
            case Resource.NETWORK:
                return self.network_mbps
