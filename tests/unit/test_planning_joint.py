"""One path that carries several changes: what each needs serves, verified, at that change's own effective time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.domain.plan import PlanRefusal
from forebay.planning.problem import Promise
from tests.support.planning_cases import EFFECTIVE, NOW, change, drawn, moves, plan, refused, workload

SOON = NOW + timedelta(minutes=28)


def earlier(units: int, at: datetime) -> list[Promise]:
    return [Promise("CHG-0", at, units)]


def test_each_has_its_units_at_its_own_time_and_each_step_says_for_whom() -> None:
    result = drawn(start=8, promises=earlier(10, EFFECTIVE - timedelta(hours=1)))
    assert moves(result) == [("10:45", 8, 10), ("11:45", 10, 12)]
    first, then = (step.reason.text for step in result.steps)
    assert first.startswith("CHG-0 needs 10 units, verified, at 24 Nov 11:00 UTC: +2 units")
    assert then.startswith("cpu binds at 24 Nov 12:00 UTC")


def test_at_one_time_one_climb_serves_both() -> None:
    alone, both = drawn(start=8), drawn(start=8, promises=earlier(10, EFFECTIVE))
    assert moves(both) == moves(alone)


def test_what_one_path_cannot_bring_is_refused_with_the_time_that_would_do() -> None:
    """In 28 minutes there are two moves of 3 units; what the earlier change awaits at 9:24 bars the second."""
    fields: dict[str, Any] = {"start": 7, "to_be": change(effective_at=SOON)}
    refusal = refused(workload(), promises=earlier(10, SOON - timedelta(minutes=6)), **fields)
    at = refusal.counter_proposal.earliest_effective_at
    assert at is not None and at > SOON
    fields["to_be"] = change(effective_at=at)
    assert drawn(workload(), promises=earlier(10, SOON - timedelta(minutes=6)), **fields).steps


@given(
    before=st.integers(0, 12), units=st.integers(2, 16), start=st.integers(4, 14), most=st.integers(1, 4),
    floor=st.none() | st.integers(1, 14), autoscaled=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_promise_is_kept(
    before: int, units: int, start: int, most: int, floor: int | None, autoscaled: bool
) -> None:
    at = EFFECTIVE - timedelta(minutes=5 * before)
    result = plan(
        workload(soft={"units": most}), start=start, floor=floor, promises=earlier(units, at),
        autoscaled=autoscaled and floor is not None,
    )  # fmt: skip
    if isinstance(result, PlanRefusal):
        return
    made = [step for step in result.steps if step.due_at < at]
    assert all(step.verified_by <= at for step in made)
    held = result.start_units if floor is None else floor
    held = made[-1].to_units if made else held
    assert min([held, *(s.to_units for s in result.steps if s.due_at >= at)]) >= units


@pytest.mark.parametrize("floor", [3, 9])
def test_a_floor_is_raised_by_the_time_of_whoever_needs_it_first(floor: int) -> None:
    """12 units stand already: nothing must be added, but an autoscaler may drop what no floor holds."""
    at = EFFECTIVE - timedelta(hours=1)
    result = drawn(start=12, floor=floor, promises=earlier(9, at))
    first = result.steps[0]
    assert (first.verified_by <= at) == (floor < 9)


def test_what_cannot_be_brought_for_another_in_time_is_said_of_it() -> None:
    """At 12:00 all would be there: what is out of reach is the other's, at 9:24."""
    refusal = refused(workload(), start=7, promises=earlier(12, SOON - timedelta(minutes=6)))
    assert refusal.reason == (
        "CHG-0 needs 12 units, verified, at 24 Nov 09:24 UTC, but from 7 units only 10 are within reach "
        "in 1 move of at most 3 units and 100 %, 10 min apart"
    )
