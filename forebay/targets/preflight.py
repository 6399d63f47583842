"""What of a target forbids shaping it for good, and what people should know before it is shaped. Pure.

Looked at with every observation: when a plan is drawn, and again before each step. What only forbids a step for now
(a deployment under way, a suspended process, a scheduled action soon) is among the target's `problems`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from forebay.domain.allocation import Foreseen, Lever, Span
from forebay.targets.schedules import Scheduled, actions_ahead

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling.type_defs import SuspendedStateTypeDef
    from mypy_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef
    from mypy_boto3_ecs.type_defs import ServiceTypeDef

# ECS puts it on a group whose size a capacity provider manages (ECS guide, "Amazon ECS cluster auto scaling").
MANAGED_BY_ECS = "AmazonECSManaged"


def out_of_bounds(count: int, low: int, high: int, whose: str) -> str | None:
    """Why AWS takes no such count where the count is the lever, and how to mend it."""
    if low <= count <= high:
        return None
    return (
        f"a count of {count} lies outside the bounds {low} to {high} of {whose}: adapt its bounds, or attach a scaling "
        "policy so that the minimum becomes the lever"
    )


def foresee_scaling(
    ahead: Sequence[Span], lever: Lever, low: int, high: int, whose: str, actions: Iterable[Scheduled]
) -> Foreseen:
    """What is in the way of holding `ahead` between the bounds that stand now, those of `whose`."""
    peak_and_least = {max(span.units for span in ahead), min(span.units for span in ahead)}
    outside = [out_of_bounds(count, low, high, whose) for count in sorted(peak_and_least) if lever is Lever.COUNT]
    refusals, warnings = (text for text in outside if text), actions_ahead(actions, ahead, lever, high)
    return Foreseen(refusals=tuple(refusals), warnings=tuple(warnings))


def no_resize(service: ServiceTypeDef) -> str | None:
    """Why a rolling deployment of this service would not do for a resize, and how to mend it."""
    controller = service.get("deploymentController", {}).get("type", "ECS")
    if controller != "ECS":
        return f"its deployments are made by {controller}: only rolling ones of ECS can resize it; list no sizes"
    configuration = service.get("deploymentConfiguration", {})
    least, most = configuration.get("minimumHealthyPercent", 100), configuration.get("maximumPercent", 200)
    if least < 100:
        return f"its minimumHealthyPercent is {least}: a resize would take capacity away meanwhile; set it to 100"
    if most <= 100:
        return f"its maximumPercent is {most}: no task of another size could be started; set it to 200"
    return None


def service_refusals(service: ServiceTypeDef) -> Iterator[str]:
    if service["status"] != "ACTIVE":
        yield f"the service is {service['status']}, not ACTIVE: nothing can be added to it"
    if service.get("schedulingStrategy") == "DAEMON":
        yield "the service is a DAEMON: its count follows the container instances, shape those instead"


def service_warnings(service: ServiceTypeDef, suspended: SuspendedStateTypeDef) -> Iterator[str]:
    """`suspended`: of the scaling policies that are attached, if any are."""
    if suspended.get("DynamicScalingInSuspended"):
        yield "scaling in is suspended on the scalable target: what is given back stays until it is resumed"
    providers = [p["capacityProvider"] for p in service.get("capacityProviderStrategy", [])]
    if spot := [p for p in providers if "SPOT" in p.upper()]:
        yield f"tasks may run on {spot[0]}, which AWS may take back at two minutes' notice"
    own = [p for p in providers if not p.startswith("FARGATE")]
    if own or service.get("launchType") == "EC2":
        where = f"instances of the capacity provider {own[0]}" if own else "container instances"
        yield f"tasks wait until {where} have room: lead_time must hold for that too"


def group_refusals(group: AutoScalingGroupTypeDef) -> Iterator[str]:
    if group.get("Status"):
        yield f"the group is being deleted ({group['Status']})"
    if any(tag.get("Key") == MANAGED_BY_ECS for tag in group.get("Tags", [])):
        yield "an ECS capacity provider manages the group's size: shape the ECS service, it moves the group"


def group_warnings(group: AutoScalingGroupTypeDef, lead_time: timedelta) -> Iterator[str]:
    if any(p["ProcessName"] == "Terminate" for p in group.get("SuspendedProcesses", [])):
        yield "the process Terminate is suspended: what is given back stays until it is resumed"
    instances = group.get("Instances", [])
    if protected := sum(1 for i in instances if i.get("ProtectedFromScaleIn")):
        yield f"{protected} of {len(instances)} instances are protected from scale-in: what is given back may stay"
    elif group.get("NewInstancesProtectedFromScaleIn"):
        yield "new instances are protected from scale-in: what is given back may stay"
    warmup = group.get("DefaultInstanceWarmup", 0)
    if warmup > lead_time.total_seconds():
        yield (
            f"a new instance counts in the group's metrics after {warmup} s of warm-up, and lead_time is "
            f"{lead_time.total_seconds():g} s: let it last until an instance is in service and warm"
        )
    if any("WeightedCapacity" in i for i in instances):
        yield "instance types have weights: units are capacity units, and the group may have one instance too many"
