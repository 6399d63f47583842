"""An EC2 Auto Scaling group: reads its state and moves its lever, MinSize or the desired capacity.

Where instance types have weights, every number of the group counts capacity units, and so do all numbers here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call, not_found
from forebay.domain.allocation import Foreseen, Lever, Setting, Span, TargetState
from forebay.domain.errors import OutsideError
from forebay.domain.size import TaskSize
from forebay.domain.workload import AsgTarget
from forebay.ports import Clock
from forebay.targets.causes import changes_size, names_quota, newest_first
from forebay.targets.preflight import foresee_scaling, group_refusals, group_warnings
from forebay.targets.quotas import EC2_STANDARD, is_standard, quota_in_words, read_quota
from forebay.targets.schedules import AHEAD, BEHIND, Scheduled, runs_within, sets

if TYPE_CHECKING:
    from mypy_boto3_autoscaling.type_defs import (
        ActivityTypeDef,
        AutoScalingGroupTypeDef,
        InstanceTypeDef,
        ScheduledUpdateGroupActionTypeDef,
    )

# Without these no new instance starts, none gets traffic, or its health is not known.
_NEEDED = ("Launch", "AddToLoadBalancer", "HealthCheck")
_AT_REST = ("InService", "Standby", "Terminated", "Detached")


class AutoScalingGroup:
    """A Target. An unknown group is an OutsideError that is not retryable and names it.

    `lead_time`: from asking for a unit until it serves, as the workload says.
    """

    def __init__(
        self, ref: AsgTarget, clients: AwsClients, clock: Clock, *, lead_time: timedelta = timedelta(0)
    ) -> None:
        self._group = ref.group
        self._clients = clients
        self._clock = clock
        self._lead_time = lead_time
        self._what = f"Auto Scaling group {ref.group}"

    def observe(self) -> TargetState:
        """Three calls; a fourth, for the causes, while units are missing, and two more where a quota is one.

        IAM: autoscaling:DescribeAutoScalingGroups, DescribePolicies, DescribeScheduledActions,
        DescribeScalingActivities; for its figures what `read_quota` names.
        """
        group = self._describe()
        has_policies = self._has_policies()
        state = group_state(group, has_policies, self._scheduled(), self._clock.now(), self._lead_time)
        if not state.lacks_units:
            return state
        why = causes(self._activities(), self._clock.now())
        if any(names_quota(cause) for cause in why) and _counts_as_standard(group):
            why += quota_in_words(self._clients, EC2_STANDARD, self._clock.now())
        return state.model_copy(update={"causes": why})

    def who(self, setting: Setting) -> str | None:
        """What the group's activities give as the cause of its last change of size; a scheduled action by its name.

        IAM: autoscaling:DescribeScheduledActions, DescribeScalingActivities.
        """
        now = self._clock.now()
        for action in self._scheduled():
            sizes = action.get("MinSize"), action.get("MaxSize"), action.get("DesiredCapacity")
            if sets(setting, *sizes) and _ran(action, now):
                return f"the scheduled action {action['ScheduledActionName']!r}"
        texts = [(a["StartTime"].astimezone(UTC), a.get("Cause", "")) for a in self._activities()]
        cause = next(iter(newest_first([t for t in texts if changes_size(t[1])], now)), None)
        return cause and f"another ({cause})"

    def foresee(self, ahead: Sequence[Span], cpu_cores: float, running: int) -> Foreseen:
        """The quota is that of the standard On-Demand families; other families and Spot have others, unread here.

        IAM: autoscaling:DescribeAutoScalingGroups, DescribePolicies, DescribeScheduledActions, and what `read_quota`
        names.
        """
        group = self._describe()
        asleep = any(p["ProcessName"] == "ScheduledActions" for p in group.get("SuspendedProcesses", []))
        lever = Lever.FLOOR if self._has_policies() else Lever.COUNT
        actions = [] if asleep else map(_action, self._scheduled())
        found = foresee_scaling(ahead, lever, group["MinSize"], group["MaxSize"], "the group", actions)
        if not (cpu_cores and _counts_as_standard(group)):
            return found
        quota = read_quota(self._clients, EC2_STANDARD, self._clock.now())
        return found + quota.foresee(max(span.units for span in ahead), running, cpu_cores)

    def apply(self, setting: Setting) -> None:
        """One write. Floor: the desired capacity follows into [floor, ceiling] at once. Count: AWS refuses one
        outside the group's bounds.

        IAM: floor autoscaling:UpdateAutoScalingGroup; count autoscaling:SetDesiredCapacity.
        """
        client = self._clients.autoscaling
        if setting.lever is Lever.COUNT:
            with aws_call("autoscaling:SetDesiredCapacity", self._what):
                client.set_desired_capacity(
                    AutoScalingGroupName=self._group, DesiredCapacity=setting.units, HonorCooldown=False
                )
            return
        with aws_call("autoscaling:UpdateAutoScalingGroup", self._what):
            if setting.ceiling is None:
                client.update_auto_scaling_group(AutoScalingGroupName=self._group, MinSize=setting.units)
            else:
                client.update_auto_scaling_group(
                    AutoScalingGroupName=self._group, MinSize=setting.units, MaxSize=setting.ceiling
                )

    def revision(self, size: TaskSize, key: str) -> str:
        """No workload with sizes has a group as its target; raises OutsideError, not retryable."""
        raise OutsideError(
            f"{self._what}: a group gets another size by its launch template, not by {size}", retryable=False
        )

    def _describe(self) -> AutoScalingGroupTypeDef:
        with aws_call("autoscaling:DescribeAutoScalingGroups", self._what):
            answer = self._clients.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self._group])
        if not answer["AutoScalingGroups"]:
            raise not_found("autoscaling:DescribeAutoScalingGroups", self._what)
        return answer["AutoScalingGroups"][0]

    def _has_policies(self) -> bool:
        with aws_call("autoscaling:DescribePolicies", self._what):
            pages = self._clients.autoscaling.get_paginator("describe_policies").paginate(
                AutoScalingGroupName=self._group
            )
            return any(policy.get("Enabled", True) for page in pages for policy in page["ScalingPolicies"])

    def _scheduled(self) -> list[ScheduledUpdateGroupActionTypeDef]:
        with aws_call("autoscaling:DescribeScheduledActions", self._what):
            pages = self._clients.autoscaling.get_paginator("describe_scheduled_actions").paginate(
                AutoScalingGroupName=self._group
            )
            return [action for page in pages for action in page["ScheduledUpdateGroupActions"]]

    def _activities(self) -> list[ActivityTypeDef]:
        with aws_call("autoscaling:DescribeScalingActivities", self._what):
            # The newest page is enough: causes are those of the last minutes.
            answer = self._clients.autoscaling.describe_scaling_activities(
                AutoScalingGroupName=self._group, MaxRecords=50
            )
        return answer["Activities"]


def group_state(
    group: AutoScalingGroupTypeDef,
    has_policies: bool,
    scheduled: Sequence[ScheduledUpdateGroupActionTypeDef],
    now: datetime,
    lead_time: timedelta = timedelta(0),
) -> TargetState:
    """What the answers of the API mean, but for the causes of units that are missing. Pure; `now` aware UTC.

    Serving are instances InService and Healthy.
    """
    if has_policies:
        setting = Setting(lever=Lever.FLOOR, floor=group["MinSize"], ceiling=group["MaxSize"])
    else:
        setting = Setting(lever=Lever.COUNT, count=group["DesiredCapacity"])
    instances = group.get("Instances", [])
    desired = group["DesiredCapacity"]
    serving = sum(_units(i) for i in instances if _serves(i))
    moving = any(not _serves(i) and not _at_rest(i) for i in instances)
    return TargetState(
        setting=setting,
        desired=desired,
        serving=serving,
        # Not equal but at least: with weights the group may exceed its desired capacity by one instance.
        stable=not moving and serving >= desired >= (setting.floor or 0),
        problems=tuple(_problems(group, setting, scheduled, now)),
        refusals=tuple(group_refusals(group)),
        warnings=tuple(group_warnings(group, lead_time)),
    )


def causes(activities: Sequence[ActivityTypeDef], now: datetime) -> tuple[str, ...]:
    """Why launches failed lately, in the group's own words, newest first."""
    failed = [a for a in activities if a["StatusCode"] in ("Failed", "Cancelled")]
    return newest_first(
        [(a["StartTime"].astimezone(UTC), a.get("StatusMessage") or a.get("Cause", "")) for a in failed], now
    )


