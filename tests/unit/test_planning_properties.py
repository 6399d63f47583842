"""Every constraint of a drawn plan by name, on random workloads, changes, noise, autoscalers and freeze windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise, zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.domain.bounds import NO_BOUNDS, Outgoing, PolicyBounds
from forebay.domain.change import PolicyChange
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.rules import FreezeWindow
from forebay.domain.workload import Workload
from tests.support.planning_cases import NOW, change, plan, workload

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Drawn:
    """A plan and what it was drawn for. `floor` is None for a count."""

    seed: int
    workload: Workload
    change: PolicyChange
    plan: ShapingPlan
    floor: int | None
    earliest: datetime
    freezes: list[FreezeWindow]

    @property
    def asked(self) -> dict[datetime, int]:
        """Units the plan itself asks for, by slot: a floor may have more standing above it."""
        units, profile = self.floor if self.floor is not None else self.plan.start_units, {}
        steps = {step.due_at: step.to_units for step in self.plan.steps}
        for slot in self.plan.slots:
            profile[slot.at] = units = steps.get(slot.at, units)
        return profile

    @property
    def in_effect(self) -> list[int]:
        return [units for at, units in self.asked.items() if at >= self.plan.effective_at]


@cache
def drawn(seed: int, moves_cost: str | None = None) -> Drawn | PlanRefusal:
    rng = np.random.default_rng(seed)
    floor = int(rng.integers(0, 10)) if rng.random() < 0.5 else None
    low, high = sorted(rng.integers(2, 24, size=2).tolist())
    bounds = {"min_units": low} if rng.random() < 0.3 else {}
    bounds |= {"max_units": high} if rng.random() < 0.3 else {}
    move = str(rng.choice(["0.001", "0.1"]))
    work = workload(
        soft={
            "units": int(rng.integers(1, 7)), "percent": float(rng.choice([15, 40, 100])),
            "dwell": f"PT{5 * rng.integers(0, 7)}M",
        },
        lead_time=f"PT{rng.integers(1, 12)}M",
        risk={"confidence": float(rng.choice([0.5, 0.8, 0.95])), "move": moves_cost or move},
        unit={
            "cpu_cores": 1, "memory_gib": float(rng.choice([0.5, 2])), "network_mbps": float(rng.choice([0.8, 5])),
        },
        objectives={"cpu": 0.5, "memory": 0.8, "network": 0.6},
    )  # fmt: skip
    to_be = change(
        effective_at=NOW + timedelta(minutes=int(rng.integers(40, 400))),
        impacts=[{"workload": "web", "factor": float(rng.choice([0.5, 1.5, 2.0])), "low": 0.4, "high": 3.0}],
        entitlements=[{"workload": "web", **bounds}] if bounds else [],
    )
    guarding = np.random.default_rng([seed, 1])
    until = NOW + timedelta(minutes=int(guarding.integers(20, 500)))
    guaranteed = Outgoing(change="CHG-0", at=until, min_units=int(guarding.integers(1, 12)), title="acme tier")
    held_to = PolicyBounds(outgoing=(guaranteed,)) if guarding.random() < 0.4 else NO_BOUNDS
    begins = NOW + timedelta(minutes=int(rng.integers(0, 200)))
    freezes = [FreezeWindow(start=begins, end=begins + timedelta(minutes=40), reason="release")]
    earliest = NOW + timedelta(minutes=int(rng.integers(0, 20)))
    result = plan(
        work, to_be, level=float(rng.uniform(2, 6)), noise=0.15, start=int(rng.integers(6, 26)), floor=floor,
        earliest=earliest, freezes=freezes, autoscaled=floor is not None and bool(rng.random() < 0.8), bounds=held_to,
    )  # fmt: skip
    return result if isinstance(result, PlanRefusal) else Drawn(seed, work, to_be, result, floor, earliest, freezes)


def each_step_begins_where_the_last_one_ended(case: Drawn) -> None:
    """Whole units, none lost on the way: the steps alone make the profile that the plan shows."""
    if case.floor is None:
        ends = [case.plan.start_units, *(step.to_units for step in case.plan.steps)]
        assert [step.from_units for step in case.plan.steps] == ends[:-1]
        assert [slot.asked for slot in case.plan.slots] == list(case.asked.values())
    assert all(step.to_units != step.from_units for step in case.plan.steps) or case.floor is not None


def soft_limit_in_units(case: Drawn) -> None:
    assert all(abs(s.to_units - s.from_units) <= case.workload.limits.soft.units for s in case.plan.steps)


def soft_limit_in_percent(case: Drawn) -> None:
    share = case.workload.limits.soft.percent / 100
    assert all(abs(s.to_units - s.from_units) <= max(1, s.from_units * share) for s in case.plan.steps)


def dwell_between_steps(case: Drawn) -> None:
    dwell = case.workload.limits.soft.dwell
    assert all(later.due_at - earlier.due_at >= dwell for earlier, later in pairwise(case.plan.steps))


def a_verdict_between_steps(case: Drawn) -> None:
    assert all(later.due_at >= earlier.verified_by for earlier, later in pairwise(case.plan.steps))


def a_rise_serves_after_the_lead_time(case: Drawn) -> None:
    """Not a slot earlier, and from then on; of a floor's units the autoscaler may have more."""
    for step, after in zip_longest(case.plan.steps, case.plan.steps[1:]):
        if case.floor is None and step.to_units > step.from_units:
            until = after.due_at if after else case.plan.slots[-1].at
            under_way = [s.serving for s in case.plan.slots if 0 <= (s.at - step.due_at) / case.workload.lead_time < 1]
            there = [s for s in case.plan.slots if s.at >= step.due_at + case.workload.lead_time and s.at < until]
            assert set(under_way) == {step.from_units}
            assert {s.serving for s in there} <= {step.to_units}


