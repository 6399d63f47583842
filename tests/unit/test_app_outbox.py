"""Sending from the outbox: stored with what it announces, at least once, in order, and loud where it is given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from forebay.app.outbox import UNCLAIMED_AFTER, discard, drain, post_version, push_version, retry, unsent
from forebay.domain.errors import InputError, OutsideError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.outbox import CLAIM, MOST_ATTEMPTS, Message, MessageState
from forebay.domain.policy import PolicyVersion
from tests.support.samples import a_version
from tests.support.world import EFFECTIVE, Recorder, World, minutes

PAUSE = timedelta(minutes=15)


def post(world: World, *versions: PolicyVersion) -> None:
    with world.sql.transaction() as tx:
        for version in versions:
            post_version(tx, world.ctx, "CHG-1", version)


def armed(number: int) -> PolicyVersion:
    return a_version(number, armed_at=a_version(number).effective_at)


def test_a_version_is_posted_once_and_pushed_in_order(world: World) -> None:
    post(world, armed(1), armed(2), armed(1))
    assert drain(world.ctx) == 2
    assert [v.version for v in world.enforcer.pushed] == [1, 2]
    assert drain(world.ctx) == 0


def test_a_later_version_waits_for_the_earlier_one_of_its_lane_only(world: World) -> None:
    other = Recorder("other")
    object.__setattr__(world.ctx, "enforcers", (world.enforcer, other))
    world.enforcer.failing = 1
    post(world, armed(1), armed(2))
    drain(world.ctx)
    assert (world.enforcer.pushed, [v.version for v in other.pushed]) == ([], [1, 2])
    world.clock.sleep(timedelta(seconds=5))
    drain(world.ctx)
    assert [v.version for v in world.enforcer.pushed] == [1, 2]


def test_an_outlet_with_a_defect_is_given_up_and_keeps_nobody_from_being_sent(world: World) -> None:
    class Defect(Recorder):
        def push(self, version: PolicyVersion) -> None:
            raise KeyError("bucket")

    for enforcers in [(Defect("broken"),), (Defect("broken"), world.enforcer)]:  # alone, and side by side
        object.__setattr__(world.ctx, "enforcers", enforcers)
        post(world, armed(len(enforcers)))
        drain(world.ctx)
    assert [v.version for v in world.enforcer.pushed] == [2]
    given_up = [(m.state, m.failure, m.attempts) for m in unsent(world.ctx)]
    assert given_up == [(MessageState.DEAD, "KeyError: 'bucket'", 1)] * 2
    assert world.actions().count("push to broken given up") == 2


def test_what_a_dead_sender_had_claimed_is_sent_by_another(world: World) -> None:
    class Killed(Recorder):
        def push(self, version: PolicyVersion) -> None:
            self.pushed.append(version)
            raise KeyboardInterrupt

    killed = Killed("record")
    object.__setattr__(world.ctx, "enforcers", (killed,))
    post(world, armed(1))
    with pytest.raises(KeyboardInterrupt):
        drain(world.ctx)
    object.__setattr__(world.ctx, "enforcers", (world.enforcer,))
    assert push_version(world.ctx, "CHG-1", armed(1)) is False, "it may still be at it"
    world.clock.sleep(CLAIM)
    assert push_version(world.ctx, "CHG-1", armed(1)) is True
    assert (len(killed.pushed), len(world.enforcer.pushed)) == (1, 1), "at least once"


def test_a_transaction_that_fails_has_posted_nothing(world: World) -> None:
    with pytest.raises(InputError), world.sql.transaction() as tx:
        post_version(tx, world.ctx, "CHG-1", armed(1))
        raise InputError("no")
    assert unsent(world.ctx) == []


def test_what_is_given_up_is_loud_and_does_not_hold_the_change(world: World) -> None:
    world.enforcer.failing = MOST_ATTEMPTS
    world.submit()
    world.run_until(EFFECTIVE + timedelta(hours=4), every=timedelta(minutes=5))
    assert world.state is ChangeState.CLOSED
    (dead,) = unsent(world.ctx)
    assert (dead.state, dead.attempts) == (MessageState.DEAD, MOST_ATTEMPTS)
    assert [e.action for e in world.people.events].count("push to record given up") == 1
    assert world.actions().count("push to record failed") == 1, "told once"

    retry(world.ctx, dead.number, "ann", "the target is back")
    drain(world.ctx)
    assert [v.version for v in world.enforcer.pushed] == [1]
    assert unsent(world.ctx) == []


def test_an_older_version_is_not_sent_after_a_newer_one(world: World) -> None:
    class Never(Recorder):
        def push(self, version: PolicyVersion) -> None:
            if version.version == 1:
                raise OutsideError("refused", retryable=False)
            super().push(version)

    object.__setattr__(world.ctx, "enforcers", (Never("record"),))
    post(world, armed(1), armed(2))
    drain(world.ctx)
    (dead,) = unsent(world.ctx)
    with pytest.raises(RuleRefusal, match="quota 2 was sent since"):
        retry(world.ctx, dead.number, "ann", "try")
    with pytest.raises(InputError, match="no message 99"):
        retry(world.ctx, 99, "ann", "try")


def stored(world: World, *outlets: str) -> None:
    now = world.clock.now()
    with world.sql.transaction() as tx:
        for outlet in outlets:
            message = Message(outlet=outlet, lane="a", key="1", body="{}", change="CHG-1", made_at=now, due_at=now)
            tx.add_message(message)


def test_a_message_nobody_can_read_is_given_up(world: World) -> None:
    stored(world, "push to record")
    drain(world.ctx)
    (dead,) = unsent(world.ctx)
    assert (dead.state, "validation errors" in (dead.failure or "")) == (MessageState.DEAD, True)


def test_what_is_configured_elsewhere_is_left_to_be_sent_there(world: World) -> None:
    shell = replace(world.ctx, enforcers=())
    post(world, armed(1))
    assert drain(shell) == 0
    assert push_version(shell, "CHG-1", armed(1)), "it waits for nothing that this process can do"
    (waiting,) = unsent(shell)
    assert (waiting.state, waiting.attempts) == (MessageState.WAITING, 0)
    assert drain(world.ctx) == 1


def test_what_is_configured_nowhere_any_more_is_given_up_by_the_reconciler_and_holds_no_change(world: World) -> None:
    stored(world, "push to nowhere")
    world.submit()
    world.run_until(minutes(60))
    assert world.state is ChangeState.CLOSED
    assert [m.state for m in unsent(world.ctx)] == [MessageState.WAITING], "who has it may be away"
    assert [m.overdue(world.clock.now()) for m in unsent(world.ctx)] == [True]
    world.run_until(minutes(0) + UNCLAIMED_AFTER + timedelta(minutes=10), every=timedelta(minutes=5))
    (dead,) = unsent(world.ctx)
    assert (dead.state, dead.failure) == (
        MessageState.DEAD,
        "'push to nowhere' is not configured any more: configure it, or discard it",
    )
    assert [e.action for e in world.people.events].count("push to nowhere given up") == 1
    before = unsent(world.ctx), world.actions()
    with pytest.raises(InputError, match="'push to nowhere' is not configured here"):
        retry(world.ctx, dead.number, "ann", "try")
    assert (unsent(world.ctx), world.actions()) == before


def test_other_outlets_send_what_is_theirs(world: World) -> None:
    answered: list[str] = []
    object.__setattr__(world.ctx, "outlets", {"answer": lambda message: answered.append(message.body)})
    now = world.clock.now()
    with world.sql.transaction() as tx:
        tx.add_message(Message(outlet="answer", lane="T-1", key="1", body="hello", made_at=now, due_at=now))
    world.run_until(minutes(1))
    assert answered == ["hello"]


def test_a_push_that_a_person_has_dropped_is_not_posted_anew(world: World) -> None:
    class Refusing(Recorder):
        def push(self, version: PolicyVersion) -> None:
            raise OutsideError("there is no such bus", retryable=False)

    object.__setattr__(world.ctx, "enforcers", (Refusing(),))
    world.submit()
    world.run_until(EFFECTIVE + timedelta(minutes=2))
    (dead,) = unsent(world.ctx)
    discard(world.ctx, dead.number, "ann", "nobody listens there")
    world.run_until(EFFECTIVE + timedelta(minutes=5))
    assert world.state is ChangeState.SETTLING and unsent(world.ctx) == []
    assert world.actions().count("push to record discarded") == 1
    with pytest.raises(InputError, match="no message"):
        discard(world.ctx, dead.number, "ann", "again")
