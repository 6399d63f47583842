"""A workload: something whose allocation is shaped, with the limits that protect it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from forebay.domain.errors import InputError
from forebay.domain.model import (
    NUMBER,
    Duration,
    Hours,
    HoursOrZero,
    Model,
    Name,
    Zone,
    parse_yaml,
    validate,
)
from forebay.domain.resources import Resource, ResourceVector, to_canonical
from forebay.domain.size import TaskSize, not_on_fargate

# 6.000000001 units is 6 units and a rounding error, not a reason for a seventh.
ROUNDING = 1e-9


class EcsTarget(Model):
    """An ECS service. Where Application Auto Scaling is attached its minimum is the floor lever."""

    type: Literal["ecs"]
    cluster: Name
    service: Name
    region: str | None = None
    launch_type: Literal["fargate", "ec2"] = "fargate"

    @property
    def place(self) -> tuple[str | None, ...]:
        return self.type, self.region, self.cluster, self.service


class AsgTarget(Model):
    """An EC2 Auto Scaling group. Where scaling policies are attached its MinSize is the floor lever."""

    type: Literal["asg"]
    group: Annotated[str, Field(min_length=1, max_length=255)]
    region: str | None = None

    @property
    def place(self) -> tuple[str | None, ...]:
        return self.type, self.region, self.group


TargetRef = Annotated[EcsTarget | AsgTarget, Field(discriminator="type")]


class EntityMetric(Model):
    """Where the usage of one customer is published: a CloudWatch metric whose `dimension` has the entity's name.

    `unit` is the published value's; of a sum over a period it is the amount per second that is meant (bytes: bytes/s).
    """

    namespace: Annotated[str, Field(min_length=1, max_length=255)]
    metric: Annotated[str, Field(min_length=1, max_length=255)]
    dimension: Annotated[str, Field(min_length=1, max_length=255)]
    dimensions: Mapping[str, str] = {}
    stat: Literal["Average", "Sum"] = "Average"
    unit: str


class SoftLimit(Model):
    """The largest move per step, in units and in percent of the allocation, and the shortest dwell between two."""

    units: Annotated[int, Field(ge=1), NUMBER]
    percent: Annotated[float, Field(gt=0, le=1000), NUMBER] = 100.0
    dwell: HoursOrZero = timedelta(minutes=5)

    def largest_move(self, units: int) -> int:
        """The tighter of the two limits at an allocation of `units`; one unit always may move, or nothing could."""
        return max(1, min(self.units, int(units * self.percent / 100 + 1e-9)))


class Limits(Model):
    """Hard bounds of the allocation (units) and its soft limit."""

    min_units: Annotated[int, Field(ge=0), NUMBER]
    max_units: Annotated[int, Field(ge=1), NUMBER]
    soft: SoftLimit

    @model_validator(mode="after")
    def _min_below_max(self) -> Limits:
        if self.min_units > self.max_units:
            raise ValueError(f"min_units {self.min_units} is above max_units {self.max_units}: swap or mend them")
        return self


class UnitPrice(Model):
    """What one unit costs an hour."""

    per_unit_hour: Annotated[Decimal, Field(ge=0)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"


# A move is worth its trouble where it saves a unit for an hour, or weighs as much in risk. Measured in replays: two
# hours save one move in twenty, for 5 % more shortage and 0.4 % more unit-hours; half an hour gains nothing more.
MOVE_HOURS = 1


# A plan covers so many of 500 sample paths, drawn from fewer past errors still: with two beyond, the tail ends.
SAMPLE_PATHS, MOST_CONFIDENCE = 500, 0.995


def _can_be_told(confidence: float) -> float:
    if confidence > MOST_CONFIDENCE:
        raise ValueError(
            f"a confidence of {confidence:g} is more than {SAMPLE_PATHS} sample paths can tell: ask for at most "
            f"{MOST_CONFIDENCE:g}, and for more safety raise risk.shortfall_per_unit_hour"
        )
    return confidence


class Risk(Model):
    """What the plan weighs against the unit price.

    `confidence`: probability with which the allocation covers the demand at the effective time; `MOST_CONFIDENCE` is
    the most that the sample paths can tell.
    `shortfall_per_unit_hour`: price of one unit missing for one hour. `move`: price of one move (its trouble);
    None is what a unit costs in an hour (`MOVE_HOURS`).
    `resize`: price of one rolling deployment to another size (its trouble, and the chance that it fails).
    """

    confidence: Annotated[float, Field(ge=0.5, lt=1), NUMBER, AfterValidator(_can_be_told)] = 0.95
    shortfall_per_unit_hour: Annotated[Decimal, Field(ge=0)] = Decimal("1")
    move: Annotated[Decimal, Field(ge=0)] | None = None
    resize: Annotated[Decimal, Field(ge=0)] = Decimal("1")


class UnitSize(Model):
    """Another size that a unit may have, and what it costs."""

    unit: ResourceVector
    price: UnitPrice


class Deployment(Model):
    """How the service replaces its tasks. Its minimumHealthyPercent must be 100: a resize takes no capacity away.

    `maximum_percent`: as the service has it. `drain`: from a new task's first service until the old one is gone.
    """

    maximum_percent: Annotated[int, Field(gt=100, le=200), NUMBER] = 200
    drain: HoursOrZero = timedelta(minutes=5)

    def waves(self, units: int) -> int | None:
        """How often a batch of new tasks must come up until all `units` are replaced; None if not one more may run."""
        batch = units * self.maximum_percent // 100 - units
        return -(-units // batch) if batch else (None if units else 0)


class Verification(Model):
    """When and how a step is judged: after the lead time and `metric_delay`, over `window`.

    `tolerance`: relative excess over the forecast band that still counts as on plan.
    `patience`: how long missing data or missing capacity is waited for before the change is held.
    """

    metric_delay: HoursOrZero = timedelta(minutes=3)
    window: Hours = timedelta(minutes=3)
    tolerance: Annotated[float, Field(ge=0, le=1), NUMBER] = 0.1
    patience: Hours = timedelta(minutes=10)
    corrections: Annotated[int, Field(ge=0, le=10), NUMBER] = 2

    @property
    def known_after(self) -> timedelta:
        """From the moment the capacity serves until its verdict can be known."""
        return self.window + self.metric_delay


def _metric_period(value: timedelta) -> timedelta:
    seconds = value.total_seconds()
    if seconds % 60 and seconds not in (1, 5, 10, 20, 30):
        raise ValueError(
            f"{seconds:g} s is no period of CloudWatch: use PT1S, PT5S, PT10S, PT20S, PT30S or whole minutes"
        )
    return value


DAY = 86400  # seconds


def _divides_a_day(slot: timedelta) -> timedelta:
    if not timedelta(seconds=DAY) % slot:
        return slot
    unit = 1 if slot % timedelta(minutes=1) else 60
    fitting = [seconds for seconds in range(unit, DAY + 1, unit) if not DAY % seconds]
    shorter = [_written(s) for s in fitting if s < slot.total_seconds()][-1:]
    longer = [_written(s) for s in fitting if s > slot.total_seconds()][:1]
    raise ValueError(
        "whole slots must make a day, or none lies at the same time of each: write " + " or ".join(shorter + longer)
    )


def _written(seconds: int) -> str:
    """Of a divisor of a day: `PT90S`, `PT6M`, `PT2H`, `P1D`."""
    if seconds == DAY:
        return "P1D"
    size, unit = next((size, unit) for size, unit in ((3600, "H"), (60, "M"), (1, "S")) if not seconds % size)
    return f"PT{seconds // size}{unit}"


class Workload(Model):
    """One shaped workload. Resources without an objective are not planned: they must not bind.

    `metric_period`: how often its usage is published. `sizes`: what else a unit may be, beside `unit`.
    `alarms`: CloudWatch alarms of which one in ALARM keeps a step back, and fails its verification.
    `on_foreign_write`: the answer to another hand that writes over a change's setting (`forebay.control.keep`).
    """

    name: Name
    target: TargetRef
    unit: ResourceVector
    objectives: Mapping[Resource, Annotated[float, Field(gt=0, le=1), NUMBER]]
    limits: Limits
    lead_time: Hours
    price: UnitPrice
    risk: Risk = Risk()
    verification: Verification = Verification()
    slot: Annotated[Duration, AfterValidator(_divides_a_day)] = timedelta(minutes=5)
    metric_period: Annotated[Duration, AfterValidator(_metric_period)] = timedelta(minutes=1)
    seasons: Annotated[tuple[Duration, ...], Field(min_length=1)] = (timedelta(days=1), timedelta(days=7))
    history: Duration = timedelta(days=28)
    shares: Mapping[str, Annotated[float, Field(ge=0, le=1), NUMBER]] = {}
    entity_usage: Mapping[Resource, EntityMetric] = {}
    zone: Zone = "UTC"
    holidays: tuple[date, ...] = ()
    sizes: tuple[UnitSize, ...] = ()
    deployment: Deployment = Deployment()
    on_foreign_write: Literal["hold", "insist", "yield"] = "hold"
    alarms: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=255)], ...], Field(max_length=100)] = ()

    @field_validator("seasons")
    @classmethod
    def _shortest_first(cls, seasons: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if list(seasons) != sorted(set(seasons)):
            raise ValueError("list each season once, the shortest first, for example [P1D, P7D]")
        return seasons

    @field_validator("entity_usage")
    @classmethod
    def _units_measure_the_resource(cls, metrics: Mapping[Resource, EntityMetric]) -> Mapping[Resource, EntityMetric]:
        for resource, metric in metrics.items():
            to_canonical(0.0, metric.unit, resource)
        return metrics

    @field_validator("objectives")
    @classmethod
    def _some_objective(cls, objectives: Mapping[Resource, float]) -> Mapping[Resource, float]:
        if not objectives:
            raise ValueError("name at least one resource with its target utilisation, for example {cpu: 0.6}")
        return objectives

    @model_validator(mode="after")
    def _consistent(self) -> Workload:
        for resource in self.objectives:
            if not self.unit[resource]:
                raise ValueError(f"objectives name {resource}, but the unit has none of it: set its size under unit")
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError(f"shares add up to {sum(self.shares.values()):.2f}: together they must not exceed 1")
        if self.seasons[0] < 2 * self.slot:
            raise ValueError("a season lasts two slots or more: lengthen the shortest of seasons, or shorten slot")
        return self

    @model_validator(mode="after")
    def _sizes_can_be_deployed(self) -> Workload:
        if not self.sizes:
            return self
        if not isinstance(self.target, EcsTarget):
            raise ValueError("sizes are for ECS tasks: an Auto Scaling group gets another size by its launch template")
        seen: set[TaskSize] = set()
        for unit in (self.unit, *(size.unit for size in self.sizes)):
            if not (unit.cpu_cores and unit.memory_gib):
                raise ValueError("with sizes, the unit and each size need cpu_cores and memory_gib")
            size = TaskSize.of(unit)
            if self.target.launch_type == "fargate" and (fault := not_on_fargate(size)):
                raise ValueError(f"{fault}; on EC2 instances say target.launch_type: ec2")
            if size in seen:
                raise ValueError(f"the size {size} is there twice (the unit itself is one of the sizes): drop one")
            seen.add(size)
        for other in self.sizes:
            if missing := [r for r in self.objectives if not other.unit[r]]:
                raise ValueError(f"objectives name {missing[0]}, but the size {TaskSize.of(other.unit)} has none of it")
            if other.price.currency != self.price.currency:
                raise ValueError(f"all sizes must be priced in {self.price.currency}, or they cannot be compared")
        return self

    @property
    def resources(self) -> tuple[Resource, ...]:
        return tuple(resource for resource in Resource if resource in self.objectives)

    @property
    def size(self) -> TaskSize | None:
        """The size of a unit, where it may be chosen."""
        return TaskSize.of(self.unit) if self.sizes else None

    @property
    def alternatives(self) -> tuple[Workload, ...]:
        """The workload in each of its other sizes."""
        return tuple(self.sized(TaskSize.of(size.unit)) for size in self.sizes)

    def sized(self, size: TaskSize | None) -> Workload:
        """The workload with its units of that size; None, or a workload without sizes, is left as it is.

        Raises InputError if the size is not one of its own.
        """
        if size is None or size == self.size or not self.sizes:
            return self
        found = next((other for other in self.sizes if TaskSize.of(other.unit) == size), None)
        if found is None:
            known = "; ".join(str(TaskSize.of(unit)) for unit in (self.unit, *(s.unit for s in self.sizes)))
            raise InputError(
                f"{self.name}: its tasks have {size}, which is none of its sizes ({known}): list it under sizes, with "
                "its price"
            )
        others = (UnitSize(unit=self.unit, price=self.price), *(s for s in self.sizes if s is not found))
        return self.model_copy(update={"unit": found.unit, "price": found.price, "sizes": others})

    def deployed_after(self, units: int) -> timedelta | None:
        """How long a rolling deployment takes that replaces `units`; None if it cannot be made."""
        waves = self.deployment.waves(units)
        return None if waves is None else waves * (self.lead_time + self.deployment.drain)

    @property
    def move_price(self) -> Decimal:
        return MOVE_HOURS * self.price.per_unit_hour if self.risk.move is None else self.risk.move

    @property
    def verified_after(self) -> timedelta:
        """From asking for a unit until its verdict can be known: lead time, metric delay and the window."""
        return self.lead_time + self.verification.known_after

    @property
    def step_spacing(self) -> timedelta:
        """Shortest time between two steps: the dwell, or the wait for the verdict that must come between them."""
        return max(self.limits.soft.dwell, self.verified_after)

    def units_for(self, usage: Mapping[Resource, float]) -> tuple[float, Resource]:
        """Units (not rounded) that carry `usage` at the target utilisation, and the resource that binds."""
        needs = {r: usage[r] / (self.unit[r] * self.objectives[r]) for r in self.resources}
        binding = max(needs, key=lambda resource: needs[resource])
        return needs[binding], binding

    def whole_units_for(self, usage: Mapping[Resource, float]) -> int:
        """Units that carry `usage` at the target utilisation."""
        return math.ceil(self.units_for(usage)[0] - ROUNDING)


def unknown_workload(name: str, catalog: Sequence[Workload]) -> InputError:
    """For a workload that is not among those of the `catalog`; it lists them."""
    known = ", ".join(workload.name for workload in catalog) or "none"
    return InputError(f"workload {name!r} is not in the workloads file. Known: {known}")


class WorkloadCatalog(Model):
    """The workloads file: `workloads: [...]`, names unique."""

    workloads: tuple[Workload, ...]

    @model_validator(mode="after")
    def _unique(self) -> WorkloadCatalog:
        names = [workload.name for workload in self.workloads]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"workload names must be unique; given twice: {', '.join(sorted(twice))}")
        owners: dict[tuple[str | None, ...], str] = {}
        for workload in self.workloads:
            owner = owners.setdefault(workload.target.place, workload.name)
            if owner != workload.name:
                raise ValueError(
                    f"{owner} and {workload.name} have the same target, and each would undo what the other sets: make "
                    "them one workload, or mend one's target"
                )
        return self

    def get(self, name: str) -> Workload | None:
        return next((workload for workload in self.workloads if workload.name == name), None)

    @classmethod
    def parse(cls, text: str, what: str = "workloads file") -> WorkloadCatalog:
        """From YAML or JSON. Raises InputError naming field, value and mend."""
        return validate(cls, parse_yaml(text, what), what)
