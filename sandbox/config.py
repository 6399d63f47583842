"""What a sandbox is told: its timing, its workloads, its faults. Pydantic models and the reader of the YAML file.

Amounts are absolute: CPU cores, memory in GiB, network in Mbit/s. Durations are seconds. Times are aware UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

RESOURCES = ("cpu", "memory", "network")
T = TypeVar("T", bound=BaseModel)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names each field and how to mend it."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Amount(_Model):
    """A vector of resources: what one unit offers, or what the trace's value 1.0 stands for."""

    cpu_cores: float = Field(gt=0)
    memory_gib: float = Field(gt=0)
    network_mbps: float = Field(gt=0)

    def vector(self) -> tuple[float, float, float]:
        """The amounts in the order of `RESOURCES`."""
        return (self.cpu_cores, self.memory_gib, self.network_mbps)


class Timing(_Model):
    """How slowly this cloud moves. All in real (or virtual) seconds, never compressed by `speed`."""

    launch_lag_s: float = Field(30, ge=0, description="from the start of a unit until it serves")
    start_rate_per_s: float = Field(5, gt=0, description="units that may begin to start each second")
    metric_period_s: int = Field(60, gt=0)
    metric_delay_s: float = Field(0, ge=0, description="from the end of a period until its datapoint is seen")
    autoscaler_period_s: int = Field(60, gt=0)
    out_points: int = Field(3, gt=0, description="datapoints above the target before scaling out")
    in_points: int = Field(15, gt=0, description="datapoints below 90 % of the target before scaling in")

    @model_validator(mode="after")
    def _a_datapoint_every_period(self) -> Timing:
        if self.autoscaler_period_s % self.metric_period_s:
            raise ValueError(
                f"autoscaler_period_s ({self.autoscaler_period_s}) must be a multiple of metric_period_s "
                f"({self.metric_period_s}), or some of its datapoints would always be missing"
            )
        return self


class TargetTracking(_Model):
    """A target tracking policy that the sandbox attaches to a workload it creates."""

    metric: Literal["cpu", "memory"] = "cpu"
    target_percent: float = Field(gt=0, le=100)
    out_cooldown_s: int = Field(300, ge=0)
    in_cooldown_s: int = Field(300, ge=0)
    disable_scale_in: bool = False


class Workload(_Model):
    """One ECS service or Auto Scaling group, and the load that a trace puts on it."""

    name: str
    ecs_service: str | None = Field(None, pattern=r"^[^/]+/[^/]+$", description="cluster/service")
    asg: str | None = None
    create: bool = Field(True, description="create the service or group if it does not exist")
    instance_type: str = Field("m5.large", description="of a group that the sandbox creates")
    unit: Amount
    peak: Amount = Field(description="demand of all entities together where the trace is 1.0")
    entities: dict[str, Annotated[float, Field(gt=0)]] = {"all": 1.0}
    units: int = Field(2, ge=0, description="units already running when the sandbox creates it")
    min_units: int = Field(1, ge=0)
    max_units: int = Field(100, ge=1)
    target_tracking: TargetTracking | None = None
    target_utilisation: float = Field(0.6, gt=0, le=1, description="for the report and the history's size")
    trace: str = "smd-2-1"
    trace_start: int = Field(0, ge=0, description="sample at which play begins")
    history_samples: int = Field(0, ge=0, description="samples before trace_start to publish as history")
    speed: float = Field(1, gt=0, description="60 plays a 5-minute sample in 5 seconds")
    timing: Timing | None = Field(None, description="overrides the sandbox's timing")

    @model_validator(mode="after")
    def _consistent(self) -> Workload:
        if (self.ecs_service is None) == (self.asg is None):
            raise ValueError("give either ecs_service (cluster/service) or asg (group name), not both")
        if not self.min_units <= self.units <= self.max_units:
            raise ValueError(
                f"units ({self.units}) must lie within min_units..max_units ({self.min_units}..{self.max_units})"
            )
        total = sum(self.entities.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"entities' shares must add up to 1, they add up to {total:g}")
        if self.history_samples > self.trace_start:
            raise ValueError(
                f"history_samples ({self.history_samples}) reaches before the trace's first sample; "
                f"set trace_start to at least {self.history_samples}"
            )
        return self

    @property
    def target(self) -> str:
        """`cluster/service` of an ECS service, or the group's name."""
        return self.ecs_service or self.asg or ""


