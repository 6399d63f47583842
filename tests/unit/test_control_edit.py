"""The same name again with other content: edited while nothing has moved, known again when delivered late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forebay.app.approvals import approve, reject
from forebay.app.people import cancel, deny, hold, resume
from forebay.app.pins import pin
from forebay.app.plan import store_plans
from forebay.app.policies import import_policy
from forebay.app.receive import receive
from forebay.app.wakeups import ENFORCE_HEAD_START, wake_ups
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, minutes

pytestmark = pytest.mark.slow

S = ChangeState
LATER = EFFECTIVE + 30 * MINUTE


def edited(**fields: Any) -> ChangeRequest:
    return a_request(**{"effective_at": LATER, "document": {"limit": 2}} | fields)


def plan_again(world: World) -> None:
    store_plans(world.ctx, "CHG-1", [a_plan([(31, 4, 6), (37, 6, 8)], effective_at=LATER)])


@pytest.mark.parametrize("state", [S.RECEIVED, S.AWAITING_APPROVAL, S.SCHEDULED])
def test_edited_before_anything_moved_it_is_planned_anew_and_lives_by_its_new_content(
    world: World, state: ChangeState
) -> None:
    if state is S.AWAITING_APPROVAL:
        world.put_rules(rules=[{"name": "careful", "approval": {}}])
    if state is S.RECEIVED:
        receive(world.ctx, a_request())
    else:
        world.submit()
    world.reconcile()
    assert world.state is state
    record = receive(world.ctx, edited())
    assert (record.state, record.change.effective_at, record.policy_version) == (S.RECEIVED, LATER, 1)
    assert record.note.startswith("document, effective_at changed: ")
    world.put_rules()
    plan_again(world)
    world.run_until(minutes(90))
    assert world.asked()[:2] == [6, 8] and world.cloud.ours()[0].at >= minutes(31)
    assert (world.version_at(LATER - MINUTE), world.version_at(LATER), world.state) == (None, 1, S.CLOSED)
    (version,) = world.store.versions("acme", "quota")
    assert version.document == {"limit": 2}
    assert world.actions().count("edited") == 1
    assert "edited" in [e.action for e in world.people.events]


def test_edited_back_it_is_what_it_was_and_yet_another_that_nobody_has_approved(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob"]}}])
    world.submit()
    approve(world.ctx, "CHG-1", "bob", "fine")
    assert world.state is S.SCHEDULED
    before = {w.key for w in wake_ups(world.ctx, world.record()) if w.kind == "enforce"}
    receive(world.ctx, edited())
    plan_again(world)
    reject(world.ctx, "CHG-1", "bob", "not like this")
    assert receive(world.ctx, a_request(), before=edited()).state is S.RECEIVED
    assert store_plans(world.ctx, "CHG-1", [a_plan()]).state is S.AWAITING_APPROVAL
    approve(world.ctx, "CHG-1", "bob", "like this")
    assert before.isdisjoint(w.key for w in wake_ups(world.ctx, world.record())), "its runs were cancelled"


def test_an_edit_ends_a_pin_of_what_was_asked_for_before(world: World) -> None:
    world.submit(a_request(effective_at=minutes(60)), a_plan(((40, 4, 6),), effective_at=minutes(60)))
    pin(world.ctx, "CHG-1", 6, minutes(30), "bob", "a broadcast")
    receive(world.ctx, edited())
    assert "unpinned" in world.actions()
    world.reconcile()
    assert world.asked() == []


def test_an_edit_is_told_once_it_is_kept(world: World) -> None:
    world.submit()
    seen: list[str] = []
    world.store.effect = seen.append
    world.people.told = lambda event: seen.append(event.action)
    receive(world.ctx, edited())
    assert seen == ["before a transaction", "after a transaction", "edited"]


def test_asked_for_again_it_has_an_enforcing_run_of_its_own(world: World) -> None:
    """A scheduler that has cancelled the run of a denied change gives that one back to whoever asks with its key."""
    world.submit()
    world.reconcile()
    receive(world.ctx, a_request(document={"limit": 2}))
    deny(world.ctx, "CHG-1", "no plan")
    world.waiting.clear()  # cancelled, with the change
    receive(world.ctx, a_request(document={"limit": 3}))
    store_plans(world.ctx, "CHG-1", [a_plan([(2, 4, 6), (8, 6, 8)])])
    world.reconcile()
    assert [w.at for w in world.waiting if w.kind == "enforce"] == [EFFECTIVE - ENFORCE_HEAD_START]


def test_a_late_delivery_of_an_earlier_content_changes_nothing(world: World) -> None:
    world.submit()
    receive(world.ctx, edited())
    plan_again(world)
    for request in (a_request(), edited()):
        assert receive(world.ctx, request).state is S.SCHEDULED
    assert world.record().change.effective_at == LATER


def test_a_plan_drawn_for_the_content_before_is_let_go(world: World) -> None:
    first = receive(world.ctx, a_request())
    receive(world.ctx, edited())
    assert store_plans(world.ctx, "CHG-1", [a_plan()], first.change.fingerprint).state is S.RECEIVED
    assert list(world.steps()) == []


def test_an_approval_is_for_the_content_it_was_given_to(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "approval": {}}])
    world.submit()
    approve(world.ctx, "CHG-1", "bob", "fine")
    receive(world.ctx, edited())
    plan_again(world)
    assert world.state is S.AWAITING_APPROVAL


def test_resumed_after_an_edit_it_is_planned_and_not_shaped_by_the_old_plan(world: World) -> None:
    world.submit()
    receive(world.ctx, edited())
    hold(world.ctx, "CHG-1", "bob", "wait")
    assert resume(world.ctx, "CHG-1", "bob", "go on").state is S.RECEIVED


def test_a_denied_change_may_be_asked_for_again(world: World) -> None:
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "PT1H"}])
    assert receive(world.ctx, a_request()).state is S.DENIED
    assert receive(world.ctx, a_request()).state is S.DENIED, "the same again is no new request"
    assert receive(world.ctx, edited()).state is S.RECEIVED
    plan_again(world)
    world.run_until(minutes(120))
    assert (world.state, world.version_at(LATER)) == (S.CLOSED, 1)


@pytest.mark.parametrize(
    "time", [{"effective_at": LATER}, {"effective_at": None, "effective_in": "PT1H"}], ids=["at", "in"]
)
def test_once_what_denied_it_is_over_the_same_may_be_asked_for_again(world: World, time: dict[str, Any]) -> None:
    world.put_rules(rules=[{"name": "one by one", "second_change": "refuse"}])
    world.submit()
    later = a_request(**{"change": "CHG-2"} | time)
    denied = receive(world.ctx, later)
    assert (denied.state, "this change once CHG-1 is over" in denied.note) == (S.DENIED, True)
    log = world.actions(None)
    assert (receive(world.ctx, later), world.actions(None)) == (denied, log), "it is not over yet"
    cancel(world.ctx, "CHG-1", "ann", "not now")
    world.clock.step(5 * MINUTE)
    again = receive(world.ctx, later)
    assert (again.state, again.policy_version) == (S.RECEIVED, 2)
    assert again.change.effective_at == (time["effective_at"] or minutes(65))
    assert [v.change for v in world.store.versions("acme", "quota")] == ["CHG-1", "CHG-2"]
    assert world.actions("CHG-2")[-2:] == ["policy version stored", "asked for again"]
    assert world.people.events[-1].action == "asked for again"
    assert receive(world.ctx, later) == again
    deny(world.ctx, "CHG-2", "no plan")
    assert receive(world.ctx, later).state is S.DENIED, "no rule has denied it, and it would be planned once more"


def test_asked_for_again_it_does_not_come_before_what_was_accepted_since(world: World) -> None:
    world.submit()
    later = a_request(change="CHG-2", effective_at=minutes(35))
    denied = receive(world.ctx, later)
    cancel(world.ctx, "CHG-1", "ann", "not now")
    receive(world.ctx, a_request(change="CHG-3", entity="bolt", effective_at=LATER))
    again = receive(world.ctx, later)
    assert "CHG-3" in again.note and "new name" in again.note, "what is in its way now is said, not what was"
    assert world.record("CHG-2") == denied


REFUSED: dict[str, tuple[ChangeRequest, str]] = {
    "another person": (edited(requested_by="bob"), "taken by another request .acme quota by ann, scheduled"),
    "another policy": (edited(policy="tier"), "taken by another request"),
    "too soon": (edited(effective_at=minutes(20)), "under the minimum delay of 0:30:00"),
    "another base": (edited(base_version=3), "builds on version 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_edit_that_is_refused_leaves_the_change_as_it_was(world: World, name: str) -> None:
    request, words = REFUSED[name]
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "PT30M"}])
    before = world.submit()
    with pytest.raises((InputError, RuleRefusal), match=words):
        receive(world.ctx, request)
    assert world.record() == before
    assert len(world.steps()) == 2
    assert "edited" not in world.actions()


def test_an_edit_mends_the_kind_of_a_new_policy_and_of_no_other(world: World) -> None:
    import_policy(world.ctx, "acme", "quota", "quota", {}, "ann", "as sold")
    world.submit()
    with pytest.raises(RuleRefusal, match="a policy keeps its kind"):
        receive(world.ctx, edited(kind="tier"))
    new = {"change": "CHG-2", "policy": "gold", "effective_at": LATER}
    receive(world.ctx, a_request(**new))
    receive(world.ctx, a_request(**new, kind="tier"))
    assert [v.kind for v in world.store.versions("acme", "gold")] == ["tier"]


@pytest.mark.parametrize("state", [S.SHAPING, S.ARMED, S.HELD, S.CLOSED, S.ROLLED_BACK])
def test_what_has_begun_to_move_is_not_edited(world: World, state: ChangeState) -> None:
    world.submit()
    world.run_until(minutes({S.SHAPING: 3, S.ARMED: 20, S.CLOSED: 60}.get(state, 3)))
    if state is S.HELD:
        hold(world.ctx, "CHG-1", "bob", "wait")
    if state is S.ROLLED_BACK:
        cancel(world.ctx, "CHG-1", "bob", "stop")
        world.run_until(minutes(29))
    assert world.state is state
    with pytest.raises(RuleRefusal, match=f"is {state}.*a new change under a new name"):
        receive(world.ctx, edited(effective_at=world.clock.now() + timedelta(hours=1)))


def test_what_a_pin_has_moved_is_not_edited(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob"]}, "holders": ["bob"]}])
    world.submit(a_request(), a_plan([(15, 4, 6), (21, 6, 8)]))
    approve(world.ctx, "CHG-1", "bob", "fine")
    pin(world.ctx, "CHG-1", 6, minutes(25), "bob", "a broadcast")
    world.run_until(minutes(2))
    assert (world.asked(), world.state) == ([6], S.SHAPING)
    with pytest.raises(RuleRefusal, match="is shaping, and capacity has moved for it"):
        receive(world.ctx, edited())
    hold(world.ctx, "CHG-1", "bob", "wait")
    world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["eve"]}, "holders": ["bob"]}])
    resume(world.ctx, "CHG-1", "bob", "released")
    assert world.state is S.AWAITING_APPROVAL
    with pytest.raises(RuleRefusal, match="is awaiting approval, and capacity has moved for it"):
        receive(world.ctx, edited())


def test_edited_while_a_step_is_announced_the_step_is_not_made(world: World) -> None:
    world.submit()
    world.clock.sleep(2 * MINUTE)

    def edit_once(name: str) -> None:
        if name == "observe":
            world.cloud.effect = lambda _: None
            receive(world.ctx, edited())

    world.cloud.effect = edit_once
    world.drive()
    assert (world.asked(), world.state) == ([], S.RECEIVED)
