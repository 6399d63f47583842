"""The autoscalers' loop: scheduled actions and target tracking of ECS services, on the datapoints CloudWatch shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moto.applicationautoscaling.models import applicationautoscaling_backends

from sandbox import aas_api
from sandbox.aas_api import ScalableTargets, name_of
from sandbox.metrics import Metric, MetricStore
from sandbox.tracking import Proposal, Wish, combine, propose
from sandbox.world import World

DEFAULT_COOLDOWN_S = 300  # Application Auto Scaling's default for ECS
PREDEFINED = {
    "ECSServiceAverageCPUUtilization": "CPUUtilization",
    "ECSServiceAverageMemoryUtilization": "MemoryUtilization",
}


@dataclass
class Pace:
    """What a target's autoscaler has to remember between two looks."""

    evaluated: int = 0
    last_in: float = -math.inf
    last_out: float = -math.inf
    last_step: int = 0

    def due(self, world: World, target: str, now: float) -> float | None:
        """The end of the newest complete period if it was not looked at yet."""
        timing = world.timing(target)
        index = int((now - timing.metric_delay_s) // timing.autoscaler_period_s)
        if self.evaluated == 0:
            self.evaluated = index  # a new target waits for its first own boundary
        if index <= self.evaluated:
            return None
        self.evaluated = index
        return float(index * timing.autoscaler_period_s)

    def allows(self, proposal: Proposal, desired: int, now: float, out_s: float, in_s: float) -> bool:
        """In waits for its cooldown. Out waits for its own too, unless it is a larger step than the last (as AWS)."""
        if proposal.wish is Wish.OUT:
            return now - self.last_out >= out_s or proposal.capacity - desired > self.last_step
        return now - self.last_in >= in_s

    def note(self, proposal: Proposal, desired: int, now: float) -> None:
        if proposal.wish is Wish.OUT:
            self.last_out, self.last_step = now, proposal.capacity - desired
        else:
            self.last_in = now


def datapoints(
    store: MetricStore, metric: Metric, stat: str, end: float, period: int, count: int
) -> list[float | None]:
    """The last `count` periods before `end`, oldest first, None where there is no data."""
    start = end - count * period
    times, values = store.statistic(metric, stat, start, end, period)
    seen = dict(zip(times, values, strict=True))
    return [seen.get(start + i * period) for i in range(count)]


class ServiceAutoscaler:
    """Application Auto Scaling for ECS services."""

    def __init__(self, world: World, targets: ScalableTargets) -> None:
        self.world = world
        self.targets = targets
        self._paces: dict[tuple[str, str, str], Pace] = {}

    def tick(self, before: datetime) -> None:
        """Fires scheduled actions due since `before`, then evaluates the policies."""
        now = self.world.now()
        for backend, target, bounds, name in aas_api.due_actions(self.world, before, now):
            low, high = bounds.get("MinCapacity"), bounds.get("MaxCapacity")
            target.update(low, high, None)  # type: ignore[arg-type]
            self.targets.clamp(backend, target, f"scheduled action name {name} was triggered")
        for account in list(applicationautoscaling_backends.values()):
            for backend in list(account.values()):
                for resources in list(backend.targets.values()):
                    for target in list(resources.values()):
                        if target.service_namespace == "ecs":
                            self._track(backend, target, now.timestamp())

    def _track(self, backend: Any, target: Any, now: float) -> None:
        name = name_of(target.resource_id)
        pace = self._paces.setdefault((backend.account_id, backend.region_name, name), Pace())
        end = pace.due(self.world, name, now)
        if end is None:
            return
        service = self.targets.services.find(backend.region_name, backend.account_id, name)
        policies = [
            p.target_tracking_scaling_policy_configuration
            for p in backend.policies.values()
            if p.resource_id == target.resource_id and p.target_tracking_scaling_policy_configuration
        ]
        if service is None or not policies:
            return
        store = self.world.store(backend.region_name, backend.account_id)
        wishes = [self._propose(store, config, service, name, end) for config in policies]
        decision = combine([w for w in wishes if w is not None], service.desired_count)
        suspended = aas_api.suspension(target)
        deploying = len(service.deployments) > 1 or service.deployments[0]["rolloutState"] == "IN_PROGRESS"
        if decision.wish is Wish.HOLD:
            return
        if decision.wish is Wish.OUT and suspended.get("DynamicScalingOutSuspended"):
            return
        # AWS turns scale-in off while a deployment is in progress; scale-out goes on.
        if decision.wish is Wish.IN and (suspended.get("DynamicScalingInSuspended") or deploying):
            return
        out_s = max(float(c.get("ScaleOutCooldown", DEFAULT_COOLDOWN_S)) for c in policies)
        in_s = max(float(c.get("ScaleInCooldown", DEFAULT_COOLDOWN_S)) for c in policies)
        if not pace.allows(decision, service.desired_count, now, out_s, in_s):
            return
        capacity = max(target.min_capacity, min(target.max_capacity, decision.capacity))
        if not decision.still_moves(capacity, service.desired_count):
            return  # as AWS: a count below the minimum is repaired by a scale-out only, never by a scale-in
        pace.note(decision, service.desired_count, now)
        self.targets.scale(
            backend, target, capacity, f"monitor alarm triggered target tracking ({decision.wish.value})"
        )

    def _propose(
        self, store: MetricStore, config: dict[str, Any], service: Any, name: str, end: float
    ) -> Proposal | None:
        tracked = tracked_metric(config, name)
        if tracked is None:
            return None  # a metric this sandbox does not publish, such as requests per load balancer target
        timing = self.world.timing(name)
        count = max(timing.out_points, timing.in_points)
        points = datapoints(store, *tracked, end, timing.autoscaler_period_s, count)
        return propose(
            points,
            float(config["TargetValue"]),
            service.running_count,
            service.desired_count,
            timing.out_points,
            timing.in_points,
            not config.get("DisableScaleIn", False),
        )


def tracked_metric(config: dict[str, Any], name: str) -> tuple[Metric, str] | None:
    """The metric and statistic a policy follows; None for predefined metrics that are not emulated."""
    custom = config.get("CustomizedMetricSpecification")
    if custom and "MetricName" in custom:
        dimensions = {d["Name"]: d["Value"] for d in custom.get("Dimensions") or []}
        return Metric.of(custom["Namespace"], custom["MetricName"], dimensions), custom.get("Statistic", "Average")
    predefined = (config.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType", "")
    if predefined not in PREDEFINED:
        return None
    cluster, service = name.split("/")
    dimensions = {"ClusterName": cluster, "ServiceName": service}
    return Metric.of("AWS/ECS", PREDEFINED[predefined], dimensions), "Average"
