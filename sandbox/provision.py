"""Creates what a workload needs: an ECS service already at its units, its scalable target and its policy."""

from __future__ import annotations

from typing import Any

from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.ecs.models import Service, ecs_backends

from sandbox.asg import Groups, alive, in_service
from sandbox.config import ConfigError, TargetTracking, Workload
from sandbox.ecs import Services, target_of
from sandbox.ecs_api import FARGATE_MEMORY_MIB
from sandbox.play import Observed
from sandbox.world import ACCOUNT, World

DIMENSION = "ecs:service:DesiredCount"
PREDEFINED = {"cpu": "ECSServiceAverageCPUUtilization", "memory": "ECSServiceAverageMemoryUtilization"}


class ServiceUnits:
    """The tasks of an ECS service as a workload's units."""

    def __init__(self, world: World, services: Services, workload: Workload) -> None:
        self._world, self._services, self._workload = world, services, workload

    def observe(self) -> Observed | None:
        service = self._services.find(self._world.config.region, ACCOUNT, self._workload.target)
        if service is None or service.status != "ACTIVE":
            return None
        capacity = self._services.capacity(service, self._workload.unit)
        return Observed(service.running_count, service.pending_count, service.desired_count, capacity)


class GroupUnits:
    """The instances of an Auto Scaling group as a workload's units."""

    def __init__(self, world: World, groups: Groups, workload: Workload) -> None:
        self._world, self._groups, self._workload = world, groups, workload

    def observe(self) -> Observed | None:
        group = self._groups.find(self._world.config.region, ACCOUNT, self._workload.target)
        if group is None:
            return None
        serving, (cpu, memory, network) = in_service(group), self._workload.unit.vector()
        capacity = (serving * cpu, serving * memory, serving * network)
        return Observed(serving, len(alive(group)) - serving, group.desired_capacity or 0, capacity)


def auto_scaling_group(world: World, groups: Groups, workload: Workload) -> None:
    """Creates launch template, group and policy; leaves an existing group as it is."""
    region = world.config.region
    if groups.find(region, ACCOUNT, workload.target):
        return
    data = {"ImageId": "ami-12c6146b", "InstanceType": workload.instance_type}
    template = ec2_backends[ACCOUNT][region].create_launch_template(workload.target, "sandbox", data, {})
    backend = autoscaling_backends[ACCOUNT][region]
    group = backend.create_auto_scaling_group(
        name=workload.target,
        availability_zones=[f"{region}a"],
        desired_capacity=workload.units,
        max_size=workload.max_units,
        min_size=workload.min_units,
        launch_config_name="",
        launch_template={"LaunchTemplateId": template.id},
        vpc_zone_identifier=None,
        default_cooldown=None,
        health_check_period=None,
        health_check_type=None,
        load_balancers=[],
        target_group_arns=[],
        placement_group=None,
        termination_policies=[],
        tags=[],
    )
    groups.start_warm(group)
    if workload.target_tracking:
        policy = tracking_policy(workload.target_tracking)
        if workload.target_tracking.metric != "cpu":
            raise ConfigError(
                f"{workload.name}.target_tracking.metric: a group has no predefined memory metric; use cpu"
            )
        policy["PredefinedMetricSpecification"] = {"PredefinedMetricType": "ASGAverageCPUUtilization"}
        nothing: Any = None  # as moto hands over what a call leaves out, so that DescribePolicies can tell it
        backend.put_scaling_policy(
            name="target-tracking",
            policy_type="TargetTrackingScaling",
            metric_aggregation_type=nothing,
            adjustment_type=nothing,
            as_name=workload.target,
            min_adjustment_magnitude=nothing,
            scaling_adjustment=None,
            cooldown=None,
            target_tracking_config=policy,
            step_adjustments=[],  # type: ignore[arg-type]
            estimated_instance_warmup=nothing,
            predictive_scaling_configuration={},  # type: ignore[arg-type]
        )


def ecs_service(world: World, services: Services, workload: Workload) -> None:
    """Creates cluster, task definition, service, scalable target and policy; leaves an existing service as it is."""
    region = world.config.region
    if services.find(region, ACCOUNT, workload.target):
        return
    cluster, name = workload.target.split("/")
    backend = ecs_backends[ACCOUNT][region]
    if cluster not in backend.clusters:
        backend.create_cluster(cluster, None, [{"name": "containerInsights", "value": "enabled"}])
    cpu, memory = round(workload.unit.cpu_cores * 1024), round(workload.unit.memory_gib * 1024)
    launch_type = "FARGATE" if memory in FARGATE_MEMORY_MIB.get(cpu, []) else "EC2"
    definition = backend.register_task_definition(
        family=name,
        container_definitions=[{"name": name, "image": "sandbox", "cpu": cpu, "memory": memory}],
        requires_compatibilities=[launch_type],
        cpu=str(cpu),
        memory=str(memory),
    )
    service = backend.create_service(cluster, name, workload.units, definition.arn, launch_type=launch_type)
    services.start_warm(service)
    scalable_target(region, service, workload)


def scalable_target(region: str, service: Service, workload: Workload) -> None:
    backend = applicationautoscaling_backends[ACCOUNT][region]
    resource = f"service/{target_of(service)}"
    backend.register_scalable_target("ecs", resource, DIMENSION, workload.min_units, workload.max_units, "", "")
    if workload.target_tracking:
        body = tracking_policy(workload.target_tracking)
        backend.put_scaling_policy("target-tracking", "ecs", resource, DIMENSION, body, "TargetTrackingScaling")


def tracking_policy(policy: TargetTracking) -> dict[str, Any]:
    return {
        "TargetValue": policy.target_percent,
        "PredefinedMetricSpecification": {"PredefinedMetricType": PREDEFINED[policy.metric]},
        "ScaleOutCooldown": policy.out_cooldown_s,
        "ScaleInCooldown": policy.in_cooldown_s,
        "DisableScaleIn": policy.disable_scale_in,
    }
