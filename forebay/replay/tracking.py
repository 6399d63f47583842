"""Target tracking as Application Auto Scaling documents it: out after 3 datapoints, in after 15. Pure.

Sources: AWS, "Target tracking scaling policies for Application Auto Scaling" (the largest capacity of several policies
wins, in only if all agree, no scale-in on missing data); its alarms use 3 datapoints above and 15 below 90 % of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from forebay.domain.resources import Resource

OUT_POINTS = 3
IN_POINTS = 15
IN_MARGIN = 0.9
# One evaluated point is a rounding error above the target, not a reason to scale.
ROUNDING = 1e-9


def tracked_units(
    points: Sequence[Mapping[Resource, float]], targets: Mapping[Resource, float], serving: int, desired: int
) -> int:
    """What the autoscaler asks for next. `points`: utilisation per resource, oldest first, one a metric period.

    Proportional to what serves now, rounded up; `desired` again where nothing is to be done.
    """
    if not points:
        return desired
    last = points[-1]
    wanted = {r: math.ceil(serving * last[r] / target - ROUNDING) for r, target in targets.items()}
    hot = [
        wanted[r]
        for r, target in targets.items()
        if len(points) >= OUT_POINTS and all(p[r] > target + ROUNDING for p in points[-OUT_POINTS:])
    ]
    if hot:
        return max(desired, *hot)
    cold = len(points) >= IN_POINTS and all(
        p[r] < IN_MARGIN * target for p in points[-IN_POINTS:] for r, target in targets.items()
    )
    return min(desired, max(wanted.values())) if cold else desired
