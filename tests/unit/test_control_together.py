"""A change on several workloads: all of them aligned and it is armed; one of them not, and nothing comes into force."""

from __future__ import annotations

import pytest

from forebay.app.people import cancel
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, World, a_plan, a_request, a_workload, count, flat, minutes

pytestmark = pytest.mark.slow

S = ChangeState


def both() -> World:
    return World(a_workload("web"), a_workload("api"), demand=flat(2))


def submit(world: World) -> None:
    plans = [a_plan(workload=name, demand=flat(2)) for name in ("web", "api")]
    world.submit(a_request("web", "api"), *plans)


def test_it_is_armed_once_every_workload_is_there() -> None:
    with both() as world:
        submit(world)
        world.run_until(minutes(25))
        assert [world.asked(name) for name in ("web", "api")] == [[6, 8], [6, 8]]
        assert world.state is S.ARMED
        world.run_until(minutes(60))
        assert (world.state, world.version_at(EFFECTIVE)) == (S.CLOSED, 1)


def test_one_that_does_not_arrive_keeps_all_of_them_back() -> None:
    with both() as world:
        world.cloud.services["api"].arrives = 6
        submit(world)
        world.run_until(minutes(40))
        assert world.state is S.HELD
        assert world.asked("web") != [], "the other one was shaped"
        assert world.version_at(minutes(40)) is None
        assert "armed" not in world.actions()
        world.cloud.services["api"].arrives = 100
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(minutes(80))
        assert world.state is S.ROLLED_BACK
        assert [world.setting(name) for name in ("web", "api")] == [count(4), count(4)], "both go back"
