"""What the `policy-change` flow plans by its tasks is what `plan_change` plans: replays and tests go by that one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger

import flows.policy_change
import tasks.plan as planning
import tasks.preview
from forebay.app.lead import FIRST_STEP_LEAD, first_step_lead
from forebay.app.plan import plan_change
from forebay.app.receive import receive
from forebay.domain.allocation import Lever
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.resources import Resource
from tests.support.world import EFFECTIVE, NOW, World, a_request, a_workload, flat, minutes
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
        seen = planning.see("web", history, outlook, now)
        plan = planning.draw_plan.fn(seen, change, now)
        (plan,) = planning.agree.fn(change, [seen], [plan])
        return planning.persist.fn(change, [plan]), plan


def by_one_call(world: World) -> ShapingPlan:
    assert plan_change(world.ctx, "CHG-2", FIRST_STEP_LEAD).state is S.SCHEDULED
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


@pytest.mark.slow
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


class Run:
    """Runs of the flow `policy-change`, task by task, without Prefect's server."""

    TASKS = ("receive_change", "read_history", "forecast", "draw_plan", "agree", "persist")

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.patch = world, monkeypatch
        self.asked, self.shown = list[str](), list[str]()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        for module in (planning, tasks.preview):
            monkeypatch.setattr(module, "context", lambda: world.ctx, raising=False)
        monkeypatch.setattr(tasks.preview, "create_markdown_artifact", lambda text, **more: self.shown.append(text))
        scheduled = SimpleNamespace(scheduled_start_time=world.clock.now(), parameters={})
        monkeypatch.setattr(flows.policy_change, "runtime", SimpleNamespace(flow_run=scheduled))
        monkeypatch.setattr(flows.policy_change, "schedule_steps", lambda name: 0)
        # Planning needs no clock but the world's.
        monkeypatch.setattr(flows.policy_change, "datetime", Now(world))
        for name in (*self.TASKS, "deny_change", "tell_failure", "preview"):
            monkeypatch.setattr(flows.policy_change, name, self.task(name))

    def task(self, name: str) -> Callable[..., Any]:
        function = getattr(flows.policy_change, name).fn

        def done(*args: Any) -> Any:
            self.asked.append(name)
            result = function(*args)
            self.meanwhile.pop(name, lambda: None)()
            return result

        return done

    def __call__(self, **fields: Any) -> None:
        with disable_run_logger():
            flows.policy_change.policy_change.fn(a_request(**fields))


class Now:
    """`datetime`, whose `now` is the world's."""

    def __init__(self, world: World) -> None:
        self.now = lambda zone: world.clock.now()
        self.fromisoformat = datetime.fromisoformat


@pytest.fixture
def world() -> Iterator[World]:
    with World(a_workload(shares={"acme": 0.5, "bolt": 0.5}), demand=flat(2.0)) as made:
        made.cloud.remembers = True
        yield made


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(world, monkeypatch)


def test_what_was_drawn_and_stored_is_shown(world: World, run: Run) -> None:
    run()
    with world.sql.transaction() as tx:
        plan = tx.plan("CHG-1", "web")
    assert plan is not None and len(run.shown) == 1 and plan.hash[:16] in run.shown[0]


def test_a_plan_that_was_let_go_is_shown_to_nobody(world: World, run: Run) -> None:
    """Nobody can approve what is not stored: the change was edited while it was drawn."""
    run.meanwhile["draw_plan"] = lambda: receive(world.ctx, a_request(reason="edited"))
    run()
    assert (world.state, run.shown) == (S.RECEIVED, [])
    with world.sql.transaction() as tx:
        assert tx.plan("CHG-1", "web") is None


def test_a_refusal_is_shown_unless_it_was_let_go(world: World, run: Run) -> None:
    soon = {"effective_at": minutes(3), "impacts": [{"workload": "web", "factor": 8}]}
    run(**soon)
    assert world.state is S.DENIED and len(run.shown) == 1
    edited = a_request(change="CHG-2", reason="edited")
    run.meanwhile["draw_plan"] = lambda: receive(world.ctx, edited)
    run(change="CHG-2", **soon)
    assert world.record("CHG-2").state is S.RECEIVED and len(run.shown) == 1


def test_a_run_that_fails_says_why_in_the_change(world: World, run: Run) -> None:
    world.cloud.unreachable = True
    with pytest.raises(OutsideError, match="does not answer"):
        run()
    assert world.state is S.RECEIVED
    assert world.record().note == "its plan could not be drawn, and is tried again: the cloud does not answer"
    world.cloud.unreachable = False
    run()
    assert world.state is S.SCHEDULED


@pytest.mark.parametrize(
    ("effective_at", "first"),
    [pytest.param(30, 10, id="there is time"), pytest.param(14, 5, id="there is none to lose")],
)
def test_a_first_step_is_not_due_before_its_run_can_be_there(
    world: World, run: Run, effective_at: int, first: int
) -> None:
    """A run that has waited for 200 s: so may that of the step, but no change is refused for it."""
    run.meanwhile["forecast"] = lambda: world.clock.sleep(timedelta(seconds=200))
    run(effective_at=minutes(effective_at))
    assert world.steps()[0].step.due_at == minutes(first)


@pytest.mark.parametrize(("waited", "lead"), [(-5, 10), (0, 10), (40, 50), (3600, 120)])
def test_the_lead_of_a_first_step_grows_with_the_wait(waited: int, lead: int) -> None:
    assert first_step_lead(NOW, NOW + timedelta(seconds=waited)) == timedelta(seconds=lead)
