"""Ports meet adapters here, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from forebay.app.context import Context
from forebay.aws import AwsClients
from forebay.clock import SystemClock
from forebay.domain.errors import InputError
from forebay.domain.workload import AsgTarget, EcsTarget, Workload, WorkloadCatalog
from forebay.enforcers.eventbridge import EventBridgeEvent
from forebay.enforcers.ssm import SsmParameter
from forebay.notify import LogNotifier
from forebay.ports import Clock, Enforcer, Store, Target, Usage
from forebay.settings import Settings
from forebay.store import open_store
from forebay.targets.asg import AutoScalingGroup
from forebay.targets.ecs import EcsService
from forebay.usage.cloudwatch import CloudWatchUsage


def build_context(
    settings: Settings,
    *,
    store: Store | None = None,
    catalog: WorkloadCatalog | None = None,
    clients: AwsClients | None = None,
) -> Context:
    """A Context on the real outside. What is passed in wins over the settings. Raises InputError and OutsideError."""
    aws = clients or AwsClients(settings.aws_region, settings.aws_endpoint_url)
    clock = SystemClock()
    enforcers: list[Enforcer] = []
    if settings.ssm_prefix:
        enforcers.append(SsmParameter(aws, settings.ssm_prefix))
    if settings.event_bus:
        enforcers.append(EventBridgeEvent(aws, settings.event_bus))
    return Context(
        clock=clock,
        store=store or open_store(settings.database_url.get_secret_value()),
        catalog=catalog or read_catalog(settings.workloads),
        target=lambda workload: make_target(workload, aws, clock),
        usage=lambda workload: make_usage(workload, aws, clock),
        notifier=LogNotifier(),
        enforcers=tuple(enforcers),
        poll=settings.poll,
        lease=settings.lease,
        forecast_budget=settings.forecast_budget,
    )


def make_target(workload: Workload, aws: AwsClients, clock: Clock) -> Target:
    match workload.target:
        case EcsTarget() as ref:
            return EcsService(ref, aws, clock, sized=bool(workload.sizes))
        case AsgTarget() as ref:
            return AutoScalingGroup(ref, aws, clock)


def make_usage(workload: Workload, aws: AwsClients, clock: Clock) -> Usage:
    return CloudWatchUsage(workload, aws, clock)


def read_catalog(path: Path) -> WorkloadCatalog:
    """Raises InputError if the workloads file is missing or not valid."""
    if not path.exists():
        raise InputError(
            f"there is no workloads file {path}: name yours by FOREBAY_WORKLOADS, or copy examples/workloads.yaml there"
        )
    return WorkloadCatalog.parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Raises InputError, naming the file, if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
