"""A look that finds nothing to write waits for no writer: it is made for each change, every few seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from forebay.app.arm import enforce
from forebay.app.foretell import foretell
from forebay.app.outbox import post_what_is_in_force
from forebay.app.people import hold
from forebay.app.watch import watch
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, MINUTE, World, a_request, count, minutes

pytestmark = pytest.mark.slow

S = ChangeState


def shaping(world: World) -> None:
    world.run_until(minutes(5))
    assert world.state is S.SHAPING


def armed(world: World) -> None:
    world.run_until(minutes(20))
    assert world.state is S.ARMED


def held(world: World) -> None:
    """Late, though it were resumed now; which is told."""
    world.run_until(minutes(5))
    hold(world.ctx, "CHG-1", "bob", "wait")
    world.run_until(minutes(28))
    assert world.told("expected late")


def clashing(world: World) -> None:
    held(world)
    world.cloud.set("web", count(3), foreign=True)
    world.run_until(minutes(29))
    assert world.told("changed by another")


def held_past_its_time(world: World) -> None:
    held(world)
    world.run_until(EFFECTIVE + MINUTE)
    assert world.told("deferred")


def settling(world: World) -> None:
    world.run_until(EFFECTIVE + MINUTE)
    assert world.state is S.SETTLING


@pytest.mark.parametrize("reached", [shaping, armed, held, clashing, held_past_its_time, settling])
def test_what_finds_nothing_to_write_waits_for_no_writer(world: World, reached: Callable[[World], None]) -> None:
    world.submit(a_request(settle="PT2H"))
    reached(world)
    world.clock.sleep(timedelta(seconds=1))
    record, waited = world.record(), []
    world.store.effect = lambda name: waited.append(name) if name == "before a transaction" else None
    foretell(world.ctx, record)
    watch(world.ctx, record)
    if record.state is S.SETTLING:
        post_what_is_in_force(world.ctx, record)
    if world.clock.now() >= EFFECTIVE and record.state is S.HELD:
        enforce(world.ctx, "CHG-1")
    assert waited == []
    assert [version.version for version in world.enforcer.pushed] == ([1] if record.state is S.SETTLING else [])
