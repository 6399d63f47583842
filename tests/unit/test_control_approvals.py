"""A change that needs approval: nothing moves without it, and what is executed is what was approved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from forebay.app import approvals
from forebay.app.approvals import approve, invite, reject, request_of
from forebay.app.people import cancel, hold, resume
from forebay.app.pins import pin
from forebay.app.plan import plan_change, store_plans
from forebay.app.receive import receive
from forebay.app.status import change_status, list_changes, list_with_times, others_pending
from forebay.domain.allocation import Lever
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.plan import CounterProposal, PlanRefusal
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from tests.support.cloud import ModelUsage
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, a_workload, flat, floor, minutes

pytestmark = pytest.mark.slow

S = ChangeState
LATER = [(10, 4, 6), (16, 6, 8)]


class Remembered(ModelUsage):
    """Usage with two days of the demand as it is now behind it."""

    def __init__(self, world: World, workload: Workload) -> None:
        super().__init__(world.cloud, workload.name)

    def history(self, start: datetime, end: datetime, step: timedelta) -> Mapping[Resource, Any]:
        times = pd.date_range(end - timedelta(days=2), end, freq=step, inclusive="left").floor(step)
        return {r: pd.Series(cores, times) for r, cores in self.cloud.services[self.name].demand(start).items()}


def ask(world: World, moves: list[tuple[float, int, int]] | None = None, **approval: Any) -> None:
    """A change whose first step is due after ten minutes, under rules that want `approval`."""
    world.put_rules(rules=[{"name": "careful", "approval": approval, "holders": ["bob"]}])
    world.submit(a_request(), a_plan(moves or LATER))


def test_without_approval_nothing_moves_and_with_it_all_does(world: World) -> None:
    ask(world, approvers=["bob", "eve"], quorum=2)
    assert world.record().note.startswith("0 of 2 approvals; bob or eve may approve; needed: every change does")
    world.run_until(minutes(5))
    assert (world.state, world.asked(), world.created) == (S.AWAITING_APPROVAL, [], {})
    approve(world.ctx, "CHG-1", "bob", "fine")
    world.run_until(minutes(7))
    assert (world.state, world.created) == (S.AWAITING_APPROVAL, {})
    assert approve(world.ctx, "CHG-1", "eve", "fine by me").state is S.SCHEDULED
    world.run_until(minutes(60))
    assert (world.state, world.asked()[:2], world.version_at(EFFECTIVE)) == (S.CLOSED, [6, 8], 1)
    assert [e.action for e in world.people.events][:4] == ["awaiting approval", "approved", "approved", "scheduled"]


def test_wherever_it_is_shown_its_note_says_the_plan_of_now_and_who_has_approved(world: World) -> None:
    """Whoever copies the hash from it is not told that it is another plan's."""

    def notes() -> set[str]:
        repeated = receive(world.ctx, a_request()).note
        listed = {
            record.note for records in (list_changes(world.ctx), list_with_times(world.ctx)[0]) for record in records
        }
        return {change_status(world.ctx, "CHG-1").record.note, repeated} | listed

    ask(world, moves=[(2, 4, 6), (8, 6, 8)], quorum=2)
    approved = approve(world.ctx, "CHG-1", "bob", "fine")
    assert notes() == {approved.note}
    assert notes().pop().startswith("1 of 2 approvals (bob); ")
    later = a_plan(LATER)
    drawn = store_plans(world.ctx, "CHG-1", [later])
    assert notes() == {drawn.note} and f"plan {later.hash[:12]}, at the latest {minutes(10).isoformat()}" in drawn.note
    world.put_rules(rules=[{"name": "careful", "approval": {"quorum": 3}, "holders": ["bob"]}])
    assert notes().pop().startswith("1 of 3 approvals (bob); ")
    hold(world.ctx, "CHG-1", "bob", "wait")
    assert notes() == {"wait"}


