"""Demand from a trace, and what units can serve of it. Pure but for reading the trace's file.

demand_r(t) = trace_r(t) x peak_r x sum over entities of share_e x factor_e(t); served_r = min(demand_r, capacity_r).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from sandbox.config import RESOURCES, Amount, ConfigError

TRACES = Path(__file__).parent / "traces"
Vector = tuple[float, float, float]
ZERO: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Trace:
    """Samples of (cpu, memory, network), each 0-1, a fixed `step_s` apart."""

    step_s: float
    samples: tuple[Vector, ...]

    def at(self, position: float) -> Vector:
        """The sample in force at `position` (in samples); it holds until the next, and the trace repeats."""
        return self.samples[int(position) % len(self.samples)]

    def mean(self, start: int, count: int) -> Vector:
        part = [self.at(i) for i in range(start, start + count)]
        return tuple(sum(s[r] for s in part) / count for r in range(3))  # type: ignore[return-value]


@lru_cache(maxsize=8)
def read_trace(name: str) -> Trace:
    """A trace by name (a file in traces/) or by path. Raises ConfigError if it cannot be used."""
    path = Path(name) if name.endswith(".csv") else TRACES / f"{name}.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        times = [datetime.fromisoformat(row["timestamp"]).astimezone(UTC) for row in rows[:2]]
        samples = tuple(tuple(float(row[r]) for r in RESOURCES) for row in rows)
    except OSError as exc:
        known = ", ".join(sorted(p.stem for p in TRACES.glob("*.csv")))
        raise ConfigError(f"trace {name!r}: {exc}; known traces: {known}") from exc
    except (KeyError, ValueError, TypeError) as exc:
        raise ConfigError(f"trace {path}: needs columns timestamp,cpu,memory,network with numbers: {exc!r}") from exc
    if len(samples) < 2:
        raise ConfigError(f"trace {path}: needs at least two samples")
    return Trace((times[1] - times[0]).total_seconds(), samples)  # type: ignore[arg-type]


@dataclass
class Factor:
    """An entity's factor on its share: moves linearly from one value to another."""

    before: float = 1.0
    after: float = 1.0
    since: float = 0.0
    ramp_s: float = 0.0

    def at(self, time: float) -> float:
        if self.ramp_s <= 0 or time >= self.since + self.ramp_s:
            return self.after
        return self.before + (self.after - self.before) * max(0.0, time - self.since) / self.ramp_s

    def move(self, to: float, time: float, ramp_s: float) -> None:
        self.before, self.after, self.since, self.ramp_s = self.at(time), to, time, ramp_s


@dataclass
class Load:
    """What the entities want of one workload. Times are epoch seconds."""

    trace: Trace
    peak: Amount
    shares: dict[str, float]
    start: float
    first_sample: int = 0
    speed: float = 1.0
    factors: dict[str, Factor] = field(default_factory=dict)

    def weights(self, time: float) -> dict[str, float]:
        """Each entity's share times its factor; their sum is 1 while no factor was set."""
        return {e: share * (self.factors[e].at(time) if e in self.factors else 1.0) for e, share in self.shares.items()}

    def demand(self, time: float) -> Vector:
        """Cores, GiB, Mbit/s wanted at `time`."""
        c, m, n = self.trace.at(self.first_sample + (time - self.start) * self.speed / self.trace.step_s)
        pc, pm, pn = self.peak.vector()
        weight = sum(self.weights(time).values()) if self.factors else 1.0
        return (c * pc * weight, m * pm * weight, n * pn * weight)

    def set_factor(self, entity: str, factor: float, time: float, ramp_s: float) -> None:
        """Raises KeyError for an unknown entity, ValueError for a negative factor or ramp."""
        if entity not in self.shares:
            raise KeyError(entity)
        if factor < 0 or ramp_s < 0:
            raise ValueError("factor and ramp_s must be 0 or more")
        self.factors.setdefault(entity, Factor()).move(factor, time, ramp_s)


def served(demand: Vector, capacity: Vector) -> Vector:
    return (min(demand[0], capacity[0]), min(demand[1], capacity[1]), min(demand[2], capacity[2]))


def units_for(demand: Vector, unit: Vector) -> float:
    """Units (fractional) that `demand` fills: the largest over resources."""
    return max(demand[0] / unit[0], demand[1] / unit[1], demand[2] / unit[2])
