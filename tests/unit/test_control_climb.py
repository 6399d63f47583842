"""A correction on the way up: how far it goes, and what becomes of the steps that it has made already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from forebay.control.arrival import arrival
from forebay.control.decide import Ask, Decision, Hold, Verified, View, Wait, decide
from forebay.domain.allocation import Lever
from forebay.domain.freeze import FreezeWindow
from forebay.domain.lifecycle import ChangeState
from tests.support.world import (
    MINUTE,
    NOW,
    World,
    a_plan,
    a_request,
    a_workload,
    count,
    flat,
    floor,
    minutes,
)
from tests.unit.test_control_decide import PASSED, POLL, asked, capped, cores, records, target, view, wrote

S = ChangeState
CLIMB = a_plan(((1, 4, 6), (7, 6, 8)), demand=flat(2))
CORRECTED = PASSED | {"asked_units": 8, "corrections": 1, "passed_at": minutes(6)}
FAIR = FreezeWindow(start=NOW, end=minutes(30), reason="fair")


def high(at: float, **more: Any) -> View:
    """The first step serves, and usage asks for 7 units; the second, to 8, is due at 09:07."""
    return view(at, asked(serving=2), plan=CLIMB, **({"usage": cores(2.8)} | more))


def made(at: float, **more: Any) -> View:
    """A correction of the first step has brought the 8 units of the second."""
    given: Mapping[str, Any] = {"usage": cores(2), "target": target(count(8)), "intents": [wrote(count(8), at=6)]}
    return view(at, CORRECTED, plan=CLIMB, **(given | more))


ROWS: dict[str, tuple[View, type[Decision], str]] = {
    "as far as the step it would put off": (high(6), Ask, "6 to 8 units within the plan"),
    "not as far as one that a freeze window keeps": (high(6, freezes=[FAIR]), Ask, "6 to 7 units within the plan"),
    "made, and judged on what was seen last": (made(9), Verified, "pass: cpu binds: 2 cores, 25%"),
    "made, and below plan": (made(9, usage=cores(1)), Verified, "low: "),
    "made, a moment after the move": (made(7), Verified, "pass: "),
    "made, but not due": (made(6.5), Wait, "step 2 is due at 09:07:00"),
    "made, in a freeze window": (made(9, freezes=[FAIR]), Verified, "pass: "),
    "made, and an alarm": (made(12, alarms=["p99"]), Wait, "step 2 waits: alarm p99 in ALARM"),
    "made, and another deployment is under way": (
        made(9, target=target(count(8), problems=["a deployment is under way"])),
        Verified,
        "pass: ",
    ),
    "made, and nothing is measured": (made(9, usage={}), Wait, "no_data: "),
    "made, and nothing is measured for long": (made(12, usage={}), Hold, "no_data: "),
    "made, and demand is above it": (made(12, usage=cores(4)), Ask, "correction: cpu 4 cores"),
    "made, and demand is above it within the dwell": (made(9, usage=cores(4)), Wait, "the dwell allows a correction"),
    "made in part": (
        made(12, target=target(count(7)), intents=[wrote(count(7), at=6)]),
        Ask,
        "cpu binds",
    ),
    "made, and a unit was lost": (made(12, target=target(count(8), serving=7)), Ask, "cpu binds"),
    "another hand's units are none of ours": (
        made(12, target=target(floor(8), desired=8), intents=[]),
        Ask,
        "cpu binds",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_decide(name: str) -> None:
    seen, kind, words = ROWS[name]
    decision = decide(seen, POLL)
    assert type(decision) is kind
    assert words in decision.reason


def test_it_takes_along_no_more_than_is_allowed() -> None:
    decision = decide(high(6, approved_units=7), POLL)
    assert isinstance(decision, Ask) and decision.units == 7
    decision = decide(high(6, change=capped(30)), POLL)
    assert isinstance(decision, Ask) and decision.units == 8


def test_what_a_correction_has_made_takes_no_time_of_its_own() -> None:
    plan = a_plan(((1, 4, 6), (7, 6, 8)), demand=flat(2), effective_at=minutes(11))
    steps = records(asked(at=6, units=8, serving=6.5, corrections=1), plan=plan)
    foreseen = arrival(a_workload(), plan, steps, minutes(7))
    assert foreseen is not None and not foreseen.late, foreseen


@pytest.mark.parametrize("lever", Lever)
@pytest.mark.parametrize(
    ("moves", "demand_until", "asked_for", "effective_at", "dwell"),
    [
        pytest.param(((1, 4, 6), (7, 6, 8), (13, 8, 10)), 8, [6, 8, 10], 17, 5, id="a burst in a tight climb"),
        pytest.param(((1, 4, 6), (20, 6, 8)), 18, [6, 8], 24, 15, id="the last step, and a long dwell"),
    ],
)
def test_a_climb_is_in_time_with_a_correction_in_it(
    lever: Lever, moves: Any, demand_until: float, asked_for: list[int], effective_at: float, dwell: int
) -> None:
    limits = {"min_units": 1, "max_units": 20, "soft": {"units": 2, "dwell": f"PT{dwell}M"}}
    plan = a_plan(moves, effective_at=minutes(effective_at), demand=flat(2))
    busy = flat(2.9)
    with World(
        a_workload(limits=limits), lever=lever, demand=lambda at: (busy if at < minutes(demand_until) else flat(2))(at)
    ) as world:
        world.submit(a_request(effective_at=minutes(effective_at)), plan)
        world.run_until(minutes(effective_at + 1))
        assert world.asked() == asked_for
        assert world.store.versions("acme", "quota")[-1].in_force_from == minutes(effective_at)
        assert not world.told("expected late")


def test_a_step_that_is_made_is_looked_at_however_late_its_run_is() -> None:
    """An hour without a runner, and demand has doubled: what was verified before says nothing of it."""
    limits = {"min_units": 1, "max_units": 20, "soft": {"units": 2, "dwell": "PT15M"}}
    plan = a_plan(((1, 4, 6), (20, 6, 8)), effective_at=minutes(100), demand=flat(2))
    demand = {0: flat(2.9), 1: flat(2), 2: flat(4.6)}
    with World(
        a_workload(limits=limits), demand=lambda at: demand[(at >= minutes(18)) + (at >= minutes(30))](at)
    ) as world:
        world.submit(a_request(effective_at=minutes(100)), plan)
        world.clock.sleep(MINUTE)
        world.drive()
        assert world.steps()[0].passed_at and world.asked() == [6, 8] and world.clock.now() < minutes(20)
        world.clock.sleep(minutes(70) - world.clock.now())
        world.drive()
        assert world.asked()[:3] == [6, 8, 10] and "correction 2 asked" in world.actions()
