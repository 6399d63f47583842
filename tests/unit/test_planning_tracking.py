"""A floor under an autoscaler: what it brings by itself, and the exact optimum of what the floor adds to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.app.outlook import Outlook
from forebay.app.plan import draw
from forebay.domain.change import PolicyChange
from forebay.domain.freeze import FreezeWindow
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.workload import SoftLimit
from forebay.planning.demand import demand_paths
from forebay.planning.draft import Draft, Start
from forebay.planning.optimum import Move, cost_of, profile, solve
from forebay.planning.plan import draw_plan
from forebay.planning.problem import Clock, ShapingProblem
from forebay.planning.slots import horizon_slots
from forebay.planning.tracking import tracked_units
from tests.support.planning_cases import EFFECTIVE, NOW, change, workload

FIVEFOLD = [{"workload": "web", "factor": 5}]


@pytest.mark.parametrize(
    ("required", "expected"),
    [
        pytest.param([5] * 8, [5] * 8, id="nothing changes"),
        # 3 datapoints, 3 minutes until they are published, 4 of lead: 10 minutes are two slots.
        pytest.param([5, 5, 9, 9, 9, 9, 9, 9], [5, 5, 5, 5, 9, 9, 9, 9], id="out two slots late"),
        # 15 datapoints and 3 minutes: 18 minutes are four slots.
        pytest.param([5, 5, 3, 3, 3, 3, 3, 3], [5, 5, 5, 5, 5, 5, 3, 3], id="in four slots late"),
        pytest.param([5, 5, 9, 5, 5, 5, 5, 5], [5, 5, 5, 5, 9, 9, 9, 5], id="a peak is served when it is over"),
        pytest.param([1] * 8, [5, 5, 5, 5, 2, 2, 2, 2], id="not below the minimum"),
        pytest.param([50] * 8, [5, 5, 40, 40, 40, 40, 40, 40], id="not above the maximum"),
    ],
)
def test_what_target_tracking_brings(required: list[int], expected: list[int]) -> None:
    assert tracked_units(np.array([required]), 5, workload())[0].tolist() == expected


def all_plans(problem: ShapingProblem) -> Iterator[tuple[Move, ...]]:
    """Every admissible plan, told from the constraints one by one and not from the programme."""

    def from_slot(slot: int, units: int, free: int, made: tuple[Move, ...]) -> Iterator[tuple[Move, ...]]:
        if slot == problem.n_slots:
            yield made
            return
        choices = [units]
        if problem.legal[slot] and slot >= free:
            stands = max(units, int(problem.standing[slot]))
            highest = min(stands + problem.soft.largest_move(stands), problem.most)
            lowest = max(units - problem.soft.largest_move(units), problem.bottom)
            choices = list(range(lowest, max(highest, units) + 1))
        for after in choices:
            if slot >= problem.deadline and not problem.low <= after <= problem.high:
                continue
            move = () if after == units else (Move(slot, units, after),)
            yield from from_slot(slot + 1, after, slot + problem.spacing if move else free, made + move)

    yield from from_slot(0, problem.start, 0, ())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_optimum_is_the_least_of_all_plans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_slots, spacing = 6, int(rng.integers(1, 4))
    required = rng.integers(0, 6, (3, n_slots))
    tracked = np.clip(np.hstack([required[:, :1], required[:, :-1]]), 1, 5)
    problem = ShapingProblem(
        start=int(rng.integers(1, 4)), legal=rng.random(n_slots) < 0.8, spacing=spacing, lead=1,
        deadline=int(rng.integers(0, n_slots)), low=int(rng.integers(1, 5)), high=5, most=5, ceiling=None,
        soft=SoftLimit(units=int(rng.integers(1, 3)), percent=100), required=required,
        unit_price=float(rng.uniform(0.1, 1)), shortfall_price=float(rng.uniform(0, 4)),
        move_price=float(rng.uniform(0, 0.3)), tracked=tracked, lowest=1,
    )  # fmt: skip
    costs = [cost_of(problem, moves) for moves in all_plans(problem)]
    optimum = solve(problem)
    assert (optimum is None) == (not costs)
    if optimum is not None:
        assert optimum.cost == pytest.approx(min(costs))


def drawn(
    levels: list[float], risk: dict[str, Any] | None = None, rare: float | None = None, **fields: Any
) -> ShapingPlan:
    """A plan for a certain demand: `levels` in cores, each for as long as the others, until the horizon's end.

    `rare`: on one path of forty that many cores are needed instead of the most.
    """
    plan = result(change(**fields), levels, risk, rare)
    assert isinstance(plan, ShapingPlan)
    return plan


def result(
    to_be: PolicyChange,
    levels: list[float],
    risk: dict[str, Any] | None = None,
    rare: float | None = None,
    start: int = 8,
    freezes: Sequence[FreezeWindow] = (),
) -> ShapingPlan | PlanRefusal:
    work = workload(risk=risk or {})
    index = horizon_slots(to_be, work, NOW)
    until_effective = index.first_from(EFFECTIVE)
    spread = np.repeat(levels, -(-until_effective // len(levels)))[:until_effective]
    path = np.concatenate([spread, np.full(len(index) - until_effective, levels[-1])])
    paths = np.tile(path, (2 if rare is None else 40, 1))
    if rare is not None:
        paths[0, path == max(levels)] = rare
    demand = demand_paths(work, to_be, dict.fromkeys(work.resources, paths), index, np.random.default_rng(1))
    return draw_plan(Draft(to_be, work, demand, Start(start, 2, autoscaled=True), Clock(NOW, NOW, freezes)), {})


def test_what_an_autoscaler_keeps_is_no_unit_more_for_a_rounding_error() -> None:
    work, to_be = workload(objectives={"cpu": 0.7}), change()
    index = horizon_slots(to_be, work, NOW)
    outlook = Outlook(index, {Resource.CPU: np.full((2, len(index)), 4.2)}, {})
    assert 4.2 / 0.7 > 6
    plan = draw(work, to_be, outlook, Start(8, 2), Clock(NOW, NOW))
    assert isinstance(plan, ShapingPlan)
    assert (plan.start_units, plan.counted) == (8, 6)
    assert plan.preflight == ("2 of 8 units may scale in before the first step: not counted",)


def test_what_is_not_counted_is_what_the_first_step_does_not_begin_from() -> None:
    """Of 8 units 4 are left by 9:55. All are there at 9:05, where 4 are enough but 8 were needed just before."""
    late = drawn([2.0, 8.0, 4.0])
    assert (late.start_units, late.counted, late.steps[0].from_units) == (8, 4, 4)
    assert late.preflight == ("4 of 8 units may scale in before the first step: not counted",)
    soon = EFFECTIVE - timedelta(hours=2, minutes=40)
    work, to_be = workload(), change(effective_at=soon, impacts=[{"workload": "web", "factor": 4}])
    index = horizon_slots(to_be, work, NOW)
    outlook = Outlook(index, {Resource.CPU: np.full((2, len(index)), 2.0)}, {})
    seen = draw(work, to_be, outlook, Start(8, 2, needed=np.array([8, 8, 8, 8])), Clock(NOW, NOW))
    assert isinstance(seen, ShapingPlan)
    assert (seen.counted, seen.steps[0].from_units, seen.preflight) == (8, 8, ())


def test_more_than_may_be_is_said_to_be() -> None:
    plan = result(change(), [4.0], start=50)
    assert isinstance(plan, ShapingPlan)
    assert plan.preflight[0].startswith("50 units stand, but max_units of its limits is 40: ")


def test_what_is_missing_already_is_said_where_the_autoscaler_is_counted_on_for_it() -> None:
    work, to_be = workload(), change()
    index = horizon_slots(to_be, work, NOW)
    outlook = Outlook(index, {Resource.CPU: np.full((2, len(index)), 4.0)}, {})
    few, enough, alone = (
        draw(work, to_be, outlook, Start(units, floor, needed=np.array([8])), Clock(NOW, NOW))
        for units, floor in ((3, 2), (8, 2), (3, None))
    )
    assert isinstance(few, ShapingPlan) and isinstance(enough, ShapingPlan) and isinstance(alone, ShapingPlan)
    assert few.preflight == ("8 units are needed now and 3 stand: the autoscaler is counted on for the rest",)
    assert (few.start_units, few.steps[0].from_units, alone.steps[0].from_units) == (3, 8, 3)
    assert enough.preflight == alone.preflight == ()


def test_the_floor_is_raised_as_late_as_can_be() -> None:
    """8 units are there without a floor: only the climb to 12 is the plan's, from what stands then."""
    plan = drawn([4.0])
    assert [(s.from_units, s.to_units) for s in plan.steps] == [(8, 9), (9, 12)]
    assert all(s.due_at.hour == 11 for s in plan.steps)
    assert {slot.asked for slot in plan.slots if slot.at < plan.steps[0].due_at} == {8}


