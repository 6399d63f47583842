"""Impact: how a change moves demand from its effective time on; entitlement: the bounds its policy sets."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forebay.domain.model import NUMBER, DurationOrZero, Model, Name, field
from forebay.domain.resources import CANONICAL_UNIT, Resource, to_canonical

# A hundredfold jump is a typing error far more often than a plan; it is refused rather than paid for.
LARGEST_FACTOR = 100.0
MOST_UNITS = 1_000_000
Factor = Annotated[float, Field(ge=0, le=LARGEST_FACTOR, allow_inf_nan=False), NUMBER]
Amount = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False), NUMBER]


class Adoption(Model):
    """How fast the impact is taken up: at once (step), or linearly over a length of time (ramp)."""

    shape: Literal["step", "ramp"] = field(1, "Shape", "At once, or linearly", "step")
    over: DurationOrZero = field(2, "Ramp length", "Of a ramp: PT30M is 30 minutes; a step has PT0S", timedelta(0))

    @model_validator(mode="after")
    def _ramp_has_a_length(self) -> Adoption:
        if self.shape == "ramp" and not self.over:
            raise ValueError("a ramp needs its length: over: PT30M")
        if self.shape == "step" and self.over:
            raise ValueError("a step has no length: drop `over`, or write shape: ramp")
        return self

    def fraction(self, since_effective: timedelta) -> float:
        """Share of the impact in effect `since_effective` after the effective time: 0 before it, at most 1."""
        if since_effective < timedelta(0):
            return 0.0
        if self.shape == "step":
            return 1.0
        return min(1.0, since_effective / self.over)


class ImpactResource(StrEnum):
    """The resource an impact acts on, or all three."""

    CPU = "cpu"
    MEMORY = "memory"
    NETWORK = "network"
    ALL = "all"


class Range(Model):
    """An estimate and its honest bounds: low <= expected <= high."""

    expected: float
    low: float
    high: float

    def widened(self, times: float, neutral: float) -> Range:
        """Down to `1/times` and up to `times` as far from `neutral` as the bounds are."""
        bounds = (self.low, self.high)
        ends = [neutral + (bound - neutral) * scale for bound in bounds for scale in (1 / times, times)]
        return Range(expected=self.expected, low=min(ends), high=max(ends))


class Impact(Model):
    """Demand of a workload is multiplied by a factor, then an addition is added, as fast as the adoption says."""

    # The docstring is what a form shows above the fields. `low`/`high` bound the factor, `add_low`/`add_high` the
    # addition. `scope`: the change's entity (its share of the demand), or the whole workload.

    workload: Name = field(1, "Workload", "As named in the workloads file", examples=["checkout"])
    resource: ImpactResource = field(2, "Resource", "What the demand is of", ImpactResource.ALL)
    factor: Factor = field(
        3, "Factor", "Demand is multiplied by this: 2 doubles it, 0.5 halves it", 1.0, examples=[2.0]
    )
    low: Factor | None = field(4, "Factor, low estimate", "The least it may be; None takes the factor as certain", None)
    high: Factor | None = field(
        5, "Factor, high estimate", "The most it may be; None takes the factor as certain", None
    )
    scope: Literal["entity", "workload"] = field(6, "Acts on", "The entity's share, or the whole workload", "entity")
    adoption: Adoption = field(7, "Adoption", "How fast the impact is taken up", Adoption())
    add: Amount = field(8, "Addition", "Added to the demand, in the unit below", 0.0)
    add_low: Amount | None = field(
        9, "Addition, low estimate", "The least it may be; None takes the addition as certain", None
    )
    add_high: Amount | None = field(
        10, "Addition, high estimate", "The most it may be; None takes the addition as certain", None
    )
    unit: str | None = field(
        11, "Unit of the addition", "cores, GiB or Mbit/s; None without an addition", None, examples=["cores"]
    )

    @model_validator(mode="after")
    def _consistent(self) -> Impact:
        _ordered("low", self.low, "factor", self.factor, "high", self.high)
        _ordered("add_low", self.add_low, "add", self.add, "add_high", self.add_high)
        adds = any(value for value in (self.add, self.add_low, self.add_high))
        if adds and self.resource is ImpactResource.ALL:
            raise ValueError("an addition belongs to one resource: write resource: cpu, memory or network")
        if adds and self.unit is None:
            raise ValueError("an addition needs its unit: cores for cpu, GiB for memory, Mbit/s for network")
        if self.unit is not None:
            if self.resource is ImpactResource.ALL:
                raise ValueError(f"unit {self.unit!r} needs one resource: write resource: cpu, memory or network")
            to_canonical(0.0, self.unit, Resource(self.resource))
        return self

    @property
    def factor_range(self) -> Range:
        return _range(self.factor, self.low, self.high)

    @property
    def add_range(self) -> Range:
        """The addition in the resource's canonical unit (cores, GiB, Mbit/s)."""
        if self.resource is ImpactResource.ALL:
            return Range(expected=0, low=0, high=0)
        resource = Resource(self.resource)
        scale = to_canonical(1.0, self.unit or CANONICAL_UNIT[resource], resource)
        stated = _range(self.add, self.add_low, self.add_high)
        return Range(expected=stated.expected * scale, low=stated.low * scale, high=stated.high * scale)

    def scaled(self, scale: float) -> Impact:
        """The same impact `scale` times as strong: a factor of 2 at scale 2 becomes 3, its bounds and additions alike.

        Raises ValidationError where that leaves the accepted range.
        """

        def factor(value: float | None) -> float | None:
            return None if value is None else max(0.0, 1 + (value - 1) * scale)

        def amount(value: float | None) -> float | None:
            return None if value is None else value * scale

        low, high = factor(self.low), factor(self.high)
        fields = self.model_dump() | {"factor": factor(self.factor), "low": low, "high": high}
        fields |= {name: amount(getattr(self, name)) for name in ("add", "add_low", "add_high")}
        return Impact.model_validate(fields)

    def doubted(self, doubt: float) -> Impact:
        """The same estimate with its ranges widened to an effect `doubt` times as weak and as strong."""
        factor = _range(self.factor, self.low, self.high).widened(doubt, neutral=1.0)
        add = _range(self.add, self.add_low, self.add_high).widened(doubt, neutral=0.0)
        bounds = {"low": max(0.0, factor.low), "high": factor.high, "add_low": add.low, "add_high": add.high}
        return self.model_copy(update=bounds)

    @property
    def changes_nothing(self) -> bool:
        """Whether demand stays as it is wherever in its range the estimate lies."""
        certain, nothing = Range(expected=1, low=1, high=1), Range(expected=0, low=0, high=0)
        return self.factor_range == certain and self.add_range == nothing

    def acts_on(self, resource: Resource) -> bool:
        return self.resource in (ImpactResource.ALL, resource)


