"""The rest of a change that is in force: what is not there yet comes as fast as the soft limits let it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.freeze import FreezeWindow
from forebay.domain.plan import ShapingPlan
from forebay.domain.workload import SoftLimit
from forebay.planning.problem import ShapingProblem, as_soon_as_can_be, earliest_climb
from tests.support.planning_cases import NOW, change, moves, workload
from tests.support.planning_cases import drawn as drawn_plan

SINCE = timedelta(minutes=15)
FREEZE = FreezeWindow(start=NOW, end=NOW + timedelta(minutes=20), reason="release")


def begun(settle: timedelta = timedelta(hours=2), **bounds: int) -> PolicyChange:
    """A change in force since 08:47, by break glass or because it was to be enforced whatever is there."""
    entitlements = [{"workload": "web", **bounds}] if bounds else []
    to_be = change(impacts=[{"workload": "web", "factor": 1.0}], entitlements=entitlements)
    return to_be.model_copy(update={"effective_at": NOW - SINCE, "settle": settle})


def rest(to_be: PolicyChange, **fields: Any) -> ShapingPlan:
    return drawn_plan(to_be=to_be, in_force=True, **fields)


@pytest.mark.parametrize(
    ("to_be", "fields", "expected"),
    [
        pytest.param(begun(min_units=8), {}, [], id="it is there already"),
        pytest.param(
            begun(min_units=14), {}, [("09:05", 8, 11), ("09:15", 11, 14)], id="a count below what is guaranteed"
        ),
        pytest.param(
            begun(min_units=14), {"floor": 2, "autoscaled": True}, [("09:05", 8, 11), ("09:15", 11, 14)],
            id="a floor below it, from what the autoscaler has",
        ),
        pytest.param(
            begun(min_units=8), {"start": 8, "floor": 2}, [("09:05", 8, 8)], id="the floor alone is below it"
        ),
        pytest.param(
            begun(min_units=14), {"freezes": [FREEZE]}, [("09:25", 8, 11), ("09:35", 11, 14)], id="after a freeze"
        ),
        pytest.param(
            begun(max_units=10), {"start": 14}, [("09:05", 14, 13), ("09:15", 13, 10)],
            id="above the ceiling: down by then, but no earlier than it must",
        ),
        pytest.param(
            begun(SINCE, min_units=14), {}, [("09:05", 8, 11)], id="its life ends before it is there: as near as can be"
        ),
        pytest.param(begun(SINCE, max_units=10), {"start": 14}, [("09:05", 14, 11)], id="the same, down"),
        pytest.param(begun(min_units=50), {"start": 36}, [("09:05", 36, 37), ("09:15", 37, 40)], id="max_units bounds"),
        pytest.param(begun(), {"start": 44}, [], id="above max_units nothing takes it down, and nothing is refused"),
    ],
)  # fmt: skip
def test_the_rest(to_be: PolicyChange, fields: dict[str, Any], expected: list[tuple[str, int, int]]) -> None:
    assert moves(rest(to_be, **fields)) == expected


@pytest.mark.parametrize(
    ("to_be", "fields", "text"),
    [
        pytest.param(
            begun(min_units=14), {}, "the policy guarantees 14 units from 24 Nov 08:47 UTC on: +3 units, "
            "the most the soft limit allows (3 units)", id="up",
        ),
        pytest.param(
            begun(SINCE, min_units=14), {}, "the policy guarantees 14 units from 24 Nov 08:47 UTC on: +3 units, "
            "the most the soft limit allows (3 units)", id="up, as near as can be",
        ),
        pytest.param(
            begun(SINCE, max_units=10), {"start": 14}, "the policy allows 10 units at most from 24 Nov 08:47 UTC on: "
            "-3 units, the most the soft limit allows (3 units)", id="down, as near as can be",
        ),
    ],
)  # fmt: skip
def test_the_last_step_says_what_the_policy_says(to_be: PolicyChange, fields: dict[str, Any], text: str) -> None:
    assert rest(to_be, **fields).steps[-1].reason.text == text


def test_what_a_pin_keeps_beyond_its_life_has_no_rest_to_plan() -> None:
    with pytest.raises(InputError, match="life over at 2026-11-24T08:57"):
        rest(begun(timedelta(0), min_units=14))


CLIMB = ShapingProblem(
    start=2, legal=np.arange(12) >= 1, spacing=5, lead=1, deadline=0, low=14, high=20, most=20, ceiling=None,
    soft=SoftLimit(units=1), required=np.zeros((1, 12), dtype=np.int64), unit_price=1.0, shortfall_price=0.0,
    move_price=0.1, tracked=np.array([[2, 2, 2, *[13] * 9]]), lowest=1,
)  # fmt: skip


def test_to_wait_for_what_will_stand_may_be_sooner_than_to_move_at_once() -> None:
    assert earliest_climb(CLIMB).tolist() == [2, 3, 3, *[14] * 5, *[15] * 4]
    assert as_soon_as_can_be(CLIMB, 2).deadline == 3


def test_what_stands_is_there_on_all_but_one_path_in_twenty() -> None:
    several = replace(CLIMB, tracked=np.array([[units] * 12 for units in (3, 1, *[5] * 18)]))
    one_more = replace(CLIMB, tracked=np.array([[units] * 12 for units in (3, 1, *[5] * 19)]))
    assert (set(several.standing), set(one_more.standing)) == ({1}, {3})


@given(
    start=st.integers(6, 30), floor=st.none() | st.integers(1, 20), least=st.integers(2, 24), units=st.integers(1, 6),
    autoscaled=st.booleans(), noise=st.sampled_from([0.0, 0.2]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_it_is_there_as_soon_as_the_largest_moves_from_now_on_would_have_it(
    start: int, floor: int | None, least: int, units: int, autoscaled: bool, noise: float
) -> None:
    """Told by hand: from what stands a move of `units` every ten minutes, the first at 09:05."""
    held = start if floor is None else min(floor, start)
    plan = rest(
        begun(timedelta(hours=5), min_units=least), work=workload(soft={"units": units}), start=start,
        floor=None if floor is None else held, noise=noise, autoscaled=autoscaled and floor is not None,
    )  # fmt: skip
    assert all(abs(step.to_units - step.from_units) <= units for step in plan.steps if step.to_units > step.from_units)
    climbs = max(1, -(-(least - start) // units))
    by = NOW + timedelta(minutes=3 + 10 * (climbs - 1))
    for slot in plan.slots:
        held = next((step.to_units for step in plan.steps if step.due_at == slot.at), held)
        assert slot.at < by or held >= least
