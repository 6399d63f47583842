"""An outside in memory, on a clock that only the test moves: it launches late, fails, and is written by others."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from forebay.domain.allocation import Foreseen, Lever, Setting, Span, TargetState
from forebay.domain.errors import OutsideError
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize
from forebay.domain.workload import Workload
from forebay.ports import Target


class Crash(BaseException):
    """The process dies here: no handler of the code under test may see an Exception."""


class VirtualClock:
    """A Clock. Sleeping moves time on at once and runs what falls due on the way, in order.

    It stands still otherwise, unless `reading_takes` time.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.reading_takes = timedelta(0)
        self._due: list[tuple[datetime, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        self._now += self.reading_takes
        return self._now

    def at(self, time: datetime, action: Callable[[], object]) -> None:
        """Run `action` when the clock passes `time`."""
        heapq.heappush(self._due, (time, next(self._numbers), action))

    def step(self, by: timedelta) -> None:
        """The clock is set to another time: nothing happens on the way."""
        self._now += by

    def sleep(self, duration: timedelta) -> None:
        until = self._now + max(duration, timedelta(0))
        while self._due and self._due[0][0] <= until:
            time, _, action = heapq.heappop(self._due)
            self._now = max(self._now, time)
            action()
        self._now = max(self._now, until)


@dataclass(frozen=True)
class Write:
    """One change of a setting in the cloud, whoever made it. `desired` is what ran or launched just before.

    `seen` is what the cloud's `witness` saw at that moment.
    """

    at: datetime
    workload: str
    before: Setting
    after: Setting
    desired: int
    foreign: bool = False
    seen: object = None


ApplyFault = Literal["lost answer", "throttled", "refused"]
Demand = Callable[[datetime], Mapping[Resource, float]]


@dataclass
class ModelService:
    """One workload in the cloud. Under a floor lever an autoscaler follows the demand between floor and ceiling.

    `serving`: when each unit begins to serve, the oldest first. `arrives`: units beyond it never do. Where the workload
    has sizes, another revision is rolled out over `deploys` (or `breaks`, is rolled back, and says so); until then what
    serves are the units of the one before.
    """

    workload: Workload
    setting: Setting
    demand: Demand
    lag: timedelta
    serving: list[datetime]
    arrives: int = 10_000
    cause: str = "insufficient capacity"
    problems: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    foreseen: Foreseen = field(default_factory=Foreseen)
    asked_ahead: tuple[Span, ...] = ()
    metrics: bool = True
    culprit: str | None = None
    alarms: tuple[str, ...] = ()
    deploys: timedelta = timedelta(minutes=2)
    breaks: bool = False
    revisions: dict[str, TaskSize] = field(default_factory=dict)
    deployed_at: datetime | None = None
    failures: tuple[str, ...] = ()
    unreachable: bool = False

    def __post_init__(self) -> None:
        if self.workload.size:
            first = f"{self.workload.name}:1"
            self.revisions[first] = self.workload.size
            self.setting = self.setting.model_copy(update={"size": self.workload.size, "revision": first})

    @property
    def sized(self) -> Workload:
        """The workload as its units are now; the new ones count once they have replaced the old."""
        return self.workload.sized(self.setting.size)

    def set(self, setting: Setting, now: datetime) -> None:
        """A setting without a revision leaves the one that stands."""
        standing = self.setting
        if setting.revision is None:
            setting = setting.model_copy(update={"size": standing.size, "revision": standing.revision})
        self.setting = setting
        if setting.revision == standing.revision:
            return
        self.deployed_at = now + self.deploys
        if self.breaks:
            self.failures = ("deployment failed: tasks failed to start", "rolling back")
            self.setting = setting.model_copy(update={"size": standing.size, "revision": standing.revision})

    def desired(self, now: datetime) -> int:
        if self.setting.lever is Lever.COUNT:
            return self.setting.units
        assert self.setting.floor is not None and self.setting.ceiling is not None
        needed = math.ceil(self.sized.units_for(self.demand(now))[0] - 1e-9)
        if self.deployed_at and now < self.deployed_at:
            needed = max(needed, len(self.serving))  # as AWS: no scale-in while a deployment is under way
        return min(max(needed, self.setting.floor), self.setting.ceiling)

    def go_on(self, now: datetime) -> int:
        """Launch or stop units so that `desired` run; returns it."""
        desired = self.desired(now)
        del self.serving[desired:]
        self.serving += [now + self.lag] * (min(desired, self.arrives) - len(self.serving))
        return desired

    def state(self, now: datetime) -> TargetState:
        desired = self.go_on(now)
        serving = sum(1 for since in self.serving if since <= now)
        return TargetState(
            setting=self.setting,
            desired=desired,
            serving=serving,
            stable=serving == desired and not (self.deployed_at and now < self.deployed_at),
            problems=self.problems,
            causes=(self.cause,) if desired > self.arrives else (),
            failures=self.failures,
            refusals=self.refusals,
            warnings=self.warnings,
        )


@dataclass
class ModelCloud:
    """Implements `target` and `usage` of a Context. `writes` is what really happened, in order; one shows in reads once
    it is older than `copies`, the age of what the API answers from. `measured`: the own usage of customers.

    `effect(name)` is called at each point where a process may die: a test counts them, or raises Crash.
    """

    clock: VirtualClock
    services: dict[str, ModelService]
    writes: list[Write] = field(default_factory=list)
    faults: list[ApplyFault] = field(default_factory=list)
    unreachable: bool = False
    remembers: bool = False
    measured: dict[str, Demand] = field(default_factory=dict)
    no_history: bool = False
    copies: timedelta = timedelta(0)
    effect: Callable[[str], None] = lambda name: None
    witness: Callable[[str], object] = lambda workload: None

    def target(self, workload: Workload) -> ModelTarget:
        return ModelTarget(self, workload.name)

    def usage(self, workload: Workload) -> ModelUsage:
        return ModelUsage(self, workload.name)

    def set(self, workload: str, setting: Setting, *, foreign: bool = False) -> None:
        """What stands there changes; `foreign`: by another hand than Forebay's."""
        service, now = self.services[workload], self.clock.now()
        before = Write(now, workload, service.setting, setting, service.go_on(now), foreign, self.witness(workload))
        self.writes.append(before)
        service.set(setting, now)
        service.go_on(now)

    def ours(self, workload: str | None = None) -> list[Write]:
        """Forebay's own writes."""
        return [w for w in self.writes if not w.foreign and workload in (None, w.workload)]


@dataclass(frozen=True)
class ModelTarget:
    cloud: ModelCloud
    name: str

    def observe(self) -> TargetState:
        self.cloud.effect("observe")
        if self.cloud.unreachable or self.cloud.services[self.name].unreachable:
            raise OutsideError("the cloud does not answer", retryable=True)
        now = self.cloud.clock.now()
        fresh = self.cloud.services[self.name].state(now)
        unseen = [w for w in self.cloud.writes if w.workload == self.name and w.at > now - self.cloud.copies]
        if not unseen:
            return fresh
        return fresh.model_copy(update={"setting": unseen[0].before, "desired": unseen[0].desired})

    def who(self, setting: Setting) -> str | None:
        return self.cloud.services[self.name].culprit

    def foresee(self, ahead: Sequence[Span], cpu_cores: float, running: int) -> Foreseen:
        """As the service says, whatever is asked."""
        self.cloud.effect("foresee")
        if self.cloud.unreachable:
            raise OutsideError("the cloud does not answer", retryable=True)
        service = self.cloud.services[self.name]
        service.asked_ahead = tuple(ahead)
        return service.foreseen

    def revision(self, size: TaskSize, key: str) -> str:
        """Made once a size and key, as the port says; without the key each call would make another."""
        service = self.cloud.services[self.name]
        name = next((n for n, known in service.revisions.items() if n.endswith(key) and known == size), None)
        if service.setting.size == size and service.setting.revision:
            return service.setting.revision
        if name is None:
            name = f"{self.name}:{len(service.revisions) + 1} {key}"
            self.cloud.effect("before a revision")
            service.revisions[name] = size
            self.cloud.effect("after a revision")
        return name

    def apply(self, setting: Setting) -> None:
        cloud = self.cloud
        cloud.effect("before the write")
        fault = cloud.faults.pop(0) if cloud.faults else None
        if cloud.unreachable or fault == "throttled":
            raise OutsideError("throttled: nothing was written", retryable=True)
        if fault == "refused":
            raise OutsideError("access denied: the role may not scale this service", retryable=False)
        cloud.set(self.name, setting)
        cloud.effect("after the write")
        if fault == "lost answer":
            raise OutsideError("read timeout: the answer is lost", retryable=True)


@dataclass
class Stale:
    """A Target of any cloud whose API is eventually consistent: while `on`, a write shows in a read after `age`."""

    inner: Target
    now: Callable[[], datetime]
    age: timedelta = timedelta(seconds=20)
    on: bool = True
    before: list[tuple[datetime, TargetState]] = field(default_factory=list)

    def apply(self, setting: Setting) -> None:
        self.before.append((self.now(), self.inner.observe()))
        self.inner.apply(setting)

    def observe(self) -> TargetState:
        fresh = self.inner.observe()
        old = [state for at, state in self.before if at > self.now() - self.age]
        return old[0] if self.on and old else fresh

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # everything else is fresh


@dataclass(frozen=True)
class ModelUsage:
    cloud: ModelCloud
    name: str

    def alarms(self) -> Sequence[str]:
        return self.cloud.services[self.name].alarms

    def measure(self, start: datetime, end: datetime) -> Mapping[Resource, float]:
        self.cloud.effect("measure")
        service = self.cloud.services[self.name]
        if not service.metrics:
            return {}
        return dict(service.demand(start + (end - start) / 2))

    def entity_history(self, entity: str, start: datetime, end: datetime, step: timedelta) -> dict[Resource, Any]:
        measured = self.cloud.measured.get(entity)
        return _series(measured, start, end, step) if measured else {}

    def history(self, start: datetime, end: datetime, step: timedelta) -> Mapping[Resource, Any]:
        """Most tests bring their plans along: whoever wants to draw another one finds nothing to forecast from."""
        if self.cloud.no_history:
            raise OutsideError("the metrics do not answer", retryable=True)
        if not self.cloud.remembers:
            return {}
        return _series(self.cloud.services[self.name].demand, start, end, step)


def _series(demand: Demand, start: datetime, end: datetime, step: timedelta) -> dict[Resource, Any]:
    """As of CloudWatch: whole periods only, which count from the epoch. Each says what was at its beginning."""
    import pandas as pd

    first, last = pd.Timestamp(start).ceil(step), pd.Timestamp(end).floor(step)
    times = pd.date_range(first, last, freq=step, inclusive="left")
    return {r: pd.Series([demand(t.to_pydatetime())[r] for t in times], index=times) for r in (Resource.CPU,)}


@dataclass
class Bomb:
    """An `effect` that kills the process at its `at`th call; dead is dead until `defuse`: no clean-up comes through."""

    at: int
    calls: int = 0
    dead: bool = False

    def __call__(self, name: str) -> None:
        self.calls += 1
        self.dead = self.dead or self.calls == self.at
        if self.dead:
            raise Crash(f"at {name}")

    def defuse(self) -> None:
        self.at, self.dead = 0, False