def test_a_floor_for_a_peak_is_lowered_after_it() -> None:
    """The autoscaler is late for the peak at 10:00; once it is there, the floor need not be paid for any longer."""
    plan = drawn([2.0, 8.0, 2.0], impacts=[{"workload": "web", "factor": 1.1}])
    sizes = [(s.from_units, s.to_units) for s in plan.steps]
    assert max(after for _, after in sizes) >= 12
    assert any(after < before for before, after in sizes)
    lowered = next(s for s in plan.steps if s.to_units < s.from_units)
    assert lowered.reason.text.endswith("the floor only: what demand still needs stays")
    assert all(abs(after - before) <= 3 for before, after in sizes)


@pytest.mark.parametrize("ceiling", [40, 17])
def test_a_ceiling_that_does_not_bind_leaves_the_autoscaler_counted_on(ceiling: int) -> None:
    """40 is the workload's own maximum; more than 17 nothing asks for."""
    free = drawn([2.0, 8.0, 4.0])
    bound = drawn([2.0, 8.0, 4.0], entitlements=[{"workload": "web", "max_units": ceiling}])
    assert (bound.steps, bound.price, bound.preflight) == (free.steps, free.price, free.preflight)


def test_a_plan_that_rises_above_a_ceiling_first_comes_down_to_it_without_the_autoscaler() -> None:
    """A step down from there takes the autoscaler's maximum along: it must end at what the policy allows, not below."""
    peak = [2.0] * 12 + [8.0] * 8 + [2.0] * 30
    plan = drawn(peak, entitlements=[{"workload": "web", "max_units": 12}])
    assert any(s.from_units > 12 for s in plan.steps)
    assert [s.to_units for s in plan.steps if s.from_units > 12 >= s.to_units] == [12]
    assert any("priced without the autoscaler" in note for note in plan.preflight)


