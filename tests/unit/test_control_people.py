"""What people do to a change under way: hold, resume, cancel; and what goes back then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from forebay.app.people import cancel, hold, resume
from forebay.app.pins import pin
from forebay.domain.allocation import Lever
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import Outcome
from tests.support.cloud import ApplyFault
from tests.support.world import (
    EFFECTIVE,
    MINUTE,
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

S = ChangeState
BOTH = pytest.mark.parametrize("lever", list(Lever))


def test_held_and_resumed_goes_on_where_it_stood(world: World) -> None:
    world.submit()
    world.run_until(minutes(5))
    hold(world.ctx, "CHG-1", "bob", "wait for the database")
    world.run_until(minutes(12))
    assert world.asked() == [6]
    resume(world.ctx, "CHG-1", "bob", "go on")
    world.run_until(minutes(60))
    assert world.asked() == [6, 8]
    assert (world.state, world.version_at(EFFECTIVE)) == (S.CLOSED, 1)


def test_resumed_in_the_midst_of_a_step_has_its_patience_anew(world: World) -> None:
    world.submit()
    world.clock.at(minutes(2), lambda: hold(world.ctx, "CHG-1", "bob", "wait"))
    world.run_until(minutes(20))
    world.cloud.services["web"].metrics = False
    resume(world.ctx, "CHG-1", "bob", "go on")
    seen: list[S] = []
    world.clock.at(minutes(24.5), lambda: seen.append(world.state))
    world.run_until(minutes(27))
    assert (seen, world.state) == ([S.SHAPING], S.HELD)


@BOTH
def test_a_foreign_write_holds_and_resume_adopts_it(lever: Lever) -> None:
    with World(lever=lever) as world:
        foreign = count(5) if lever is Lever.COUNT else floor(5)
        world.submit()
        world.run_until(minutes(5))
        world.cloud.set("web", foreign, foreign=True)
        world.run_until(minutes(10))
        assert world.state is S.HELD
        assert world.record().note.startswith("changed by another: web stands at")
        resume(world.ctx, "CHG-1", "bob", "5 is what we want to go on from")
        world.run_until(minutes(60))
        assert world.state is S.CLOSED
        assert world.asked()[:3] == [6, 7, 8], "from 5 within the soft limit of 2"
        assert "value of another adopted" in world.actions()


def test_a_count_raised_by_another_hand_is_not_shrunk_by_a_step_up(world: World) -> None:
    world.submit()
    world.run_until(minutes(5))
    world.cloud.set("web", count(12), foreign=True)
    world.run_until(minutes(10))
    resume(world.ctx, "CHG-1", "bob", "it may stay")
    world.run_until(minutes(60))
    assert world.asked() == [6], "what the second step asks for stands already, and counts as ours"
    assert world.steps()[1].passed_at and world.setting("web").units == 12
    assert all(s.serving_at and s.passed_at and s.serving_at <= s.passed_at for s in world.steps())
    assert world.state is S.CLOSED


def test_a_change_cancelled_while_it_is_being_resumed_does_not_adopt(world: World) -> None:
    """What stands there is another's: adopted and then given back, it would be overwritten."""
    world.submit()
    world.run_until(minutes(5))
    world.cloud.set("web", count(7), foreign=True)
    world.run_until(minutes(10))

    def cancelled_meanwhile(name: str) -> None:
        world.cloud.effect = lambda _: None
        if name == "observe":
            cancel(world.ctx, "CHG-1", "ann", "not needed any more")

    world.cloud.effect = cancelled_meanwhile
    with pytest.raises(RuleRefusal, match="has become cancelled meanwhile"):
        resume(world.ctx, "CHG-1", "bob", "go on")
    world.run_until(minutes(40))
    assert world.state is S.ROLLED_BACK
    assert world.setting() == count(7)


