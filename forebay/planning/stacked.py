"""The demand under earlier changes, on which a later one is planned: each from its own effective time on; and what
each of them needs by then, where one path carries all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forebay.domain.change import PolicyChange
from forebay.domain.workload import Workload
from forebay.planning.demand import Paths, demand_paths
from forebay.planning.problem import Promise
from forebay.planning.required import aligned_units, alignment_window, required
from forebay.planning.slots import SlotIndex


def stacked_demand(
    workload: Workload,
    earlier: Sequence[PolicyChange],
    change: PolicyChange,
    paths: Paths,
    measured: Mapping[str, Paths],
    index: SlotIndex,
    luck: Callable[[PolicyChange], np.random.Generator],
) -> tuple[Paths, Paths]:
    """`paths` of the total, and of what the entity of `change` has of them, once the `earlier` changes are in force.

    `measured`: by entity, what of `paths` is theirs where that was measured; a share is taken only where it was not.
    It is one of the demand before any of them: what one customer's change adds is not another's. The entity's part is
    empty where neither measurement nor share says it. `luck` gives each change the same draw as in its own plan.
    Raises InputError as `demand_paths`.
    """
    if not earlier:
        return paths, measured.get(change.entity, {})
    total = {r: paths[r] for r in workload.resources}
    entities = {name: {r: total[r] * share for r in total} for name, share in workload.shares.items()}
    for name, theirs in measured.items():
        entities[name] = entities.get(name, {}) | dict(theirs)
    for other in earlier:
        for scope in ("entity", "workload"):
            part = other.model_copy(update={"impacts": tuple(i for i in other.impacts if i.scope == scope)})
            theirs = entities.setdefault(other.entity, {})
            after = demand_paths(workload, part, total, index, luck(other), theirs).with_change
            for name, parts in entities.items():
                for r in parts:
                    if scope == "workload":
                        grown = np.divide(after[r], total[r], out=np.ones_like(total[r]), where=total[r] > 0)
                        parts[r] = parts[r] * grown
                    elif name == other.entity:
                        parts[r] = np.maximum(parts[r] + after[r] - total[r], 0.0)
            total = dict(after)
    return total, entities.get(change.entity, {})


def promised(
    workload: Workload,
    changes: Sequence[PolicyChange],
    base: Callable[[Sequence[PolicyChange], PolicyChange], tuple[Paths, Paths]],
    index: SlotIndex,
    luck: Callable[[PolicyChange], np.random.Generator],
) -> list[Promise]:
    """What must serve for each of `changes` (by effective time) under it and those before it, whatever comes later.

    `base`: the demand under those before it, and its entity's part, on the slots of `index`, as `stacked_demand` says.
    Raises InputError as `demand_paths`.
    """
    promises = []
    for number, change in enumerate(changes):
        total, own = base(changes[:number], change)
        demand = demand_paths(workload, change, total, index, luck(change), own)
        begin, end = alignment_window(workload, change.effective_at, index)
        needs = required(workload, demand.under(workload, change, begin, end)).needs
        entitled = change.entitlement(workload.name)
        least = max(workload.limits.min_units, (entitled and entitled.min_units) or 0)
        units = max(aligned_units(needs, workload.risk.confidence), least)
        promises.append(Promise(change.change, change.effective_at, units))
    return promises
