"""All workloads at play: measures each tick, publishes each period, lets datapoints be seen after the metric delay."""

from __future__ import annotations

import heapq
import itertools

from sandbox import history, publish, quotas
from sandbox.config import Workload
from sandbox.load import Load, read_trace
from sandbox.metrics import Metric, MetricStore
from sandbox.play import Period, Play, Units
from sandbox.publish import Datum, Shown
from sandbox.world import World


class Stage:
    def __init__(self, world: World) -> None:
        self.world = world
        self.plays: dict[str, Play] = {}
        self._waiting: list[tuple[float, int, float, Datum, MetricStore]] = []
        self._order = itertools.count()

    def check(self, workload: Workload) -> None:
        """Raises ValueError for a name that is taken, ConfigError for a trace that cannot be used."""
        if workload.name in self.plays:
            raise ValueError(f"a workload called {workload.name!r} plays already; choose another name")
        read_trace(workload.trace)

    def add(self, workload: Workload, units: Units) -> Play:
        """Begins to play; publishes its history first."""
        trace, now = read_trace(workload.trace), self.world.now().timestamp()
        load = Load(trace, workload.peak, dict(workload.entities), now, workload.trace_start, workload.speed)
        play = Play(workload, load, units)
        store, timing = self.world.store(), self.world.timing(workload.target)
        for time, shown in history.backfill(workload, trace, timing, now):
            for datum in publish.data(workload, shown):
                store.put(datum.metric, time, datum.value, datum.unit, datum.samples)
        self.plays[workload.name] = play
        play.tick(now, 0)
        return play

    def tick(self, seconds: float) -> None:
        """Everything that the `seconds` up to now brought."""
        now = self.world.now().timestamp()
        for play in self.plays.values():
            play.tick(now, seconds)
            self._publish(play, now)
        while self._waiting and self._waiting[0][0] <= now:
            _, _, time, datum, store = heapq.heappop(self._waiting)
            store.put(datum.metric, time, datum.value, datum.unit, datum.samples)

    def _publish(self, play: Play, now: float) -> None:
        timing = self.world.timing(play.config.target)
        boundary = int(now // timing.metric_period_s)
        if play.published is None:
            play.published = boundary
        if boundary <= play.published:
            return
        started = float((boundary - 1) * timing.metric_period_s)
        play.published = boundary
        period = play.close_period()
        shown = shown_of(period)
        if shown is None:
            return
        store, at = self.world.store(), self.world.now()
        for datum in (*publish.data(play.config, shown), self._used_vcpus(bool(play.config.ecs_service))):
            name = f"{datum.metric.namespace}/{datum.metric.name}"
            if not self.world.faults.hides(play.config.target, name, at):
                seen = started + timing.metric_period_s + timing.metric_delay_s
                heapq.heappush(self._waiting, (seen, next(self._order), started, datum, store))

    def _used_vcpus(self, tasks: bool) -> Datum:
        """What counts against the quota of tasks (all taken for Fargate's), or of instances, at this moment."""
        key = quotas.FARGATE if tasks else quotas.EC2
        own = sum(p.record["capacity_cpu"][-1] for p in self.plays.values() if bool(p.config.ecs_service) is tasks)
        metric = Metric.of(quotas.NAMESPACE, quotas.METRIC, quotas.usage_dimensions(key))
        return Datum(metric, own + self.world.config.used_by_others.get(key, 0.0), "None")


def shown_of(period: Period) -> Shown | None:
    """The means of a period; None if nothing was measured in it."""
    last = period.last
    if last is None or not period.seconds:
        return None
    served_at_all = min(period.capacity) > 0
    return Shown(
        period.seconds,
        period.mean(period.demand),
        period.mean(period.usage),
        period.mean(period.capacity),
        {e: period.mean(total) for e, total in period.entities.items()},
        last.serving if served_at_all else 0,
        last.pending,
        last.desired,
    )