def serving_before_it_is_verified(case: Drawn) -> None:
    """A full window of measured usage lies between the units' serving and the verdict, and then the next step."""
    verification = case.workload.verification
    for step, after in zip_longest(case.plan.steps, case.plan.steps[1:]):
        serves = step.due_at + case.workload.lead_time
        known = serves + verification.window + verification.metric_delay
        assert known <= step.verified_by
        assert after is None or known <= after.due_at
        assert known <= case.plan.effective_at or step.due_at >= case.plan.effective_at


def no_step_in_a_freeze_window(case: Drawn) -> None:
    assert not [s for s in case.plan.steps for freeze in case.freezes if freeze.covers(s.due_at)]


def guaranteed_until_it_is_replaced(case: Drawn) -> None:
    """No step goes down to less than a version in force guarantees, before the next one is due."""
    floors = case.floor is not None
    for version in case.plan.bounds.outgoing:
        before = [step for step in case.plan.steps if step.due_at < version.at]
        asked = [case.floor if floors else case.plan.start_units, *(step.to_units for step in before)]
        falls = [step for step, stood in zip(before, asked, strict=False) if step.to_units < (stood or 0)]
        assert all(step.to_units >= version.min_units for step in falls)


def no_step_too_early(case: Drawn) -> None:
    assert all(step.due_at >= case.earliest and step.due_at > case.plan.created_at for step in case.plan.steps)


def within_the_bounds(case: Drawn) -> None:
    limits = case.workload.limits
    assert all(step.to_units <= max(limits.max_units, case.plan.start_units) for step in case.plan.steps)
    assert all(limits.min_units <= units <= limits.max_units for units in case.in_effect) or not case.plan.steps


def entitlement_floor_from_the_effective_time_on(case: Drawn) -> None:
    if (given := case.change.entitlement("web")) and given.min_units and held(case):
        assert min(case.in_effect) >= given.min_units


