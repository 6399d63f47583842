"""An ECS service: reads its state and moves its lever, the autoscaler's minimum or the desired count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call, not_found
from forebay.domain.allocation import Foreseen, Lever, Setting, Span, TargetState
from forebay.domain.errors import OutsideError
from forebay.domain.size import TaskSize
from forebay.domain.workload import EcsTarget
from forebay.ports import Clock
from forebay.targets.causes import names_quota, newest_first, tells_trouble
from forebay.targets.preflight import (
    foresee_scaling,
    no_resize,
    out_of_bounds,
    service_refusals,
    service_warnings,
)
from forebay.targets.quotas import FARGATE, quota_in_words, read_quota
from forebay.targets.revisions import Revisions
from forebay.targets.schedules import AHEAD, BEHIND, Scheduled, runs_within, sets
from forebay.targets.tasks import are_protected, stop_reasons, stopped_tasks

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling.type_defs import (
        ScalableTargetTypeDef,
        ScheduledActionTypeDef,
        SuspendedStateTypeDef,
    )
    from mypy_boto3_ecs.type_defs import ServiceTypeDef

BOUNDS = "its scalable target"


class EcsService:
    """A Target. An unknown cluster or service is an OutsideError that is not retryable and names it.

    `sized`: the size of its tasks may be chosen, so it is part of what the service is set to.
    """

    def __init__(self, ref: EcsTarget, clients: AwsClients, clock: Clock, *, sized: bool = False) -> None:
        self._ref = ref
        self._sized = sized
        self._clients = clients
        self._clock = clock
        self._what = f"ECS service {ref.cluster}/{ref.service}"
        self._revisions = Revisions(clients, self._what)
        self._resource_id = f"service/{ref.cluster}/{ref.service}"

    def observe(self) -> TargetState:
        """Four calls at most; two where no autoscaler is attached. Where the size may be chosen one more, and one for
        each older revision that still runs; while tasks are missing two more for why they stopped, and two where a
        quota keeps them from starting.

        IAM: ecs:DescribeServices, application-autoscaling:DescribeScalableTargets, DescribeScalingPolicies,
        DescribeScheduledActions; with sizes ecs:DescribeTaskDefinition; what `stopped_tasks` names; for a quota's
        figures what `read_quota` names.
        """
        service = self._service()
        scalable = self._scalable_target()
        revision = deployed_revision(service) if self._sized else None
        size = self._revisions.size(revision) if revision else None
        state = service_state(
            service,
            scalable,
            has_policies=scalable is not None and self._has_policies(),
            scheduled=self._scheduled() if scalable else (),
            now=self._clock.now(),
            resized=size is not None and self._replaces_another_size(service, size),
        )
        if state.lacks_units or state.failed:
            state = state.model_copy(update={"causes": self._causes(service)})
        return state.model_copy(
            update={"setting": state.setting.model_copy(update={"size": size, "revision": revision})}
        )

    def reserved(self) -> tuple[int, int]:
        """CPU units and MiB that one task reserves, as deployed; 0 where its definition does not say.

        Raises OutsideError. IAM: ecs:DescribeServices, DescribeTaskDefinition.
        """
        return self._revisions.reserved(deployed_revision(self._service()))

    def _replaces_another_size(self, service: ServiceTypeDef, size: TaskSize) -> bool:
        """Whether tasks of a size other than the one being deployed still run."""
        running = {d["taskDefinition"] for d in service.get("deployments", []) if d["runningCount"]}
        try:
            return any(self._revisions.size(older) != size for older in sorted(running - {deployed_revision(service)}))
        except OutsideError as error:
            if error.retryable:
                raise
            return True  # what does not say its size is not taken for the same

    def _causes(self, service: ServiceTypeDef) -> tuple[str, ...]:
        stopped, unread = [], ""
        try:
            stopped = stop_reasons(stopped_tasks(self._clients, self._ref, self._what))
        except OutsideError as error:  # the service's own words are causes as well
            unread = _unread("why tasks stopped", error)
        told = [*stopped, *_failed(service), *(e for e in _events(service) if tells_trouble(e[1]))]
        causes = newest_first(told, self._clock.now())
        if any(names_quota(cause) for cause in causes) and _counts_as_fargate(self._ref, service):
            causes += quota_in_words(self._clients, FARGATE, self._clock.now())
        return (*causes, unread) if unread else causes

    def who(self, setting: Setting) -> str | None:
        """A scheduled action of the scalable target that has run lately and sets these values, by its name.

        IAM: application-autoscaling:DescribeScheduledActions.
        """
        now = self._clock.now()
        for action in self._scheduled():
            wanted = action.get("ScalableTargetAction", {})
            ran = runs_within(action["Schedule"], action.get("Timezone"), now - BEHIND, now)
            if ran and sets(setting, wanted.get("MinCapacity"), wanted.get("MaxCapacity")):
                return f"the scheduled action {action['ScheduledActionName']!r}"
        return None

    def foresee(self, ahead: Sequence[Span], cpu_cores: float, running: int) -> Foreseen:
        """The quota is that of Fargate On-Demand; tasks on instances or on Spot count against others, unread here.

        IAM: ecs:DescribeServices, application-autoscaling:DescribeScalableTargets, DescribeScalingPolicies,
        DescribeScheduledActions, and what `are_protected` and `read_quota` name.
        """
        service, scalable = self._service(), self._scalable_target()
        found = Foreseen()
        if scalable:
            lever = Lever.FLOOR if self._has_policies() else Lever.COUNT
            actions = [] if _asleep(scalable) else map(_action, self._scheduled())
            found += foresee_scaling(ahead, lever, scalable["MinCapacity"], scalable["MaxCapacity"], BOUNDS, actions)
        if protection := self._protection():
            found += Foreseen(warnings=(protection,))
        if any(span.resized for span in ahead) and (obstacle := no_resize(service)):
            found += Foreseen(refusals=(obstacle,))
        if not (cpu_cores and _counts_as_fargate(self._ref, service)):
            return found
        quota = read_quota(self._clients, FARGATE, self._clock.now())
        return found + quota.foresee(max(span.units for span in ahead), running, cpu_cores)

    def _protection(self) -> str:
        """What to know of it; empty where there is none."""
        try:
            found = are_protected(self._clients, self._ref, self._what)
        except OutsideError as error:  # of all that is foreseen the least
            return _unread("whether tasks are protected from scale-in", error)
        return "tasks are protected from scale-in: what is given back may stay until that expires" if found else ""

    def apply(self, setting: Setting) -> None:
        """One write; with a floor and a revision two. Floor: on AWS the count follows into [floor, ceiling] at once.
        Count: refused outside the bounds of a scalable target, since only an alarm would repair a count below its
        minimum. A revision starts a deployment only where it is not the one that is deployed.

        IAM: floor application-autoscaling:RegisterScalableTarget; count and revision ecs:UpdateService; count
        application-autoscaling:DescribeScalableTargets.
        """
        if setting.lever is Lever.COUNT:
            self._check_count(setting.units)
            self._update(setting.revision, setting.units)
            return
        if setting.revision:
            self._update(setting.revision, None)
        self._set_floor(setting)

    def revision(self, size: TaskSize, key: str) -> str:
        """As the port says. Nothing is deployed by it.

        IAM: ecs:DescribeServices, and what `Revisions` names.
        """
        service = self._service()
        if obstacle := no_resize(service):
            raise OutsideError(f"{self._what}: {obstacle}", retryable=False)
        source = deployed_revision(service)
        return source if self._revisions.size(source) == size else self._revisions.copy(source, size, key)

    def _set_floor(self, setting: Setting) -> None:
        client = self._clients.application_autoscaling
        with aws_call("application-autoscaling:RegisterScalableTarget", self._what):
            if setting.ceiling is None:
                client.register_scalable_target(
                    ServiceNamespace="ecs",
                    ResourceId=self._resource_id,
                    ScalableDimension="ecs:service:DesiredCount",
                    MinCapacity=setting.units,
                )
            else:
                client.register_scalable_target(
                    ServiceNamespace="ecs",
                    ResourceId=self._resource_id,
                    ScalableDimension="ecs:service:DesiredCount",
                    MinCapacity=setting.units,
                    MaxCapacity=setting.ceiling,
                )

    def _update(self, revision: str | None, count: int | None) -> None:
        given: dict[str, Any] = {"taskDefinition": revision, "desiredCount": count}
        call = {name: value for name, value in given.items() if value is not None}
        with aws_call("ecs:UpdateService", self._what):
            self._clients.ecs.update_service(cluster=self._ref.cluster, service=self._ref.service, **call)

    def _check_count(self, count: int) -> None:
        scalable = self._scalable_target()
        if scalable and (found := out_of_bounds(count, scalable["MinCapacity"], scalable["MaxCapacity"], BOUNDS)):
            raise OutsideError(f"{self._what}: {found}", retryable=False)

    def _service(self) -> ServiceTypeDef:
        with aws_call("ecs:DescribeServices", self._what):
            answer = self._clients.ecs.describe_services(cluster=self._ref.cluster, services=[self._ref.service])
        if not answer["services"] or answer["services"][0]["status"] == "INACTIVE":
            raise not_found("ecs:DescribeServices", self._what)
        return answer["services"][0]

    def _scalable_target(self) -> ScalableTargetTypeDef | None:
        with aws_call("application-autoscaling:DescribeScalableTargets", self._what):
            answer = self._clients.application_autoscaling.describe_scalable_targets(
                ServiceNamespace="ecs",
                ResourceIds=[self._resource_id],
                ScalableDimension="ecs:service:DesiredCount",
            )
        return next(iter(answer["ScalableTargets"]), None)

    def _has_policies(self) -> bool:
        with aws_call("application-autoscaling:DescribeScalingPolicies", self._what):
            answer = self._clients.application_autoscaling.describe_scaling_policies(
                ServiceNamespace="ecs",
                ResourceId=self._resource_id,
                ScalableDimension="ecs:service:DesiredCount",
            )
        return bool(answer["ScalingPolicies"])

    def _scheduled(self) -> list[ScheduledActionTypeDef]:
        with aws_call("application-autoscaling:DescribeScheduledActions", self._what):
            pages = self._clients.application_autoscaling.get_paginator("describe_scheduled_actions").paginate(
                ServiceNamespace="ecs",
                ResourceId=self._resource_id,
                ScalableDimension="ecs:service:DesiredCount",
            )
            return [action for page in pages for action in page["ScheduledActions"]]


def service_state(
    service: ServiceTypeDef,
    scalable: ScalableTargetTypeDef | None,
    *,
    has_policies: bool,
    scheduled: Sequence[ScheduledActionTypeDef],
    now: datetime,
    resized: bool = False,
) -> TargetState:
    """What the answers of the API mean, but for the causes of units that are missing. Pure; `now` aware UTC.

    While a deployment replaces tasks by others of their size, either serve, up to the number that is to stay. Where it
    is `resized`, the tasks of the PRIMARY deployment alone are units of the size that is set.
    """
    if scalable and has_policies:
        setting = Setting(lever=Lever.FLOOR, floor=scalable["MinCapacity"], ceiling=scalable["MaxCapacity"])
    else:
        setting = Setting(lever=Lever.COUNT, count=service["desiredCount"])
    deployments = service.get("deployments", [])
    primary = next((d for d in deployments if d["status"] == "PRIMARY"), None)
    desired = service["desiredCount"]
    serving = service["runningCount"]
    if primary and resized:
        serving = min(primary["runningCount"], serving)
    elif _replaces(service):
        serving = min(serving, desired)
    rollout = primary.get("rolloutState", "COMPLETED") if primary else "COMPLETED"
    return TargetState(
        setting=setting,
        desired=desired,
        serving=serving,
        # A floor above the desired count has only just been written: the autoscaler has yet to lift the count.
        stable=not _replaces(service)
        and rollout == "COMPLETED"
        and service["runningCount"] == desired >= (setting.floor or 0)
        and service["pendingCount"] == 0,
        problems=tuple(_problems(service, scalable, setting, scheduled, now)),
        failures=_failures(service, now),
        failed=rollout == "FAILED",
        refusals=tuple(service_refusals(service)),
        warnings=tuple(service_warnings(service, _suspended(scalable) if has_policies else {})),
    )


def _replaces(service: ServiceTypeDef) -> bool:
    """Whether tasks are being replaced by others. CodeDeploy, or another controller, has task sets for deployments."""
    return len(service.get("deployments", [])) > 1 or len(service.get("taskSets", [])) > 1


def _unread(what: str, error: OutsideError) -> str:
    """A right that is missing is told; a hiccup is over by the next look."""
    return "" if error.retryable else f"{what} cannot be read: {error}"


def deployed_revision(service: ServiceTypeDef) -> str:
    """The task definition being deployed or in effect: the PRIMARY deployment's.

    A circuit breaker that rolls back makes the former deployment PRIMARY again.
    """
    primary = next((d for d in service.get("deployments", []) if d["status"] == "PRIMARY"), None)
    return primary["taskDefinition"] if primary else service["taskDefinition"]


def _problems(
    service: ServiceTypeDef,
    scalable: ScalableTargetTypeDef | None,
    setting: Setting,
    scheduled: Sequence[ScheduledActionTypeDef],
    now: datetime,
) -> Iterator[str]:
    states = {d["status"]: d.get("rolloutState", "COMPLETED") for d in service.get("deployments", [])}
    if states.get("PRIMARY") == "FAILED":
        yield "the last deployment failed: new tasks would start from it; deploy a working revision first"
    elif states.get("PRIMARY") == "IN_PROGRESS" or _replaces(service):
        yield "a deployment is in progress: wait for its end"
    if setting.lever is Lever.FLOOR and _suspended(scalable).get("DynamicScalingOutSuspended"):
        yield "scaling out is suspended on the scalable target: resume DynamicScalingOut"
    if scalable and not _asleep(scalable):
        for action in map(_action, scheduled):
            if action.lowers(setting.units, setting.lever) and action.runs(now, now + AHEAD):
                yield (
                    f"the scheduled action {action.name} may soon go below {setting.units} units: suspend "
                    "ScheduledScaling until the change is through, or raise its bounds"
                )


def _action(action: ScheduledActionTypeDef) -> Scheduled:
    wanted = action.get("ScalableTargetAction", {})
    name = f"{action['ScheduledActionName']!r} ({action['Schedule']})"
    return Scheduled(name, wanted.get("MinCapacity"), wanted.get("MaxCapacity"), partial(_runs, action))


def _suspended(scalable: ScalableTargetTypeDef | None) -> SuspendedStateTypeDef:
    return scalable.get("SuspendedState", {}) if scalable else {}


def _asleep(scalable: ScalableTargetTypeDef) -> bool:
    return bool(_suspended(scalable).get("ScheduledScalingSuspended"))


def _counts_as_fargate(ref: EcsTarget, service: ServiceTypeDef) -> bool:
    """Whether its tasks count against the quota of Fargate On-Demand."""
    providers = {p["capacityProvider"] for p in service.get("capacityProviderStrategy", [])}
    return (
        ref.launch_type == "fargate" and service.get("launchType", "FARGATE") == "FARGATE" and providers <= {"FARGATE"}
    )


def _runs(action: ScheduledActionTypeDef, start: datetime, end: datetime) -> bool:
    started = "StartTime" not in action or action["StartTime"].astimezone(UTC) <= end
    ended = "EndTime" in action and action["EndTime"].astimezone(UTC) < start
    return started and not ended and runs_within(action["Schedule"], action.get("Timezone"), start, end)


def _failures(service: ServiceTypeDef, now: datetime) -> tuple[str, ...]:
    """Deployments that failed or were rolled back; one that is gone from the list is still in the events."""
    told = [e for e in _events(service) if "deployment failed" in e[1] or "rolling back" in e[1]]
    return newest_first([*_failed(service), *told], now)


def _events(service: ServiceTypeDef) -> list[tuple[datetime, str]]:
    return [(e["createdAt"].astimezone(UTC), e["message"]) for e in service.get("events", [])]


def _failed(service: ServiceTypeDef) -> list[tuple[datetime, str]]:
    return [
        (d["updatedAt"].astimezone(UTC), d["rolloutStateReason"])
        for d in service.get("deployments", [])
        if d.get("rolloutState") == "FAILED" and "rolloutStateReason" in d
    ]
