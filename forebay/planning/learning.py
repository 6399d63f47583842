"""What demand seen since a change came into force says of the rest: the sample paths, corrected by it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forebay.domain.change import PolicyChange
from forebay.domain.resources import Resource
from forebay.planning.demand import DemandPaths, Floats

# Estimates of an impact miss their own range far more often than they should: before demand is believed to be as
# estimated, half and twice the effect must be possible, or what is seen would be taken for a moment's noise.
DOUBT = 2.0
# Relative error of one slot's measured mean; also keeps two paths that happen to agree from settling the matter.
MEASURED_WITHIN = 0.02


def doubted(change: PolicyChange) -> PolicyChange:
    """`change` with every impact's range widened to `DOUBT` times as weak and as strong."""
    return change.model_copy(update={"impacts": tuple(impact.doubted(DOUBT) for impact in change.impacts)})


def learned(demand: DemandPaths, seen: Mapping[Resource, Floats]) -> DemandPaths:
    """The rest of `demand`, after its first slots turned out as `seen`: resource -> (n_seen,), NaN where unknown.

    The update of the ensemble Kalman filter (Evensen 2003, The Ensemble Kalman Filter: theoretical formulation and
    practical implementation), without perturbed observations: each slot seen shifts every later slot of a path by the
    regression of that slot on the one seen, over all paths. Where errors persist (a level, the change's impact) they
    are carried on; where they do not (a burst) what was seen says nothing about what comes, and nothing is shifted.
    Raises ValueError if a resource was seen in more slots than the demand has.
    """
    n_seen = max((len(values) for values in seen.values()), default=0)
    if n_seen >= len(demand.index):
        raise ValueError(f"{n_seen} slots seen leave none of the demand's {len(demand.index)}")
    rest = demand.index.part(n_seen, len(demand.index))
    none = np.empty(0)
    with_change = {r: _updated(paths, seen.get(r, none))[:, n_seen:] for r, paths in demand.with_change.items()}
    without = {r: paths[:, n_seen:] for r, paths in demand.without_change.items()}
    entity = {r: paths[:, n_seen:] for r, paths in demand.entity.items()}
    return DemandPaths(rest, with_change, without, demand.impact_ranks, entity)


def _updated(paths: Floats, seen: Floats) -> Floats:
    for slot in np.flatnonzero(np.isfinite(seen)):
        here = paths[:, slot]
        off_mean = here - here.mean()
        noise = (MEASURED_WITHIN * float(seen[slot])) ** 2
        spread = float((off_mean**2).mean()) + noise
        if spread > 0:
            gain = (off_mean @ (paths - paths.mean(axis=0))) / len(paths) / spread
            paths = np.maximum(paths + np.outer(seen[slot] - here, gain), 0.0)
    return paths
