"""A change that cannot be planned for now: said at once in its note, the audit log and to people, each failure once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.app.people import hold, resume
from forebay.app.plan_failure import tell_unplanned
from forebay.app.receive import receive
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, MINUTE, World, a_request, minutes

S = ChangeState
NO_REGION = OutsideError("You must specify a region", retryable=False)
DENIED = OutsideError("ecs:DescribeServices was not permitted", retryable=False)


def fail(world: World, *errors: Exception) -> None:
    for error in errors:
        world.clock.sleep(3 * MINUTE)
        tell_unplanned(world.ctx, world.record().change, error)


def test_why_is_told_once_though_it_is_tried_again_and_again(world: World) -> None:
    receive(world.ctx, a_request())
    fail(world, NO_REGION, NO_REGION, NO_REGION, DENIED, DENIED)
    assert world.actions().count("not planned") == len(world.told("not planned")) == 2
    assert world.state is S.RECEIVED
    assert world.record().note == (
        "its plan could not be drawn, and is tried again: ecs:DescribeServices was not permitted"
    )


def test_failures_that_take_turns_are_told_once_an_hour(world: World) -> None:
    receive(world.ctx, a_request(effective_at=EFFECTIVE + timedelta(days=1)))
    fail(world, *[NO_REGION, DENIED] * 5)
    assert len(world.told("not planned")) == 2
    world.clock.sleep(timedelta(hours=1))
    fail(world, NO_REGION, NO_REGION)
    assert world.record().note.endswith("specify a region") and len(world.told("not planned")) == 3


def test_a_denial_for_want_of_a_plan_says_what_planning_failed_with(world: World) -> None:
    receive(world.ctx, a_request(on_misalignment="defer"))
    fail(world, NO_REGION, DENIED)
    world.run_until(EFFECTIVE + 2 * MINUTE)
    assert (world.state, world.record().note) == (
        S.DENIED,
        "it had no plan at its effective time: ecs:DescribeServices was not permitted",
    )


def test_a_denial_though_no_run_has_failed_says_where_to_look(world: World) -> None:
    receive(world.ctx, a_request())
    world.run_until(EFFECTIVE + 2 * MINUTE)
    assert "see them in Prefect" in world.record().note


def test_what_failed_before_the_change_was_resumed_or_edited_is_told_again(world: World) -> None:
    receive(world.ctx, a_request())
    fail(world, NO_REGION)
    hold(world.ctx, "CHG-1", "ann", "wait")
    fail(world, NO_REGION)
    assert world.record().note == "wait", "a person's hold keeps its words"
    resume(world.ctx, "CHG-1", "ann", "go on")
    fail(world, NO_REGION)
    before = world.record().change
    receive(world.ctx, a_request(reason="edited"))
    tell_unplanned(world.ctx, before, DENIED)
    assert "edited" in world.record().note, "that run planned what it was before"
    fail(world, NO_REGION)
    assert "specify a region" in world.record().note and len(world.told("not planned")) == 3


def test_what_nobody_foresaw_is_said_by_its_kind(world: World) -> None:
    receive(world.ctx, a_request())
    fail(world, ZeroDivisionError("division by zero"))
    assert world.record().note.endswith("tried again: ZeroDivisionError: division by zero")


@pytest.mark.parametrize("heals", [True, False])
def test_a_plan_that_could_not_be_drawn_anew_for_approvers_is_told(world: World, heals: bool) -> None:
    world.cloud.remembers = True
    world.put_rules(rules=[{"name": "all", "approval": {"approvers": ["eve"]}}])
    assert world.submit().state is S.AWAITING_APPROVAL
    world.cloud.unreachable = True
    world.run_until(minutes(10))
    assert world.told("not planned") == [
        "its plan could not be drawn, and is tried again: the cloud does not answer"
    ], world.actions()
    world.cloud.unreachable = not heals
    world.run_until(EFFECTIVE + 2 * MINUTE)
    assert world.state is S.DENIED
    assert ("no other plan could be drawn: the cloud does not answer" in world.record().note) is not heals


def test_a_failure_that_differs_in_its_times_only_is_the_same(world: World) -> None:
    receive(world.ctx, a_request())
    expired = [
        f"Signature expired: 20261130T09{n:02}00Z is now earlier than 20261130T09{n + 9:02}00Z" for n in range(5)
    ]
    fail(world, *(OutsideError(said, retryable=True) for said in expired))
    assert len(world.told("not planned")) == 1
