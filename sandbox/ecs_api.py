"""ECS calls as AWS answers them: counts that lag, sizes on the Fargate lattice, task definition ARNs, real refusals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ecs import models, responses
from moto.ecs.exceptions import EcsClientException, InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend, Service, TaskDefinition

from sandbox.ecs import Services
from sandbox.world import Patches

MOST_SERVICES = 10  # DescribeServices
MOST_LISTED = 100  # ListTaskDefinitions, ListTasks
STOPPED_SHOWN = timedelta(hours=1)

# CPU units -> memory in MiB that Fargate offers (AWS documentation, "Task CPU and memory")
FARGATE_MEMORY_MIB: dict[int, list[int]] = {
    256: [512, 1024, 2048],
    512: [gib * 1024 for gib in range(1, 5)],
    1024: [gib * 1024 for gib in range(2, 9)],
    2048: [gib * 1024 for gib in range(4, 17)],
    4096: [gib * 1024 for gib in range(8, 31)],
    8192: [gib * 1024 for gib in range(16, 61, 4)],
    16384: [gib * 1024 for gib in range(32, 121, 8)],
}


def install(patches: Patches, services: Services) -> None:
    """Replaces the ECS calls that differ from AWS."""
    world = services.world
    patches.set(models, "utcnow", world.naive_now)
    _register(patches)
    _create(patches, services)
    _update(patches, services)
    _tasks(patches, services)
    describe = responses.EC2ContainerServiceResponse.describe_services

    def describe_services(self: Any) -> Any:
        if len(self._get_param("services", [])) > MOST_SERVICES:
            raise InvalidParameterException(f"Services cannot have more than {MOST_SERVICES} elements.")
        return describe(self)

    patches.set(responses.EC2ContainerServiceResponse, "describe_services", describe_services)


def _register(patches: Patches) -> None:
    register = EC2ContainerServiceBackend.register_task_definition

    def register_task_definition(self: Any, *args: Any, **kwargs: Any) -> TaskDefinition:
        if "FARGATE" in (kwargs.get("requires_compatibilities") or []):
            _check_fargate_size(kwargs.get("cpu"), kwargs.get("memory"))
        return register(self, *args, **kwargs)

    patches.set(EC2ContainerServiceBackend, "register_task_definition", register_task_definition)

    def list_task_definitions(self: Any) -> ActionResult:
        arns = self.ecs_backend.list_task_definitions(
            self._get_param("familyPrefix"), self._get_param("status", "ACTIVE")
        )
        ordered = sorted(arns, key=_family_and_revision, reverse=self._get_param("sort") == "DESC")
        return ActionResult({"taskDefinitionArns": ordered[: self._get_param("maxResults") or MOST_LISTED]})

    patches.set(responses.EC2ContainerServiceResponse, "list_task_definitions", list_task_definitions)


def _family_and_revision(arn: str) -> tuple[str, int]:
    family, _, revision = arn.rsplit("/", 1)[-1].rpartition(":")
    return family, int(revision)


def _check_fargate_size(cpu: str | None, memory: str | None) -> None:
    try:
        known = int(memory or 0) in FARGATE_MEMORY_MIB.get(int(cpu or 0), [])
    except ValueError:  # "1 vCPU", "2 GB": AWS takes them, this sandbox wants plain numbers
        raise EcsClientException(f"Invalid 'cpu' {cpu!r} or 'memory' {memory!r}: give plain numbers.") from None
    if not known:
        raise EcsClientException(
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS "
            "documentation for the valid values."
        )


def _create(patches: Patches, services: Services) -> None:
    create = EC2ContainerServiceBackend.create_service

    def create_service(self: Any, cluster_str: str, service_name: str, *args: Any, **kwargs: Any) -> Service:
        found = self.services.get(f"{cluster_str.split('/')[-1]}:{service_name}")
        if found is not None and found.status == "ACTIVE":
            raise InvalidParameterException("Creation of service was not idempotent.")
        service = create(self, cluster_str, service_name, *args, **kwargs)
        service.pending_count = 0
        services.settle(service)
        return service

    patches.set(EC2ContainerServiceBackend, "create_service", create_service)
    answer = responses.EC2ContainerServiceResponse.create_service

    def create_service_answer(self: Any) -> Any:
        desired = self._get_int_param("desiredCount")
        if desired is not None and desired < 0:
            raise InvalidParameterException("desiredCount must be 0 or more.")
        result: Any = answer(self)
        # moto drops the deployment configuration at creation; the circuit breaker lives in it.
        result.result["service"].deployment_configuration = self._get_param("deploymentConfiguration")
        return result

    patches.set(responses.EC2ContainerServiceResponse, "create_service", create_service_answer)


def _update(patches: Patches, services: Services) -> None:
    def update_service(self: Any, properties: dict[str, Any]) -> Service:
        rest = dict(properties)
        service: Service = self._get_service(rest.pop("cluster", "default"), rest.pop("service").split("/")[-1])
        desired = rest.pop("desired_count", None)
        if desired is not None and desired < 0:
            raise InvalidParameterException("desiredCount must be 0 or more.")
        wanted = rest.pop("task_definition", None)
        forced = rest.pop("force_new_deployment", False)
        arn = self.describe_task_definition(wanted).arn if wanted else service.task_definition
        for name, value in rest.items():
            if value is not None:
                setattr(service, name, value)
        if arn and (forced or arn != service.task_definition):
            services.deploy(service, arn)
        services.set_desired(service, service.desired_count if desired is None else desired)
        return service

    patches.set(EC2ContainerServiceBackend, "update_service", update_service)


def _tasks(patches: Patches, services: Services) -> None:
    """Those of services; tasks that were run one by one are moto's own."""
    moto_list, moto_describe = (
        responses.EC2ContainerServiceResponse.list_tasks,
        responses.EC2ContainerServiceResponse.describe_tasks,
    )

    def list_tasks(self: Any) -> Any:
        name = self._get_param("serviceName")
        if name is None:
            return moto_list(self)
        service = self.ecs_backend._get_service(self._get_param("cluster", "default"), name.split("/")[-1])
        if self._get_param("desiredStatus", "RUNNING") == "STOPPED":
            since = services.world.naive_now() - STOPPED_SHOWN
            arns = [task["taskArn"] for task in services.fleet(service).stopped if task["stoppedAt"] > since]
        else:
            arns = services.running_arns(service)
        return ActionResult({"taskArns": arns[: self._get_param("maxResults") or MOST_LISTED]})

    def describe_tasks(self: Any) -> Any:
        wanted = set(self._get_param("tasks", []))
        if len(wanted) > MOST_LISTED:
            raise InvalidParameterException("tasks can have at most 100 items.")
        found = [task for s in services.all() for task in services.fleet(s).stopped if task["taskArn"] in wanted]
        return ActionResult({"tasks": found, "failures": []}) if found else moto_describe(self)

    def update_task_protection(self: Any) -> ActionResult:
        on, wanted = self._get_param("protectionEnabled"), set(self._get_param("tasks", []))
        for service in services.all():
            own = wanted & set(services.running_arns(service))
            protected = services.fleet(service).protected
            protected.update(own) if on else protected.difference_update(own)
        return get_task_protection(self)

    def get_task_protection(self: Any) -> ActionResult:
        protected = {arn for service in services.all() for arn in services.fleet(service).protected}
        rows = [{"taskArn": t, "protectionEnabled": t in protected} for t in self._get_param("tasks", [])]
        return ActionResult({"protectedTasks": rows, "failures": []})

    for made in (list_tasks, describe_tasks, update_task_protection, get_task_protection):
        patches.set(responses.EC2ContainerServiceResponse, made.__name__, made)