def _units(instance: InstanceTypeDef) -> int:
    return int(instance.get("WeightedCapacity", 1))


def _serves(instance: InstanceTypeDef) -> bool:
    return instance["LifecycleState"] == "InService" and instance["HealthStatus"].lower() == "healthy"


def _at_rest(instance: InstanceTypeDef) -> bool:
    """Whether nothing is happening to it. One in service but unhealthy is about to be replaced."""
    state = instance["LifecycleState"]
    return state != "InService" and (state in _AT_REST or state.startswith("Warmed:"))


def _problems(
    group: AutoScalingGroupTypeDef,
    setting: Setting,
    scheduled: Sequence[ScheduledUpdateGroupActionTypeDef],
    now: datetime,
) -> Iterator[str]:
    suspended = {p["ProcessName"]: p.get("SuspensionReason", "") for p in group.get("SuspendedProcesses", [])}
    for process in _NEEDED:
        if process in suspended:
            yield f"the process {process} is suspended ({suspended[process] or 'no reason given'}): resume it first"
    if setting.lever is Lever.FLOOR and "AlarmNotification" in suspended:
        yield "scaling policies are suspended (AlarmNotification): nothing would answer load above the floor; resume it"
    if "ScheduledActions" in suspended:
        return
    for action in map(_action, scheduled):
        if action.lowers(setting.units, setting.lever) and action.runs(now, now + AHEAD):
            yield (
                f"the scheduled action {action.name} may soon go below {setting.units} units: suspend ScheduledActions "
                "until the change is through, or raise its sizes"
            )


