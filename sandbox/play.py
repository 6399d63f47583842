"""A workload at play: what its load wants, what its units serve, and the record of both, tick by tick."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.config import RESOURCES, Workload
from sandbox.load import ZERO, Load, Vector, served, units_for

COLUMNS = (
    "time",
    "seconds",
    *(f"demand_{r}" for r in RESOURCES),
    *(f"usage_{r}" for r in RESOURCES),
    *(f"capacity_{r}" for r in RESOURCES),
    "serving",
    "pending",
    "desired",
)


@dataclass(frozen=True)
class Observed:
    """A service's or group's units at one instant."""

    serving: int
    pending: int
    desired: int
    capacity: Vector


class Units(Protocol):
    """Where a workload's units live."""

    def observe(self) -> Observed | None:
        """None while the service or group does not exist."""
        ...


def _columns() -> dict[str, array[float]]:
    return {name: array("d") for name in COLUMNS}


@dataclass
class Period:
    """Sums over the ticks of one publish period, weighted by their seconds."""

    seconds: float = 0.0
    demand: Vector = ZERO
    usage: Vector = ZERO
    capacity: Vector = ZERO
    entities: dict[str, Vector] = field(default_factory=dict)
    last: Observed | None = None

    def add(self, seconds: float, demand: Vector, usage: Vector, seen: Observed, shares: dict[str, float]) -> None:
        self.seconds += seconds
        self.demand = _plus(self.demand, demand, seconds)
        self.usage = _plus(self.usage, usage, seconds)
        self.capacity = _plus(self.capacity, seen.capacity, seconds)
        for entity, share in shares.items():
            self.entities[entity] = _plus(self.entities.get(entity, ZERO), usage, seconds * share)
        self.last = seen

    def mean(self, total: Vector) -> Vector:
        return (total[0] / self.seconds, total[1] / self.seconds, total[2] / self.seconds)


def _plus(a: Vector, b: Vector, weight: float) -> Vector:
    return (a[0] + b[0] * weight, a[1] + b[1] * weight, a[2] + b[2] * weight)


@dataclass
class Play:
    """One workload's load meeting its units."""

    config: Workload
    load: Load
    units: Units
    period: Period = field(default_factory=Period)
    published: int | None = None
    record: dict[str, array[float]] = field(default_factory=_columns)

    def tick(self, time: float, seconds: float) -> None:
        """Measures the tick that ends at `time` (epoch seconds) and lasted `seconds` (0: only a first look)."""
        seen = self.units.observe()
        if seen is None:
            return
        demand = self.load.demand(time)
        usage = served(demand, seen.capacity)
        weights = self.load.weights(time)
        whole = sum(weights.values()) or 1.0
        self.period.add(seconds, demand, usage, seen, {e: w / whole for e, w in weights.items()})
        row = (time, seconds, *demand, *usage, *seen.capacity, seen.serving, seen.pending, seen.desired)
        for name, value in zip(COLUMNS, row, strict=True):
            self.record[name].append(value)

    def close_period(self) -> Period:
        """The period so far; a new one begins."""
        done, self.period = self.period, Period()
        return done

    def units_wanted(self, demand: Vector) -> float:
        return units_for(demand, self.config.unit.vector())
