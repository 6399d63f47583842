"""The process dies between any two effects, and a new one goes on from what it finds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from forebay.app.people import cancel
from forebay.app.wakeups import ENFORCE_HEAD_START, fall_together
from forebay.domain.allocation import Lever
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import WakeUp
from tests.support.cloud import Bomb, Crash
from tests.support.world import EFFECTIVE, MINUTE, UP, World, a_plan, a_request, a_workload, count, flat, floor, minutes

pytestmark = pytest.mark.slow

ONE_STEP = ((1, 4, 6),)
S = ChangeState


def run_through_crashes(world: World, until: float, bomb: Bomb) -> int:
    """Let everything run, starting again after a crash; returns how often it crashed."""
    world.cloud.effect = world.store.effect = bomb
    crashes = 0
    while True:
        try:
            world.run_until(minutes(until), every=2 * MINUTE)
            return crashes
        except Crash:
            crashes += 1
            bomb.defuse()


@pytest.mark.parametrize("lever", list(Lever))
@pytest.mark.parametrize("point", [*range(1, 62, 3), 80, 110, 140])
def test_crashed_anywhere_it_ends_right(lever: Lever, point: int) -> None:
    """Points 1 to about 60 lie in the first run (lease, look, intent, write, outcome, naps, verdict, arming)."""
    with World(lever=lever, demand=flat(2)) as world:
        world.submit(a_request(effective_at=minutes(16), settle="PT2M"), a_plan(ONE_STEP, demand=flat(2)))
        world.clock.sleep(MINUTE)
        assert run_through_crashes(world, 24, Bomb(point)) == 1
        assert world.state is S.CLOSED
        assert world.asked() == ([6, 1] if lever is Lever.FLOOR else [6]), "asked once, whatever was lost"
        assert all(i.outcome is not None for i in world.intents())
        assert world.version_at(minutes(16)) == 1
        assert world.version_at(minutes(16) - timedelta(microseconds=1)) is None
        assert world.sql.audit_break() is None


@pytest.mark.parametrize("lever", list(Lever))
@pytest.mark.parametrize("point", range(1, 20, 3))
def test_crashed_while_giving_back_it_gives_back(lever: Lever, point: int) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        world.submit(a_request(), a_plan(ONE_STEP, demand=flat(2)))
        world.run_until(minutes(6))
        cancel(world.ctx, "CHG-1", "ann", "not needed any more")
        assert run_through_crashes(world, 20, Bomb(point)) == 1
        assert (world.state, world.setting()) == (S.ROLLED_BACK, count(4) if lever is Lever.COUNT else floor(1))
        assert world.asked() == ([6, 1] if lever is Lever.FLOOR else [6, 4])


# One writer
def test_of_two_drivers_at_once_one_writes() -> None:
    with World() as world:
        world.submit()
        said: list[str] = []
        for second in range(0, 120, 7):
            world.clock.at(minutes(1) + timedelta(seconds=second), lambda: said.append(world.drive(holder="other")))
        world.clock.sleep(MINUTE - timedelta(seconds=20))
        world.drive(holder="first")
        assert set(said) == {"nothing to do: another run holds the workload"}
        assert world.asked() == [6]
        assert {i.fencing for i in world.intents()} == {1}


def test_a_driver_that_slept_too_long_leaves_the_workload_to_the_one_that_came_after() -> None:
    with World() as world:
        world.submit()
        world.clock.sleep(MINUTE)

        def slow_answer(name: str) -> None:
            if name == "after the write":
                world.cloud.effect = lambda _: None
                world.clock.sleep(2 * MINUTE)
                world.drive(holder="second")

        world.cloud.effect = slow_answer
        assert world.drive(holder="first") == "nothing to do: another run took the workload over"
        assert world.asked() == [6]
        assert [str(i.outcome) for i in world.intents()] == ["done"]
        assert world.steps()[0].state is StepState.PASSED


def test_a_slow_look_cannot_lead_to_a_write_after_the_lease() -> None:
    with World() as world:
        world.submit()
        world.clock.sleep(MINUTE)

        def slow_look(name: str) -> None:
            if name == "observe":
                world.cloud.effect = lambda _: None
                world.clock.sleep(2 * MINUTE)

        world.cloud.effect = slow_look
        assert world.drive() == "nothing to do: another run took the workload over"
        assert world.asked() == []
        world.run_until(EFFECTIVE)
        assert world.asked() == [6, 8]


def test_late_wake_ups_go_in_order() -> None:
    with World() as world:
        world.submit()
        world.clock.sleep(9 * MINUTE)
        assert world.drive() == "nothing to do now: step 2 is due at 09:14:00"
        world.reconcile()
        world.clock.sleep(MINUTE)
        world.reconcile()
        assert [s.attempt for s in world.steps()] == [1, 1], "the dwell is not over: no run is made in vain"
        world.clock.sleep(MINUTE)
        assert world.drive() == "every step has passed"
        assert world.asked() == [6, 8]
        first, second = world.steps()
        assert first.passed_at and second.asked_at and first.passed_at <= second.asked_at
        assert world.drive() == "change is armed: aligned and verified; in force from 2026-11-24T09:30:00+00:00"


# What the reconciler asks the scheduler for
def test_wake_ups_are_the_same_until_a_run_is_dead() -> None:
    with World() as world:
        world.submit()
        for _ in range(4):
            world.reconcile()
            world.clock.sleep(timedelta(seconds=15))
        keys = list(world.created)
        assert [world.created[k].kind for k in keys] == ["step", "step", "enforce"]
        assert [world.created[k].at for k in keys] == [
            minutes(1) - timedelta(seconds=5),
            minutes(7) - timedelta(seconds=5),
            EFFECTIVE - ENFORCE_HEAD_START,
        ]
        world.clock.sleep(timedelta(seconds=15))
        world.reconcile()
        assert list(world.created) == keys, "15 s late is not dead"
        world.clock.sleep(timedelta(seconds=15))
        world.reconcile()
        assert len(world.created) == 4 and world.steps()[0].attempt == 2
        assert world.actions()[-1] == "step 1 woken again"


def test_a_run_advances_what_falls_due_with_its_own_step_too() -> None:
    with World(a_workload("web"), a_workload("db"), a_workload("far")) as world:
        far = a_plan([(9, 4, 6)], change="CHG-3", workload="far")
        near = a_plan([(1.03, 4, 6)], change="CHG-2", workload="db")
        world.submit(a_request("web"))
        world.submit(a_request("db", change="CHG-2", policy="tier"), near)
        world.submit(a_request("far", change="CHG-3", policy="limit"), far)
        world.clock.sleep(timedelta(seconds=54))
        assert fall_together(world.ctx, "CHG-1", "web") == [("CHG-1", "web"), ("CHG-2", "db")]
        with world.sql.transaction() as tx:
            assert tx.acquire_lease("db", "another run", world.clock.now(), MINUTE)
        assert fall_together(world.ctx, "CHG-1", "web") == [("CHG-1", "web")], "another run is at it"


def cancelled(world: World, run: WakeUp) -> None:
    world.waiting.remove(run)


def retried_at_once(world: World, run: WakeUp) -> None:
    world.waiting.remove(run)
    world.run(run)


def run_again(world: World, run: WakeUp) -> None:
    world.run(run)
    world.run(run)


def deleted(world: World, run: WakeUp) -> None:
    """The scheduler has forgotten its key, and makes it anew when it is asked to."""
    world.waiting.remove(run)
    del world.created[run.key]


def test_a_run_advances_the_change_whose_turn_it_is_where_a_later_one_waits() -> None:
    with World(a_workload("web"), a_workload("db")) as world:
        world.submit(a_request("web"))
        later = a_request("web", change="CHG-2", entity="bolt", effective_at=minutes(120))
        world.submit(later, a_plan(change="CHG-2", effective_at=minutes(120)))
        world.submit(a_request("db", change="CHG-3", policy="tier"), a_plan(change="CHG-3", workload="db"))
        world.clock.sleep(timedelta(seconds=54))
        assert fall_together(world.ctx, "CHG-3", "db") == [("CHG-3", "db"), ("CHG-1", "web")]


@pytest.mark.parametrize("kind", ["step", "enforce"])
@pytest.mark.parametrize("meddled", [cancelled, retried_at_once, run_again, deleted])
def test_whatever_people_do_to_a_run_the_change_goes_on(kind: str, meddled: Callable[[World, WakeUp], None]) -> None:
    with World() as world:
        world.submit()
        world.reconcile()
        for run in [w for w in world.waiting if w.kind == kind][:1]:
            if kind == "step":
                world.clock.sleep(timedelta(seconds=20))  # it is not due yet
            else:
                world.run_until(EFFECTIVE - MINUTE)
            meddled(world, run)
        world.run_until(minutes(60))
        assert (world.state, world.asked(), world.version_at(EFFECTIVE)) == (ChangeState.CLOSED, [6, 8], 1)
        assert [v.version for v in world.enforcer.pushed] == [1]


def test_what_cannot_be_pushed_for_hours_still_has_its_steps_made() -> None:
    with World() as world:
        world.submit(None, a_plan((*UP, (35, 8, 9)), aligned=8))
        world.enforcer.failing = 1000
        world.run_until(EFFECTIVE + MINUTE)
        assert world.state is ChangeState.IN_FORCE
        world.created.clear()  # the scheduler has lost its runs
        world.waiting.clear()
        world.run_until(minutes(45))
        assert world.asked() == [6, 8, 9]


def test_a_step_under_a_living_lease_is_not_woken_again() -> None:
    with World() as world:
        world.submit()
        for seconds in range(70, 210, 10):
            world.clock.at(minutes(seconds / 60), world.reconcile)
        world.clock.sleep(MINUTE)
        world.drive()
        assert "step 1 woken again" not in world.actions()


def test_one_change_in_trouble_does_not_stand_in_anothers_way() -> None:
    with World(a_workload("web"), a_workload("db")) as world:
        world.submit(a_request("db", change="CHG-2", policy="tier"), a_plan(change="CHG-2", workload="db"))
        world.submit(a_request("web", change="CHG-1"))
        world.clock.sleep(MINUTE)
        world.drive()
        cancel(world.ctx, "CHG-1", "ann", "stop")
        world.cloud.unreachable = True
        world.reconcile()
        assert world.troubles == ["the cloud does not answer"]
        assert {w.change for w in world.created.values()} == {"CHG-2"}


@pytest.mark.parametrize("every", [timedelta(seconds=5), MINUTE], ids=["the loop", "the backup"])
@pytest.mark.parametrize("no_history", [False, True])
def test_a_run_that_dies_long_after_its_plan_was_drawn_is_replaced(every: timedelta, no_history: bool) -> None:
    late = minutes(120)
    with World(demand=flat(2)) as world:
        world.submit(a_request(effective_at=late), a_plan(((1, 4, 6), (80, 6, 8)), effective_at=late, demand=flat(2)))
        world.run_until(minutes(79))
        world.cloud.no_history = no_history
        world.waiting.clear()
        world.run_until(minutes(90), every=every)
        assert "step 2 woken again" in world.actions()
        assert (world.state, world.setting().units) == (S.ARMED, 8)


def test_a_run_that_is_retried_while_its_first_process_lives_on_is_no_second_writer() -> None:
    """The first hangs in its call; nothing may be settled or given back under it as if it had never been made."""
    with World(lever=Lever.FLOOR, demand=flat(2)) as world:
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.clock.sleep(MINUTE)
        second: list[str] = []

        def hangs(name: str) -> None:
            if name == "before the write" and not second:
                world.clock.at(world.clock.now() + MINUTE / 60, lambda: cancel(world.ctx, "CHG-1", "ann", "stop"))
                second.append(world.drive(holder="run 7"))
                world.clock.sleep(timedelta(seconds=5))
                world.reconcile()

        world.cloud.effect = hangs
        world.drive(holder="run 7")
        assert second == ["nothing to do: another run holds the workload"]
        world.run_until(minutes(60))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, floor(1))
