"""Demand of a workload as sample paths: the forecast, and from the effective time on the change's own impact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.impact import Adoption, Impact, Range
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.planning.slots import SlotIndex

Floats = npt.NDArray[np.float64]
Paths = Mapping[Resource, Floats]


@dataclass(frozen=True)
class DemandPaths:
    """Total demand of a workload, per resource an array (n_paths, n_slots) in the resource's canonical unit.

    Path k is one possible future of all resources together. `impact_ranks` (n_paths,), uniform in [0, 1], is where
    within its range every estimate of the change lies on each path.
    """

    index: SlotIndex
    with_change: Paths = field(repr=False)
    without_change: Paths = field(repr=False)
    impact_ranks: Floats = field(repr=False)
    entity: Paths = field(default_factory=dict, repr=False)
    """The entity's own part of `without_change`, where it was measured and not assumed to be a share."""

    def under(self, workload: Workload, change: PolicyChange, begin: int, end: int) -> Paths:
        """Demand of slots `begin` until `end` if `change` were this one: the same luck, another time or size."""
        without = {resource: paths[:, begin:end] for resource, paths in self.without_change.items()}
        entity = {resource: paths[:, begin:end] for resource, paths in self.entity.items()}
        return changed_demand(workload, change, without, self.index.part(begin, end), self.impact_ranks, entity)


def demand_paths(
    workload: Workload,
    change: PolicyChange,
    forecasts: Mapping[Resource, Floats],
    index: SlotIndex,
    rng: np.random.Generator,
    entity: Paths | None = None,
) -> DemandPaths:
    """The demand with and without `change`. `forecasts`: joint sample paths (n_paths, len(index)) of total demand.
    `entity`: the part of each of them that is the change's entity's, where it was measured; else its share is taken.

    How far off the impact's estimate is, is sampled once a path and shared by all impacts and resources: a customer
    bigger than thought is bigger in all of them. It is independent of the forecast's error.

    Raises InputError if a planned resource has no forecast, or if an impact scales the entity's share and the
    workload does not state it; ValueError for arrays of the wrong shape or with values that are not finite.
    """
    without = {resource: _checked(resource, forecasts, len(index), workload) for resource in workload.resources}
    sizes = {len(paths) for paths in without.values()}
    if len(sizes) != 1:
        raise ValueError(f"forecasts have different numbers of paths ({sorted(sizes)}): sample them jointly")
    (n_paths,) = sizes
    # One rank in each of n equal strata: a few hundred paths then carry the whole range, also its ends.
    ranks = (rng.permutation(n_paths) + rng.random(n_paths)) / n_paths
    own = {resource: entity[resource] for resource in without if entity and resource in entity}
    return DemandPaths(index, changed_demand(workload, change, without, index, ranks, own), without, ranks, own)


def changed_demand(
    workload: Workload,
    change: PolicyChange,
    without: Paths,
    index: SlotIndex,
    impact_ranks: Floats,
    entity: Paths | None = None,
) -> Paths:
    """`without` under the change's impacts, never below 0.

    Impacts on the entity act on its own paths where there are any, else on its share; impacts on the workload on
    everything, after them. Each multiplies first and adds then; two factors on the same demand (`all` and `cpu`, say)
    multiply.
    """
    changed = {}
    for resource, paths in without.items():
        acting = [i for i in change.impacts if i.workload == workload.name and i.acts_on(resource)]
        by_entity = [impact for impact in acting if impact.scope == "entity"]
        total = paths
        if by_entity:
            measured = (entity or {}).get(resource)
            theirs = paths * _share(workload, change.entity, by_entity) if measured is None else measured
            total = paths + (_taken_up(theirs, by_entity, change, index, impact_ranks) - theirs)
        total = _taken_up(total, [i for i in acting if i.scope == "workload"], change, index, impact_ranks)
        changed[resource] = np.maximum(total, 0.0)
    return changed


def triangular(estimate: Range, ranks: Floats) -> Floats:
    """Quantiles at `ranks` of the triangular distribution with mode `expected` on [low, high] (inverse of its CDF)."""
    low, mode, high = estimate.low, estimate.expected, estimate.high
    if high == low:
        return np.full_like(ranks, mode)
    at_mode = (mode - low) / (high - low)
    rising = low + np.sqrt(ranks * (high - low) * (mode - low))
    falling = high - np.sqrt((1 - ranks) * (high - low) * (high - mode))
    return np.where(ranks < at_mode, rising, falling)


def adopted(adoption: Adoption, change: PolicyChange, index: SlotIndex) -> Floats:
    """Share of the impact in effect in each slot (n_slots,): 0 before the effective time.

    Taken in the middle of the slot's part after the effective time, which is the mean over that part for a step and
    for a straight ramp. The slot in which the change comes into force counts as if in force throughout: what serves
    at its worst moment must carry that moment.
    """
    shares = np.zeros(len(index))
    for slot in range(max(0, index.covering(change.effective_at)), len(index)):
        begin = max(index.at(slot), change.effective_at)
        shares[slot] = adoption.fraction((begin + (index.at(slot + 1) - begin) / 2) - change.effective_at)
        if shares[slot] >= 1:
            shares[slot:] = 1
            break
    return shares


def _taken_up(
    demand: Floats, impacts: Sequence[Impact], change: PolicyChange, index: SlotIndex, ranks: Floats
) -> Floats:
    added: Floats | float = 0.0
    for impact in impacts:
        shares = adopted(impact.adoption, change, index)
        demand = demand * (1 + np.outer(triangular(impact.factor_range, ranks) - 1, shares))
        added = added + np.outer(triangular(impact.add_range, ranks), shares)
    return demand + added


def _share(workload: Workload, entity: str, impacts: Sequence[Impact]) -> float:
    """The entity's share of demand; an addition needs none, since it does not scale what is there."""
    if entity in workload.shares:
        return workload.shares[entity]
    if all(impact.factor_range == Range(expected=1, low=1, high=1) for impact in impacts):
        return 0.0
    raise InputError(
        f"workload {workload.name}: the change multiplies the demand of {entity}, but the workload does not say how "
        f"much of its demand is theirs: state it (shares: {{{entity}: 0.25}}), or write scope: workload in the impact"
    )


def _checked(resource: Resource, forecasts: Mapping[Resource, Floats], n_slots: int, workload: Workload) -> Floats:
    if resource not in forecasts:
        raise InputError(
            f"workload {workload.name}: no forecast of {resource}, which its objectives name: "
            f"add its usage to the history, or drop {resource} from the objectives"
        )
    paths = np.asarray(forecasts[resource], dtype=np.float64)
    if paths.ndim != 2 or paths.shape[1] != n_slots or not len(paths):
        raise ValueError(f"forecast of {resource} has shape {paths.shape}; expected (n_paths, {n_slots})")
    if not np.isfinite(paths).all():
        raise ValueError(f"forecast of {resource} holds values that are not finite")
    return np.maximum(paths, 0.0)