@pytest.mark.parametrize("lever", list(Lever))
@pytest.mark.parametrize("after", [0, 0.5, 1.2, 2.5, 5, 7.2, 12, 29.9])
def test_cancelled_at_any_stage_goes_back(lever: Lever, after: float) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        original = world.setting()
        world.clock.at(minutes(after), lambda: cancel(world.ctx, "CHG-1", "ann", "not needed any more"))
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(70))
        assert world.state is S.ROLLED_BACK
        assert world.setting() == original
        assert world.version_at(minutes(70)) is None
        assert [w.after.units for w in world.cloud.ours() if w.at > minutes(after + 0.1)] in ([], [4], [6, 4], [1])


def test_a_cancelled_count_goes_down_no_further_than_demand_allows() -> None:
    with World(demand=flat(3.2)) as world:
        world.submit(a_request(), a_plan(demand=flat(3.2)))
        world.run_until(minutes(15))
        cancel(world.ctx, "CHG-1", "ann", "not needed any more")
        world.run_until(minutes(60))
        assert (world.state, world.setting()) == (S.CANCELLED, count(7))
        world.cloud.services["web"].demand = flat(1)
        world.cloud.services["web"].metrics = False
        world.run_until(minutes(80))
        assert world.setting() == count(7), "no data shrinks nothing"
        world.cloud.services["web"].metrics = True
        world.run_until(minutes(120))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, count(4))


def test_a_value_of_another_is_left_where_it_stands(world: World) -> None:
    world.submit()
    world.run_until(minutes(5))
    world.cloud.set("web", count(9), foreign=True)
    cancel(world.ctx, "CHG-1", "ann", "not needed any more")
    world.run_until(minutes(40))
    assert (world.state, world.setting()) == (S.ROLLED_BACK, count(9))
    assert "changed by another: left at count 9" in world.record().note


def once_announced(world: World, act: Callable[[], object]) -> None:
    """Act once, after the next write was announced and before it is made: later than the look that led to it."""

    def effect(name: str) -> None:
        if name == "after a transaction" and any(i.outcome is None for i in world.intents()):
            world.store.effect = lambda name: None
            act()

    world.store.effect = effect


@BOTH
def test_a_foreign_write_between_the_look_and_the_giving_back_is_not_overwritten(lever: Lever) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        more = count(20) if lever is Lever.COUNT else floor(20)
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(15))
        cancel(world.ctx, "CHG-1", "ann", "not needed any more")
        once_announced(world, lambda: world.cloud.set("web", more, foreign=True))
        world.run_until(minutes(40))
        assert (world.state, world.setting(), world.asked()) == (S.ROLLED_BACK, more, [6, 8])
        assert world.intents()[-1].outcome is Outcome.NOT_DONE
        assert "changed by another" in world.record().note


@BOTH
def test_a_foreign_write_between_the_look_and_the_step_is_not_overwritten(lever: Lever) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        more = count(20) if lever is Lever.COUNT else floor(20)
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(5))
        once_announced(world, lambda: world.cloud.set("web", more, foreign=True))
        world.run_until(minutes(10))
        assert (world.state, world.setting(), world.asked()) == (S.HELD, more, [6])
        assert [s.state for s in world.steps()] == ["passed", "pending"]
        resume(world.ctx, "CHG-1", "bob", "20 is right")
        world.run_until(minutes(28))
        assert (world.state, world.setting()) == (S.ARMED, more)


def test_where_the_last_look_before_a_write_fails_it_is_made_later(world: World) -> None:
    world.submit()
    world.run_until(minutes(5))
    once_announced(world, lambda: setattr(world.cloud, "unreachable", True))
    away: list[list[Outcome | None]] = []
    world.clock.at(minutes(7.5), lambda: away.append([i.outcome for i in world.intents()]))
    world.clock.at(minutes(8), lambda: setattr(world.cloud, "unreachable", False))
    world.run_until(minutes(28))
    assert away == [[Outcome.DONE, Outcome.NOT_DONE]], "it was not made: nobody has to read that"
    assert (world.state, world.asked()) == (S.ARMED, [6, 8])
    assert [i.outcome for i in world.intents()] == [Outcome.DONE, Outcome.NOT_DONE, Outcome.DONE]


