"""A step down to a ceiling that comes with the policy: it looks first, and what it took comes back while it may."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.control.decide import Ask, Decision, Hold, View, Wait, decide
from forebay.domain.allocation import Lever, Setting
from forebay.domain.lifecycle import ChangeState
from forebay.domain.resources import Resource
from tests.support.cloud import Demand
from tests.support.world import EFFECTIVE, World, a_plan, a_request, count, flat, minutes
from tests.unit.test_control_decide import DOWN, POLL, asked, capped, cores, target, view, wrote

pytestmark = pytest.mark.slow

S = ChangeState
BOTH = pytest.mark.parametrize("lever", list(Lever))


def due(at: float, **more: Any) -> View:
    """The first step down, from 8 to 6 units; from the effective time on it is one that has waited only since then."""
    record = capped(4)
    record = record.model_copy(update={"updated_at": EFFECTIVE}) if minutes(at) >= EFFECTIVE else record
    return view(at, plan=DOWN, target=target(count(8)), change=record, **more)


ROWS: dict[str, tuple[View, type[Decision], str]] = {
    "there is room": (due(2, usage=cores(2)), Ask, "cpu binds"),
    "no data is waited for": (due(2), Wait, "step 1 would leave 6 units: no_data: no data for cpu"),
    "no data for long": (due(7), Hold, "step 1 would leave 6 units: no_data: no data for cpu"),
    "no data of one resource": (due(2, usage={Resource.MEMORY: 1}), Wait, "no data for cpu"),
    "demand needs what is there": (due(2, usage=cores(5)), Wait, "step 1 would leave 6 units: high: cpu at 83%"),
    "for long": (due(7, usage=cores(5)), Hold, "step 1 would leave 6 units: high: cpu at 83%"),
    "from the effective time on the ceiling has the say": (due(31, usage=cores(5)), Ask, "cpu binds"),
    "but not without data": (due(31), Wait, "no_data"),
    "high on what was left: it comes back": (
        view(
            15,
            asked(at=8, units=4, serving=9),
            plan=a_plan(((7, 6, 4),), start=8, demand=flat(2)),
            target=target(count(4)),
            intents=[wrote(count(6), old=count(8)), wrote(count(4), at=8, old=count(6))],
            change=capped(4),
            usage=cores(4),
        ),
        Ask,
        "4 to 6 units within the soft limit",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_decide(name: str) -> None:
    seen, kind, words = ROWS[name]
    decision = decide(seen, POLL)
    assert type(decision) is kind and words in decision.reason
    assert not isinstance(decision, Hold) or decision.lapses, "it goes on by itself"


def test_a_floor_that_falls_under_a_ceiling_takes_nothing_away() -> None:
    """After a peak the autoscaler keeps what demand needs, and its room: 8 units may run, and 9 are allowed."""
    stands = Setting(lever=Lever.FLOOR, floor=8, ceiling=20)
    decision = decide(view(2, plan=DOWN, target=target(stands), change=capped(9)), POLL)
    assert isinstance(decision, Ask) and decision.setting == stands.model_copy(update={"floor": 6})


def a_world(lever: Lever, demand: Demand, forecast: float = 3) -> World:
    """8 units serve, and go to 6 and 4 ahead of a policy that allows no more."""
    world = World(units=8, lever=lever, demand=demand)
    plan = a_plan(((10, 8, 6), (20, 6, 4)), start=8, demand=flat(forecast))
    world.submit(a_request(entitlements=[{"workload": "web", "max_units": 4}]), plan)
    return world


@BOTH
def test_no_step_down_without_data(lever: Lever) -> None:
    with a_world(lever, flat(3)) as world:
        world.cloud.services["web"].metrics = False
        world.run_until(minutes(18))
        assert (world.state, world.record().lapses, world.asked()) == (S.HELD, True, [])
        world.cloud.services["web"].metrics = True
        world.run_until(minutes(29))
        first = world.cloud.ours()[0].after
        assert (first.ceiling or first.count) == 6


@BOTH
def test_no_step_down_leaves_less_than_demand_needs(lever: Lever) -> None:
    with a_world(lever, flat(4), forecast=4) as world:
        world.run_until(minutes(29))
        assert world.cloud.services["web"].state(world.clock.now()).serving == 6, "4 cores fill 4 units"
        assert (world.state, world.record().lapses) == (S.HELD, True)
        assert world.record().note.startswith("step 2 would leave 4 units: high: cpu at 100%")


@BOTH
def test_demand_that_comes_after_a_step_down_has_its_units_back_until_the_policy_is_due(lever: Lever) -> None:
    with a_world(lever, lambda at: cores(3 if at < minutes(10.2) else 4)) as world:
        world.run_until(minutes(29))
        assert world.cloud.services["web"].state(world.clock.now()).serving == 8
        writes = [write.after for write in world.cloud.ours()]
        assert [max(setting.units, setting.ceiling or 0) for setting in writes] == [6, 8]
        assert (world.state, world.record().lapses) == (S.HELD, True)
