"""Whole lives of a change on virtual time: from received to closed, and each way it can end before."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from threading import Event

import pytest

from forebay.domain.allocation import Lever
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.resources import Resource
from tests.support.world import (
    EFFECTIVE,
    MINUTE,
    NOW,
    Recorder,
    World,
    a_plan,
    a_request,
    a_workload,
    count,
    flat,
    floor,
    minutes,
)

pytestmark = pytest.mark.slow

JUST_BEFORE = EFFECTIVE - timedelta(microseconds=1)
BOTH = pytest.mark.parametrize("lever", list(Lever))
S = ChangeState


@BOTH
def test_a_change_lives_from_received_to_closed(lever: Lever) -> None:
    with World(lever=lever) as world:
        world.submit()
        world.run_until(minutes(60), every=MINUTE / 2)
        actions = world.actions()
        assert [a for a in actions if a != "write done"] == [
            "received",
            "policy version stored",
            "plan stored",
            "planned",
            "scheduled",
            "original recorded",
            "step 1 asked",
            "shaping",
            "step 1 serving",
            "step 1 verified",
            "step 2 asked",
            "step 2 serving",
            "step 2 verified",
            "policy version armed",
            "armed",
            "in force",
            "pushed to record",
            "settling",
            "replan refused",  # this world has no history from which to learn what the impact was
            "settling verified",
            *(["give back asked", "give back verified"] if lever is Lever.FLOOR else []),
            "closed",
        ]
        assert world.asked() == ([6, 8, 1] if lever is Lever.FLOOR else [6, 8])
        assert [(w.at - NOW) // MINUTE for w in world.cloud.ours()][:2] == [1, 7]
        assert world.version_at(JUST_BEFORE) is None
        assert world.version_at(EFFECTIVE) == 1
        assert len(world.enforcer.pushed) == 1
        assert world.troubles == []


@BOTH
def test_a_raised_floor_is_handed_back_and_a_count_is_the_new_normal(lever: Lever) -> None:
    with World(lever=lever) as world:
        world.submit()
        world.run_until(minutes(60))
        service = world.cloud.services["web"]
        assert world.setting() == (floor(1) if lever is Lever.FLOOR else count(8))
        assert service.state(world.clock.now()).serving == 8, "the demand came and keeps what serves"


@pytest.mark.parametrize("drive_at", [0, 3, 12])
def test_each_step_has_its_pass_before_the_next_is_asked(world: World, drive_at: int) -> None:
    world.submit()
    world.clock.sleep(drive_at * MINUTE)
    while any(s.state is not StepState.PASSED for s in world.steps()):
        world.drive()
        world.clock.sleep(MINUTE)
    first, second = world.steps()
    assert first.passed_at is not None and second.asked_at is not None
    assert first.passed_at <= second.asked_at
    assert second.asked_at - world.cloud.ours()[0].at >= 5 * MINUTE, "the dwell"


@BOTH
def test_no_step_needed(lever: Lever) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        if lever is Lever.FLOOR:
            world.cloud.set("web", floor(4), foreign=True)
        world.submit(a_request(), a_plan((), demand=flat(2)))
        world.run_until(minutes(60))
        assert world.state is S.CLOSED
        assert world.asked() == []
        assert (world.version_at(JUST_BEFORE), world.version_at(EFFECTIVE)) == (None, 1)


def test_two_workloads_are_armed_together_or_not_at_all() -> None:
    with World(a_workload("web"), a_workload("db")) as world:
        world.cloud.services["db"].arrives = 7
        later = a_plan(((13, 4, 6), (19, 6, 8)), workload="db")
        world.submit(a_request("web", "db"), a_plan(workload="web"), later)
        world.run_until(minutes(50))
        assert world.asked("web") == [6, 8]
        assert [s.state for s in world.steps(workload="web")] == [StepState.PASSED] * 2
        assert world.state is S.HELD
        assert world.version_at(minutes(50)) is None

    with World(a_workload("web"), a_workload("db")) as world:
        world.submit(a_request("web", "db"), a_plan(workload="web"), a_plan(workload="db"))
        world.run_until(minutes(60))
        assert world.state is S.CLOSED
        assert world.version_at(EFFECTIVE) == 1


@BOTH
def test_an_entitlements_ceiling_lowers_within_the_soft_limits(lever: Lever) -> None:
    work = a_workload()
    with World(work, lever=lever, units=8, demand=flat(2)) as world:
        if lever is Lever.FLOOR:
            world.cloud.services["web"].setting = floor(8)
        request = a_request(impacts=[], entitlements=[{"workload": "web", "max_units": 4}])
        plan = a_plan(((1, 8, 6), (7, 6, 4)), aligned=4, start=8, demand=flat(2))
        world.submit(request, plan)
        world.run_until(EFFECTIVE + MINUTE)
        assert world.state is S.SETTLING
        desired = [(w.desired, world_units(w.after)) for w in world.cloud.ours()]
        assert desired == [(8, 6), (6, 4)]
        world.run_until(minutes(60))
        assert (world.state, world_units(world.setting())) == (S.CLOSED, 4), "the policy is in force, and stays"


def world_units(setting: object) -> int:
    """The most this setting lets run."""
    assert hasattr(setting, "ceiling") and hasattr(setting, "units")
    return int(setting.units if setting.ceiling is None else setting.ceiling)


@BOTH
def test_an_entitlements_floor_raises(lever: Lever) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        request = a_request(impacts=[], entitlements=[{"workload": "web", "min_units": 6}])
        world.submit(request, a_plan(((1, 4, 6),), demand=flat(2)))
        world.run_until(EFFECTIVE + MINUTE)
        assert world.state is S.SETTLING
        assert world.setting().units == 6
        world.run_until(minutes(60))
        assert (world.state, world.setting().units) == (S.CLOSED, 6), "the policy is in force, and stays"


def test_a_freeze_window_inside_the_delay_is_waited_out(world: World) -> None:
    world.submit()
    world.put_rules(freezes=[{"start": NOW, "end": minutes(10), "reason": "trade fair"}])
    world.run_until(minutes(9.9))
    assert world.steps()[0].attempt == 1, "no run is made in vain"
    world.run_until(minutes(60))
    assert minutes(10) <= world.cloud.ours()[0].at <= minutes(11)
    assert world.state is S.CLOSED


def test_no_policy_takes_force_inside_a_freeze_window(world: World) -> None:
    world.submit()
    world.put_rules(freezes=[{"start": minutes(25), "end": minutes(40), "reason": "trade fair"}])
    world.run_until(minutes(39))
    assert world.version_at(minutes(39)) is None
    world.run_until(minutes(45))
    assert world.version_at(minutes(41)) == 1


# Enforcing
@pytest.mark.parametrize("late", [0, 1, 120])
def test_enforced_late_or_twice_is_enforced_once(world: World, late: int) -> None:
    world.submit()
    world.run_until(minutes(28))
    world.clock.sleep(EFFECTIVE + timedelta(seconds=late) - world.clock.now())
    for _ in range(3):
        world.enforce()
    assert world.actions().count("in force") == world.actions().count("settling") == 1
    assert len(world.enforcer.pushed) == 1
    assert (world.version_at(JUST_BEFORE), world.version_at(EFFECTIVE)) == (None, 1)


def test_a_push_that_fails_does_not_stop_the_others_and_is_tried_again(world: World) -> None:
    bad, good = Recorder("bad", failing=3), Recorder("good")
    object.__setattr__(world.ctx, "enforcers", (bad, good))
    world.submit()
    world.run_until(minutes(28))
    world.clock.sleep(EFFECTIVE - world.clock.now())
    for _ in range(3):
        with pytest.raises(OutsideError, match="bad is away"):
            world.enforce()
        world.clock.sleep(timedelta(seconds=1))
    assert bad.failing == 2, "tried again after a pause, however often it is looked at"
    assert (world.state, len(good.pushed)) == (S.IN_FORCE, 1)
    assert world.actions().count("push to bad failed") == 1, "told once"
    world.run_until(minutes(60))
    assert (world.state, len(bad.pushed), len(good.pushed)) == (S.CLOSED, 1, 1)


@BOTH
def test_a_step_that_fails_under_a_policy_in_force_is_told_once_and_tried_again_ever_more_seldom(lever: Lever) -> None:
    grows = ((1, 4, 6), (7, 6, 8), (40, 8, 10))
    with World(lever=lever) as world:
        world.submit(a_request(settle="PT3H"), a_plan(grows, aligned=8))
        world.run_until(minutes(35))
        world.cloud.services["web"].arrives = 8
        world.cloud.services["web"].cause = "vCPU quota 8 reached"
        world.run_until(minutes(160))
        told = [e for e in world.people.events if e.action == "in trouble"]
        assert [(e.workload, e.reason) for e in told] == [
            ("web", "8 of 10 units serve since 09:40:00: vCPU quota 8 reached")
        ]
        assert 5 < sum(action == "step 3 woken again" for action in world.actions()) < 30
        world.cloud.services["web"].arrives = 100
        world.run_until(minutes(175))
        assert (world.state, world.steps()[-1].state) == (S.SETTLING, StepState.PASSED)


def test_trouble_whose_words_are_never_the_same_is_told_by_the_hour() -> None:
    with World(demand=lambda at: {Resource.CPU: 2 if at < EFFECTIVE else 6 + at.minute / 100}) as world:
        world.submit(a_request(settle="PT3H"), a_plan(((1, 4, 6), (40, 6, 7)), aligned=6))
        world.run_until(minutes(160))
        told = [e for e in world.people.events if e.action == "in trouble"]
        assert ["high" in e.reason for e in told] == [True, True] and told[0].reason != told[1].reason


def test_the_push_is_made_ready_before_its_time_and_made_at_it(world: World) -> None:
    class Timed(Recorder):
        def prepare(self, version: object) -> None:
            times.append(("ready", world.clock.now()))
            raise OutsideError("not ready, which is for the push to say", retryable=True)

        def push(self, version: object) -> None:
            times.append(("pushed", world.clock.now()))

    times: list[tuple[str, datetime]] = []
    object.__setattr__(world.ctx, "enforcers", (Timed(),))
    world.submit()
    world.run_until(minutes(28))
    world.clock.sleep(EFFECTIVE - timedelta(seconds=5) - world.clock.now())
    world.enforce()
    assert times == [("ready", EFFECTIVE - timedelta(seconds=5)), ("pushed", EFFECTIVE)]


def test_what_is_slow_to_get_ready_does_not_make_the_push_late(world: World) -> None:
    class Slow(Recorder):
        def prepare(self, version: object) -> None:
            released.wait(10)

    released = Event()
    object.__setattr__(world.ctx, "enforcers", (Slow(),))
    world.submit()
    world.run_until(minutes(28))
    world.clock.sleep(EFFECTIVE - timedelta(seconds=0.2) - world.clock.now())
    began = time.monotonic()
    world.enforce()
    assert time.monotonic() - began < 5
    assert world.state is S.SETTLING
    released.set()


def test_a_push_that_another_run_has_made_meanwhile_is_no_error(world: World) -> None:
    class Twice(Recorder):
        def push(self, version: object) -> None:
            object.__setattr__(world.ctx, "enforcers", ())
            world.enforce()

    world.submit()
    world.run_until(minutes(28))
    world.clock.sleep(EFFECTIVE - world.clock.now())
    object.__setattr__(world.ctx, "enforcers", (Twice(),))
    assert "is in force since" in world.enforce()
    assert world.actions().count("settling") == 1
