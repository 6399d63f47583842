"""What a run of one simulated service comes to: unmet demand, unit-hours, moves, money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from forebay.domain.model import Model
from forebay.domain.resources import CANONICAL_UNIT, Resource
from forebay.domain.size import TaskSize
from forebay.domain.workload import Workload
from forebay.replay.cloud import Period, SimulatedService

HOUR = timedelta(hours=1)


class WorkloadOutcome(Model):
    """Of one workload, over the whole replay.

    `unmet_demand`: demand the serving units could not carry at all, canonical unit x hours (core hours, GiB hours,
    Mbit/s x hours). `short_unit_hours`: units that were missing for the target utilisation. `slots_under_target`:
    share of metric periods with any missing. `unit_hours`: serving or launching. `moves`, `largest_move`: Forebay's
    own, in units the cloud then worked towards; `largest_move_of_soft_limit`: at most 1.
    `objective`: price + risk price x missing units + price of the moves. `held_over_gaps`: share of the recorded
    demand that was missing, the value before the gap held over it; of the resource where that is most.
    """

    unmet_demand: dict[str, float]
    short_unit_hours: float
    slots_under_target: float
    unit_hours: float
    money: Decimal
    currency: str
    moves: int
    largest_move: int
    largest_move_of_soft_limit: float
    objective: float
    held_over_gaps: float


def outcome_of(service: SimulatedService) -> WorkloadOutcome:
    """The outcome of everything the service went through so far."""
    workload, periods = service.workload, service.periods
    hours = workload.metric_period / HOUR
    sized = {size: workload.sized(size) for size in {s for p in periods for s in (p.size, p.next_size)}}
    missing = [missing_units(sized[p.size], p) for p in periods]
    ran: Counter[TaskSize | None] = Counter()
    for p in periods:
        ran[p.size] += max(p.serving, p.desired)
        ran[p.next_size] += p.beside
    unit_hours = ran.total() * hours
    short = sum(missing) * hours
    writes = [write for write in service.writes if write.moved]
    moves = [write.moved for write in writes]
    shares = [abs(w.moved) / workload.limits.soft.largest_move(w.before) for w in writes]
    shortfall_price, cost = float(workload.risk.shortfall_per_unit_hour), Decimal(0)
    for size, units in ran.items():
        cost += sized[size].price.per_unit_hour * Decimal(str(round(units * hours, 6)))
    resizes = sum(1 for a, b in pairwise(periods) if a.size != b.size)
    return WorkloadOutcome(
        unmet_demand={f"{r}_{_name(r)}": round(_unmet(sized, periods, r) * hours, 6) for r in workload.resources},
        short_unit_hours=round(short, 6),
        slots_under_target=round(sum(1 for m in missing if m) / max(1, len(missing)), 6),
        unit_hours=round(unit_hours, 6),
        money=cost.quantize(Decimal("0.0001")),
        currency=workload.price.currency,
        moves=len(moves),
        largest_move=max((abs(m) for m in moves), default=0),
        largest_move_of_soft_limit=round(max(shares, default=0.0), 4),
        objective=round(
            float(cost)
            + shortfall_price * short
            + float(workload.move_price) * len(moves)
            + float(workload.risk.resize) * resizes,
            6,
        ),
        held_over_gaps=round(service.recorded.held_over_gaps, 6),
    )


def missing_units(workload: Workload, period: Period) -> int:
    """Whole units that should have served to carry the period's demand at the target utilisation, and did not."""
    return max(0, workload.whole_units_for(period.demand) - period.serving)


def _unmet(sized: Mapping[TaskSize | None, Workload], periods: Sequence[Period], resource: Resource) -> float:
    return sum(max(0.0, p.demand[resource] - p.serving * sized[p.size].unit[resource]) for p in periods)


def _name(resource: Resource) -> str:
    return f"{CANONICAL_UNIT[resource].replace('Mbit/s', 'mbps').lower()}_hours".replace("cores", "core")
