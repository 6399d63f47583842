"""A whole Forebay over the simulated AWS, on its manual clock: the adapters, the store and the use cases are real."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from forebay.aws import AwsClients
from forebay.domain.plan import ShapingPlan
from forebay.domain.workload import AsgTarget, EcsTarget
from forebay.wiring import make_target, make_usage
from sandbox.sandbox import Sandbox
from sandbox.testing import fresh
from tests.support.aws import ECS, REGION, TRACKING, played
from tests.support.world import NOW, World, a_plan, a_workload, flat

TICK_S = 5
CORES = 2.0


class CloudTime:
    """A Clock on the sandbox's: sleeping moves the cloud on, and runs what falls due on the way."""

    def __init__(self, cloud: Sandbox) -> None:
        self._cloud = cloud
        self._due: list[tuple[datetime, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        return self._cloud.now()

    def at(self, time: datetime, action: Callable[[], object]) -> None:
        """Run `action` when the clock passes `time`."""
        heapq.heappush(self._due, (time, next(self._numbers), action))

    def sleep(self, duration: timedelta) -> None:
        until = self.now() + max(duration, timedelta(0))
        while self._due and self._due[0][0] <= until:
            time, _, action = heapq.heappop(self._due)
            self._cloud.advance(max(0.0, (time - self.now()).total_seconds()))
            action()
        self._cloud.advance(max(0.0, (until - self.now()).total_seconds()))


@contextmanager
def aws_world(
    folder: Path,
    target: EcsTarget | AsgTarget = ECS,
    *,
    autoscaled: bool = False,
    on_foreign_write: str = "hold",
    **timing: Any,
) -> Iterator[tuple[World, Sandbox, AwsClients]]:
    """Four units of an ECS service or a group, two cores of demand, and clients that try once.

    `autoscaled`: by an autoscaler that tracks 60 % CPU between 1 and 20 units.
    """
    lags = {"launch_lag_s": 30, "start_rate_per_s": 5, "metric_period_s": 60} | timing
    more = {"asg": target.group} if isinstance(target, AsgTarget) else {}
    more |= {"target_tracking": TRACKING} if autoscaled else {}
    config = {"start": NOW, "tick_s": TICK_S, "timing": lags, "workloads": [played(folder, **more)]}
    shaped = a_workload(target=target.model_dump(), on_foreign_write=on_foreign_write)
    with fresh(config) as cloud, World(shaped) as world:
        clients = AwsClients(REGION, cloud.url, total_max_attempts=1)
        world.clock = CloudTime(cloud)
        world.ctx = replace(
            world.ctx,
            clock=world.clock,
            target=lambda workload: make_target(workload, clients, world.clock),
            usage=lambda workload: make_usage(workload, clients, world.clock),
        )
        yield world, cloud, clients


def flat_plan() -> ShapingPlan:
    """Two steps, at 09:01 and 09:07, from 4 to 6 to 8 units, for a demand that stays as it is."""
    return a_plan(demand=flat(CORES))
