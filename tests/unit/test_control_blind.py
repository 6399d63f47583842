"""A watch that cannot look: told, and no policy takes force on what nobody has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from forebay.domain.allocation import Lever
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.workload import Workload
from tests.support.world import EFFECTIVE, MINUTE, World, a_request, count, minutes

S = ChangeState


def reach(world: World, minute: float, reached: bool) -> None:
    world.clock.at(minutes(minute), lambda: setattr(world.cloud, "unreachable", not reached))


def test_no_policy_takes_force_on_what_nobody_has_seen_for_long(world: World) -> None:
    """Its units may be gone: the decision point would switch by the clock all the same."""
    world.submit()
    reach(world, 12, reached=False)
    world.clock.at(minutes(20), lambda: world.cloud.set("web", count(4), foreign=True))
    world.run_until(EFFECTIVE + 5 * MINUTE)
    assert (world.state, world.version_at(EFFECTIVE)) == (S.SHAPING, None)
    assert len(world.told("not looked at")) == 1
    assert "the cloud does not answer" in world.told("not looked at")[0]
    assert len(world.told("shaping again")) == 1


def test_seen_again_it_is_armed_again(world: World) -> None:
    world.submit()
    reach(world, 12, reached=False)
    reach(world, 22, reached=True)
    world.run_until(minutes(28))
    assert (world.state, len(world.told("not looked at"))) == (S.ARMED, 1)
    assert world.actions().count("looked at again") == 1


def test_what_cannot_be_looked_at_for_a_moment_takes_force_and_is_pushed_in_time(world: World) -> None:
    world.submit()
    reach(world, 28, reached=False)
    reach(world, 32, reached=True)
    pushed = []
    world.people.told = lambda event: pushed.append(event.at) if event.action == "settling" else None
    world.run_until(minutes(29))
    world.run_until(minutes(31), every=timedelta(seconds=5))
    assert world.version_at(EFFECTIVE) == 1 and not world.told("not looked at")
    assert pushed == [EFFECTIVE], "the run that enforces it does not end where it cannot look"


def test_settling_unseen_is_told_once_each_time() -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit(a_request(settle="PT2H"))
        for minute in (35, 60):
            reach(world, minute, reached=False)
            reach(world, minute + 20, reached=True)
        world.run_until(minutes(100))
        assert (world.state, len(world.told("not looked at"))) == (S.SETTLING, 2)


class Unreadable:
    """A Catalog whose file somebody is editing."""

    @property
    def workloads(self) -> Sequence[Workload]:
        raise InputError("workloads.yaml: line 3 is not YAML: mend it")

    def get(self, name: str) -> Workload | None:
        return next((workload for workload in self.workloads if workload.name == name), None)


@pytest.mark.parametrize(("until", "in_force"), [(20, 1), (29, None)])
def test_nor_on_what_nobody_can_look_at_for_want_of_the_workloads_file(
    world: World, until: int, in_force: int | None
) -> None:
    world.submit()
    world.run_until(minutes(15))
    catalog = world.ctx.catalog
    world.ctx = replace(world.ctx, catalog=Unreadable())
    world.run_until(minutes(until))
    world.ctx = replace(world.ctx, catalog=catalog)
    world.clock.sleep(EFFECTIVE - world.clock.now())
    assert world.version_at(EFFECTIVE) == in_force
    assert len(world.told("not looked at")) == (in_force is None)