def _action(action: ScheduledUpdateGroupActionTypeDef) -> Scheduled:
    return Scheduled(
        repr(action["ScheduledActionName"]),
        action.get("MinSize"),
        action.get("MaxSize"),
        partial(_runs, action),
        action.get("DesiredCapacity"),
    )


def _counts_as_standard(group: AutoScalingGroupTypeDef) -> bool:
    """Whether its instances count against the quota of the standard On-Demand families; in doubt not."""
    mixed = group.get("MixedInstancesPolicy", {}).get("InstancesDistribution", {})
    on_demand = mixed.get("OnDemandPercentageAboveBaseCapacity", 100) == 100
    types = [i.get("InstanceType", "") for i in group.get("Instances", [])]
    return on_demand and bool(types) and all(is_standard(name) for name in types)


def _runs(action: ScheduledUpdateGroupActionTypeDef, start: datetime, end: datetime) -> bool:
    """AWS gives the next run as StartTime, also of a recurring action; without it the answer is yes.

    Of a recurring one later runs count too.
    """
    first, fields = action.get("StartTime"), action.get("Recurrence", "").split()
    if first is None or start < first.astimezone(UTC) <= end:
        return True
    over = "EndTime" in action and action["EndTime"].astimezone(UTC) < start
    if over or first.astimezone(UTC) > end or len(fields) != 5:
        return False
    return _recurs(fields, action.get("TimeZone"), start, end)


def _ran(action: ScheduledUpdateGroupActionTypeDef, now: datetime) -> bool:
    """Any but a recurring one is dropped once it ran."""
    fields = action.get("Recurrence", "").split()
    if len(fields) != 5:
        start = action.get("StartTime")
        return start is not None and now - BEHIND < start.astimezone(UTC) <= now
    return _recurs(fields, action.get("TimeZone"), now - BEHIND, now)


def _recurs(fields: Sequence[str], zone: str | None, start: datetime, end: datetime) -> bool:
    """Whether the five fields of a Recurrence may run in (start, end], on whatever weekday.

    Where a weekday is named the day of the month says nothing: cron runs on either of the two.
    """
    minute, hour, day, month, weekday = fields
    return runs_within(f"cron({minute} {hour} {day if weekday == '*' else '*'} {month} * *)", zone, start, end)
