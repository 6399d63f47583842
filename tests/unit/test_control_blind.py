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
from tests.support.world import EFFECTIVE, MINUTE, World, a_request, a_workload, count, floor, minutes

pytestmark = pytest.mark.slow

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


def test_a_write_whose_answer_is_lost_ends_no_patience() -> None:
    """What is left open there says nothing of what stands there now."""
    with World(a_workload(on_foreign_write="insist"), lever=Lever.FLOOR) as world:
        world.submit(a_request(settle="PT2H"))
        world.run_until(minutes(35))
        world.cloud.set("web", floor(5), foreign=True)

        def goes_away(name: str) -> None:
            world.cloud.unreachable = world.cloud.unreachable or name == "before the write"

        world.cloud.effect = goes_away
        world.run_until(minutes(50))
        assert len(world.told("not looked at")) == 1
        assert "looked at again" not in world.actions()


def test_who_finds_another_at_work_has_not_looked(world: World) -> None:
    world.submit(a_request(settle="PT2H"))
    world.run_until(minutes(35))
    world.cloud.unreachable = True
    world.reconcile()
    with world.sql.transaction() as tx:
        tx.acquire_lease("web", "another", world.clock.now(), MINUTE)
    world.reconcile()
    assert "look failed" in world.actions() and "looked at again" not in world.actions()


def test_an_armed_change_is_not_seen_by_whoever_comes_after_its_time(world: World) -> None:
    world.submit()
    reach(world, 29, reached=False)
    world.run_until(EFFECTIVE - MINUTE / 2, every=timedelta(seconds=10))
    world.clock.sleep(MINUTE / 2)
    world.reconcile()
    assert "look failed" in world.actions() and "looked at again" not in world.actions()


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