class Entitlement(Model):
    """Hard bounds (units of the workload) that the new policy sets from the effective time on."""

    workload: Name = field(1, "Workload", "As named in the workloads file", examples=["checkout"])
    min_units: Annotated[int, Field(ge=0, le=MOST_UNITS), NUMBER] | None = field(
        2, "At least (units)", "None: no floor", None
    )
    max_units: Annotated[int, Field(ge=1, le=MOST_UNITS), NUMBER] | None = field(
        3, "At most (units)", "None: no ceiling", None
    )

    @model_validator(mode="after")
    def _min_below_max(self) -> Entitlement:
        if self.min_units is not None and self.max_units is not None and self.min_units > self.max_units:
            raise ValueError(f"min_units {self.min_units} is above max_units {self.max_units}: swap or mend them")
        return self


def _range(expected: float, low: float | None, high: float | None) -> Range:
    return Range(expected=expected, low=expected if low is None else low, high=expected if high is None else high)


def _ordered(low_name: str, low: float | None, name: str, expected: float, high_name: str, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"{low_name} {low} is above {high_name} {high}: swap them")
    if low is not None and low > expected:
        raise ValueError(f"{low_name} {low} is above {name} {expected}: it must not be larger")
    if high is not None and high < expected:
        raise ValueError(f"{high_name} {high} is below {name} {expected}: it must not be smaller")
