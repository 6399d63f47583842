"""Alarms that the operator names: before a step they are waited for, at its verdict they hold the change."""

from __future__ import annotations

import pytest

from forebay.app.people import resume
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, World, a_plan, a_request, a_workload, minutes

pytestmark = pytest.mark.slow

S = ChangeState
WATCHED = a_workload(alarms=["errors high", "latency"])


def test_an_alarm_before_a_step_is_waited_for() -> None:
    with World(WATCHED) as world:
        world.cloud.services["web"].alarms = ("errors high",)
        world.clock.at(minutes(6), lambda: setattr(world.cloud.services["web"], "alarms", ()))
        world.submit()
        world.run_until(minutes(60))
        assert minutes(6) <= world.cloud.ours()[0].at < minutes(7)
        assert (world.asked(), world.state) == ([6, 8], S.CLOSED)
        assert world.version_at(EFFECTIVE) == 1


@pytest.mark.parametrize("alarms", [("latency",), ("errors high", "latency")])
def test_an_alarm_at_the_verdict_is_an_error_that_holds_and_names_it(alarms: tuple[str, ...]) -> None:
    with World(WATCHED) as world:
        world.submit()
        world.clock.at(minutes(2), lambda: setattr(world.cloud.services["web"], "alarms", alarms))
        world.run_until(minutes(5))
        assert world.state is S.HELD
        assert world.record().note.startswith(f"error: alarm{'s' * (len(alarms) > 1)} {', '.join(alarms)} in ALARM")
        world.cloud.services["web"].alarms = ()
        resume(world.ctx, "CHG-1", "bob", "the release was rolled back")
        world.run_until(minutes(60))
        assert (world.asked(), world.state) == ([6, 8], S.CLOSED)


def test_an_alarm_that_keeps_a_step_of_a_policy_in_force_waiting_is_told_once() -> None:
    with World(WATCHED) as world:
        world.submit(a_request(settle="PT3H"), a_plan(((1, 4, 6), (7, 6, 8), (40, 8, 10)), aligned=8))
        world.run_until(minutes(35))
        world.cloud.services["web"].alarms = ("latency",)
        world.run_until(minutes(90))
        told = [(e.workload, e.reason) for e in world.people.events if e.action == "in trouble"]
        assert told == [("web", "step 3 waits: alarm latency in ALARM")]
        world.cloud.services["web"].alarms = ()
        world.run_until(minutes(120))
        assert (world.state, world.asked()) == (S.SETTLING, [6, 8, 10])


def test_what_no_workload_names_is_not_asked_for() -> None:
    with World(a_workload()) as world:
        world.cloud.services["web"].alarms = ("errors high",)
        world.submit()
        world.run_until(minutes(60))
        assert world.state is S.CLOSED
