"""Which faults are in force, and which one a call meets. No I/O: the gate and the loops act on the answers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TypeVar

from sandbox.config import ApiFault, CapacityFault, DeploymentFault, Fault, MetricsFault, TaskFault

F = TypeVar("F", ApiFault, CapacityFault, DeploymentFault, MetricsFault, TaskFault)


@dataclass
class _Active:
    fault: Fault
    until: datetime | None
    left: int | None
    dice: random.Random = field(repr=False)


class FaultBook:
    """Faults by id, in the order in which they were added."""

    def __init__(self) -> None:
        self._active: dict[str, _Active] = {}
        self._ids = itertools.count(1)

    def add(self, fault: Fault, now: datetime) -> str:
        """Puts `fault` in force from `now` on; answers its id."""
        fault_id = f"fault-{next(self._ids)}"
        until = now + timedelta(seconds=fault.duration_s) if fault.duration_s else None
        left = fault.count if isinstance(fault, ApiFault) else None
        seed = fault.seed if isinstance(fault, ApiFault) else 0
        # A seeded generator is wanted here: the same rule must disturb the same calls in each run.
        self._active[fault_id] = _Active(fault, until, left, random.Random(seed))  # noqa: S311
        return fault_id

    def clear(self, fault_id: str | None = None) -> None:
        """Ends one fault, or all. Raises KeyError for an unknown id."""
        if fault_id is None:
            self._active.clear()
        else:
            del self._active[fault_id]

    def active(self, now: datetime) -> dict[str, Fault]:
        """The faults in force at `now`, by id."""
        self._expire(now)
        return {fault_id: entry.fault for fault_id, entry in self._active.items()}

    def meet(self, service: str, operation: str, now: datetime) -> list[ApiFault]:
        """The API faults that this call meets; each one's count goes down."""
        self._expire(now)
        met = []
        for entry in self._active.values():
            fault = entry.fault
            if not isinstance(fault, ApiFault) or entry.left == 0:
                continue
            if not (fnmatchcase(operation, fault.op) or fnmatchcase(f"{service}:{operation}", fault.op)):
                continue
            if entry.dice.random() >= fault.probability:
                continue
            if entry.left is not None:
                entry.left -= 1
            met.append(fault)
        return met

    def capacity(self, target: str, now: datetime) -> CapacityFault | None:
        """The tightest cap on the running units of `target`."""
        caps = [f for f in self._of(CapacityFault, now) if fnmatchcase(target, f.target)]
        return min(caps, key=lambda f: f.max_running, default=None)

    def deployment(self, target: str, revision: str, now: datetime) -> DeploymentFault | None:
        """The fault that lets the tasks of `revision` (family:revision) die."""
        faults = (f for f in self._of(DeploymentFault, now) if fnmatchcase(target, f.target))
        return next((f for f in faults if fnmatchcase(revision, f.revision)), None)

    def tasks(self, target: str, now: datetime) -> TaskFault | None:
        """The fault that lets tasks of `target` stop before they serve."""
        return next((f for f in self._of(TaskFault, now) if fnmatchcase(target, f.target)), None)

    def hides(self, target: str, metric: str, now: datetime) -> bool:
        """Whether the datapoint of `metric` (namespace/name) of `target` is lost."""
        return any(fnmatchcase(target, f.target) and fnmatchcase(metric, f.metric) for f in self._of(MetricsFault, now))

    def _of(self, kind: type[F], now: datetime) -> Iterator[F]:
        if not self._active:
            return
        self._expire(now)
        for entry in self._active.values():
            if isinstance(entry.fault, kind):
                yield entry.fault

    def _expire(self, now: datetime) -> None:
        gone = [i for i, e in self._active.items() if e.left == 0 or (e.until is not None and now >= e.until)]
        for fault_id in gone:
            del self._active[fault_id]
