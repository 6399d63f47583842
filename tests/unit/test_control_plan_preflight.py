"""What was found on a target when the plan was drawn: refused, or told with the plan and in the audit log."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from forebay.app.outlook import Outlook
from forebay.app.plan import Seen, draw_live, store_plans
from forebay.app.preflight import spans
from forebay.app.receive import receive
from forebay.domain.allocation import Foreseen
from forebay.domain.errors import InputError
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize
from forebay.planning.slots import horizon_slots
from forebay.report.table import plan_table
from tests.support.world import EFFECTIVE, NOW, World, a_plan, a_request, minutes


def drawn(world: World) -> ShapingPlan:
    change = receive(world.ctx, a_request(impacts=[{"workload": "web", "factor": 2, "scope": "workload"}])).change
    workload = world.ctx.workload("web")
    index = horizon_slots(change, workload, NOW)
    outlook = Outlook(index, {Resource.CPU: np.full((4, len(index)), 2.0)}, {})
    plan = draw_live(world.ctx, Seen(workload, {}, outlook, NOW), change, timedelta(seconds=5))
    assert isinstance(plan, ShapingPlan)
    return plan


def test_what_is_found_is_told_with_the_plan_and_in_the_audit_log() -> None:
    with World() as world:
        service = world.cloud.services["web"]
        service.problems, service.warnings = ("a deployment is in progress",), ("1 of 4 instances are protected",)
        plan = drawn(world)
        assert plan.preflight == (
            "a step would wait now: a deployment is in progress",
            "1 of 4 instances are protected",
        )
        assert "note: 1 of 4 instances are protected" in plan_table(plan)
        store_plans(world.ctx, "CHG-1", [plan])
        with world.sql.transaction() as tx:
            (stored,) = [e.event for e in tx.audit_entries("CHG-1") if e.event.action == "plan stored"]
        assert stored.reason.endswith("1 of 4 instances are protected")


def test_what_cannot_be_shaped_is_refused_when_it_is_planned() -> None:
    with World() as world:
        world.cloud.services["web"].refusals = ("the service is a DAEMON",)
        with pytest.raises(InputError, match="web cannot be shaped: the service is a DAEMON"):
            drawn(world)


def test_what_is_foreseen_until_it_is_handed_back_is_told_or_refused_with_the_plan() -> None:
    with World() as world:
        service = world.cloud.services["web"]
        service.foreseen = Foreseen(warnings=("the scheduled action 'nightly' would go below",))
        plan = drawn(world)
        assert plan.preflight == ("the scheduled action 'nightly' would go below",)
        assert [s.units for s in service.asked_ahead] == [s.to_units for s in plan.steps]
        assert service.asked_ahead[0].start == plan.steps[0].due_at
        handed_back = EFFECTIVE + timedelta(minutes=10) + world.ctx.workload("web").verified_after
        assert service.asked_ahead[-1].end == handed_back
    with World() as world:
        world.cloud.services["web"].foreseen = Foreseen(refusals=("8 units need 32 vCPU, the quota is 16",))
        with pytest.raises(InputError, match="web cannot be shaped as planned: 8 units need 32 vCPU"):
            drawn(world)


def test_a_resize_is_looked_at_ahead_as_one() -> None:
    with World() as world:
        plain = a_plan()
        resized = plain.steps[1].model_copy(update={"size": TaskSize(cpu_units=2048, memory_mib=4096)})
        plan = plain.model_copy(update={"steps": (plain.steps[0], resized)})
        change = receive(world.ctx, a_request()).change
        assert [s.resized for s in spans(plan, change, world.ctx.workload("web"), NOW)] == [False, True]


def test_what_has_come_up_since_is_told_before_the_next_step_and_once() -> None:
    with World() as world:
        world.submit()
        world.run_until(minutes(4))
        world.cloud.services["web"].foreseen = Foreseen(warnings=("the scheduled action 'nightly' would go below",))
        world.run_until(minutes(20))
        assert world.asked() == [6, 8]
        assert [e.reason for e in world.people.events if e.action == "foreseen"] == [
            "the scheduled action 'nightly' would go below"
        ]
        assert world.actions().index("foreseen") < world.actions().index("step 2 asked")
        assert world.cloud.services["web"].asked_ahead[0].start == minutes(7), "what is behind is no matter"
