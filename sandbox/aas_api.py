"""Application Auto Scaling calls as AWS answers them: a registered floor moves the service at once."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.applicationautoscaling import models
from moto.applicationautoscaling.exceptions import AWSValidationException
from moto.applicationautoscaling.models import ApplicationAutoscalingBackend, FakeScalableTarget
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse, _build_target
from moto.core.exceptions import JsonRESTError

from sandbox import schedules
from sandbox.ecs import Services
from sandbox.world import Patches, World

ACTIVITIES_KEPT = 500
NO_SUSPENSION = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}


@dataclass(frozen=True)
class Activity:
    """One row of DescribeScalingActivities."""

    resource_id: str
    description: str
    cause: str
    at: datetime
    activity_id: str

    def row(self) -> dict[str, Any]:
        return {
            "ActivityId": self.activity_id,
            "ServiceNamespace": "ecs",
            "ResourceId": self.resource_id,
            "ScalableDimension": "ecs:service:DesiredCount",
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": self.at.timestamp(),
            "EndTime": self.at.timestamp(),
            "StatusCode": "Successful",
            "StatusMessage": f"Successfully set desired count to {self.description.rsplit(' ', 1)[-1].rstrip('.')}.",
        }


class ScalableTargets:
    """Applies floors, ceilings and new counts to ECS services, and keeps the activities."""

    def __init__(self, world: World, services: Services) -> None:
        self.world = world
        self.services = services
        self.activities: list[Activity] = []

    def clamp(self, backend: ApplicationAutoscalingBackend, target: FakeScalableTarget, cause: str) -> None:
        """Moves the desired count into [min, max] at once, as a registration does."""
        service = self.services.find(backend.region_name, backend.account_id, name_of(target.resource_id))
        if service is None or service.status != "ACTIVE":
            return
        low, high = target.min_capacity or 0, target.max_capacity
        wanted = max(low, service.desired_count if high is None else min(high, service.desired_count))
        if wanted != service.desired_count:
            self.scale(backend, target, wanted, cause)

    def scale(
        self, backend: ApplicationAutoscalingBackend, target: FakeScalableTarget, desired: int, cause: str
    ) -> None:
        service = self.services.find(backend.region_name, backend.account_id, name_of(target.resource_id))
        if service is None:
            return
        self.services.set_desired(service, desired)
        activity = Activity(
            target.resource_id, f"Setting desired count to {desired}.", cause, self.world.now(), str(uuid4())
        )
        self.activities = [activity, *self.activities][:ACTIVITIES_KEPT]


def suspension(target: FakeScalableTarget) -> dict[str, bool]:
    """Which parts of scaling are suspended; moto types it as text and keeps a mapping."""
    state: Any = target.suspended_state
    return state or {}


def name_of(resource_id: str) -> str:
    """`service/cluster/name` -> `cluster/name`."""
    return resource_id.split("/", 1)[1]


def install(patches: Patches, targets: ScalableTargets) -> None:
    """Replaces the Application Auto Scaling calls that differ from AWS."""
    patches.set(models, "time", _MotoTime(targets.world))
    _register(patches, targets)
    _schedule(patches)

    def describe_scalable_targets(self: Any) -> str:
        self._validate_params()
        found = self.applicationautoscaling_backend.describe_scalable_targets(
            self._get_param("ServiceNamespace"), self._get_param("ResourceIds"), self._get_param("ScalableDimension")
        )
        return _paged(self, "ScalableTargets", [_build_target(t) for t in found])

    def describe_scaling_activities(self: Any) -> str:
        wanted = self._get_param("ResourceId")
        rows = [a.row() for a in targets.activities if wanted in (None, a.resource_id)]
        return _paged(self, "ScalingActivities", rows)

    patches.set(ApplicationAutoScalingResponse, "describe_scalable_targets", describe_scalable_targets)
    patches.set(ApplicationAutoScalingResponse, "describe_scaling_activities", describe_scaling_activities)


class _MotoTime:
    """Stands for the module `time` in moto's models, so that creation times follow the sandbox's clock."""

    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        return self._world.now().timestamp()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def _paged(response: Any, key: str, rows: list[dict[str, Any]]) -> str:
    start, most = int(response._get_param("NextToken") or 0), response._get_int_param("MaxResults") or 50
    token = str(start + most) if start + most < len(rows) else None
    return json.dumps({key: rows[start : start + most], "NextToken": token})


def _register(patches: Patches, targets: ScalableTargets) -> None:
    register = ApplicationAutoscalingBackend.register_scalable_target

    def register_scalable_target(
        self: Any,
        namespace: str,
        r_id: str,
        dimension: str,
        min_capacity: int | None,
        max_capacity: int | None,
        role_arn: str,
        suspended_state: Any,
    ) -> FakeScalableTarget:
        before = self.targets.get(dimension, {}).get(r_id)
        low = min_capacity if min_capacity is not None else (before.min_capacity if before else None)
        high = max_capacity if max_capacity is not None else (before.max_capacity if before else None)
        if low is None or high is None:
            raise AWSValidationException("You must specify MinCapacity and MaxCapacity when registering a new target.")
        if low < 0 or low > high:
            raise AWSValidationException(f"Maximum capacity ({high}) cannot be less than minimum capacity ({low}).")
        state: Any = NO_SUSPENSION | (suspension(before) if before else {}) | (suspended_state or {})
        target = register(self, namespace, r_id, dimension, min_capacity, max_capacity, role_arn, state)
        if namespace == "ecs":
            targets.clamp(self, target, f"minimum capacity was set to {low}, maximum capacity was set to {high}")
        return target

    patches.set(ApplicationAutoscalingBackend, "register_scalable_target", register_scalable_target)


def _schedule(patches: Patches) -> None:
    put = ApplicationAutoscalingBackend.put_scheduled_action

    def put_scheduled_action(self: Any, **kwargs: Any) -> None:
        try:
            if kwargs.get("schedule") is not None:
                schedules.check(kwargs["schedule"], kwargs.get("timezone") or "UTC")
        except schedules.ScheduleError as exc:
            raise AWSValidationException(str(exc)) from exc
        if kwargs["resource_id"] not in self.targets.get(kwargs["scalable_dimension"], {}):
            raise JsonRESTError(
                "ObjectNotFoundException",
                f"No scalable target registered for service namespace: {kwargs['service_namespace']}, resource ID: "
                f"{kwargs['resource_id']}, scalable dimension: {kwargs['scalable_dimension']}",
            )
        put(self, **kwargs)

    patches.set(ApplicationAutoscalingBackend, "put_scheduled_action", put_scheduled_action)


def due_actions(
    world: World, after: datetime, until: datetime
) -> list[tuple[Any, FakeScalableTarget, dict[str, Any], str]]:
    """Scheduled actions with an instant in (after, until]: backend, target, its new bounds, the action's name.

    An at() action has done its work after that and is removed, as AWS does.
    """
    found: list[tuple[Any, FakeScalableTarget, dict[str, Any], str]] = []
    for account in list(models.applicationautoscaling_backends.values()):
        for backend in list(account.values()):
            for action in list(backend.scheduled_actions):
                target = backend.targets.get(action.scalable_dimension, {}).get(action.resource_id)
                if target is None or suspension(target).get("ScheduledScalingSuspended"):
                    continue
                if not _within(action, until):
                    continue
                created = datetime.fromtimestamp(action.creation_time, UTC)
                if schedules.due(action.schedule, action.timezone or "UTC", created, after, until):
                    bounds: Any = action.scalable_target_action or {}
                    found.append((backend, target, bounds, action.scheduled_action_name))
                    if action.schedule.startswith("at("):
                        backend.scheduled_actions.remove(action)
    return found


def _within(action: Any, now: datetime) -> bool:
    """Start and end bound recurring actions; they come as epoch seconds."""
    start, end = action.start_time, action.end_time
    return (not start or now.timestamp() >= float(start)) and (not end or now.timestamp() <= float(end))
