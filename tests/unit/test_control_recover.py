"""A hold for want of what may come by itself ends by itself once that is there; any other waits for a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from forebay.app.approvals import approve
from forebay.app.context import CONTROLLER
from forebay.app.look import look
from forebay.app.people import hold
from forebay.app.status import change_status
from forebay.control.decide import Hold, View, recovered
from forebay.domain.lifecycle import ChangeState
from forebay.web.words import next_step
from tests.support.cloud import ModelService
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, a_workload, count, flat, minutes

pytestmark = pytest.mark.slow

S = ChangeState


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
    held = next(e.reason for e in world.people.events if e.action == "held")
    assert held.endswith("; it goes on by itself once that is there")
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
    assert (world.state, world.asked(), world.record().lapses) == (S.HELD, [6], False)
    assert world.record().note.startswith("changed by another: web stands at count 7")
    assert [e.action for e in world.people.events].count("held") == 2, "and people are told that it is theirs now"


def test_another_hand_under_a_write_whose_answer_was_lost_is_not_gone_on_over(world: World) -> None:
    """Nothing was ours yet, so nothing but the open write tells of the other hand."""
    world.submit()
    world.cloud.effect = lambda name: no_cloud(world, True) if name == "before the write" else None
    world.run_until(minutes(13))
    assert world.state is S.HELD and world.record().lapses
    assert [i.outcome for i in world.intents()] == [None]
    world.cloud.effect = lambda name: None
    no_cloud(world, False)
    world.cloud.set("web", count(5), foreign=True)
    world.run_until(minutes(29))
    assert (world.state, world.asked(), world.record().lapses) == (S.HELD, [], False)
    assert "changed by another while a write of count 6 was open" in world.record().note


def test_what_looks_well_and_is_held_again_is_left_alone_for_longer_each_time(world: World) -> None:
    """Reads work, writes do not."""
    world.submit()
    world.cloud.faults.extend(["throttled"] * 10_000)
    world.run_until(EFFECTIVE)
    held = [e.at for e in world.people.events if e.action == "held"]
    pauses = [later - earlier for earlier, later in pairwise(held)]
    assert len(held) == 3 and pauses[1] >= pauses[0] + 4 * MINUTE


def test_an_approval_that_counts_no_more_is_for_a_person(world: World) -> None:
    careful: dict[str, Any] = {"name": "careful", "approval": {"approvers": ["bob"]}}
    world.put_rules(rules=[careful])
    few_units(world, True)
    world.submit()
    approve(world.ctx, "CHG-1", "bob", "fine")
    world.run_until(minutes(13))
    assert world.state is S.HELD and world.record().lapses
    world.put_rules(rules=[careful | {"approval": {"approvers": ["eve"]}}])
    few_units(world, False)
    world.run_until(minutes(20))
    assert (world.state, world.record().lapses) == (S.HELD, False)
    assert world.record().note.startswith("its approval does not count any more")


def test_what_is_asked_of_people_meanwhile_is_not_hidden_by_an_alarm() -> None:
    with World(a_workload(alarms=["errors"])) as world:
        a_deployment(world, True)
        world.submit()
        world.run_until(minutes(9))
        service(world).alarms = ("errors",)
        world.run_until(minutes(29))
        assert world.state is S.HELD
        assert [e.action for e in world.people.events].count("held") == 1


def test_while_the_cloud_is_away_it_is_still_said_that_it_comes_too_late(world: World) -> None:
    few_units(world, True)
    world.submit()
    world.run_until(minutes(8))
    no_cloud(world, True)
    world.run_until(EFFECTIVE - MINUTE)
    assert "expected late" in world.actions()


@pytest.mark.parametrize("barred", ["a freeze", "another's turn"])
def test_enforcing_breaks_through_missing_units_only(barred: str) -> None:
    rule = {"name": "r", "break_glass": ["ann"]}
    freeze = {"start": minutes(50).isoformat(), "end": minutes(120).isoformat(), "reason": "quarter's end"}
    at = minutes(60)
    with World(a_workload(), a_workload("api")) as world:
        world.put_rules(rules=[rule])
        if barred == "another's turn":
            world.submit()
            hold(world.ctx, "CHG-1", "bob", "wait")
        world.cloud.services["api"].arrives = 5
        request = a_request("api", change="CHG-2", on_misalignment="enforce", effective_at=at)
        plan = a_plan([(31, 4, 6), (37, 6, 8)], change="CHG-2", workload="api", effective_at=at)
        assert world.submit(request, plan).state is S.SCHEDULED
        if barred == "a freeze":
            world.put_rules(rules=[rule], freezes=[freeze])
        world.run_until(at - MINUTE)
        assert world.record("CHG-2").lapses
        world.run_until(at + 5 * MINUTE)
        assert world.version_at(world.clock.now()) is None
        assert "GLASS BROKEN" not in world.actions("CHG-2")


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
    assert isinstance(recovered(view, poll), Hold)
    there = replace(view, target=view.target.model_copy(update={"serving": 6, "stable": True}))
    assert recovered(there, poll) == "6 units serve, 6 asked"
