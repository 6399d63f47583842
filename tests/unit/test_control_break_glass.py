"""Break glass: at once, by name, whatever stands against it, and loud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from forebay.app.approvals import request_of
from forebay.app.arm import enforce
from forebay.app.break_glass import break_glass, override_hold
from forebay.app.people import cancel, hold, resume
from forebay.app.raises import goes_back
from forebay.app.rollback import rollback
from forebay.domain.errors import OutsideError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, minutes

pytestmark = pytest.mark.slow

S = ChangeState
BOB = {"name": "r", "break_glass": ["bob", "ann"], "holders": ["eve"]}


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        made.put_rules(rules=[BOB])
        yield made


def before(world: World, state: ChangeState) -> None:
    """Bring a change to `state`."""
    if state is S.AWAITING_APPROVAL:
        world.put_rules(rules=[BOB | {"approval": {}}])
    world.submit()
    world.run_until(minutes({S.SHAPING: 3, S.ARMED: 20}.get(state, 0.5)))
    if state is S.HELD:
        hold(world.ctx, "CHG-1", "eve", "wait")
    assert world.state is state


@pytest.mark.parametrize("state", [S.AWAITING_APPROVAL, S.SCHEDULED, S.SHAPING, S.ARMED, S.HELD])
def test_from_any_state_before_it_the_policy_is_in_force_at_once(world: World, state: ChangeState) -> None:
    before(world, state)
    now = world.clock.now()
    break_glass(world.ctx, "CHG-1", "bob", "the shop is down")
    assert (world.version_at(now), world.version_at(now - MINUTE)) == (1, None)
    assert world.enforcer.pushed[0].version == 1
    assert world.state is S.IN_FORCE
    loud = [e for e in world.people.events if "break glass" in e.action]
    assert [(e.actor, e.reason) for e in loud] == [("bob", "by bob: the shop is down")]
    assert "GLASS BROKEN" in world.actions()
    with pytest.raises(RuleRefusal):
        cancel(world.ctx, "CHG-1", "ann", "stop")


def test_steps_still_to_come_are_made_and_all_is_given_back_after_it(world: World) -> None:
    before(world, S.SHAPING)
    break_glass(world.ctx, "CHG-1", "bob", "the shop is down")
    world.run_until(minutes(29))
    assert (world.state, world.asked()) == (S.SETTLING, [6, 8])
    world.run_until(minutes(60))
    assert (world.state, world.version_at(minutes(59))) == (S.CLOSED, 1)


def test_settling_ends_when_everybody_is_told_it_does(world: World) -> None:
    """What is said, what an approval of the rest may wait for, what is listed, and what is done: one time."""
    before(world, S.SHAPING)
    break_glass(world.ctx, "CHG-1", "bob", "the shop is down")
    world.run_until(minutes(15))
    told = [e.reason for e in world.people.events if e.action == "settling"]
    assert told == [f"watched until {minutes(40).isoformat()}, then handed back"]
    with world.sql.snapshot() as tx:
        request = request_of(tx, world.record())
        assert request is not None
        assert (request.latest, goes_back(tx, world.record())) == (minutes(40), minutes(40))
    world.run_until(minutes(39))
    assert world.state is S.SETTLING
    world.run_until(minutes(41))
    assert world.state is S.CLOSED


def test_a_push_that_fails_is_made_again(world: World) -> None:
    before(world, S.SCHEDULED)
    world.enforcer.failing = 1
    assert break_glass(world.ctx, "CHG-1", "bob", "the shop is down").state is S.IN_FORCE, "it is done, and not refused"
    assert (world.state, world.version_at(world.clock.now())) == (S.IN_FORCE, 1)
    assert world.actions()[-1] == "push to record failed"
    world.run_until(minutes(3))
    assert [v.version for v in world.enforcer.pushed] == [1]


@pytest.mark.parametrize("act", [break_glass, override_hold])
def test_only_who_is_named_may(world: World, act: Any) -> None:
    before(world, S.HELD)
    with pytest.raises(RuleRefusal, match=r"'eve' may not break the glass for changes of 'acme' .*one of bob, ann"):
        act(world.ctx, "CHG-1", "eve", "hurry")
    world.put_rules(rules=[{"name": "default"}])
    with pytest.raises(
        RuleRefusal, match="What would pass: change rules whose `break_glass` names who may: nobody does here"
    ):
        act(world.ctx, "CHG-1", "bob", "hurry")
    assert world.state is S.HELD


def test_what_is_in_force_needs_no_glass(world: World) -> None:
    before(world, S.ARMED)
    world.clock.sleep(EFFECTIVE - world.clock.now())
    with pytest.raises(RuleRefusal, match="is in force"):
        break_glass(world.ctx, "CHG-1", "bob", "hurry")
    assert "GLASS BROKEN" not in world.actions()


def test_a_hold_is_overridden_and_the_policy_still_waits_for_its_time(world: World) -> None:
    before(world, S.HELD)
    with pytest.raises(RuleRefusal, match="'bob' may not hold, resume, pin or settle changes of 'acme'"):
        resume(world.ctx, "CHG-1", "bob", "go on")
    override_hold(world.ctx, "CHG-1", "bob", "eve is away")
    assert world.state is S.SCHEDULED
    assert [e.action for e in world.people.events][-2:] == ["GLASS BROKEN", "resumed"]
    world.run_until(minutes(60))
    assert (world.state, world.version_at(EFFECTIVE - MINUTE), world.version_at(EFFECTIVE)) == (S.CLOSED, None, 1)


def test_a_hold_that_could_not_be_overridden_broke_no_glass(world: World) -> None:
    before(world, S.SHAPING)
    hold(world.ctx, "CHG-1", "eve", "wait")
    world.cloud.unreachable = True
    with pytest.raises(OutsideError):
        override_hold(world.ctx, "CHG-1", "bob", "eve is away")
    assert world.state is S.HELD
    assert "GLASS BROKEN" not in [*world.actions(), *(e.action for e in world.people.events)]


@pytest.mark.parametrize("arrives", [5, 100])
def test_a_freeze_window_is_not_enforced_through_whatever_capacity_is_there(world: World, arrives: int) -> None:
    world.submit(a_request(on_misalignment="enforce"))
    window = {"start": minutes(25).isoformat(), "end": minutes(50).isoformat(), "reason": "sale"}
    world.put_rules(rules=[BOB], freezes=[window])
    world.run_until(minutes(20))
    world.cloud.services["web"].arrives = arrives
    del world.cloud.services["web"].serving[arrives:]
    world.run_until(minutes(49))
    assert world.version_at(minutes(49)) is None and "GLASS BROKEN" not in world.actions()
    world.cloud.services["web"].arrives = 100
    world.run_until(minutes(55))
    assert world.version_at(minutes(55)) == 1 and world.version_at(minutes(50) - MINUTE) is None


@pytest.mark.parametrize("still_permitted", [True, False])
def test_misaligned_it_is_enforced_in_the_name_of_who_asked(world: World, still_permitted: bool) -> None:
    world.cloud.services["web"].arrives = 5
    world.submit(a_request(on_misalignment="enforce"))
    world.run_until(EFFECTIVE - MINUTE)
    assert world.state is S.HELD, "the capacity does not arrive"
    resume(world.ctx, "CHG-1", "eve", "go on")
    if not still_permitted:
        world.put_rules(rules=[BOB | {"break_glass": []}])
    world.enforce()
    assert world.version_at(world.clock.now()) == (1 if still_permitted else None)
    broken = [e for e in world.actions() if e == "GLASS BROKEN"]
    assert len(broken) == (1 if still_permitted else 0)
    assert world.state is (S.SETTLING if still_permitted else S.SHAPING)


def test_rolled_back_to_a_version_that_came_by_break_glass(world: World) -> None:
    """The glass was broken for that version then, not for the one that sets it back now."""
    before(world, S.SCHEDULED)
    break_glass(world.ctx, "CHG-1", "bob", "the shop is down")
    world.run_until(minutes(60))
    again = a_request(change="CHG-2", effective_at=minutes(90))
    world.submit(again, a_plan((), change="CHG-2", aligned=4, effective_at=minutes(90)))
    world.run_until(minutes(95))
    assert world.version_at(minutes(95)) == 2
    rollback(world.ctx, "CHG-2", "ann", "worse")
    now = world.clock.now()
    assert (world.version_at(now - MINUTE), world.version_at(now)) == (2, 3)


def two_of_one_policy(world: World) -> None:
    """CHG-1 brings version 1 at 9:30, CHG-2 version 2 on top of it at 10:30."""
    world.submit()
    later = minutes(90)
    world.submit(a_request(change="CHG-2", effective_at=later), a_plan((), change="CHG-2", effective_at=later))


def test_not_ahead_of_an_earlier_version_that_is_still_to_come(world: World) -> None:
    """It would take the place of the later one at its own time, and stay there."""
    two_of_one_policy(world)
    world.run_until(minutes(20))
    with pytest.raises(RuleRefusal, match=r"version 1 of change CHG-1 \(armed\) is still to come.*once CHG-1 is can"):
        break_glass(world.ctx, "CHG-2", "bob", "the shop is down")
    assert "GLASS BROKEN" not in world.actions("CHG-2")
    break_glass(world.ctx, "CHG-1", "bob", "the shop is down")
    break_glass(world.ctx, "CHG-2", "bob", "the shop is down")
    world.run_until(minutes(60))
    assert [world.version_at(at) for at in (minutes(20), EFFECTIVE, minutes(60))] == [2, 2, 2]


def test_ahead_of_one_that_was_cancelled(world: World) -> None:
    two_of_one_policy(world)
    world.run_until(minutes(20))
    cancel(world.ctx, "CHG-1", "ann", "not needed")
    break_glass(world.ctx, "CHG-2", "bob", "the shop is down")
    world.run_until(minutes(60))
    assert [world.version_at(at) for at in (minutes(20), minutes(60))] == [2, 2]


def test_a_version_that_was_followed_before_it_was_recorded_is_not_pushed_over_the_later_one(world: World) -> None:
    """No runner at 9:30: the decision point has switched, and the glass is broken for the next version."""
    two_of_one_policy(world)
    world.run_until(minutes(20))
    world.clock.sleep(EFFECTIVE - world.clock.now() + timedelta(seconds=5))
    break_glass(world.ctx, "CHG-2", "bob", "the shop is down")
    world.run_until(minutes(33))
    assert [v.version for v in world.enforcer.pushed] == [2]
    assert (world.version_at(EFFECTIVE), world.version_at(minutes(33))) == (1, 2)
    assert (world.state, world.record("CHG-2").state) == (S.SETTLING, S.SETTLING)
    with world.sql.transaction() as tx:
        told = [e.event.reason for e in tx.audit_entries("CHG-1") if e.event.action == "in force"]
    assert ["which version 2 has followed already" in reason for reason in told] == [True]


@pytest.mark.parametrize(("settle", "away"), [("PT10M", 0), ("PT0S", 0), ("PT10M", 60)])
def test_a_run_without_push_settings_leaves_the_push_to_the_reconciler(world: World, settle: str, away: int) -> None:
    world.submit(a_request(settle=settle))
    world.run_until(minutes(28))
    world.clock.sleep(EFFECTIVE - world.clock.now())
    enforce(replace(world.ctx, enforcers=()), "CHG-1")
    assert (world.state, world.enforcer.pushed) == (S.SETTLING, [])
    world.clock.sleep(timedelta(minutes=away))
    world.reconcile()
    world.reconcile()
    assert [v.version for v in world.enforcer.pushed] == [1]


@pytest.mark.parametrize("somewhere", [True, False])
def test_in_a_shell_without_push_settings_the_push_is_left_to_the_reconciler(world: World, somewhere: bool) -> None:
    before(world, S.SCHEDULED)
    shell = replace(world.ctx, enforcers=())
    if not somewhere:
        world.ctx = shell
    break_glass(shell, "CHG-1", "bob", "the shop is down")
    assert (world.state, world.version_at(world.clock.now())) == (S.IN_FORCE, 1)
    world.run_until(world.clock.now() + MINUTE / 2, every=timedelta(seconds=5))
    assert [v.version for v in world.enforcer.pushed] == ([1] if somewhere else [])
    assert world.state is S.SETTLING
