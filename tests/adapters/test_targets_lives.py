"""Whole lives on the simulated AWS, with what stands in their way there: a count below the floor, a missing right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from forebay.app.people import resume
from forebay.aws import AwsClients
from forebay.domain.lifecycle import ChangeState
from sandbox.sandbox import Sandbox
from tests.support.aws_world import aws_world, flat_plan
from tests.support.world import World, a_request, minutes

S = ChangeState
Life = Callable[..., AbstractContextManager[tuple[World, Sandbox, AwsClients]]]


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    """A change submitted: floors or counts of 6 at 09:01 and 8 at 09:07, armed at 09:10, in force at 09:30."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sandbox")

    @contextmanager
    def begun(**given: Any) -> Iterator[tuple[World, Sandbox, AwsClients]]:
        with aws_world(tmp_path, **given) as (world, cloud, aws):
            world.submit(a_request(), flat_plan())
            yield world, cloud, aws

    return begun


def deploys(aws: AwsClients, count: int) -> Callable[[], object]:
    """As a deployment does that names a desired count of its own."""
    return lambda: aws.ecs.update_service(cluster="prod", service="web", desiredCount=count)


def test_a_count_that_another_sets_below_the_floor_is_lifted_where_the_workload_insists(life: Life) -> None:
    """No autoscaler lifts it before it has to scale out: the floor stands, and half of its capacity is gone."""
    with life(autoscaled=True, on_foreign_write="insist") as (world, _, aws):
        world.clock.at(minutes(15), deploys(aws, 4))
        world.run_until(minutes(29))
        assert [i.new.floor for i in world.intents()] == [6, 8, 6, 8]
        assert world.state is S.ARMED
        assert "web is to run 4 units, and floor 8 (ceiling 20) stands" in world.told("shaping again")[0]


def test_where_it_does_not_a_person_is_told_why_and_resuming_lifts_it(life: Life) -> None:
    with life(autoscaled=True) as (world, _, aws):
        world.clock.at(minutes(15), deploys(aws, 4))
        world.run_until(minutes(17))
        assert world.state is S.HELD
        assert world.record().note.startswith(
            "changed by another: web is to run 4 units, and floor 8 (ceiling 20) stands"
        )
        resume(world.ctx, "CHG-1", "bob", "that was our deployment")
        world.run_until(minutes(29))
        assert [i.new.floor for i in world.intents()] == [6, 8, 8, 6, 8], "the soft limit lets two units in at a time"
        assert world.state is S.ARMED


def test_set_back_to_the_floor_it_goes_on_by_itself(life: Life) -> None:
    with life(autoscaled=True) as (world, _, aws):
        world.clock.at(minutes(15), deploys(aws, 4))
        world.clock.at(minutes(18), deploys(aws, 8))
        world.run_until(minutes(17))
        assert world.state is S.HELD
        world.run_until(minutes(29))
        assert (world.state, [i.new.floor for i in world.intents()]) == (S.ARMED, [6, 8])
        assert len(world.told("held")) == 1 and not world.told("changed by another")


def test_once_the_policy_is_in_force_it_is_told(life: Life) -> None:
    with life(autoscaled=True) as (world, _, aws):
        world.clock.at(minutes(35), deploys(aws, 4))
        world.run_until(minutes(38))
        assert world.state is S.SETTLING
        assert world.told("changed by another") == [
            "changed by another: web is to run 4 units, and floor 8 (ceiling 20) stands"
        ]


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException"])
def test_a_right_that_was_missing_holds_the_change_until_it_is_there_again(life: Life, code: str) -> None:
    with life() as (world, cloud, _):
        world.clock.at(minutes(2), lambda: cloud.fault(kind="error", op="DescribeServices", code=code, status=400))
        world.clock.at(minutes(10), cloud.clear_faults)
        world.run_until(minutes(9))
        assert (world.state, [i.new.count for i in world.intents()]) == (S.HELD, [6])
        assert code in world.record().note and "it goes on by itself" in world.record().note
        world.run_until(minutes(29))
        assert (world.state, [i.new.count for i in world.intents()]) == (S.ARMED, [6, 8])
        assert len(world.told("held")) == 1


@pytest.mark.parametrize("autoscaled", [False, True])
def test_what_somebody_has_scaled_to_zero_is_not_started_before_somebody_starts_it(
    life: Life, autoscaled: bool
) -> None:
    with life(autoscaled=autoscaled) as (world, _, aws):
        world.clock.at(minutes(0.5), deploys(aws, 0))
        world.clock.at(minutes(9), deploys(aws, 4))
        world.run_until(minutes(8))
        assert (world.state, world.intents()) == (S.HELD, [])
        assert "web is scaled to zero" in world.record().note
        world.run_until(minutes(29))
        assert (world.state, [i.new.units for i in world.intents()]) == (S.ARMED, [6, 8])
