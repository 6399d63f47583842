"""Time plays tricks: late runners, restarts, clocks that step, summer time. Every step in order, no policy early."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from forebay.app import arm
from forebay.app.replan import refresh
from forebay.domain.lifecycle import ChangeState, StepState
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, flat, minutes

pytestmark = pytest.mark.slow

S = ChangeState


def in_order(world: World) -> None:
    """Each step was made once, after the pass of the one before and a dwell after its move."""
    first, second = world.steps()
    assert first.state is second.state is StepState.PASSED
    assert first.asked_at and first.passed_at and second.asked_at
    assert first.passed_at <= second.asked_at >= first.asked_at + 5 * MINUTE
    assert world.asked() == [6, 8]


@pytest.mark.parametrize("late", [2, 9, 15])
def test_a_late_runner_makes_the_steps_in_order(late: float) -> None:
    with World() as world:
        world.submit()
        world.reconcile()
        world.clock.sleep(late * MINUTE)
        world.run_until(minutes(60))
        in_order(world)
        assert (world.state, world.version_at(EFFECTIVE)) == (S.CLOSED, 1)


def test_two_late_steps_at_once_keep_their_dwell_and_their_verdicts() -> None:
    """Both are due when the runner comes back, and the later one's run starts first."""
    with World() as world:
        world.submit()
        world.reconcile()
        world.clock.sleep(12 * MINUTE)
        world.waiting.sort(key=lambda w: -(w.sequence or 0))
        world.run_until(minutes(60))
        in_order(world)
        assert world.steps()[0].asked_at == minutes(12)


def test_late_beyond_the_effective_time_the_policy_waits_for_its_capacity() -> None:
    with World() as world:
        world.submit()
        world.clock.sleep(40 * MINUTE)
        world.run_until(minutes(80))
        in_order(world)
        assert world.version_at(minutes(47.9)) is None
        armed = next(v.armed_at for v in world.sql.versions("acme", "quota"))
        assert armed is not None and world.version_at(armed) == 1
        assert world.actions().count("deferred") == 1


@pytest.mark.parametrize("at", [0.5, 2, 6, 9, 20])
def test_after_a_restart_of_the_server_all_goes_on_from_the_store(at: float) -> None:
    """Its scheduled runs, and what the reconciler knew of them, are gone."""
    with World() as world:
        world.submit()
        world.run_until(minutes(at))
        world.waiting.clear()
        world.created.clear()
        world.run_until(minutes(60))
        in_order(world)
        assert (world.state, world.version_at(EFFECTIVE)) == (S.CLOSED, 1)


@pytest.mark.parametrize("at", [2, 5, 9, 15])
@pytest.mark.parametrize("by", [timedelta(minutes=-2), timedelta(minutes=4), timedelta(minutes=10)], ids=str)
def test_a_clock_that_steps_makes_no_step_twice_and_no_policy_early(at: float, by: timedelta) -> None:
    with World() as world:
        world.submit()
        world.clock.at(minutes(at), lambda: world.clock.step(by))
        world.run_until(minutes(60))
        first, second = world.steps()
        assert world.asked() == [6, 8]
        assert first.state is second.state is StepState.PASSED
        actions = world.actions()
        assert actions.index("step 1 verified") < actions.index("step 2 asked")
        assert (world.state, world.version_at(EFFECTIVE - MINUTE / 60)) == (S.CLOSED, None)
        assert world.version_at(EFFECTIVE) == 1


def test_set_back_over_the_effective_time_it_switches_at_that_time_again() -> None:
    """The decision point answers by the clock: set right, it is right."""
    with World() as world:
        world.submit()
        world.run_until(EFFECTIVE - MINUTE)
        world.clock.step(3 * MINUTE)
        assert world.version_at(world.clock.now()) == 1
        world.clock.step(-3 * MINUTE)
        assert world.version_at(world.clock.now()) is None
        world.run_until(minutes(60))
        assert (world.state, world.version_at(EFFECTIVE)) == (S.CLOSED, 1)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00+00:00"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00+00:00"),
        ("2027-03-28T03:00:00+02:00", "2027-03-28T01:00:00+00:00"),
    ],
    ids=["the first half past two", "the second one, an hour later", "the hour that is skipped ends"],
)
def test_at_a_change_to_or_from_summer_time_the_hour_meant_is_the_hour_kept(local: str, utc: str) -> None:
    change = a_request(effective_at=local).accepted(datetime.fromisoformat(utc) - timedelta(days=1))
    assert change.effective_at.isoformat() == utc
    assert change.effective_at.astimezone(BERLIN).isoformat() == local


