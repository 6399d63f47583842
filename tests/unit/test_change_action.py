"""The forms by which people act on a change in Prefect: their fields, and that each deed is the use case so named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from prefect import Flow
from prefect.logging import disable_run_logger
from prefect.utilities.callables import parameter_schema

import blocks.context
import flows.change_action
from flows.approve import approve
from flows.change_action import change_action
from forebay.domain.approval import Decision
from forebay.domain.errors import InputError, RuleRefusal, SetupError
from forebay.domain.lifecycle import ChangeState
from tasks import approve as answering
from tasks import people
from tasks.people import WhatToDo, act
from tests.support.world import World, a_plan, a_request, a_workload, leave, minutes


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with World() as made, disable_run_logger():
        monkeypatch.setattr(people, "context", lambda: made.ctx)
        made.submit()
        made.run_until(minutes(5))
        yield made


def do(deed: WhatToDo, units: int | None = None, until: datetime | None = None, workload: str | None = None) -> str:
    return act.fn(deed, "CHG-1", "bob", "because", units, until, workload)


ACTING = {
    "change": "Change",
    "deed": "What to do",
    "by": "Your name",
    "reason": "Reason",
    "units": "Pin: units",
    "until": "Pin: until",
    "workload": "Pin: workload",
}
ANSWERING = {"change": "Change", "decision": "Decision", "by": "Your name", "reason": "Reason", "plan": "Plan"}


@pytest.mark.parametrize(
    ("flow", "titles", "required"), [(change_action, ACTING, 4), (approve, ANSWERING, 5)], ids=["act", "answer"]
)
def test_a_form_says_of_each_field_what_it_is_for(
    flow: Flow[..., object], titles: dict[str, str], required: int
) -> None:
    schema = parameter_schema(flow.fn)
    # A title that is that of the field's own kind is left to the kind.
    assert {name: field.get("title", "Decision") for name, field in schema.properties.items()} == titles
    assert schema.required == list(titles)[:required], "whoever answers names the plan they looked at"
    for name, field in schema.properties.items():
        assert field["description"] and field["examples"], name
    assert [field["position"] for field in schema.properties.values()] == list(range(len(titles)))


def test_a_form_offers_what_there_is_to_choose() -> None:
    for flow, kind in ((change_action, WhatToDo), (approve, Decision)):
        assert parameter_schema(flow.fn).definitions[kind.__name__]["enum"] == [str(one) for one in kind]


def test_whoever_fills_in_a_form_is_not_to_blame_for_a_worker_that_is_set_up_wrongly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks.context, "saved", lambda kind: None)
    monkeypatch.setattr(flows.change_action, "act", act.fn)
    monkeypatch.setenv("FOREBAY_WORKLOADS", "nowhere.yaml")
    blocks.context.context.cache_clear()
    with pytest.raises(SetupError, match="not set up: there is no workloads file nowhere"):
        change_action.fn("CHG-1", WhatToDo.HOLD, "bob", "because")


def test_held_resumed_and_cancelled_by_the_form(world: World) -> None:
    do(WhatToDo.HOLD)
    assert world.state is ChangeState.HELD
    do(WhatToDo.RESUME)
    assert world.state is ChangeState.SHAPING
    assert do(WhatToDo.CANCEL) == "CHG-1 is cancelled: because"
    world.run_until(minutes(20))
    assert world.asked()[:1] == [6] and 8 not in world.asked(), "cancel wins by this door too"


def test_rolled_back_by_the_form_before_it_is_in_force_is_cancelled(world: World) -> None:
    do(WhatToDo.ROLL_BACK)
    assert world.state is ChangeState.CANCELLED


def test_pinned_by_the_form(world: World) -> None:
    with pytest.raises(InputError, match="its units, and the time"):
        do(WhatToDo.PIN, units=7)
    with pytest.raises(InputError, match=r"until: 2026-11-24T09:20:00 has no zone: write its offset"):
        do(WhatToDo.PIN, 7, minutes(20).replace(tzinfo=None))
    do(WhatToDo.PIN, 7, minutes(20))
    world.run_until(minutes(15))
    assert world.asked() == [6, 7]
    with pytest.raises(RuleRefusal):
        do(WhatToDo.PIN, 3, minutes(20))


def test_one_of_several_workloads_is_pinned_by_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    with World(a_workload("web"), a_workload("db")) as world, disable_run_logger():
        monkeypatch.setattr(people, "context", lambda: world.ctx)
        world.submit(a_request("web", "db"), a_plan(workload="web"), a_plan(workload="db"))
        with pytest.raises(InputError, match="touches web, db: name one of them as the workload"):
            do(WhatToDo.PIN, 7, minutes(20))
        do(WhatToDo.PIN, 7, minutes(20), "db")
        with world.sql.transaction() as tx:
            assert [(pin.workload, pin.units) for pin in tx.pins("CHG-1")] == [("db", 7)]


@pytest.mark.parametrize("form", ["act", "answer"])
def test_a_form_for_a_change_that_is_not_there_ends_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(answering, "context", lambda: world.ctx)
    monkeypatch.setattr("flows.approve.answer", answering.answer.fn)
    monkeypatch.setattr("flows.change_action.act", act.fn)
    if form == "act":
        state = change_action.fn("CHG-9", WhatToDo.HOLD, "bob", "because")
    else:
        state = approve.fn("CHG-9", Decision.APPROVE, "bob", "because", "3f9a61c2")
    assert (state.name, state.message) == ("Refused", "there is no change 'CHG-9': `forebay status` lists them")


def test_settled_by_the_form(world: World) -> None:
    leave(world)
    do(WhatToDo.SETTLE)
    assert world.actions()[-1] == "settled by a person"