def test_nor_does_one_rise_above_it_for_what_is_rare_and_count_on_the_autoscaler() -> None:
    """A dear shortfall is provided for beyond the confidence asked for."""
    peak = [2.0] * 12 + [3.0] * 8 + [2.0] * 30
    dear = {"shortfall_per_unit_hour": "400"}
    plan = drawn(peak, dear, rare=8.0, entitlements=[{"workload": "web", "max_units": 12}])
    assert any(s.from_units > 12 for s in plan.steps)
    assert all(s.to_units >= 12 for s in plan.steps if s.from_units > 12)


def test_under_a_ceiling_that_binds_it_is_said_that_the_autoscaler_is_not_counted_on() -> None:
    """16 units are needed until ten minutes before the policy, which allows 13."""
    falls = [4.0] * 17 + [8.0]
    plan = drawn(
        falls, impacts=[{"workload": "web", "factor": 0.5}], entitlements=[{"workload": "web", "max_units": 13}]
    )
    assert plan.preflight == (
        "priced without the autoscaler: it would run to more than the 13 units that the policy allows",
    )


def test_without_the_autoscaler_no_step_begins_from_what_it_may_have_taken_out() -> None:
    """8 units stand now and 16 once, which the policy forbids; but only 2 when the climb to 12 begins."""
    calm = [4.0] * 4 + [8.0] * 2 + [1.0] * 12
    plan = drawn(
        calm,
        {"shortfall_per_unit_hour": "0"},
        impacts=[{"workload": "web", "factor": 11}],
        entitlements=[{"workload": "web", "max_units": 14}],
    )
    assert plan.preflight[-1].startswith("priced without the autoscaler: it would run to more than the 14 units")
    assert [(s.from_units, s.to_units) for s in plan.steps] == [(2, 3), (3, 6), (6, 9), (9, 12)]
    assert plan.preflight[0] == "6 of 8 units may scale in before the first step: not counted"