REFUSED: dict[str, tuple[str, str | None, str]] = {
    "who asked": ("ann", None, "'ann' asked for the change .*an approval by another of bob$"),
    "who may not": ("carl", None, "'carl' may not approve .*one of bob, ann"),
    "another plan": ("bob", "0" * 64, "is not what is asked for now .*a look at plan"),
    "too short": ("bob", "0" * 7, "give at least 8 digits"),
    "no name": (" ", None, "give your name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_approval_that_does_not_count_is_refused_with_what_would(world: World, name: str) -> None:
    person, plan, words = REFUSED[name]
    ask(world, approvers=["bob", "ann"])
    with pytest.raises((RuleRefusal, InputError), match=words):
        approve(world.ctx, "CHG-1", person, "fine", plan=plan)
    assert world.state is S.AWAITING_APPROVAL


def test_approved_is_what_was_shown(world: World) -> None:
    ask(world)
    with world.sql.transaction() as tx:
        plan = tx.plan("CHG-1", "web")
    assert plan is not None
    assert approve(world.ctx, "CHG-1", "bob", "fine", plan=plan.hash[:12]).state is S.SCHEDULED
    with pytest.raises(RuleRefusal, match="waits for no approval"):
        approve(world.ctx, "CHG-1", "eve", "fine")


def test_steps_that_were_made_do_not_end_the_time_to_approve() -> None:
    """What another workload has behind it is no part of what is asked: a link would have expired as it was made."""
    with World(a_workload("web"), a_workload("api"), demand=flat(2)) as world:
        plans = a_plan(((9, 4, 6),), demand=flat(2)), a_plan(((1, 4, 6), (15, 6, 7)), workload="api", demand=flat(2))
        world.submit(a_request("web", "api"), *plans)
        world.run_until(minutes(5))
        world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob"]}}])
        more = a_plan(((12, 4, 6), (18, 6, 7)), demand=flat(2))
        record = world.record()
        with world.sql.transaction() as tx:
            tx.propose_plan(more, world.ctx.event(record.change, "asked", "more"))
            request = request_of(tx, record)
        assert request is not None and request.latest == minutes(12)
        _, expires, _ = invite(world.ctx, "CHG-1", "bob", "ann", timedelta(hours=1))
        assert expires == minutes(12)


def test_one_person_is_one_approval(world: World) -> None:
    ask(world, quorum=2)
    approve(world.ctx, "CHG-1", "bob", "fine")
    with pytest.raises(RuleRefusal, match="'bob' has approved already"):
        approve(world.ctx, "CHG-1", "bob", "really")


def test_a_rejected_change_is_denied(world: World) -> None:
    ask(world, approvers=["bob"])
    with pytest.raises(RuleRefusal, match="'eve' may not approve"):
        reject(world.ctx, "CHG-1", "eve", "no")
    assert {step.state for step in change_status(world.ctx, "CHG-1").steps} == {StepState.PENDING}
    assert reject(world.ctx, "CHG-1", "bob", "too dear").state is S.DENIED
    assert {step.state for step in change_status(world.ctx, "CHG-1").steps} == {StepState.DROPPED}
    world.run_until(minutes(40))
    assert (world.record().note, world.asked(), world.version_at(minutes(40))) == ("too dear (by cli)", [], None)


def test_a_waiting_change_can_be_cancelled(world: World) -> None:
    ask(world)
    cancel(world.ctx, "CHG-1", "ann", "not needed")
    with pytest.raises(RuleRefusal, match="is rolled back"):
        approve(world.ctx, "CHG-1", "bob", "fine")
    world.run_until(minutes(20))
    assert (world.state, world.asked()) == (S.ROLLED_BACK, [])


def test_resuming_is_no_approval(world: World) -> None:
    ask(world)
    hold(world.ctx, "CHG-1", "bob", "wait")
    assert resume(world.ctx, "CHG-1", "bob", "go on").state is S.AWAITING_APPROVAL
    hold(world.ctx, "CHG-1", "bob", "wait again")
    assert approve(world.ctx, "CHG-1", "bob", "fine").state is S.HELD, "an approval resumes nothing"
    assert resume(world.ctx, "CHG-1", "bob", "go on").state is S.SCHEDULED


def rejected(world: World) -> None:
    assert reject(world.ctx, "CHG-1", "eve", "not like this").state is S.CANCELLED


def not_planned_anew(world: World) -> None:
    assert plan_change(world.ctx, "CHG-1").state is S.CANCELLED, "there is no history to plan from"


def not_answered(world: World) -> None:
    world.reconcile()
    assert world.state is S.AWAITING_APPROVAL, "every step has been made: there is time until it takes effect"
    world.clock.sleep(EFFECTIVE - world.clock.now())
    world.reconcile()


def refused(world: World) -> None:
    nothing = CounterProposal(earliest_effective_at=None, relax=())
    refusal = PlanRefusal(workload="web", reason="too late", counter_proposal=nothing)
    assert store_plans(world.ctx, "CHG-1", [refusal]).state is S.CANCELLED


@pytest.mark.parametrize("turned_down", [rejected, not_planned_anew, not_answered, refused])
def test_turned_down_after_capacity_has_moved_it_is_given_back(turned_down: Callable[[World], None]) -> None:
    with World(lever=Lever.FLOOR) as world:
        ask(world, approvers=["bob"])
        approve(world.ctx, "CHG-1", "bob", "fine")
        world.run_until(minutes(22))
        assert (world.state, world.setting()) == (S.ARMED, floor(8))
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["eve"]}, "holders": ["bob"]}])
        assert resume(world.ctx, "CHG-1", "bob", "go on").state is S.AWAITING_APPROVAL
        turned_down(world)
        assert "cancelled" in [e.action for e in world.people.events]
        world.run_until(minutes(40))
        assert (world.state, world.setting(), world.version_at(minutes(40))) == (S.ROLLED_BACK, floor(1), None)


