"""The cheapest way with exactly one resize: two dynamic programmes, joined by the rolling deployment between them.

Until the deployment is through, units are those of the size that stands; from then on those of the other. A resize
keeps the number of units and never brings less of a planned resource, so it takes no capacity away. It bars moves
until it is verified, as a move does, and how long that takes depends on the units replaced alone. The cost of the
slots in between therefore depends on (slot, units) only, and the resize can be taken as one jump from (slot, units) of
the first programme to (slot + barred, units) of the second, free to move: the argument of `optimum` holds on both
sides and at the seam, and the minimum is the minimum over every plan with one resize.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from forebay.domain.workload import Workload
from forebay.planning.demand import Floats
from forebay.planning.optimum import (
    Optimum,
    Programme,
    allocated,
    cost_of,
    had,
    missing,
    profile,
    short,
    summed,
    worthwhile,
)
from forebay.planning.problem import ShapingProblem, climbed, earliest_climb
from forebay.planning.required import Ints
from forebay.planning.slots import SlotIndex, slots_in


@dataclass(frozen=True)
class Rollout:
    """What a rolling deployment takes, by the number of units replaced from 0 on, (most units + 1,).

    `replaced`: slots until all units are of the other size. `barred`: slots until it is verified and a move may follow.
    `latest`: the last slot at which it may be made, -1 where it cannot be. `extra`: share of the allocation that runs
    on top meanwhile, at the other size's price. `price`: of the deployment itself. `verified`: time until its verdict,
    not rounded to slots.
    """

    replaced: Ints = field(repr=False)
    barred: Ints = field(repr=False)
    latest: Ints = field(repr=False)
    extra: float
    price: float
    verified: Sequence[timedelta] = field(default=(), repr=False)


@dataclass(frozen=True)
class Resized:
    """`before` until slot `replaced`, `after` from then on; the resize of `units` is made at the start of slot `at`.

    `extra`: as in Rollout.
    """

    before: Optimum
    after: Optimum
    at: int
    units: int
    replaced: int
    extra: float
    cost: float


def rollout(
    workload: Workload, effective_at: datetime, index: SlotIndex, slack: int, *, autoscaled: bool, most: int
) -> Rollout:
    """The deployment of `workload`, verified `slack` slots before the effective time, for up to `most` units.

    Under an autoscaler more than the units asked for may stand: then it takes as long as for any number above them.
    """
    verification = workload.verification
    spans = [workload.deployed_after(units) for units in range(most + 1)]
    if autoscaled:
        for units in range(most - 1, -1, -1):
            one, more = spans[units], spans[units + 1]
            spans[units] = None if one is None or more is None else max(one, more)
    known = [span if span is not None else timedelta(0) for span in spans]
    verified = [span + verification.metric_delay + verification.window for span in known]
    slot, dwell = workload.slot, workload.limits.soft.dwell
    latest = [
        -1 if span is None else index.covering(effective_at - until - slack * slot)
        for span, until in zip(spans, verified, strict=True)
    ]
    return Rollout(
        replaced=np.array([slots_in(span, slot) for span in known]),
        barred=np.array([slots_in(max(until, dwell), slot) for until in verified]),
        latest=np.array(latest),
        extra=workload.deployment.maximum_percent / 100 - 1,
        price=float(workload.risk.resize),
        verified=verified,
    )


def solve_resized(first: ShapingProblem, second: ShapingProblem, deploy: Rollout) -> Resized | None:
    """The optimum with exactly one resize from the units of `first` to those of `second`; None if there is none.

    Both problems have the same slots and shaping points, and neither shrinks capacity toward a ceiling.
    """
    if first.start > first.high or second.low > second.high:
        return None
    grids = (worthwhile(first), worthwhile(second))
    units = np.arange(min(int(g[0]) for g in grids), max(int(g[-1]) for g in grids) + 1)
    then = Programme(second, units)
    then.fill()
    now = Programme(first, units, _leaving(first, then, deploy))
    now.fill()
    place = first.start - int(units[0])
    if not np.isfinite(now.value[0, place]):
        return None
    moves, at, place = now.walk(0, place)
    count = int(units[place])
    after = then.walk(at + int(deploy.barred[count]), place)[0]
    before = Optimum(moves, *profile(first.start, moves, first.lead, first.n_slots), cost=cost_of(first, moves))
    later = Optimum(after, *profile(count, after, second.lead, second.n_slots), cost=cost_of(second, after))
    replaced = min(at + int(deploy.replaced[count]), first.n_slots)
    cost = cost_resized(first, second, deploy, before, later, at, replaced)
    return Resized(before, later, at, count, replaced, deploy.extra, cost)


def soonest_resized(
    first: ShapingProblem, second: ShapingProblem, deploy: Rollout, slot: timedelta
) -> tuple[Ints, Ints]:
    """The most units of the other size that can be verified by each slot's start without a move after the resize, and
    the most that can be asked for in each slot with moves after it, both (n_slots,); -1 before there are any.

    Neither is ever too low: whoever needs more has no plan with a resize. The dwell after it is not looked at.
    """
    n_slots, spacing = first.n_slots, first.spacing
    before = np.concatenate([np.full(spacing, first.start), earliest_climb(first)])
    verified = np.array([slots_in(span, slot) for span in deploy.verified])
    resized = np.full(n_slots, -1)
    for at in np.flatnonzero(first.legal):
        # What may be asked for before is all between the start and the most, so that a number quick to replace is too.
        units = np.arange(max(1, min(first.start, before[at])), min(int(before[at]) + 1, len(verified)))
        units = units[(deploy.latest[units] >= 0) & (at + verified[units] < n_slots)]
        np.maximum.at(resized, at + verified[units], units)
    resized = np.maximum.accumulate(resized)
    standing, asked = second.standing, list[int]()
    for place, units in enumerate(resized.tolist()):
        free_with = max(units, asked[place - spacing] if place >= spacing else -1)
        most = max(units, asked[-1] if asked else -1)
        if second.legal[place] and free_with > 0:
            most = max(most, climbed(second, free_with, int(standing[place])))
        asked.append(most)
    return resized, np.array(asked)


def cost_resized(
    first: ShapingProblem,
    second: ShapingProblem,
    deploy: Rollout,
    before: Optimum,
    after: Optimum,
    at: int,
    replaced: int,
) -> float:
    """The objective's value."""
    until, since = slice(0, replaced), slice(replaced, first.n_slots)
    under_way = had(first, before.asked)[at:replaced].sum()
    return float(
        first.unit_price * had(first, before.asked)[until].sum()
        + second.unit_price * (deploy.extra * under_way + had(second, after.asked)[since].sum())
        + first.shortfall_price * short(first, before.serving)[until].sum()
        + second.shortfall_price * short(second, after.serving)[since].sum()
        + first.move_price * (len(before.moves) + len(after.moves))
        + deploy.price
    )