class ApiFault(_Model):
    """Disturbs API calls whose name (`UpdateService` or `ecs:UpdateService`) matches `op`."""

    kind: Literal["throttle", "error", "delay", "slow_answer", "lost_call", "lost_answer"]
    op: str = Field("*", description="shell pattern on the operation name")
    count: int | None = Field(None, gt=0, description="disturb this many calls; None: no end")
    duration_s: float | None = Field(None, gt=0)
    probability: float = Field(1, gt=0, le=1)
    seed: int = 0
    delay_s: float = Field(1, ge=0, description="for delay, slow_answer and lost_call: real seconds")
    code: str | None = Field(None, description="error code to answer instead of the usual one")
    status: int | None = Field(None, ge=400, le=599)


class CapacityFault(_Model):
    """Units beyond `max_running` never arrive at the matching targets; `cause` shows in events and activities."""

    kind: Literal["capacity"]
    target: str = Field("*", description="pattern on cluster/service or group name")
    max_running: int = Field(ge=0)
    cause: str = "We currently do not have sufficient capacity in the requested Availability Zone"
    duration_s: float | None = Field(None, gt=0)


class MetricsFault(_Model):
    """Datapoints of the matching targets and metrics are not published, and never come."""

    kind: Literal["no_metrics"]
    target: str = "*"
    metric: str = Field("*", description="pattern on namespace/metric, e.g. AWS/ECS/*")
    duration_s: float | None = Field(None, gt=0)


class DeploymentFault(_Model):
    """Tasks of a new ECS deployment start and die; the circuit breaker (if on) fails the deployment."""

    kind: Literal["deployment_fails"]
    target: str = "*"
    revision: str = Field("*", description="pattern on family:revision of the task definition whose tasks die")
    threshold: int = Field(3, gt=0, description="failed tasks that trip the circuit breaker")
    duration_s: float | None = Field(None, gt=0)


class TaskFault(_Model):
    """Tasks that start never serve: they stop, are listed as stopped, and say why."""

    kind: Literal["tasks_stop"]
    target: str = Field("*", description="pattern on cluster/service")
    code: Literal["TaskFailedToStart", "EssentialContainerExited"] = "TaskFailedToStart"
    reason: str = (
        "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref "
        "docker.io/library/web:latest: not found"
    )
    duration_s: float | None = Field(None, gt=0)


Fault = Annotated[ApiFault | CapacityFault | MetricsFault | DeploymentFault | TaskFault, Field(discriminator="kind")]


class SandboxConfig(_Model):
    """The whole sandbox. `start` is the manual clock's first instant (default: now, on the full minute)."""

    region: str = "us-east-1"
    tick_s: float = Field(0.5, gt=0)
    start: AwareDatetime | None = None
    timing: Timing = Timing()
    workloads: list[Workload] = []
    faults: list[Fault] = []
    quotas: dict[str, float] = {"ec2/L-1216C47A": 256.0, "fargate/L-3032A538": 256.0}
    used_by_others: dict[str, float] = Field({}, description="vCPUs that count against a quota beside the workloads'")


def parse(model: type[T], data: object) -> T:
    """Validates `data`; raises ConfigError with one line per wrong field."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise ConfigError(describe(exc)) from exc


def describe(exc: ValidationError) -> str:
    """One line per wrong field: where, what, and what was given."""
    return "\n".join(
        f"{'.'.join(str(part) for part in error['loc']) or 'top level'}: {error['msg']}"
        + ("" if isinstance(error["input"], dict) else f" (given: {error['input']!r})")
        for error in exc.errors()
    )


def load_config(path: Path) -> SandboxConfig:
    """Reads a YAML file; raises ConfigError naming the file and each wrong field."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as exc:
        raise ConfigError(f"{path}: cannot be read as YAML: {exc}") from exc
    try:
        return parse(SandboxConfig, data)
    except ConfigError as exc:
        raise ConfigError(f"{path}:\n{exc}") from exc
