"""One workload's simulated target and its usage: launch lag, metric delay, an autoscaler above a floor, failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from forebay.domain.allocation import Foreseen, Lever, Setting, Span, TargetState
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize
from forebay.domain.workload import Workload
from forebay.replay.recorded import RecordedDemand
from forebay.replay.tracking import IN_POINTS, tracked_units

if TYPE_CHECKING:
    import pandas as pd

# Application Auto Scaling's default for ECS: a scale-in waits, a scale-out only unless it is a larger step.
COOLDOWN = timedelta(seconds=300)


@dataclass(frozen=True)
class Outage:
    """From `start` until `end` launches fail: units that should have been ready are launched anew.

    `arrives`: share of each launch, rounded down, that is there all the same.
    """

    start: datetime
    end: datetime
    cause: str = "insufficient capacity"
    arrives: float = 0.0


@dataclass(frozen=True)
class Period:
    """What happened in one metric period that began at `at`. Units are of `size`, where that may be chosen.

    `beside`: units of `next_size` that ran beside them, to replace them. `own`: what of `usage` is the change's
    entity's, where that is known.
    """

    at: datetime
    demand: Mapping[Resource, float]
    usage: Mapping[Resource, float]
    asked: int
    desired: int
    serving: int
    size: TaskSize | None = None
    beside: int = 0
    next_size: TaskSize | None = None
    own: Mapping[Resource, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Write:
    """A setting written from outside, and how far it moved what the cloud works towards, which was `before`."""

    at: datetime
    setting: Setting
    before: int
    moved: int


@dataclass
class _Launch:
    ready_at: datetime
    units: int


@dataclass
class SimulatedService:
    """A Target and a Usage. Time passes only by `run_until`, one metric period after the other.

    Demand beyond what serves is not measured: usage is what the serving units can carry of it. `targets` are the
    autoscaler's utilisation targets, the workload's objectives unless told otherwise; a count lever has none.
    """

    workload: Workload
    recorded: RecordedDemand
    setting: Setting
    desired: int
    targets: Mapping[Resource, float]
    outages: Sequence[Outage] = ()
    periods: list[Period] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = self.recorded.start
        self.serving = self.desired
        self.sized = self.workload.sized(self.setting.size)
        self._deployed_at: datetime | None = None
        self._launches: list[_Launch] = []
        self._utilisation: list[Mapping[Resource, float]] = []
        self._last_out = self._last_in = self.now - COOLDOWN
        self._last_step = 0
        self._causes: tuple[str, ...] = ()

    @property
    def period(self) -> timedelta:
        return self.workload.metric_period

    # Time
    def run_until(self, at: datetime) -> None:
        """Let whole metric periods pass until the one that contains `at`."""
        while (self.now - self.recorded.start) // self.period < (at - self.recorded.start) // self.period:
            self._pass_period()
        self._arrive(at)

    def _pass_period(self) -> None:
        begin = self.recorded.start + (self.now - self.recorded.start) // self.period * self.period
        self._arrive(begin)
        demand = self.recorded.at(begin)
        capacity = {r: self.serving * self.sized.unit[r] for r in self.workload.resources}
        usage = {r: min(demand[r], capacity[r]) for r in capacity}
        own = {r: part * usage[r] / demand[r] if demand[r] else 0.0 for r, part in self.recorded.own_at(begin).items()}
        more = self.desired * (self.workload.deployment.maximum_percent - 100) // 100 if self._deployed_at else 0
        self.periods.append(
            Period(
                begin,
                demand,
                usage,
                self.setting.units,
                self.desired,
                self.serving,
                self.sized.size,
                more,
                self.setting.size,
                own,
            )
        )
        self._utilisation.append({r: usage[r] / capacity[r] if capacity[r] else 1.0 for r in capacity})
        self.now = begin + self.period
        if self.setting.lever is Lever.FLOOR:
            self._track()

    def _arrive(self, at: datetime) -> None:
        """Launches that are due serve from now on, unless the cloud has no capacity: then they start anew."""
        if self._deployed_at and self._deployed_at <= at:
            self.sized, self._deployed_at = self.workload.sized(self.setting.size), None
        due = [launch for launch in self._launches if launch.ready_at <= at]
        for launch in due:
            outage = next((o for o in self.outages if o.start <= launch.ready_at < o.end), None)
            arrived = math.floor(launch.units * outage.arrives) if outage else launch.units
            if outage and arrived < launch.units:
                self.serving += arrived
                launch.units -= arrived
                launch.ready_at += self.workload.lead_time
                self._causes = (outage.cause,)
            else:
                self.serving += launch.units
                self._launches.remove(launch)
        if not self._launches:
            self._causes = ()
        self.now = max(self.now, at)

    def _track(self) -> None:
        """The autoscaler looks at the datapoints that are published by now."""
        known = len(self._utilisation) - math.ceil(self.workload.verification.metric_delay / self.period)
        points = self._utilisation[max(0, known - IN_POINTS) : max(0, known)]
        wanted = tracked_units(points, self.targets, self.serving, self.desired)
        low, high = self.setting.units, self.setting.ceiling
        wanted = max(low, wanted if high is None else min(wanted, high))
        step = wanted - self.desired
        if step > 0 and (self.now >= self._last_out + COOLDOWN or step > self._last_step):
            self._last_out, self._last_step = self.now, step
            self._want(wanted)
        elif step < 0 and self._deployed_at is None and self.now >= max(self._last_in, self._last_out) + COOLDOWN:
            self._last_in = self.now
            self._want(wanted)

    def _want(self, desired: int) -> None:
        """Work towards `desired`: launch what is missing; take away what is under way first, then what serves."""
        coming = sum(launch.units for launch in self._launches)
        missing = desired - self.serving - coming
        if missing > 0:
            self._launches.append(_Launch(self.now + self.workload.lead_time, missing))
        while missing < 0 and self._launches:
            launch = self._launches.pop()
            kept = max(0, launch.units + missing)
            missing += launch.units - kept
            if kept:
                self._launches.append(replace(launch, units=kept))
        self.serving = min(self.serving, desired)
        self.desired = desired

    # Target
    def observe(self) -> TargetState:
        return TargetState(
            setting=self.setting,
            desired=self.desired,
            serving=self.serving,
            stable=not self._launches and self._deployed_at is None,
            causes=self._causes,
        )

    def who(self, setting: Setting) -> str | None:
        """Nobody else writes in a replay."""
        return None

    def foresee(self, ahead: Sequence[Span], cpu_cores: float, running: int) -> Foreseen:
        """Nobody else is in this cloud."""
        return Foreseen()

    def apply(self, setting: Setting) -> None:
        """A floor lifts what runs at once and takes nothing away; a ceiling cuts; a count is what is worked towards.

        Another revision replaces the units one wave after the other; until it has, the old ones serve.
        """
        before, standing = self.desired, self.setting
        if setting.revision is None:
            setting = setting.model_copy(update={"size": standing.size, "revision": standing.revision})
        elif setting.revision != standing.revision:
            lasts = self.workload.deployed_after(self.desired)
            self._deployed_at = self.now + (self.workload.lead_time if lasts is None else lasts)
        self.setting = setting
        if setting.lever is Lever.COUNT:
            self._want(setting.units)
        else:
            high = setting.ceiling
            self._want(max(setting.units, self.desired if high is None else min(self.desired, high)))
        self.writes.append(Write(self.now, setting, before, self.desired - before))

    def revision(self, size: TaskSize, key: str) -> str:
        return f"{self.workload.name}:2"

    # Usage
    def history(self, start: datetime, end: datetime, step: timedelta) -> Mapping[Resource, pd.Series]:
        """As the port says: the recorded history before the replay, then what was measured and is published."""
        known = self._published(start, end)
        return {
            r: self._series(self.recorded.history[r], {p.at: p.usage[r] for p in known}, start, end, step)
            for r in self.workload.resources
        }

    def entity_history(
        self, entity: str, start: datetime, end: datetime, step: timedelta
    ) -> Mapping[Resource, pd.Series]:
        """Of the change's entity, the only one that is asked for; of what is short everybody gets the same part."""
        known = self._published(start, end)
        return {
            r: self._series(before, {p.at: p.own[r] for p in known}, start, end, step)
            for r, before in self.recorded.own_history.items()
            if r in self.workload.resources
        }

    def _series(
        self, before: pd.Series, since: Mapping[datetime, float], start: datetime, end: datetime, step: timedelta
    ) -> pd.Series:
        import pandas as pd

        before = before[(before.index >= start) & (before.index < min(end, self.recorded.start))]
        seen = before.resample(step, origin="epoch").mean().dropna()
        if since:
            measured = pd.Series(list(since.values()), index=pd.DatetimeIndex(list(since), tz="UTC"))
            seen = pd.concat([seen, measured.resample(step, origin="epoch").mean().dropna()])
        return seen[~seen.index.duplicated(keep="last")]

    def alarms(self) -> Sequence[str]:
        """A recorded demand raises none."""
        return ()

    def measure(self, start: datetime, end: datetime) -> Mapping[Resource, float]:
        known = self._published(start, end)
        if not known:
            return {}
        return {r: sum(p.usage[r] for p in known) / len(known) for r in self.workload.resources}

    def _published(self, start: datetime, end: datetime) -> list[Period]:
        """Periods that overlap [start, end) and whose datapoint has been published by now."""
        origin = self.recorded.start
        first = max(0, math.floor((start - origin) / self.period))
        shown = math.floor((self.now - self.workload.verification.metric_delay - origin) / self.period)
        last = min(math.ceil((end - origin) / self.period), shown, len(self.periods))
        return self.periods[first : max(first, last)]
