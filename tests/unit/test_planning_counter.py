"""Refusals: the reason in numbers, and counter-proposals that hold when they are followed, and are the least."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.domain.freeze import FreezeWindow
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.planning.counter import _span
from forebay.planning.plan import draw_plan
from tests.support.planning_cases import EFFECTIVE, NOW, change, demand, plan, refused, workload

SOON = NOW + timedelta(minutes=28)


@pytest.mark.parametrize(
    ("fields", "reason", "relax"),
    [
        pytest.param(
            {"to_be": change(effective_at=SOON), "start": 4},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 4 units only 10 are within reach in 2 moves of at most 3 units and 100 %, 10 min apart",
            ("limits.soft.units 4 (now 3)",),
            id="too few moves",
        ),
        pytest.param(
            {"work": workload(soft={"units": 9, "percent": 30}), "to_be": change(effective_at=SOON), "start": 6},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 6 units only 9 are within reach in 2 moves of at most 9 units and 30 %, 10 min apart",
            ("limits.soft.percent 50 (now 30)",),
            id="too few percent",
        ),
        pytest.param(
            {"work": workload(soft={"dwell": "PT20M"}), "to_be": change(effective_at=SOON), "start": 8},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 8 units only 11 are within reach in 1 move of at most 3 units and 100 %, 20 min apart",
            ("limits.soft.units 4 (now 3)", "limits.soft.dwell 15 min (now 20 min)"),
            id="too long a dwell",
        ),
        pytest.param(
            {"work": workload(limits={"min_units": 2, "max_units": 10, "soft": {"units": 3}})},
            "12 units must serve, verified, at 24 Nov 12:00 UTC to carry the demand with 95 % confidence, "
            "but max_units of its limits is 10",
            ("limits.max_units 12 (now 10)",),
            id="too low a bound",
        ),
        pytest.param(
            {"to_be": change(entitlements=[{"workload": "web", "max_units": 9}])},
            "12 units must serve, verified, at 24 Nov 12:00 UTC to carry the demand with 95 % confidence, "
            "but max_units of the policy's entitlement is 9",
            ("entitlement max_units 12 (now 9)",),
            id="the policy's own ceiling",
        ),
        pytest.param(
            {"to_be": change(effective_at=SOON, entitlements=[{"workload": "web", "max_units": 14}]), "start": 24},
            "the policy's ceiling of 14 units at 24 Nov 09:30 UTC cannot be met from 24 units "
            "in 2 moves of at most 3 units and 100 %, 10 min apart",
            ("limits.soft.units 5 (now 3)", "entitlement max_units 18 (now 14)"),
            id="too far down",
        ),
        pytest.param(
            {"to_be": change(effective_at=NOW + timedelta(minutes=8))},
            "12 units must serve, verified, at 24 Nov 09:10 UTC to carry the demand with 95 % confidence, "
            "but there is no shaping point left: "
            "a step takes 10 min to be verified, and the effective time is 8 min away",
            (),
            id="too soon",
        ),
        pytest.param(
            {"to_be": change(effective_at=NOW + timedelta(minutes=8)), "start": 12, "floor": 3},
            "12 units must serve, verified, at 24 Nov 09:10 UTC to carry the demand with 95 % confidence, "
            "but there is no shaping point left: "
            "a step takes 10 min to be verified, and the effective time is 8 min away",
            (),
            id="no time to hold the floor",
        ),
        pytest.param(
            {"start": 50},
            "it stands at 50 units, above max_units 40, and a plan does not shrink it",
            ("limits.max_units 50 (now 40)",),
            id="above its own bound",
        ),
    ],
)
def test_refusals(fields: dict[str, Any], reason: str, relax: tuple[str, ...]) -> None:
    refusal = refused(**fields)
    assert refusal.reason == reason
    assert refusal.counter_proposal.relax == relax


def test_the_earliest_effective_time_is_just_late_enough() -> None:
    """From 4 to 12 in steps of 3 takes three moves, 10 minutes apart, the last verified 10 minutes later."""
    refusal = refused(to_be=change(effective_at=SOON), start=4)
    assert refusal.counter_proposal.earliest_effective_at == NOW.replace(minute=5) + timedelta(minutes=30)


def test_the_earliest_effective_time_skips_a_freeze_window() -> None:
    freeze = FreezeWindow(start=NOW + timedelta(minutes=30), end=NOW + timedelta(hours=2), reason="release")
    refusal = refused(to_be=change(effective_at=SOON), start=4, freezes=[freeze])
    assert refusal.counter_proposal.earliest_effective_at == NOW.replace(hour=11, minute=5)


def test_a_freeze_that_takes_the_points_is_named() -> None:
    freeze = FreezeWindow(start=NOW, end=EFFECTIVE, reason="release")
    assert "no shaping point left (34 slots until then lie in a freeze window)" in refused(freezes=[freeze]).reason


def test_no_time_helps_against_a_bound() -> None:
    bounded = workload(limits={"min_units": 2, "max_units": 10, "soft": {"units": 3}})
    refusal = refused(bounded)
    assert refusal.counter_proposal.earliest_effective_at is None
    assert refusal.text.endswith("What would do: limits.max_units 12 (now 10)")


def _followed(refusal: PlanRefusal, soft: dict[str, Any], fields: dict[str, Any]) -> list[Any]:
    """The results of following each proposal, one at a time."""
    results = []
    if at := refusal.counter_proposal.earliest_effective_at:
        results.append(plan(workload(soft=soft), change(effective_at=at), **fields))
    for way in refusal.counter_proposal.relax:
        name, value = way.split(" (now")[0].split(" ", 1)
        relaxed: Any = f"PT{value.removesuffix(' min')}M" if "dwell" in name else int(value)
        assert name.startswith("limits.soft."), way
        results.append(
            plan(workload(soft=soft | {name.rsplit(".", 1)[1]: relaxed}), change(effective_at=SOON), **fields)
        )
    return results


@given(
    start=st.integers(2, 12), units=st.integers(1, 4), percent=st.integers(10, 120), dwell=st.integers(2, 5),
    floor=st.none() | st.integers(1, 10),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_every_proposal_that_is_followed_gives_a_plan(
    start: int, units: int, percent: int, dwell: int, floor: int | None
) -> None:
    soft: dict[str, Any] = {"units": units, "percent": percent, "dwell": f"PT{5 * dwell}M"}
    fields: dict[str, Any] = {"start": start, "floor": floor}
    result = plan(workload(soft=soft), change(effective_at=SOON), **fields)
    if isinstance(result, PlanRefusal):
        assert result.counter_proposal.earliest_effective_at
        assert all(isinstance(again, ShapingPlan) for again in _followed(result, soft, fields))


def test_the_forecast_is_that_of_the_proposed_time() -> None:
    """Demand that only falls after 14:00 lets the change in then, although 12 units stay out of reach."""
    work, to_be = workload(limits={"min_units": 2, "max_units": 10, "soft": {"units": 3}}), change()
    falling = demand(work, to_be)
    late = falling.index.first_from(EFFECTIVE + timedelta(hours=2))
    for paths in (*falling.with_change.values(), *falling.without_change.values()):
        paths[:, late:] *= 0.5
    refusal = draw_plan(
        change=to_be, workload=work, demand=falling, start_units=8, floor=None, now=NOW, earliest=NOW,
        forecast_notes={},
    )  # fmt: skip
    assert isinstance(refusal, PlanRefusal)
    assert refusal.counter_proposal.earliest_effective_at == EFFECTIVE + timedelta(hours=2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90, "90 s"), (780, "13 min"), (3600, "1 h"), (5400, "1 h 30 min"), (0, "0 min"), (601, "10 min")],
)
def test_spans_in_words(seconds: int, text: str) -> None:
    assert _span(timedelta(seconds=seconds)) == text
