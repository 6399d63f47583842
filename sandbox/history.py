"""The past of a workload, published as if it had always run at adequate capacity."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sandbox.config import Timing, Workload
from sandbox.load import Trace, served, units_for
from sandbox.publish import Shown


def backfill(workload: Workload, trace: Trace, timing: Timing, now: float) -> Iterator[tuple[float, Shown]]:
    """Period starts (epoch seconds) and what was shown, oldest first, up to `now`.

    A point a trace sample, or a point a publish period where several samples fall into one.
    """
    sample_s = trace.step_s / workload.speed
    together = max(1, math.ceil(timing.metric_period_s / sample_s - 1e-9))
    step_s = sample_s * together
    points = workload.history_samples // together
    unit = workload.unit.vector()
    for i in range(points):
        first = workload.trace_start - (points - i) * together
        sample = trace.mean(first, together) if together > 1 else trace.at(first)
        peak = workload.peak.vector()
        demand = (sample[0] * peak[0], sample[1] * peak[1], sample[2] * peak[2])
        wanted = math.ceil(units_for(demand, unit) / workload.target_utilisation)
        units = max(workload.min_units, min(workload.max_units, wanted))
        capacity = (units * unit[0], units * unit[1], units * unit[2])
        usage = served(demand, capacity)
        entities = {e: (usage[0] * s, usage[1] * s, usage[2] * s) for e, s in workload.entities.items()}
        yield now - (points - i) * step_s, Shown(step_s, demand, usage, capacity, entities, units, 0, units)