@pytest.mark.parametrize("entitlements", [[], [{"workload": "web", "max_units": 30}]])
def test_what_stands_now_is_not_counted_on_where_it_may_be_gone_by_the_first_step(
    entitlements: list[dict[str, Any]],
) -> None:
    """16 units are needed until ten, then 4, and 12 under the change; all is frozen until two moves are left."""
    falls, asked = [8.0] * 6 + [2.0] * 12, change(impacts=FIVEFOLD, entitlements=entitlements)
    freeze = FreezeWindow(start=NOW, end=EFFECTIVE - timedelta(minutes=20), reason="release")

    def at(effective: datetime) -> ShapingPlan | PlanRefusal:
        return result(asked.model_copy(update={"effective_at": effective}), falls, start=16, freezes=[freeze])

    refusal, most = at(EFFECTIVE), "only 10 are within reach in 2 moves of at most 3 units"
    assert isinstance(refusal, PlanRefusal)
    assert f"from 4 units, with what the autoscaler brings by then, {most}" in refusal.reason
    assert refusal.reason.endswith("; 12 of 16 units may scale in before the first step: not counted")
    assert refusal.counter_proposal.relax[-1].limit.startswith("an exception to the freeze (release")
    assert isinstance(result(asked, falls, start=16), ShapingPlan)
    later = refusal.counter_proposal.earliest_effective_at
    assert later is not None and isinstance(at(later), ShapingPlan)
    assert isinstance(at(later - timedelta(minutes=5)), PlanRefusal)


def test_a_step_names_the_peak_it_serves_and_none_that_the_autoscaler_has_by_then() -> None:
    """Of two peaks the later one is higher, but what the autoscaler brought for the first one still stands then."""
    twice = [4.0] * 12 + [7.6] * 2 + [4.0] * 2 + [7.95] * 2 + [4.0] * 18
    plan = drawn(twice, impacts=[{"workload": "web", "factor": 1.1}])
    (step,) = [step for step in plan.steps if step.to_units == 16]
    assert step.reason.forced_by == EFFECTIVE.replace(hour=10)
    assert step.reason.text.startswith(
        "cpu binds at 24 Nov 10:00 UTC (95 % quantile: 15.2 units, sooner than the autoscaler has them): "
    )


def test_a_floor_held_for_a_peak_names_the_peak_and_not_the_effective_time() -> None:
    """8 units are needed once more at 10:25, and the autoscaler lets go of them before; 3 at 12:00 need no step yet."""
    held = drawn([4.0] * 10 + [1.0] * 7 + [4.0] + [1.0] * 18, {"shortfall_per_unit_hour": "5"}).steps[0]
    assert (held.from_units, held.to_units) == (8, 8)
    assert held.reason.forced_by == EFFECTIVE.replace(hour=10, minute=25)
    assert held.reason.text.startswith("cpu binds at 24 Nov 10:25 UTC (95 % quantile: 8.0 units, sooner than")


def test_what_the_autoscaler_has_is_priced() -> None:
    """Floor 2, yet 8 units are allocated, and 12 after the change even without the plan: only later."""
    price = drawn([4.0]).price
    assert price.left_alone.unit_hours > 8 * 43 / 12
    assert price.left_alone.shortfall_unit_hours > price.shaped.shortfall_unit_hours == 0
    assert (price.shaped.misaligned, price.left_alone.misaligned) == (0, 1)
    without = price.without_change
    assert without is not None and without.unit_hours == pytest.approx(8 * 44 / 12, abs=1e-4)
    assert (without.shortfall_unit_hours, without.misaligned) == (0, 0)


def test_a_rise_serves_after_the_lead_time_even_where_it_moves_nothing() -> None:
    asked, serving = profile(2, (Move(1, 8, 8),), 2, 5)
    assert (asked.tolist(), serving.tolist()) == ([2, 8, 8, 8, 8], [2, 2, 2, 8, 8])


def test_by_default_a_floor_does_not_follow_every_wiggle_of_the_day() -> None:
    """One move for the morning's peaks, if any, and then the change's own climb."""
    wiggles = [4.0, 4.5, 5.0, 4.5] * 4
    calm, busy = drawn(wiggles), drawn(wiggles, risk={"move": "0.001"})
    assert len(calm.steps) < len(busy.steps) / 2
    assert calm.price.shaped.misaligned == busy.price.shaped.misaligned == 0
    assert sum(s.due_at < EFFECTIVE - timedelta(hours=1) for s in calm.steps) <= 1
