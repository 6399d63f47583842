"""Impacts on a resource that no plan looks at: refused where nothing else is asked for, else said loudly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from forebay.app.outlook import Outlook
from forebay.app.plan import Seen, draw_live
from forebay.app.receive import receive
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.unplanned import check_planned, not_planned_for
from forebay.planning.slots import horizon_slots
from tests.support.planning_cases import change, workload
from tests.support.world import NOW, World, a_request

CPU = {"workload": "web", "resource": "cpu", "factor": 2}
MEMORY = {"workload": "web", "resource": "memory", "factor": 10, "scope": "workload"}
NETWORK = {"workload": "web", "resource": "network", "add": 5, "unit": "Mbit/s"}


@pytest.mark.parametrize(
    ("impacts", "what"),
    [([MEMORY], "memory"), ([MEMORY, NETWORK], "memory and network"), ([MEMORY, CPU | {"factor": 1}], "memory")],
)
def test_what_would_move_nothing_is_refused_with_the_mend(impacts: list[Any], what: str) -> None:
    with pytest.raises(RuleRefusal) as refusal:
        check_planned(change(impacts=impacts), workload())
    assert str(refusal.value) == (
        f"{what} of web is to change, and its objectives name cpu only: nothing would be moved for it (rule: an impact "
        f"is on what is planned). What would pass: an impact on cpu (or all), or {what} among the objectives of web"
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"impacts": [CPU]}, id="what is planned"),
        pytest.param({"impacts": [{"workload": "web", "factor": 2}]}, id="all"),
        pytest.param({"impacts": [MEMORY | {"factor": 1}]}, id="a policy switch, which asks for no capacity"),
        pytest.param({"impacts": [MEMORY | {"workload": "api"}]}, id="on another workload"),
    ],
)
def test_what_is_planned_or_asks_for_nothing_may_stand_without_a_word(fields: dict[str, Any]) -> None:
    check_planned(change(**fields), workload())
    assert not_planned_for(change(**fields), workload()) == ()


@pytest.mark.parametrize(
    "fields",
    [{"impacts": [CPU, MEMORY]}, {"impacts": [MEMORY], "entitlements": [{"workload": "web", "min_units": 4}]}],
    ids=["beside one that is planned", "beside an entitlement"],
)
def test_what_is_lost_beside_something_that_is_planned_is_said(fields: dict[str, Any]) -> None:
    check_planned(change(**fields), workload())
    (note,) = not_planned_for(change(**fields), workload())
    assert note.startswith("NOT planned for: the impact of CHG-1 on memory, as the objectives of web name cpu only")


def test_it_is_denied_as_it_comes_and_an_edit_of_that_kind_is_refused() -> None:
    with World() as world:
        denied = receive(world.ctx, a_request(impacts=[MEMORY]))
        assert denied.state is ChangeState.DENIED and "an impact is on what is planned" in denied.note
        assert receive(world.ctx, a_request(impacts=[MEMORY, CPU])).state is ChangeState.RECEIVED
        with pytest.raises(RuleRefusal, match="an impact is on what is planned"):
            receive(world.ctx, a_request(impacts=[NETWORK]))


def test_a_plan_says_first_what_it_leaves_out() -> None:
    with World() as world:
        asked = receive(world.ctx, a_request(impacts=[CPU | {"scope": "workload"}, MEMORY])).change
        work = world.ctx.workload("web")
        index = horizon_slots(asked, work, NOW)
        outlook = Outlook(index, {Resource.CPU: np.full((4, len(index)), 2.0)}, {})
        plan = draw_live(world.ctx, Seen(work, {}, outlook, NOW), asked, timedelta(seconds=5))
        assert isinstance(plan, ShapingPlan)
        assert plan.preflight[0] == not_planned_for(asked, work)[0]
