"""Auto Scaling calls as AWS answers them: bounds that hold, capacity that comes later, activities that say why not."""

from __future__ import annotations

from typing import Any

from moto.autoscaling import models, responses
from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, FakeScheduledAction
from moto.core.responses import ActionResult

from sandbox.asg import ON_ITS_WAY, Groups
from sandbox.world import Patches

PROCESSES = {
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
}


def install(patches: Patches, groups: Groups) -> None:
    """Replaces the Auto Scaling calls that differ from AWS."""
    patches.set(models, "utcnow", groups.world.naive_now)
    _models(patches, groups)
    _create(patches, groups)
    _bounds(patches)
    _processes(patches)
    _actions(patches)

    def describe_scaling_activities(self: Any) -> ActionResult:
        name = self._get_param("AutoScalingGroupName")
        wanted = set(self._get_param("ActivityIds", []))
        known = self.autoscaling_backend.autoscaling_groups.values()
        rows = [a for g in known if name in (None, g.name) for a in groups.crew(g).activities]
        rows = [a for a in rows if not wanted or a["ActivityId"] in wanted]
        start, most = int(self._get_param("NextToken") or 0), self._get_int_param("MaxRecords") or 100
        token = str(start + most) if start + most < len(rows) else None
        return ActionResult({"Activities": rows[start : start + most], "NextToken": token})

    patches.set(responses.AutoScalingResponse, "describe_scaling_activities", describe_scaling_activities)


def _group(backend: AutoScalingBackend, name: str) -> FakeAutoScalingGroup:
    if name not in backend.autoscaling_groups:
        raise ValidationError(f"AutoScalingGroup name not found - no such group: {name}")
    return backend.autoscaling_groups[name]


def _models(patches: Patches, groups: Groups) -> None:
    replace = FakeAutoScalingGroup.replace_autoscaling_group_instances

    def replace_instances(self: FakeAutoScalingGroup, count_needed: int, propagated_tags: dict[str, str]) -> None:
        before = len(self.instance_states)
        replace(self, count_needed, propagated_tags)
        groups.note_launched(self, self.instance_states[before:])

    def set_desired_capacity(self: FakeAutoScalingGroup, new_capacity: int | None) -> None:
        self.desired_capacity = self.min_size if new_capacity is None else new_capacity
        if self.name in self.autoscaling_backend.autoscaling_groups:
            groups.settle(self)

    def active_instances(self: FakeAutoScalingGroup) -> list[Any]:
        # Pending ones count, or a second change of the desired capacity would launch them again.
        return [s for s in self.instance_states if s.lifecycle_state in ON_ITS_WAY]

    patches.set(FakeAutoScalingGroup, "replace_autoscaling_group_instances", replace_instances)
    patches.set(FakeAutoScalingGroup, "set_desired_capacity", set_desired_capacity)
    patches.set(FakeAutoScalingGroup, "active_instances", active_instances)


def _check_sizes(low: int, high: int, desired: int | None) -> None:
    if low < 0 or low > high:
        raise ValidationError(f"Max bound, {high}, must be greater than or equal to min bound, {low}")
    if desired is not None and not low <= desired <= high:
        raise ValidationError(
            f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}"
        )


def _create(patches: Patches, groups: Groups) -> None:
    create = AutoScalingBackend.create_auto_scaling_group

    def create_group(self: Any, name: str, *args: Any, **kwargs: Any) -> FakeAutoScalingGroup:
        if name in self.autoscaling_groups:
            raise AutoscalingClientError("AlreadyExists", f"AutoScalingGroup by this name already exists: {name}")
        desired = kwargs.get("desired_capacity")
        _check_sizes(
            int(kwargs["min_size"]), int(kwargs["max_size"]), int(desired) if desired not in (None, "") else None
        )
        group = create(self, name, *args, **kwargs)
        groups.settle(group)
        return group

    patches.set(AutoScalingBackend, "create_auto_scaling_group", create_group)


def _bounds(patches: Patches) -> None:
    update, delete = AutoScalingBackend.update_auto_scaling_group, AutoScalingBackend.delete_auto_scaling_group

    def update_group(self: Any, name: str, *args: Any, **kwargs: Any) -> FakeAutoScalingGroup:
        group = _group(self, name)
        low = group.min_size if kwargs.get("min_size") is None else kwargs["min_size"]
        high = group.max_size if kwargs.get("max_size") is None else kwargs["max_size"]
        _check_sizes(low or 0, high or 0, kwargs.get("desired_capacity"))
        if kwargs.get("desired_capacity") is None:
            kwargs["desired_capacity"] = max(low or 0, min(high or 0, group.desired_capacity or 0))
        if not any(kwargs.get(k) for k in ("launch_config_name", "launch_template", "mixed_instances_policy")):
            kwargs["mixed_instances_policy"] = group.mixed_instances_policy  # moto would wipe it
        changed: FakeAutoScalingGroup = update(self, name, *args, **kwargs)
        return changed

    def set_desired_capacity(self: Any, group_name: str, desired_capacity: int | None) -> None:
        group = _group(self, group_name)
        wanted, low, high = desired_capacity or 0, group.min_size or 0, group.max_size or 0
        for wrong, side, bound in ((wanted > high, "above max", high), (wanted < low, "below min", low)):
            if wrong:
                raise ValidationError(
                    f"New SetDesiredCapacity value {wanted} is {side} value {bound} for the AutoScalingGroup."
                )
        group.set_desired_capacity(wanted)
        self.update_attached_elbs(group_name)

    def delete_group(self: Any, group_name: str) -> None:
        _group(self, group_name).min_size = 0  # no minimum keeps a group from being deleted
        delete(self, group_name)

    patches.set(AutoScalingBackend, "update_auto_scaling_group", update_group)
    patches.set(AutoScalingBackend, "set_desired_capacity", set_desired_capacity)
    patches.set(AutoScalingBackend, "delete_auto_scaling_group", delete_group)


def _processes(patches: Patches) -> None:
    for name in ("suspend_processes", "resume_processes"):
        known = getattr(AutoScalingBackend, name)

        def checked(self: Any, group_name: str, scaling_processes: list[str], known: Any = known) -> None:
            _group(self, group_name)
            unknown = set(scaling_processes) - PROCESSES
            if unknown:
                raise ValidationError(f"Invalid process(es) {sorted(unknown)}; valid are {sorted(PROCESSES)}")
            known(self, group_name, scaling_processes)

        patches.set(AutoScalingBackend, name, checked)


def _actions(patches: Patches) -> None:
    put = AutoScalingBackend.put_scheduled_update_group_action

    def put_action(self: Any, name: str, *args: Any, **kwargs: Any) -> FakeScheduledAction:
        _group(self, name)
        return put(self, name, *args, **kwargs)

    patches.set(AutoScalingBackend, "put_scheduled_update_group_action", put_action)
