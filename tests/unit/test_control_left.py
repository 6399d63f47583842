"""What a policy had guaranteed or capped is given back by the change that replaces it, if nobody else was at it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from forebay.app.left import stood_before
from forebay.app.plan import plan_change
from forebay.app.receive import receive
from forebay.domain.allocation import Lever
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, World, a_request, a_workload, flat, floor

pytestmark = pytest.mark.slow

S = ChangeState
HOUR = timedelta(hours=1)


def version(world: World, number: int, hours: int, bounds: dict[str, int], **fields: Any) -> None:
    """The next version of acme's tier, from `hours` after 9:30 on, followed until it is closed."""
    web = [{"workload": "web", **bounds}] if bounds else []
    nothing = [] if bounds else [{"workload": "web", "factor": 1.0}]
    given = {"change": f"CHG-{number}", "policy": "tier", "impacts": nothing, "entitlements": web, "settle": "PT10M"}
    receive(world.ctx, a_request(**given | fields, effective_at=EFFECTIVE + hours * HOUR))
    plan_change(world.ctx, f"CHG-{number}")
    world.run_until(EFFECTIVE + hours * HOUR + timedelta(minutes=30))
    assert world.record(f"CHG-{number}").state is S.CLOSED, world.record(f"CHG-{number}").note


def a_world() -> World:
    world = World(a_workload(shares={"acme": 0.5, "bolt": 0.5}), lever=Lever.FLOOR, demand=flat(1))
    world.cloud.remembers = True
    return world


@pytest.mark.parametrize("last", [{}, {"min_units": 0}])
def test_a_floor_goes_back_when_no_version_asks_for_it_any_more_however_many_there_were(last: dict[str, int]) -> None:
    with a_world() as world:
        for number, (least, stands) in enumerate([(6, 6), (8, 8), (3, 3)]):
            version(world, number, number, {"min_units": least})
            assert world.setting() == floor(stands)
        version(world, 3, 3, last)
        assert world.setting() == floor(1)


def test_so_does_a_maximum_that_was_capped() -> None:
    with a_world() as world:
        version(world, 0, 0, {"max_units": 5})
        assert world.setting() == floor(1, 5)
        version(world, 1, 1, {"max_units": 12})
        assert world.setting() == floor(1, 12)
        version(world, 2, 2, {})
        assert world.setting() == floor(1, 20)


def by_another_hand(world: World) -> None:
    world.cloud.services["web"].setting = floor(6, 25)


def by_a_person(world: World) -> None:
    """As if it had been in the way of giving more back, and somebody had said that it stays."""
    with world.sql.transaction() as tx:
        tx.audit(world.ctx.event(world.record("CHG-0").change, "settled by a person", "it is right so", "ann"))


@pytest.mark.parametrize(("left", "stands"), [(by_another_hand, floor(6, 25)), (by_a_person, floor(6))])
def test_what_somebody_else_has_set_or_said_stays(left: Callable[[World], None], stands: object) -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        left(world)
        version(world, 1, 1, {})
        assert world.setting() == stands


def test_another_customers_change_gives_back_no_more_than_is_not_guaranteed() -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        version(world, 1, 1, {"min_units": 8}, entity="bolt")
        assert world.setting() == floor(8)
        version(world, 2, 2, {}, entity="bolt")
        assert world.setting() == floor(6), "acme's guarantee stands"
        version(world, 3, 3, {})
        assert world.setting() == floor(1)


def test_what_another_change_still_holds_is_its_own_to_give_back() -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        more, at = [{"workload": "web", "min_units": 8}], EFFECTIVE + 2 * HOUR
        receive(world.ctx, a_request(change="CHG-1", entity="bolt", impacts=[], entitlements=more, effective_at=at))
        plan_change(world.ctx, "CHG-1")
        world.run_until(at + timedelta(minutes=5))
        assert (world.record().state, world.setting()) == (S.SETTLING, floor(8))
        with world.sql.snapshot() as tx:
            assert stood_before(tx, "CHG-9", "web", floor(8)) == floor(8)
            assert stood_before(tx, "CHG-1", "web", floor(6)) == floor(1), "its own to give back"
