"""The autoscaler of Auto Scaling groups: scheduled actions and target tracking policies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from moto.autoscaling.models import FakeAutoScalingGroup, autoscaling_backends

from sandbox import schedules
from sandbox.asg import Groups, in_service, suspended
from sandbox.autoscaler import Pace, datapoints
from sandbox.metrics import Metric
from sandbox.tracking import Proposal, combine, propose
from sandbox.world import World

SETTLING_S = 300  # a group's policy has no cooldowns; this stands for its instances' warm-up
PREDEFINED = {
    "ASGAverageCPUUtilization": "CPUUtilization",
    "ASGAverageNetworkIn": "NetworkIn",
    "ASGAverageNetworkOut": "NetworkOut",
}


class GroupAutoscaler:
    def __init__(self, world: World, groups: Groups) -> None:
        self.world = world
        self.groups = groups
        self._paces: dict[tuple[str, str, str], Pace] = {}

    def tick(self, before: datetime) -> None:
        """Fires scheduled actions due since `before`, then evaluates the policies."""
        for account in list(autoscaling_backends.values()):
            for backend in list(account.values()):
                self._scheduled(backend, before, self.world.now())
                for group in list(backend.autoscaling_groups.values()):
                    self._track(backend, group, self.world.now().timestamp())

    def _scheduled(self, backend: Any, before: datetime, now: datetime) -> None:
        for name, action in list(backend.scheduled_actions.items()):
            group = backend.autoscaling_groups.get(action.auto_scaling_group_name)
            if group is None or suspended(group, "ScheduledActions") or not _due(action, before, now):
                continue
            if not action.recurrence:
                del backend.scheduled_actions[name]
            low = group.min_size if action.min_size is None else action.min_size
            high = group.max_size if action.max_size is None else action.max_size
            group.min_size, group.max_size = low, high
            desired = group.desired_capacity if action.desired_capacity is None else action.desired_capacity
            group.set_desired_capacity(max(low, min(high, desired)))

    def _track(self, backend: Any, group: FakeAutoScalingGroup, now: float) -> None:
        pace = self._paces.setdefault((backend.account_id, backend.region_name, group.name), Pace())
        end = pace.due(self.world, group.name, now)
        if end is None or suspended(group, "AlarmNotification"):
            return
        configs = [
            vars(p.target_tracking_configuration)
            for p in backend.policies.values()
            if p.auto_scaling_group_name == group.name and p.target_tracking_configuration
        ]
        wishes = [self._propose(backend, config, group, end) for config in configs]
        desired = group.desired_capacity or 0
        decision = combine([w for w in wishes if w is not None], desired)
        capacity = max(group.min_size or 0, min(group.max_size or 0, decision.capacity))
        if not decision.still_moves(capacity, desired) or not pace.allows(
            decision, desired, now, SETTLING_S, SETTLING_S
        ):
            return
        pace.note(decision, desired, now)
        group.set_desired_capacity(capacity)

    def _propose(
        self, backend: Any, config: dict[str, Any], group: FakeAutoScalingGroup, end: float
    ) -> Proposal | None:
        custom = config.get("CustomizedMetricSpecification") or {}
        predefined = (config.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType", "")
        if custom.get("MetricName"):
            dimensions = {d["Name"]: d["Value"] for d in custom.get("Dimensions") or []}
            metric = Metric.of(custom["Namespace"], custom["MetricName"], dimensions)
        elif predefined in PREDEFINED:
            metric = Metric.of("AWS/EC2", PREDEFINED[predefined], {"AutoScalingGroupName": group.name})
        else:
            return None  # a metric this sandbox does not publish
        timing = self.world.timing(group.name)
        store = self.world.store(backend.region_name, backend.account_id)
        count = max(timing.out_points, timing.in_points)
        stat = custom.get("Statistic") or "Average"
        points = datapoints(store, metric, stat, end, timing.autoscaler_period_s, count)
        return propose(
            points,
            float(config["TargetValue"]),
            in_service(group),
            group.desired_capacity or 0,
            timing.out_points,
            timing.in_points,
            not config.get("DisableScaleIn", False),
        )


def _due(action: Any, before: datetime, now: datetime) -> bool:
    start, end = _time(action.start_time), _time(action.end_time)
    if action.recurrence:
        inside = (start is None or now >= start) and (end is None or now <= end)
        return inside and schedules.unix_cron_due(action.recurrence, action.time_zone, before, now)
    return start is not None and before < start <= now


def _time(value: datetime | str | None) -> datetime | None:
    """moto hands over naive UTC or text."""
    if not value:
        return None
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
