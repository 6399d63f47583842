"""A whole plan from its inputs: steps, reasons, bands, price, and the floor that must hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.domain.errors import InputError
from forebay.domain.freeze import FreezeWindow
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource
from forebay.planning.draft import Draft, Start
from forebay.planning.plan import draw_plan
from forebay.planning.problem import Clock, legal_points
from forebay.planning.slots import SlotIndex
from tests.support.planning_cases import EFFECTIVE, NOW, change, demand, drawn, moves, plan, workload


def entitlement(**bounds: int) -> dict[str, Any]:
    return {"entitlements": [{"workload": "web"} | bounds]}


@pytest.mark.parametrize(
    ("work", "to_be", "fields", "expected"),
    [
        pytest.param({}, {}, {}, [("11:35", 8, 9), ("11:45", 9, 12)], id="as late as verified with a slot to spare"),
        pytest.param({}, {}, {"start": 12}, [], id="enough is there"),
        pytest.param({}, {}, {"start": 20}, [], id="too much is there, and stays"),
        pytest.param({"soft": {"units": 9}}, {}, {}, [("11:45", 8, 12)], id="one move where one is allowed"),
        pytest.param(
            {"soft": {"units": 9, "percent": 25}},
            {},
            {},
            [("11:35", 8, 10), ("11:45", 10, 12)],
            id="percent is tighter",
        ),
        pytest.param(
            {"soft": {"dwell": "PT30M"}}, {}, {}, [("11:15", 8, 9), ("11:45", 9, 12)], id="a longer dwell spreads them"
        ),
        pytest.param(
            {}, {"effective_at": NOW + timedelta(minutes=14)}, {"start": 9}, [("09:05", 9, 12)], id="no slot to spare"
        ),
        pytest.param({}, entitlement(min_units=14), {"start": 11}, [("11:45", 11, 14)], id="a guaranteed floor"),
        pytest.param(
            {}, entitlement(max_units=12), {"start": 16}, [("11:35", 16, 15), ("11:45", 15, 12)], id="a ceiling"
        ),
        pytest.param(
            {}, {}, {"start": 12, "floor": 4}, [("11:45", 12, 12)], id="a low floor is raised under what serves"
        ),
        pytest.param({}, {}, {"start": 12, "floor": 12}, [], id="a floor that holds already"),
        pytest.param({}, {}, {"start": 9, "floor": 4}, [("11:45", 9, 12)], id="a step up raises the floor by itself"),
    ],
)
def test_steps(work: Any, to_be: Any, fields: Any, expected: list[tuple[str, int, int]]) -> None:
    assert moves(drawn(workload(**work), change(**to_be), **fields)) == expected


def test_steps_after_the_effective_time_follow_a_ramp() -> None:
    ramp = {"shape": "ramp", "over": "PT2H"}
    to_be = change(impacts=[{"workload": "web", "factor": 2.0, "adoption": ramp}])
    steps = drawn(workload(risk={"move": "0.001"}), to_be).steps
    assert [step.to_units for step in steps] == [9, 10, 11, 12]
    assert [step.due_at >= EFFECTIVE for step in steps] == [False, True, True, True]
    assert [step.reason.forced_by > step.due_at for step in steps] == [True] * 4
    assert steps[-1].reason.text == (
        "cpu binds at 24 Nov 14:00 UTC (95 % quantile: 12.0 units): +1 unit, the cheapest by unit price, risk and moves"
    )


def test_a_freeze_window_moves_steps_before_it() -> None:
    freeze = FreezeWindow(start=EFFECTIVE - timedelta(minutes=40), end=EFFECTIVE, reason="release")
    assert moves(drawn(freezes=[freeze])) == [("11:05", 8, 9), ("11:15", 9, 12)]


def test_no_step_before_earliest() -> None:
    late = datetime(2026, 11, 24, 11, 41, tzinfo=UTC)
    assert moves(drawn(start=9, earliest=late)) == [("11:45", 9, 12)]


@pytest.mark.parametrize(
    ("fields", "limit", "text"),
    [
        pytest.param(
            {"start": 9},
            "soft limit 3 units",
            "cpu binds at 24 Nov 12:00 UTC (95 % quantile: 12.0 units): "
            "+3 units, the most the soft limit allows (3 units)",
            id="soft limit",
        ),
        pytest.param(
            {"start": 10},
            "none",
            "cpu binds at 24 Nov 12:00 UTC (95 % quantile: 12.0 units): "
            "+2 units, which makes the 12 units that must serve",
            id="the need itself",
        ),
        pytest.param(
            {"start": 12, "floor": 4},
            "floor",
            "cpu binds at 24 Nov 12:00 UTC (95 % quantile: 12.0 units): hold 12 units, "
            "so that the autoscaler cannot drop below it (its minimum is 4 now)",
            id="hold the floor",
        ),
        pytest.param(
            {"start": 12, "to_be": change(**entitlement(min_units=14))},
            "none",
            "the policy guarantees 14 units from 24 Nov 12:00 UTC on: "
            "+2 units, which makes the 14 units that must serve",
            id="a guarantee",
        ),
        pytest.param(
            {"start": 14, "to_be": change(**entitlement(max_units=12))},
            "entitlement max_units 12",
            "the policy allows 12 units at most from 24 Nov 12:00 UTC on: -2 units, which meets the policy's ceiling",
            id="a ceiling",
        ),
    ],
)
def test_the_last_step_says_why(fields: dict[str, Any], limit: str, text: str) -> None:
    reason = drawn(**fields).steps[-1].reason
    assert (reason.binding, reason.quantile, reason.forced_by) == (Resource.CPU, 0.95, EFFECTIVE)
    assert (reason.limit, reason.text) == (limit, text)


@pytest.mark.parametrize(
    ("fields", "goal"),
    [
        pytest.param({"start": 8}, 12, id="up"),
        pytest.param({"start": 16, "to_be": change(**entitlement(max_units=12))}, 12, id="down"),
    ],
)
def test_a_small_first_step_says_what_it_is_for(fields: dict[str, Any], goal: int) -> None:
    reason = drawn(**fields).steps[0].reason
    assert reason.limit == "soft limit of later steps"
    assert reason.text.endswith(f"1 unit, the least that lets the later steps reach {goal} units in time")


def test_a_risk_worth_its_price_is_a_reason_of_its_own() -> None:
    """At 12 units only the rarest paths run short, after the window: dear enough to move, not the 95 % quantile's."""
    ramp = {"shape": "ramp", "over": "PT1H"}
    rare = [{"workload": "web", "factor": 1.0, "low": 1.0, "high": 3.0, "adoption": ramp}]
    dear = workload(risk={"shortfall_per_unit_hour": "1000"})
    last = drawn(dear, change(impacts=rare), start=14).steps[-1]
    assert last.reason.text.startswith("cpu may run short at 24 Nov")
    assert last.due_at < last.reason.forced_by


