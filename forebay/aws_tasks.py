"""What one ECS task reserves, read from its task definition. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ecs.type_defs import TaskDefinitionTypeDef


def reservation(definition: TaskDefinitionTypeDef) -> tuple[int, int]:
    """CPU units (1024 are a core) and MiB that one task reserves; 0 where the definition does not say.

    The task's own size, else the sum of its containers', of whose memory the soft limit counts first (ECS guide,
    service utilization metrics).
    """
    containers = definition["containerDefinitions"]
    cpu = int(definition.get("cpu") or sum(c.get("cpu", 0) for c in containers))
    memory = int(definition.get("memory") or sum(c.get("memoryReservation") or c.get("memory", 0) for c in containers))
    return cpu, memory