def test_a_delay_over_the_change_of_summer_time_counts_hours_that_pass() -> None:
    asked_at = datetime(2026, 10, 24, 20, 0, tzinfo=BERLIN)
    change = a_request(effective_at=None, effective_in="PT12H").accepted(asked_at)
    assert change.effective_at - asked_at.astimezone(UTC) == timedelta(hours=12)
    assert f"{change.effective_at.astimezone(BERLIN):%H:%M}" == "07:00", "that night has thirteen hours"


def test_writes_are_a_dwell_apart_whatever_the_runner_does() -> None:
    with World() as world:
        world.submit()
        for minute in (1.1, 4, 6.9):
            world.clock.at(minutes(minute), lambda: world.waiting.clear())
        world.run_until(minutes(60))
        assert all(later.at - before.at >= 5 * MINUTE for before, later in pairwise(world.cloud.ours()))


def test_a_change_without_steps_takes_force_at_its_time_also_where_no_run_comes() -> None:
    with World(demand=flat(2)) as world:
        world.submit(a_request(), a_plan((), demand=flat(2)))
        while world.clock.now() < EFFECTIVE - MINUTE / 2:
            assert world.clock.now() >= EFFECTIVE - MINUTE or world.state is S.SCHEDULED, "not armed days ahead"
            world.reconcile()
            world.clock.sleep(timedelta(seconds=5))
        assert world.state is S.ARMED
        assert world.version_at(EFFECTIVE) == 1


@pytest.mark.parametrize(("at", "looks"), [(80, True), (89.6, False), (91.4, False), (92, True)])
def test_no_plan_is_drawn_anew_while_a_step_falls_due(world: World, at: float, looks: bool) -> None:
    """It would hold the workload through a forecast, and turn away the run of the step."""
    late = minutes(180)
    world.submit(a_request(effective_at=late), a_plan(((1, 4, 6), (90.5, 6, 8)), effective_at=late))
    world.run_until(minutes(10))
    world.clock.sleep(minutes(at) - world.clock.now())
    refresh(world.ctx, world.record(), "a pass")
    assert ("replan refused" in world.actions()) is looks, "no history is there to draw one from"


def test_a_step_that_is_not_verified_rejects_whether_or_not_anybody_can_look() -> None:
    with World(lag=timedelta(seconds=150)) as world:
        world.submit(a_request(on_misalignment="reject"), a_plan(((1, 4, 6), (27, 6, 8))))

        def at_its_time_nobody_answers() -> None:
            world.cloud.unreachable = True
            arm.enforce(world.ctx, "CHG-1")
            world.cloud.unreachable = False

        world.clock.at(EFFECTIVE, at_its_time_nobody_answers)
        world.run_until(minutes(60))
        assert world.state is S.CANCELLED and world.version_at(minutes(60)) is None


@pytest.mark.parametrize(("lag", "in_force"), [(60, True), (75, False)])
def test_a_verdict_that_falls_due_at_the_effective_time_is_waited_for_before_all_is_rejected(
    lag: int, in_force: bool
) -> None:
    """The units serve; the run that says so and the one that enforces wake up in the same moment."""
    with World(lag=timedelta(seconds=lag)) as world:
        world.submit(a_request(on_misalignment="reject"), a_plan(((1, 4, 6), (27, 6, 8))))
        said: list[str] = []
        for late in (0, 20):
            world.clock.at(EFFECTIVE + timedelta(seconds=late), lambda: said.append(arm.enforce(world.ctx, "CHG-1")))
        world.run_until(minutes(60))
        assert said[0] == "all units serve, and it is looked at again within a minute: web: step 2 is not verified"
        assert (world.version_at(minutes(31)) == 1) is in_force
        assert (world.state is not S.CANCELLED) is in_force
