"""What an autoscaler above the floor brings by itself: what the plan need not, and what it comes too late with.

Target tracking as AWS documents it ("Target tracking scaling policies for Application Auto Scaling"): out after 3
datapoints above the target, in after 15 below it.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from forebay.domain.workload import Workload
from forebay.planning.required import Ints
from forebay.planning.slots import slots_in

OUT_POINTS = 3
IN_POINTS = 15


def tracked_units(required: Ints, units_now: int, workload: Workload) -> Ints:
    """Units (n_paths, n_slots) that target tracking has serving in each slot, if the demand needs `required`.

    It serves what was needed one reaction ago, and keeps what was needed until it is sure of less: the most that was
    needed from `IN_POINTS` datapoints ago until `OUT_POINTS` datapoints and the lead time ago. Before the first slot
    `units_now` were needed.
    """
    late, sure = (slots_in(span, workload.slot) for span in reactions(workload))
    n_slots = required.shape[1]
    before = np.full((len(required), sure), units_now, dtype=np.int64)
    known = np.hstack([before, required])
    tracked = known[:, sure - late : sure - late + n_slots]
    for ago in range(late + 1, sure + 1):
        tracked = np.maximum(tracked, known[:, sure - ago : sure - ago + n_slots])
    return np.clip(tracked, workload.limits.min_units, workload.limits.max_units)


def reactions(workload: Workload) -> tuple[timedelta, timedelta]:
    """How long after the demand it scales out, and in."""
    delay, period = workload.verification.metric_delay, workload.metric_period
    out = OUT_POINTS * period + delay + workload.lead_time
    return out, max(out, IN_POINTS * period + delay)
