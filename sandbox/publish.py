"""What CloudWatch would show of a workload: the datapoints of one publish period.

Statistics follow AWS. Per-task and per-instance metrics carry one sample a unit: Average is per unit, Sum is the
whole service or group (over one publish period), SampleCount is the number of units. Nothing is said about
utilisation while nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.config import RESOURCES, Workload
from sandbox.load import Vector
from sandbox.metrics import Metric

NAMESPACE = "Forebay/Sandbox"
RX_PER_TX = 0.25  # the trace's network is what the workload sends; it receives a quarter of that
BYTES_PER_S_PER_MBPS = 1e6 / 8
CPU_UNITS_PER_CORE = 1024
MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Datum:
    """`value` is the sum of `samples` equal samples."""

    metric: Metric
    value: float
    unit: str
    samples: int = 1


@dataclass(frozen=True)
class Shown:
    """Means over one period, and the counts at its end."""

    seconds: float
    demand: Vector
    usage: Vector
    capacity: Vector
    entities: dict[str, Vector]
    serving: int
    pending: int
    desired: int


def data(workload: Workload, shown: Shown) -> Iterator[Datum]:
    """All datapoints of `workload` for one period."""
    if workload.ecs_service:
        yield from _ecs(workload.ecs_service, shown)
    elif workload.asg:
        yield from _asg(workload.asg, shown)
    for r, resource in enumerate(RESOURCES):
        unit = "None"
        unmet = max(0.0, shown.demand[r] - shown.usage[r])
        yield Datum(_own("UnmetDemand", Workload=workload.name, Resource=resource), unmet, unit)
        if shown.serving:
            for entity, usage in shown.entities.items():
                metric = _own("EntityUsage", Workload=workload.name, Entity=entity, Resource=resource)
                yield Datum(metric, usage[r], unit)


def _own(name: str, **dimensions: str) -> Metric:
    return Metric.of(NAMESPACE, name, dimensions)


def _ecs(target: str, shown: Shown) -> Iterator[Datum]:
    cluster, service = target.split("/")
    dimensions = {"ClusterName": cluster, "ServiceName": service}

    def insight(name: str, value: float, unit: str, samples: int = 1) -> Datum:
        return Datum(Metric.of("ECS/ContainerInsights", name, dimensions), value, unit, samples)

    for name, count in (("Running", shown.serving), ("Desired", shown.desired), ("Pending", shown.pending)):
        yield insight(f"{name}TaskCount", count, "Count")
    if not shown.serving:
        return
    n = shown.serving
    (cpu, memory, network), (cpu_reserved, memory_reserved, _) = shown.usage, shown.capacity
    yield Datum(Metric.of("AWS/ECS", "CPUUtilization", dimensions), 100 * cpu / cpu_reserved, "Percent")
    yield Datum(Metric.of("AWS/ECS", "MemoryUtilization", dimensions), 100 * memory / memory_reserved, "Percent")
    yield insight("CpuUtilized", cpu * CPU_UNITS_PER_CORE, "None", n)
    yield insight("CpuReserved", cpu_reserved * CPU_UNITS_PER_CORE, "None", n)
    yield insight("MemoryUtilized", memory * MIB_PER_GIB, "Megabytes", n)
    yield insight("MemoryReserved", memory_reserved * MIB_PER_GIB, "Megabytes", n)
    yield insight("NetworkTxBytes", network * BYTES_PER_S_PER_MBPS, "Bytes/Second", n)
    yield insight("NetworkRxBytes", network * BYTES_PER_S_PER_MBPS * RX_PER_TX, "Bytes/Second", n)


def _asg(group: str, shown: Shown) -> Iterator[Datum]:
    dimensions = {"AutoScalingGroupName": group}
    for name, count in (
        ("GroupInServiceInstances", shown.serving),
        ("GroupDesiredCapacity", shown.desired),
        ("GroupPendingInstances", shown.pending),
    ):
        yield Datum(Metric.of("AWS/AutoScaling", name, dimensions), count, "None")
    if not shown.serving:
        return
    n = shown.serving
    sent = shown.usage[2] * BYTES_PER_S_PER_MBPS * shown.seconds
    for metric, total, unit in (
        (Metric.of("AWS/EC2", "CPUUtilization", dimensions), n * 100 * shown.usage[0] / shown.capacity[0], "Percent"),
        (Metric.of("AWS/EC2", "NetworkOut", dimensions), sent, "Bytes"),
        (Metric.of("AWS/EC2", "NetworkIn", dimensions), sent * RX_PER_TX, "Bytes"),
        (Metric.of("CWAgent", "mem_used_percent", dimensions), n * 100 * shown.usage[1] / shown.capacity[1], "Percent"),
    ):
        yield Datum(metric, total, unit, n)