def test_small_changes_need_none(world: World) -> None:
    ask(world, free={"units": 4})
    assert world.state is S.SCHEDULED
    with world.sql.transaction() as tx:
        assert [(a.door, a.person) for a in tx.approvals("CHG-1")] == [("rule", "forebay")]


def test_a_plan_that_can_no_longer_start_is_drawn_anew_and_keeps_its_approvals(world: World) -> None:
    ask(world, moves=[(2, 4, 6), (8, 6, 8)], quorum=2)
    approve(world.ctx, "CHG-1", "bob", "fine")
    world.clock.sleep(timedelta(minutes=3))
    with pytest.raises(RuleRefusal, match="the first step was due at"):
        approve(world.ctx, "CHG-1", "eve", "fine")
    # What the planner would draw; how it does is its own tests' business.
    store_plans(world.ctx, "CHG-1", [a_plan(LATER)])
    assert world.record().state is S.AWAITING_APPROVAL
    assert approve(world.ctx, "CHG-1", "eve", "fine").state is S.SCHEDULED, "bob's covers the new plan too"


def test_a_new_plan_beyond_an_approval_asks_that_person_again(world: World) -> None:
    ask(world, quorum=2, tolerance_percent=0)
    approve(world.ctx, "CHG-1", "bob", "fine")
    store_plans(world.ctx, "CHG-1", [a_plan([*LATER, (22, 8, 10)])])
    assert approve(world.ctx, "CHG-1", "eve", "fine").state is S.AWAITING_APPROVAL
    assert approve(world.ctx, "CHG-1", "bob", "ten are fine too").state is S.SCHEDULED


def test_not_approved_in_time_is_denied_with_what_would_do(world: World) -> None:
    world.ctx = replace(world.ctx, usage=lambda workload: Remembered(world, workload))
    world.put_rules(rules=[{"name": "careful", "approval": {}}])
    impacts = [{"workload": "web", "factor": 2, "scope": "workload"}]
    world.submit(a_request(effective_at=minutes(60), impacts=impacts), a_plan(LATER, effective_at=minutes(60)))
    world.run_until(minutes(11))
    assert world.state is S.AWAITING_APPROVAL
    assert world.actions()[-2:] == ["plan stored", "awaiting approval"], "drawn anew once its first step was due"
    with world.sql.transaction() as tx:
        plan = tx.plan("CHG-1", "web")
    assert plan is not None and plan.steps[0].due_at >= minutes(20), "with ten minutes to approve it"
    world.run_until(minutes(59))
    assert world.state is S.DENIED
    assert "; its first step must be 10 min away, for those who have not approved it yet. " in world.record().note
    assert "What would do: effective_at 2026-11-24T" in world.record().note
    assert world.asked() == [] and world.version_at(minutes(61)) is None


def test_nothing_to_shape_and_not_approved_is_denied_at_its_effective_time(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "approval": {}}])
    world.submit(a_request(), a_plan((), aligned=4))
    world.run_until(EFFECTIVE)
    assert world.state is S.AWAITING_APPROVAL
    world.run_until(EFFECTIVE + timedelta(seconds=10))
    assert world.state is S.DENIED and world.record().note.startswith("not approved before its effective time")


def test_a_correction_stays_within_what_was_approved() -> None:
    with World(demand=lambda at: {Resource.CPU: 3.9}) as world:
        ask(world, tolerance_percent=0)
        approve(world.ctx, "CHG-1", "bob", "eight, not more")
        world.run_until(minutes(29))
        assert max(world.asked()) == 8
        assert world.state is S.HELD and "ceiling of 8 units is in the way of a correction" in world.record().note


def test_with_no_approval_that_counts_any_more_nothing_goes_beyond_the_plan() -> None:
    with World(demand=lambda at: {Resource.CPU: 3.9}) as world:
        ask(world, approvers=["bob"])
        approve(world.ctx, "CHG-1", "bob", "eight, and one more if it must be")
        world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["eve"]}}])
        with pytest.raises(RuleRefusal, match="8 are the most that is allowed"):
            pin(world.ctx, "CHG-1", 9, minutes(40), "bob", "a broadcast")
        world.run_until(minutes(29))
        assert max(world.asked()) == 8
        assert world.state is S.HELD and "ceiling of 8 units is in the way of a correction" in world.record().note