def test_a_step_without_a_slot_to_spare_says_so() -> None:
    tight = drawn(to_be=change(effective_at=NOW + timedelta(minutes=14)), start=9).steps[-1]
    assert tight.reason.text.endswith("; its verdict is due less than one slot before the effective time")


def test_slots_hold_the_profile_and_the_bands() -> None:
    result = drawn(noise=0.05, start=9)
    slot = result.slot_at(EFFECTIVE)
    assert slot is not None and slot.at == EFFECTIVE
    band = slot.demand[Resource.CPU]
    assert band.low < band.median < band.high
    assert slot.required_median == pytest.approx(2 * band.median, abs=1e-3)
    step = result.steps[-1]
    asked = {at: s.asked for at in (step.due_at - timedelta(minutes=5), step.due_at) if (s := result.slot_at(at))}
    assert list(asked.values()) == [step.from_units, step.to_units]
    serving = result.slot_at(step.due_at)
    assert serving is not None and serving.serving == step.from_units
    assert result.slots[0].at <= NOW and result.slots[-1].at + timedelta(minutes=5) >= EFFECTIVE + timedelta(minutes=40)


def test_the_price_of_acting_and_of_not_acting() -> None:
    """44 slots from 09:00 until 12:40 (settle 30 min, verification 10 min): 8 units all along, or 9 and 12 late."""
    price = drawn().price
    assert price.left_alone.unit_hours == pytest.approx(8 * 44 / 12, abs=1e-4)
    assert price.shaped.unit_hours == pytest.approx((8 * 31 + 9 * 2 + 12 * 11) / 12, abs=1e-4)
    assert price.left_alone.money == Decimal("1.4667")
    assert price.shaped.money == Decimal("1.6583")
    assert price.left_alone.shortfall_unit_hours == pytest.approx(4 * 8 / 12, abs=1e-4)
    assert price.shaped.shortfall_unit_hours == 0
    assert (price.shaped.misaligned, price.left_alone.misaligned) == (0, 1)
    assert price.without_change == price.left_alone.model_copy(update={"shortfall_unit_hours": 0, "misaligned": 0})


def test_the_price_of_one_jump_by_hand() -> None:
    """12 units from 11:55 (5 min of lead before 12:00) until 12:40: as late as it can serve, and four units at once."""
    jump = drawn().price.one_jump
    assert jump.unit_hours == pytest.approx((8 * 35 + 12 * 9) / 12, abs=1e-4)
    assert (jump.shortfall_unit_hours, jump.misaligned) == (0, 0)


