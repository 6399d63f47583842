"""A hold for want of what may come by itself ends by itself once that is there; any other waits for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from forebay.app.context import CONTROLLER
from forebay.app.look import look
from forebay.app.people import hold
from forebay.app.status import change_status
from forebay.control.decide import View, recovered
from forebay.domain.lifecycle import ChangeState
from forebay.web.words import next_step
from tests.support.cloud import ModelService
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, a_workload, count, flat, minutes

S = ChangeState


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


def service(world: World) -> ModelService:
    return world.cloud.services["web"]


def few_units(world: World, away: bool) -> None:
    service(world).arrives = 5 if away else 100


def no_metrics(world: World, away: bool) -> None:
    service(world).metrics = not away


def a_deployment(world: World, away: bool) -> None:
    service(world).problems = ("a deployment is under way",) if away else ()


def no_cloud(world: World, away: bool) -> None:
    world.cloud.unreachable = away


WANTS: dict[str, tuple[Callable[[World, bool], None], str]] = {
    "capacity": (few_units, "5 of 6 units serve since"),
    "metrics": (no_metrics, "no_data: no data for cpu"),
    "a deployment that ends": (a_deployment, "a deployment is under way"),
    "an API that answers": (no_cloud, "the cloud does not answer"),
}


@pytest.mark.parametrize("want", WANTS)
def test_what_was_waited_for_in_vain_comes_and_the_change_goes_on(world: World, want: str) -> None:
    takes_away, told = WANTS[want]
    takes_away(world, True)
    world.submit()
    world.run_until(minutes(13))
    assert world.state is S.HELD and world.record().lapses
    assert world.record().note.startswith(told)
    assert world.asked() in ([], [6])
    takes_away(world, False)
    world.run_until(minutes(29))
    assert (world.state, world.asked()) == (S.ARMED, [6, 8])
    resumed = [e for e in world.people.events if e.action == "resumed"]
    assert [(e.actor, e.reason.split(": ")[0]) for e in resumed] == [(CONTROLLER, "it goes on by itself")]
    world.run_until(EFFECTIVE + MINUTE)
    assert world.version_at(EFFECTIVE) == 1


def test_while_it_is_away_nothing_is_written_and_one_hold_is_told(world: World) -> None:
    few_units(world, True)
    world.submit()
    world.run_until(EFFECTIVE - MINUTE)
    assert (world.state, world.asked()) == (S.HELD, [6])
    assert [e.action for e in world.people.events].count("held") == 1
    said = next_step(world.record(), world.steps())[0]
    assert said == "it goes on by itself once what it waits for is there, or a person resumes or cancels it"
    expected = change_status(world.ctx, "CHG-1").workloads[0].expected
    assert expected and "at this rate the rest comes later" in expected


@pytest.mark.parametrize("on_misalignment, state", [("defer", S.HELD), ("reject", S.ROLLED_BACK)])
def test_still_held_at_its_effective_time_the_change_says_what_then(on_misalignment: str, state: S) -> None:
    with World(demand=flat(2)) as world:
        few_units(world, True)
        world.submit(a_request(on_misalignment=on_misalignment))
        world.run_until(EFFECTIVE + 20 * MINUTE)
        assert (world.state, world.version_at(world.clock.now())) == (state, None)
        assert world.actions().count("deferred") == (state is S.HELD)
        few_units(world, False)
        world.run_until(EFFECTIVE + 40 * MINUTE)
        assert world.version_at(world.clock.now()) == (1 if state is S.HELD else None)
        assert world.asked()[-1] == (8 if state is S.HELD else 4)


def test_enforced_where_it_says_so_though_it_is_held(world: World) -> None:
    world.put_rules(rules=[{"name": "r", "break_glass": ["ann"]}])
    few_units(world, True)
    world.submit(a_request(on_misalignment="enforce"))
    world.run_until(EFFECTIVE - MINUTE)
    assert world.state is S.HELD
    world.run_until(EFFECTIVE + MINUTE)
    assert world.version_at(world.clock.now()) == 1
    assert "GLASS BROKEN" in world.actions()


def test_a_person_may_make_the_hold_theirs_and_it_ends_by_them_alone(world: World) -> None:
    few_units(world, True)
    world.submit()
    world.run_until(minutes(13))
    hold(world.ctx, "CHG-1", "bob", "I want to see this")
    few_units(world, False)
    world.run_until(minutes(29))
    assert (world.state, world.record().note, world.asked()) == (S.HELD, "I want to see this", [6])


def test_another_hand_meanwhile_is_not_gone_on_over(world: World) -> None:
    few_units(world, True)
    world.submit()
    world.run_until(minutes(13))
    few_units(world, False)
    world.cloud.set("web", count(7), foreign=True)
    world.run_until(minutes(29))
    assert (world.state, world.asked()) == (S.HELD, [6])


def test_every_workload_must_have_what_it_waits_for() -> None:
    with World(a_workload(), a_workload("api")) as world:
        for one in world.cloud.services.values():
            one.arrives = 5
        plans = [a_plan(workload=name) for name in ("web", "api")]
        world.submit(a_request("web", "api"), *plans)
        world.run_until(minutes(13))
        assert world.state is S.HELD
        few_units(world, False)
        world.run_until(minutes(16))
        assert world.state is S.HELD
        world.cloud.services["api"].arrives = 100
        world.run_until(EFFECTIVE + 5 * MINUTE)
        assert (world.version_at(world.clock.now()), world.asked("web"), world.asked("api")) == (1, [6, 8], [6, 8])


def test_without_patience_only_what_is_there_is_enough(world: World) -> None:
    """The decision alone: the same view is held while units are missing and goes on once they serve."""
    few_units(world, True)
    world.submit()
    world.run_until(minutes(13))
    with world.sql.transaction() as tx:
        plan = tx.plan("CHG-1", "web")
    assert plan is not None
    view: View = look(world.ctx, world.record(), plan, world.ctx.workload("web"))
    poll = timedelta(seconds=10)
    assert recovered(view, poll) is None
    there = replace(view, target=view.target.model_copy(update={"serving": 6, "stable": True}))
    assert recovered(there, poll) == "6 units serve, 6 asked"