def test_what_else_is_pending_for_the_entity_is_found(world: World) -> None:
    world.submit()
    other = a_request(change="CHG-2", policy="tier", impacts=[], entitlements=[{"workload": "web", "min_units": 5}])
    change = other.accepted(world.clock.now())
    with world.sql.transaction() as tx:
        tx.add_change(change, 1, world.ctx.event(change, "received", "x"))
        record = tx.change("CHG-1")
        assert record is not None
        assert [o.change.change for o in others_pending(tx, record)] == ["CHG-2"]


@pytest.fixture
def outgrown() -> Iterator[World]:
    """Six units were approved for a change in ten hours; after six hours a new forecast wants twice as many."""
    later = minutes(600)
    with World(demand=flat(3)) as world:
        world.ctx = replace(world.ctx, usage=lambda workload: Remembered(world, workload))
        world.put_rules(rules=[{"name": "careful", "approval": {}}])
        impacts = [{"workload": "web", "factor": 2, "scope": "workload"}]
        world.submit(a_request(effective_at=later, impacts=impacts), a_plan([(480, 4, 6)], effective_at=later))
        approve(world.ctx, "CHG-1", "bob", "six")
        world.run_until(minutes(365), every=5 * MINUTE)
        yield world


def test_a_replan_beyond_the_approval_asks_again_and_goes_on_once_approved(outgrown: World) -> None:
    (told,) = [e for e in outgrown.people.events if e.action == "approval asked again"]
    assert "7 are approved" in told.reason
    assert [s.step.to_units for s in outgrown.steps()] == [6], "what was approved stays"
    assert approve(outgrown.ctx, "CHG-1", "bob", "as many as it takes", plan=told.plan_hash).state is S.SCHEDULED
    outgrown.run_until(minutes(370), every=5 * MINUTE)
    assert "replanned" in outgrown.actions()
    assert outgrown.steps()[-1].step.to_units >= 12
    with pytest.raises(RuleRefusal, match="waits for no approval"):
        approve(outgrown.ctx, "CHG-1", "eve", "me too")


def test_a_rejected_replan_leaves_the_approved_plan(outgrown: World) -> None:
    assert reject(outgrown.ctx, "CHG-1", "bob", "six it is").state is S.SCHEDULED
    outgrown.run_until(minutes(370), every=5 * MINUTE)
    assert [s.step.to_units for s in outgrown.steps()] == [6]
    assert "replanned" not in outgrown.actions()


@pytest.fixture
def in_force() -> Iterator[World]:
    """In force with eight units approved; what came since is far more, and the rest of the plan asks for it."""
    with World(a_workload(), demand=lambda at: {Resource.CPU: 2.0 if at < EFFECTIVE else 6.0}) as world:
        world.cloud.remembers = True
        world.put_rules(rules=[{"name": "careful", "approval": {}}])
        impacts = [{"workload": "web", "factor": 2, "low": 1.5, "high": 4, "scope": "workload"}]
        world.submit(a_request(impacts=impacts, settle="PT3H"), a_plan(LATER))
        approve(world.ctx, "CHG-1", "bob", "eight")
        world.run_until(minutes(52))
        yield world


def test_a_plan_that_asks_for_more_once_in_force_is_approved_and_goes_on(in_force: World) -> None:
    assert in_force.state is S.SETTLING
    (told,) = [e for e in in_force.people.events if e.action == "approval asked again"]
    shown = change_status(in_force.ctx, "CHG-1").request
    assert shown is not None and shown.asked == told.plan_hash, "who is asked sees what for"
    _, expires, _ = approvals.invite(in_force.ctx, "CHG-1", "bob", "ann", timedelta(hours=1))
    assert expires == in_force.clock.now() + timedelta(hours=1)
    assert approve(in_force.ctx, "CHG-1", "bob", "as many as it takes", plan=told.plan_hash).state is S.SETTLING
    in_force.run_until(minutes(80))
    assert "replanned" in in_force.actions() and max(in_force.asked()) >= 12
    with pytest.raises(RuleRefusal, match="is settling"):
        approve(in_force.ctx, "CHG-1", "eve", "me too")


def test_rejected_once_in_force_the_plan_stays_and_so_does_the_policy(in_force: World) -> None:
    assert reject(in_force.ctx, "CHG-1", "bob", "eight it is").state is S.SETTLING
    in_force.run_until(minutes(60))
    assert (max(in_force.asked()), in_force.version_at(minutes(60))) == (8, 1)
