"""Customers whose own usage is measured: each change acts on what its own customer has, and no share is stated."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from forebay.app.plan import plan_change
from forebay.app.receive import receive
from forebay.domain.allocation import Lever
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource
from tests.support.world import EFFECTIVE, World, a_request, a_workload, minutes

pytestmark = pytest.mark.slow

S = ChangeState
PER_CUSTOMER = {"cpu": {"namespace": "Shop", "metric": "CpuCores", "dimension": "Tenant", "unit": "cores"}}


def world_of_measured(later: datetime, lever: Lever = Lever.COUNT) -> World:
    """acme has one core of three and two from 9:30 on, bolt half a core and one from `later` on. A core needs two
    units; the forecast of a flat history is uncertain by 2 %, which may take one more.
    """
    work = a_workload(entity_usage=PER_CUSTOMER)

    def acme(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 1.0 + (at >= EFFECTIVE)}

    def bolt(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 0.5 + 0.5 * (at >= later)}

    def total(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 1.5 + acme(at)[Resource.CPU] + bolt(at)[Resource.CPU]}

    world = World(work, lever=lever, demand=total, units=6)
    world.cloud.remembers = True
    world.cloud.measured = {"acme": acme, "bolt": bolt}
    return world


def plan_of(world: World, change: str) -> ShapingPlan:
    with world.sql.transaction() as tx:
        plan = tx.plan(change, "web")
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("lever", "later"),
    [
        pytest.param(Lever.COUNT, minutes(90), id="in turn"),
        pytest.param(Lever.FLOOR, minutes(35), id="on one path"),
    ],
)
def test_two_customers_changes_live_on_what_was_measured_of_each(lever: Lever, later: datetime) -> None:
    with world_of_measured(later, lever) as world:
        receive(world.ctx, a_request())
        assert plan_change(world.ctx, "CHG-1").state is S.SCHEDULED
        assert plan_of(world, "CHG-1").aligned_units in (8, 9), "4 cores"
        receive(world.ctx, a_request(change="CHG-2", entity="bolt", effective_at=later))
        assert plan_change(world.ctx, "CHG-2").state is S.SCHEDULED
        plan = plan_of(world, "CHG-2")
        assert plan.aligned_units in (9, 10), "half a core more"
        whose = {note.split(":")[0] for note in plan.forecast["cpu"]}
        assert {"acme, measured", "bolt, measured", "the rest"} <= whose
        world.run_until(later + timedelta(minutes=40))
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.CLOSED, S.CLOSED]
        assert max(world.asked()) in (9, 10)
        assert not world.troubles