def test_one_jump_goes_down_to_a_ceiling_too() -> None:
    """16 units until 12:00, then the 12 that the policy allows until 12:40: what is taken away is out at once."""
    price = drawn(to_be=change(**entitlement(max_units=12)), start=16).price
    assert price.one_jump.unit_hours == pytest.approx((16 * 36 + 12 * 8) / 12, abs=1e-4)
    assert price.left_alone.unit_hours == pytest.approx(16 * 44 / 12, abs=1e-4)


def test_one_unit_short_at_the_effective_time_is_misaligned() -> None:
    assert drawn(start=11).price.left_alone.misaligned == 1
    assert drawn(start=12).price.left_alone.misaligned == 0


def test_what_is_verified_by_the_effective_time_serves_then_however_long_the_slots() -> None:
    """Asked for at 09:15, there at 09:19, verified at 09:25: by 09:28, in the same slot of a quarter of an hour."""
    price = drawn(workload(slot="PT15M"), change(effective_at=NOW + timedelta(minutes=26)), start=9).price
    assert (price.shaped.misaligned, price.left_alone.misaligned) == (0, 1)


def test_no_shaping_point_between_the_last_verdict_and_the_effective_time() -> None:
    index = SlotIndex(EFFECTIVE - timedelta(minutes=30), timedelta(minutes=5), 8)
    freeze = FreezeWindow(start=index.at(2), end=index.at(3), reason="release")
    points = legal_points(Clock(index.at(0), index.at(0), [freeze]), index, [(4, EFFECTIVE)])
    assert points.tolist() == [False, True, False, True, True, False, True, True]


@given(
    noise=st.floats(0, 0.3), start=st.integers(4, 30), level=st.floats(1, 8), units=st.integers(1, 8),
    floor=st.none() | st.integers(1, 20), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_plan_is_aligned_within_its_limits_or_it_is_refused(
    noise: float, start: int, level: float, units: int, floor: int | None, confidence: float
) -> None:
    work = workload(soft={"units": units}, risk={"confidence": confidence})
    result = plan(work, noise=noise, start=start, level=level, floor=floor)
    if not isinstance(result, ShapingPlan):
        assert result.counter_proposal.earliest_effective_at or result.counter_proposal.relax
        return
    assert result.price.shaped.misaligned <= 1 - confidence + 1e-9
    before = [step for step in result.steps if step.due_at < result.effective_at]
    assert all(step.verified_by <= result.effective_at for step in before)
    assert all(step.to_units - step.from_units in range(units + 1) for step in result.steps)
    at = result.slot_at(result.effective_at)
    assert at is not None and at.serving >= result.aligned_units
    assert floor is None or floor >= result.aligned_units or before


def test_the_plan_is_a_function_of_its_inputs() -> None:
    assert drawn(noise=0.1).hash == drawn(noise=0.1).hash
    assert drawn(noise=0.1).hash != drawn(noise=0.1, start=9).hash


def test_an_effective_time_that_is_past_is_an_input_error() -> None:
    with pytest.raises(InputError, match="set a later effective_at"):
        plan(to_be=change(effective_at=NOW))


def test_demand_that_ends_too_early_is_said() -> None:
    with pytest.raises(ValueError, match="horizon_slots"):
        plan(now=NOW - timedelta(minutes=10))


@pytest.mark.parametrize(
    ("from_hour", "to_be", "said"),
    [
        pytest.param(14, {}, ("from 24 Nov 14:00 UTC on demand needs up to 48 units", "max_units of its limits is 40"),
                     id="after the plan's end"),
        pytest.param(12, entitlement(max_units=30), (), id="not where it is just enough"),
        pytest.param(14, entitlement(max_units=30),
                     ("from 24 Nov 14:00 UTC on demand needs up to 48 units", "the policy's ceiling is 30"),
                     id="the policy's own ceiling"),
    ],
)  # fmt: skip
def test_that_more_is_needed_later_than_may_be_had_is_said(from_hour: int, to_be: Any, said: tuple[str, ...]) -> None:
    work, to_come = workload(), change(**to_be)
    paths = demand(work, to_come)
    peak = paths.index.first_from(NOW.replace(hour=from_hour, minute=0))
    for of in (*paths.with_change.values(), *paths.without_change.values()):
        of[:, peak : peak + 6] *= 4.0 if from_hour > 12 else 2.5
    result = draw_plan(Draft(to_come, work, paths, Start(8, None), Clock(NOW, NOW)), {})
    assert isinstance(result, ShapingPlan)
    assert result.preflight == ((f"{said[0]} (95 % quantile), but {said[1]}",) if said else ())
