"""What the `policy-change` flow plans by its tasks is what `plan_change` plans: replays and tests go by that one."""

from __future__ import annotations

from datetime import datetime

import pytest
from prefect.logging import disable_run_logger

import tasks.plan as planning
from forebay.app.plan import plan_change
from forebay.app.receive import receive
from forebay.domain.allocation import Lever
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.resources import Resource
from tests.support.world import EFFECTIVE, World, a_request, minutes
from tests.unit.test_control_measured import world_of_measured
from tests.unit.test_control_others import bolts, world_of

S = ChangeState


def by_the_tasks(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[ChangeRecord, ShapingPlan | PlanRefusal]:
    """CHG-2, as the flow plans it."""
    monkeypatch.setattr(planning, "context", lambda: world.ctx)
    change, now = world.record("CHG-2").change, world.clock.now()
    with disable_run_logger():
        history = planning.read_history.fn("web")
        outlook = planning.forecast.fn("web", change, history, now)
        plan = planning.draw_plan.fn("web", change, history, outlook, now)
        (plan,) = planning.agree.fn(change, [planning.see("web", history, outlook, now)], [plan])
        return planning.persist.fn(change, [plan]), plan


def by_one_call(world: World) -> ShapingPlan:
    assert plan_change(world.ctx, "CHG-2", planning.FIRST_STEP_LEAD).state is S.SCHEDULED
    with world.sql.transaction() as tx:
        plan = tx.plan("CHG-2", "web")
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("lever", "later"),
    [
        pytest.param(Lever.COUNT, minutes(90), id="in turn"),
        pytest.param(Lever.FLOOR, minutes(35), id="on one path"),
    ],
)
def test_an_earlier_customers_own_usage_is_measured_for_a_later_ones_plan(
    monkeypatch: pytest.MonkeyPatch, lever: Lever, later: datetime
) -> None:
    """No share of acme's is stated: what CHG-1 multiplies is known by measurement alone."""
    plans = []
    for by in (lambda world: by_the_tasks(world, monkeypatch)[1], by_one_call):
        with world_of_measured(later, lever) as world:
            receive(world.ctx, a_request())
            assert plan_change(world.ctx, "CHG-1").state is S.SCHEDULED
            receive(world.ctx, a_request(change="CHG-2", entity="bolt", effective_at=later))
            plans.append(by(world))
    assert plans[0] == plans[1]


def test_what_is_in_force_of_late_is_in_the_demand_of_a_later_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def demand(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 2.0 if at < EFFECTIVE else 4.0}

    with world_of(demand, "PT1H") as world:
        world.run_until(minutes(70))
        receive(world.ctx, bolts())
        record, plan = by_the_tasks(world, monkeypatch)
        assert record.state is S.SCHEDULED and isinstance(plan, ShapingPlan)
        assert 10 <= plan.aligned_units <= 11, "4 cores as they were seen, and bolt's"
        assert any("CHG-1 is in force since 24 Nov 09:30 UTC" in note for note in plan.forecast["cpu"])
