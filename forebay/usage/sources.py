"""Which CloudWatch metrics tell a workload's absolute usage, and how. Pure.

Absolute usage is percent x reservation x running units: a percentage alone falls when units are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from forebay.domain.resources import Resource, ResourceVector, to_canonical
from forebay.domain.size import CPU_UNITS_PER_CORE
from forebay.domain.workload import AsgTarget, EcsTarget, EntityMetric

# Value by period start (epoch seconds). A period without data is absent.
Points = Mapping[int, float]
# What one unit has. Asked for only where percentages must be turned into amounts.
Reserved = Callable[[], ResourceVector]


@dataclass(frozen=True)
class Query:
    """One metric. The order of `dimensions` is the order in which AWS publishes them."""

    key: str
    namespace: str
    metric: str
    stat: Literal["Average", "Sum", "SampleCount"]
    dimensions: tuple[tuple[str, str], ...]


class Source(Protocol):
    """What is asked of CloudWatch for one kind of target, and what the answers add up to."""

    @property
    def mend(self) -> str:
        """What to turn on where data is missing for good."""

    def queries(self, resources: Iterable[Resource]) -> list[Query]: ...

    def usage(
        self, resource: Resource, points: Mapping[str, Points], reserved: Reserved, period: int
    ) -> dict[int, float]:
        """Usage summed over all units, in canonical units. `period` in seconds."""


@dataclass(frozen=True)
class EcsSource:
    """Container Insights where it has data, else the percentages of AWS/ECS times reservation and running tasks.

    Container Insights publishes one sample a task and minute, so Sum over a minute is the service's total (its own
    dashboards use that statistic). RunningTaskCount has one sample a minute: its SampleCount is the number of minutes
    in a longer period, gaps left out, by which the Sum is divided. AWS publishes no running count without Container
    Insights; then there is no usage, as a guess would be worse. What a percentage relates to is what was reserved at
    that time (CpuReserved, MemoryReserved), since tasks may have had another size; today's size only where that lacks.
    """

    target: EcsTarget
    mend: str = "turn on Container Insights for the cluster: RunningTaskCount comes from there only"

    def queries(self, resources: Iterable[Resource]) -> list[Query]:
        own = (("ClusterName", self.target.cluster), ("ServiceName", self.target.service))
        insights = "ECS/ContainerInsights"
        wanted = {
            Resource.CPU: [
                Query("cpu", insights, "CpuUtilized", "Sum", own),
                Query("cpu_percent", "AWS/ECS", "CPUUtilization", "Average", own),
                Query("cpu_reserved", insights, "CpuReserved", "Sum", own),
            ],
            Resource.MEMORY: [
                Query("memory", insights, "MemoryUtilized", "Sum", own),
                Query("memory_percent", "AWS/ECS", "MemoryUtilization", "Average", own),
                Query("memory_reserved", insights, "MemoryReserved", "Sum", own),
            ],
            Resource.NETWORK: [
                Query("sent", insights, "NetworkTxBytes", "Sum", own),
                Query("received", insights, "NetworkRxBytes", "Sum", own),
            ],
        }
        return [
            Query("units", insights, "RunningTaskCount", "Average", own),
            Query("rounds", insights, "RunningTaskCount", "SampleCount", own),
            *(query for resource in resources for query in wanted[resource]),
        ]

    def usage(
        self, resource: Resource, points: Mapping[str, Points], reserved: Reserved, period: int
    ) -> dict[int, float]:
        rounds = points["rounds"]
        if resource is Resource.NETWORK:
            totals = _per(_busier(points["sent"], points["received"]), rounds)
            return {t: to_canonical(value, "bytes/s", resource) for t, value in totals.items()}
        if resource is Resource.CPU:
            exact = {t: v / CPU_UNITS_PER_CORE for t, v in _per(points["cpu"], rounds).items()}
            percent, total = points["cpu_percent"], _per(points["cpu_reserved"], rounds)
            then = {t: v / CPU_UNITS_PER_CORE for t, v in total.items()}
        else:
            exact = {t: to_canonical(v, "MiB", resource) for t, v in _per(points["memory"], rounds).items()}
            percent, total = points["memory_percent"], _per(points["memory_reserved"], rounds)
            then = {t: to_canonical(v, "MiB", resource) for t, v in total.items()}
        known = {t: value / 100 * then[t] for t, value in percent.items() if t in then} | exact
        rest = {t: value for t, value in percent.items() if t not in known}
        return known | (_percent(rest, points["units"], reserved()[resource]) if rest else {})


@dataclass(frozen=True)
class AsgSource:
    """AWS/EC2 by group; instances in service from the group's own metrics; memory from the CloudWatch agent.

    NetworkIn/Out are bytes in the period, so their Sum over instances is the group's. In a weighted group a unit is
    a capacity unit, and GroupInServiceCapacity counts those.
    """

    target: AsgTarget
    mend: str = "enable the group's metrics (GroupInServiceInstances), and for memory the CloudWatch agent"

    def queries(self, resources: Iterable[Resource]) -> list[Query]:
        own = (("AutoScalingGroupName", self.target.group),)
        wanted = {
            Resource.CPU: [Query("cpu_percent", "AWS/EC2", "CPUUtilization", "Average", own)],
            Resource.MEMORY: [Query("memory_percent", "CWAgent", "mem_used_percent", "Average", own)],
            Resource.NETWORK: [
                Query("sent", "AWS/EC2", "NetworkOut", "Sum", own),
                Query("received", "AWS/EC2", "NetworkIn", "Sum", own),
            ],
        }
        return [
            Query("instances", "AWS/AutoScaling", "GroupInServiceInstances", "Average", own),
            Query("capacity", "AWS/AutoScaling", "GroupInServiceCapacity", "Average", own),
            *(query for resource in resources for query in wanted[resource]),
        ]

    def usage(
        self, resource: Resource, points: Mapping[str, Points], reserved: Reserved, period: int
    ) -> dict[int, float]:
        if resource is Resource.NETWORK:
            totals = _busier(points["sent"], points["received"])
            return {t: to_canonical(value / period, "bytes/s", resource) for t, value in totals.items()}
        units = {**points["instances"], **points["capacity"]}
        key = "cpu_percent" if resource is Resource.CPU else "memory_percent"
        return _percent(points[key], units, reserved()[resource])


@dataclass(frozen=True)
class EntitySource:
    """One customer's usage, from the metrics that the workload names for it."""

    metrics: Mapping[Resource, EntityMetric]
    entity: str

    def queries(self, resources: Iterable[Resource]) -> list[Query]:
        return [
            Query(
                f"entity_{resource}", m.namespace, m.metric, m.stat, (*m.dimensions.items(), (m.dimension, self.entity))
            )
            for resource in resources
            for m in [self.metrics[resource]]
        ]

    def usage(self, resource: Resource, points: Mapping[str, Points], period: int) -> dict[int, float]:
        """In canonical units; a sum over a period becomes the mean amount per second."""
        metric = self.metrics[resource]
        seconds = period if metric.stat == "Sum" else 1
        found = points[f"entity_{resource}"].items()
        return {t: to_canonical(value / seconds, metric.unit, resource) for t, value in found}


def _per(totals: Points, rounds: Points) -> dict[int, float]:
    return {t: value / rounds[t] for t, value in totals.items() if rounds.get(t)}


def _percent(percent: Points, units: Points, reserved: float) -> dict[int, float]:
    return {t: value / 100 * reserved * units[t] for t, value in percent.items() if t in units}


def _busier(sent: Points, received: Points) -> dict[int, float]:
    """The busier direction: bandwidth holds in each direction, not for their sum."""
    return {t: max(sent.get(t, 0.0), received.get(t, 0.0)) for t in sorted({*sent, *received})}
