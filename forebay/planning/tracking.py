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


def tracked_units(required: Ints, needed: int | Ints, workload: Workload) -> Ints:
    """Units (n_paths, n_slots) that target tracking has serving in each slot, if the demand needs `required`.

    It serves what was needed one reaction ago, and keeps what was needed until it is sure of less: the most that was
    needed from `IN_POINTS` datapoints ago until `OUT_POINTS` datapoints and the lead time ago. `needed`: units
    in the `reaction_slots` before the first slot, oldest first, or one number for all of them. What stands above that
    when the first slot begins is the floor's doing, and goes with it.
    """
    late, sure = (slots_in(span, workload.slot) for span in reactions(workload))
    n_slots = required.shape[1]
    before = np.full((len(required), sure), needed, dtype=np.int64)
    known = np.hstack([before, required])
    tracked = known[:, sure - late : sure - late + n_slots]
    for ago in range(late + 1, sure + 1):
        tracked = np.maximum(tracked, known[:, sure - ago : sure - ago + n_slots])
    return np.clip(tracked, workload.limits.min_units, workload.limits.max_units)


def reaction_slots(workload: Workload) -> int:
    """How many slots back the demand goes on which an autoscaler's next move rests."""
    return slots_in(reactions(workload)[1], workload.slot)


def reactions(workload: Workload) -> tuple[timedelta, timedelta]:
    """How long after the demand it scales out, and in."""
    delay, period = workload.verification.metric_delay, workload.metric_period
    out = OUT_POINTS * period + delay + workload.lead_time
    return out, max(out, IN_POINTS * period + delay)
