"""What demand seen since a change came into force says of the rest: the sample paths, corrected by it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta

import numpy as np

from forebay.domain.change import PolicyChange
from forebay.domain.resources import Resource
from forebay.planning.demand import DemandPaths, Floats, Paths
from forebay.planning.slots import SlotIndex

# Estimates of an impact miss their own range far more often than they should: before demand is believed to be as
# estimated, half and twice the effect must be possible, or what is seen would be taken for a moment's noise.
DOUBT = 2.0
# Relative error of a measured mean; also keeps two paths that happen to agree from settling the matter.
MEASURED_WITHIN = 0.02
# What is seen is taken as means over so long: slot by slot, each of a few dozen paths would be fitted to noise.
TOGETHER = timedelta(hours=1)
# Of days seen the means are taken over longer: every one of them costs a pass over all paths and slots.
MOST_MEANS = 24
# Standard errors of a correlation among independent values: one below it is what so few paths show by chance.
BY_CHANCE = 2.0


def doubted(change: PolicyChange) -> PolicyChange:
    """`change` with every impact's range widened to `DOUBT` times as weak and as strong."""
    return change.model_copy(update={"impacts": tuple(impact.doubted(DOUBT) for impact in change.impacts)})


def learned(demand: DemandPaths, seen: Mapping[Resource, Floats]) -> DemandPaths:
    """The rest of `demand`, after its first slots turned out as `seen`: resource -> (n_seen,), NaN where unknown.

    The update of the ensemble Kalman filter (Evensen 2003, The Ensemble Kalman Filter: theoretical formulation and
    practical implementation), without perturbed observations: the mean of each hour seen shifts every later slot of a
    path by the regression of that slot on it, over all paths. Where errors persist (a level, the change's impact) they
    are carried on; where they do not (a burst) nothing is shifted: correlations that chance alone would show among so
    few paths are taken for none (localisation, as Houtekamer & Mitchell 2001 do it by distance).
    Raises ValueError if a resource was seen in more slots than the demand has.
    """
    n_seen = max((len(values) for values in seen.values()), default=0)
    if n_seen >= len(demand.index):
        raise ValueError(f"{n_seen} slots seen leave none of the demand's {len(demand.index)}")
    rest = demand.index.part(n_seen, len(demand.index))
    none = np.empty(0)
    slots_together = max(1, TOGETHER // demand.index.length)
    with_change = {
        r: _updated(paths, seen.get(r, none), slots_together, _distinct(demand.without_change[r]))[:, n_seen:]
        for r, paths in demand.with_change.items()
    }
    without = {r: paths[:, n_seen:] for r, paths in demand.without_change.items()}
    entity = {r: paths[:, n_seen:] for r, paths in demand.entity.items()}
    return DemandPaths(rest, with_change, without, demand.impact_ranks, entity)


def corrected(
    total: Paths, own: Paths, seen: Mapping[Resource, Floats], forecasts: Paths, index: SlotIndex
) -> tuple[Paths, Paths]:
    """`total` demand and one customer's `own` part of it, after the first slots of `index` turned out as `seen`.

    Of the part nothing was seen: it follows as far as it goes with the total. `forecasts`: what the total was made of.
    """
    after, part = {}, {}
    for r, paths in total.items():
        values, n_slots = seen.get(r, np.empty(0)), paths.shape[1]
        slots_together = max(1, TOGETHER // index.length, math.ceil(len(values) / MOST_MEANS))
        both = np.hstack([paths, own[r]]) if r in own else paths
        both = _updated(both, values, slots_together, _distinct(forecasts[r]))
        after[r] = both[:, len(values) : n_slots]
        if r in own:
            part[r] = np.minimum(both[:, n_slots + len(values) :], after[r])
    return after, part


def _distinct(paths: Floats) -> int:
    """Futures the forecast knows: its paths repeat a few dozen past errors, and repeats tell nothing new."""
    return len(np.unique(paths, axis=0))


def _updated(paths: Floats, seen: Floats, slots_together: int, n_distinct: int) -> Floats:
    known = np.flatnonzero(np.isfinite(seen))
    for hour in range(len(seen) // slots_together + 1):
        slots = known[known // slots_together == hour]
        if not slots.size:
            continue
        here, mean_seen = paths[:, slots].mean(axis=1), float(seen[slots].mean())
        off, off_mean = paths - paths.mean(axis=0), here - here.mean()
        own = float((off_mean**2).mean())
        spread = own + (MEASURED_WITHIN * mean_seen) ** 2
        if spread > 0:
            shared = off_mean @ off / len(paths)
            by_chance = shared**2 < BY_CHANCE**2 / n_distinct * own * (off**2).mean(axis=0)
            gain = np.where(by_chance, 0.0, shared / spread)
            paths = np.maximum(paths + np.outer(mean_seen - here, gain), 0.0)
    return paths
