"""Impact: how a change moves demand from its effective time on; entitlement: the bounds its policy sets."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forebay.domain.model import DurationOrZero, Model, Name
from forebay.domain.resources import CANONICAL_UNIT, Resource, to_canonical

# A hundredfold jump is a typing error far more often than a plan; it is refused rather than paid for.
LARGEST_FACTOR = 100.0
Factor = Annotated[float, Field(ge=0, le=LARGEST_FACTOR, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]


class Adoption(Model):
    """How fast the impact is taken up: at once (`step`), or linearly within `over` (`ramp`)."""

    shape: Literal["step", "ramp"] = "step"
    over: DurationOrZero = timedelta(0)

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


class Range(Model):
    """An estimate and its honest bounds: low <= expected <= high."""

    expected: float
    low: float
    high: float


class Impact(Model):
    """Demand of `resource` on `workload` is multiplied by `factor`, then `add` is added, both taken up by adoption.

    `low`/`high` bound the factor, `add_low`/`add_high` the addition; left out, the estimate counts as certain.
    `unit` is the unit of the addition. `scope`: the change's entity (its share of the demand), or the whole workload.
    """

    workload: Name
    resource: Resource | Literal["all"] = "all"
    factor: Factor = 1.0
    low: Factor | None = None
    high: Factor | None = None
    add: Amount = 0.0
    add_low: Amount | None = None
    add_high: Amount | None = None
    unit: str | None = None
    scope: Literal["entity", "workload"] = "entity"
    adoption: Adoption = Adoption()

    @model_validator(mode="after")
    def _consistent(self) -> Impact:
        _ordered("low", self.low, "factor", self.factor, "high", self.high)
        _ordered("add_low", self.add_low, "add", self.add, "add_high", self.add_high)
        adds = any(value for value in (self.add, self.add_low, self.add_high))
        if adds and self.resource == "all":
            raise ValueError("an addition belongs to one resource: write resource: cpu, memory or network")
        if adds and self.unit is None:
            raise ValueError("an addition needs its unit: cores for cpu, GiB for memory, Mbit/s for network")
        if self.unit is not None:
            if self.resource == "all":
                raise ValueError(f"unit {self.unit!r} needs one resource: write resource: cpu, memory or network")
            to_canonical(0.0, self.unit, self.resource)
        return self

    @property
    def factor_range(self) -> Range:
        return _range(self.factor, self.low, self.high)

    @property
    def add_range(self) -> Range:
        """The addition in the resource's canonical unit (cores, GiB, Mbit/s)."""
        if self.resource == "all":
            return Range(expected=0, low=0, high=0)
        scale = to_canonical(1.0, self.unit or CANONICAL_UNIT[self.resource], self.resource)
        stated = _range(self.add, self.add_low, self.add_high)
        return Range(expected=stated.expected * scale, low=stated.low * scale, high=stated.high * scale)

    def acts_on(self, resource: Resource) -> bool:
        return self.resource in ("all", resource)


class Entitlement(Model):
    """Hard bounds (units of the workload) that the new policy sets from the effective time on."""

    workload: Name
    min_units: Annotated[int, Field(ge=0)] | None = None
    max_units: Annotated[int, Field(ge=1)] | None = None

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