def _leaving(first: ShapingProblem, then: Programme, deploy: Rollout) -> Floats:
    """Cost (n_slots, n_units) of a resize at each slot's start, and of everything after it; infinite where barred."""
    units, second, n_slots = then.units, then.problem, first.n_slots
    kept = units.clip(0, len(deploy.latest) - 1)
    places = np.arange(len(units))
    outside = (units < second.low) | (units > second.high)
    never = (units > first.most) | (units >= len(deploy.latest)) | (units == 0)
    paid, extra = allocated(first, units), allocated(first, units) * deploy.extra * second.unit_price
    first_until = summed(first.unit_price * paid + extra + first.shortfall_price * missing(first, units))
    second_until = summed(
        second.unit_price * allocated(second, units) + second.shortfall_price * missing(second, units)
    )
    leaving = np.full((n_slots, len(units)), np.inf)
    for slot in np.flatnonzero(first.legal):
        replaced = np.minimum(slot + deploy.replaced[kept], n_slots)
        free = np.minimum(slot + deploy.barred[kept], n_slots)
        cost = deploy.price + first_until[replaced, places] - first_until[slot]
        cost += second_until[free, places] - second_until[replaced, places] + then.value[free, places]
        barred = never | (deploy.latest[kept] < slot) | (outside & (free > second.deadline))
        leaving[slot] = np.where(barred, np.inf, cost)
    return leaving
