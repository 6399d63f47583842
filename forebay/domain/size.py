"""The size of an ECS task, where it may be chosen: its CPU and memory, and the pairs that Fargate offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from forebay.domain.model import Model
from forebay.domain.resources import ResourceVector

CPU_UNITS_PER_CORE = 1024
MIB_PER_GIB = 1024

# CPU units -> memory in GiB (ECS documentation, "Task CPU and memory")
FARGATE_GIB: Mapping[int, Sequence[float]] = {
    256: (0.5, 1, 2),
    512: range(1, 5),
    1024: range(2, 9),
    2048: range(4, 17),
    4096: range(8, 31),
    8192: range(16, 61, 4),
    16384: range(32, 121, 8),
}


class TaskSize(Model):
    """What a task definition reserves for one task, as the API counts it: 1024 CPU units are a core."""

    cpu_units: Annotated[int, Field(gt=0)]
    memory_mib: Annotated[int, Field(gt=0)]

    @classmethod
    def of(cls, unit: ResourceVector) -> TaskSize:
        """The nearest whole numbers. Raises ValueError (pydantic's) where there is no CPU or no memory."""
        return cls(
            cpu_units=round(unit.cpu_cores * CPU_UNITS_PER_CORE), memory_mib=round(unit.memory_gib * MIB_PER_GIB)
        )

    def __str__(self) -> str:
        return f"{self.cpu_units / CPU_UNITS_PER_CORE:g} vCPU, {self.memory_mib / MIB_PER_GIB:g} GiB"


def not_on_fargate(size: TaskSize) -> str | None:
    """Why Fargate has no such task, and what it has; None if it has."""
    gib = FARGATE_GIB.get(size.cpu_units)
    if gib is None:
        known = ", ".join(f"{units / CPU_UNITS_PER_CORE:g}" for units in FARGATE_GIB)
        return f"Fargate has no task of {size.cpu_units / CPU_UNITS_PER_CORE:g} vCPU: take one of {known}"
    if size.memory_mib in [round(g * MIB_PER_GIB) for g in gib]:
        return None
    offered = ", ".join(f"{g:g}" for g in gib)
    return f"Fargate has no task of {size}: with that CPU it offers {offered} GiB"