@pytest.mark.parametrize(("seconds", "refused"), [(-60, False), (0, True), (5, True)])
def test_an_armed_change_is_held_only_before_its_effective_time(world: World, seconds: int, refused: bool) -> None:
    world.submit()
    world.run_until(minutes(25))
    assert world.state is S.ARMED
    world.clock.sleep(EFFECTIVE + timedelta(seconds=seconds) - world.clock.now())
    if refused:
        with pytest.raises(RuleRefusal, match="is in force"):
            hold(world.ctx, "CHG-1", "bob", "wait")
        with pytest.raises(RuleRefusal, match="is in force"):
            cancel(world.ctx, "CHG-1", "bob", "stop")
    else:
        hold(world.ctx, "CHG-1", "bob", "wait")
    assert world.version_at(minutes(35)) == (1 if refused else None)


@pytest.mark.parametrize("faults", [[], ["throttled"]], ids=["written", "announced"])
def test_what_the_watch_writes_while_a_change_is_resumed_is_not_taken_back(faults: list[ApplyFault]) -> None:
    """What the resuming has read stands no more: adopted, it would be ours to insist on."""
    with World(a_workload(on_foreign_write="insist"), lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(5))
        pin(world.ctx, "CHG-1", 6, minutes(20), "bob", "a broadcast")
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.cloud.set("web", floor(5), foreign=True)
        looks: list[str] = []

        def watched_meanwhile(name: str) -> None:
            if name == "observe":
                looks.append(name)
            elif looks and name == "before a transaction":
                world.store.effect = world.cloud.effect = lambda _: None
                world.cloud.faults.extend(faults)
                world.reconcile()

        world.store.effect = world.cloud.effect = watched_meanwhile
        with pytest.raises(RuleRefusal, match="the same in a minute"):
            resume(world.ctx, "CHG-1", "bob", "go on")
        assert "unpinned" not in world.actions(), "what is refused changes nothing"
        world.run_until(minutes(12))
        assert world.setting() == floor(6)
        resume(world.ctx, "CHG-1", "bob", "go on")
        world.run_until(minutes(29))
        assert (world.state, world.setting()) == (S.ARMED, floor(8))
        assert "unpinned" in world.actions() and "value of another adopted" not in world.actions()


def test_held_before_it_was_planned_is_planned_after_it_is_resumed(world: World) -> None:
    from forebay.app.receive import receive

    receive(world.ctx, a_request())
    hold(world.ctx, "CHG-1", "bob", "wait")
    world.clock.sleep(4 * MINUTE)
    resume(world.ctx, "CHG-1", "bob", "go on")
    world.reconcile()
    assert [w.kind for w in world.waiting] == ["plan"]
    world.submit()
    world.run_until(minutes(60))
    assert world.state is S.CLOSED


def test_never_planned_is_denied_at_its_effective_time(world: World) -> None:
    from forebay.app.receive import receive

    receive(world.ctx, a_request())
    world.run_until(EFFECTIVE)
    assert world.state is S.RECEIVED
    world.run_until(EFFECTIVE + 2 * MINUTE)
    assert (world.state, world.version_at(minutes(40))) == (S.DENIED, None)


@BOTH
@pytest.mark.parametrize("late", [False, True], ids=["in time", "past its time"])
def test_resumed_on_less_than_was_reached_it_is_raised_again(lever: Lever, late: bool) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(15))
        assert (world.state, world.asked()) == (S.ARMED, [6, 8])
        world.cloud.set("web", count(4) if lever is Lever.COUNT else floor(4), foreign=True)
        world.run_until(minutes(31 if late else 17))
        assert world.state is S.HELD
        resume(world.ctx, "CHG-1", "bob", "4 is where we go on from")
        world.run_until(minutes(50))
        assert world.asked()[2:4] == [6, 8]
        assert all(later.at - before.at >= 5 * MINUTE for before, later in pairwise(world.cloud.ours()[:4]))
        assert (world.version_at(EFFECTIVE), world.version_at(minutes(50))) == (None if late else 1, 1)