def entitlement_ceiling_from_the_effective_time_on(case: Drawn) -> None:
    if (given := case.change.entitlement("web")) and given.max_units and case.floor is None:
        assert max(case.in_effect) <= given.max_units


def no_shrink_without_a_ceiling(case: Drawn) -> None:
    given = case.change.entitlement("web")
    if case.floor is None and not (given and given.max_units):
        assert all(step.to_units >= step.from_units for step in case.plan.steps)


def no_shrink_below_the_ceiling(case: Drawn) -> None:
    given = case.change.entitlement("web")
    falls = [step for step in case.plan.steps if step.to_units < step.from_units]
    if case.floor is None and given and given.max_units:
        assert all(step.to_units >= given.max_units for step in falls)


def dearer_moves_are_never_more(case: Drawn) -> None:
    """The same case, moves at another price: an optimum that weighs them makes no more of them."""
    cheap, dear = (drawn(case.seed, price) for price in ("0.001", "0.1"))
    assert isinstance(cheap, Drawn) and isinstance(dear, Drawn), "the price of a move makes nothing possible"
    assert len(dear.plan.steps) <= len(cheap.plan.steps)


def three_resources_are_carried(case: Drawn) -> None:
    """At the effective time, at least as often as not; how often in all is `aligned_at_its_confidence`."""
    slot = case.plan.slot_at(case.plan.effective_at)
    assert slot is not None and {str(r) for r in slot.demand} == {"cpu", "memory", "network"}
    for resource, band in slot.demand.items():
        carried = case.plan.aligned_units * case.workload.unit[resource] * case.workload.objectives[resource]
        assert carried >= band.median - 1e-3


def aligned_at_its_confidence(case: Drawn) -> None:
    plan = case.plan
    assert plan.price.shaped.misaligned <= 1 - plan.confidence + 1e-9
    assert not held(case) or min(case.in_effect) >= plan.aligned_units


def verified_before_the_effective_time(case: Drawn) -> None:
    ahead = [step for step in case.plan.steps if step.due_at < case.plan.effective_at]
    assert all(step.verified_by <= case.plan.effective_at for step in ahead)


def held(case: Drawn) -> bool:
    """Whether the plan's own asking holds what serves: a floor that no step touches stands above what is needed."""
    return case.floor is None or bool(case.plan.steps) or case.floor >= case.plan.aligned_units


PROPERTIES = [
    each_step_begins_where_the_last_one_ended, soft_limit_in_units, soft_limit_in_percent, dwell_between_steps,
    a_verdict_between_steps, a_rise_serves_after_the_lead_time, serving_before_it_is_verified,
    no_step_in_a_freeze_window, no_step_too_early, guaranteed_until_it_is_replaced, within_the_bounds,
    entitlement_floor_from_the_effective_time_on, entitlement_ceiling_from_the_effective_time_on,
    no_shrink_without_a_ceiling, no_shrink_below_the_ceiling, dearer_moves_are_never_more,
    three_resources_are_carried, aligned_at_its_confidence, verified_before_the_effective_time,
]  # fmt: skip
SEEDS = 150


@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda holds: holds.__name__)
@given(seed=st.integers(0, SEEDS - 1))
@settings(max_examples=SEEDS, deadline=None)
def test_of_every_plan(holds, seed: int) -> None:  # type: ignore[no-untyped-def]
    case = drawn(seed)
    if isinstance(case, Drawn):
        holds(case)


def test_the_cases_are_of_every_kind() -> None:
    cases = [case for case in map(drawn, range(SEEDS)) if isinstance(case, Drawn)]
    assert len(cases) > SEEDS / 3
    assert sum(bool(c.plan.steps) for c in cases) > SEEDS / 4
    assert {(c.floor is None, bool(c.change.entitlements)) for c in cases if c.plan.steps} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert any(s.to_units < s.from_units for c in cases for s in c.plan.steps if c.floor is None)
    assert any(s.to_units < s.from_units for c in cases for s in c.plan.steps if c.floor is not None)
