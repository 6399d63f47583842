"""What nobody foresaw (a defect, usage that is no number): told, in no other's way, and nothing shrinks on it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import pytest

import tasks.reconcile
from deployments.reconciler import one_pass
from forebay.app.people import cancel
from forebay.domain.allocation import Lever, TargetState
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import WakeUp
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.ports import Target
from tests.support.world import World, a_plan, a_request, a_workload, count, minutes

S = ChangeState


@dataclass
class Broken:
    """A Target in whose adapter there is a defect."""

    inner: Target

    def observe(self) -> TargetState:
        raise ZeroDivisionError("division by zero")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def break_one(world: World, name: str) -> None:
    target = world.ctx.target

    def broken(workload: Workload) -> Target:
        return Broken(target(workload)) if workload.name == name else target(workload)

    world.ctx = replace(world.ctx, target=broken)


def test_an_error_that_nobody_foresaw_is_told_and_takes_no_others_turn() -> None:
    with World(a_workload("web"), a_workload("db"), lever=Lever.FLOOR) as world:
        world.submit(a_request("db", change="CHG-2", policy="tier"), a_plan(change="CHG-2", workload="db"))
        world.submit(a_request("web", change="CHG-1"))
        world.run_until(minutes(15))
        cancel(world.ctx, "CHG-1", "ann", "stop")
        cancel(world.ctx, "CHG-2", "ann", "stop")
        break_one(world, "web")
        world.run_until(minutes(45))
        assert (world.state, world.record("CHG-2").state) == (S.CANCELLED, S.ROLLED_BACK)
        assert len(world.told("unexpected error")) == 1
        assert "ZeroDivisionError: division by zero" in world.told("unexpected error")[0]


def test_the_loop_goes_on_whatever_a_pass_fails_with(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def create_run(wake_up: WakeUp) -> None:
        made.append(wake_up.change)
        if wake_up.change in broken:
            raise ZeroDivisionError("division by zero")

    made, broken = list[str](), {"CHG-2"}
    monkeypatch.setattr(tasks.reconcile, "context", lambda: world.ctx)
    monkeypatch.setattr(tasks.reconcile, "create_run", create_run)
    world.submit()
    world.submit(a_request(change="CHG-2", policy="tier"))
    world.run_until(minutes(1))
    failing = ""
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            failing = one_pass(set(), False, failing)
        assert failing == "ZeroDivisionError: division by zero"
        assert [record.exc_info is not None for record in caplog.records] == [True], "once, and where it happened"
        assert len(world.told("unexpected error")) == 1 and "CHG-1" in made
        broken.clear()
        assert one_pass(set(), False, failing) == "" and "back" in caplog.records[-1].message


@pytest.mark.parametrize("memory", [float("nan"), float("inf")])
@pytest.mark.parametrize("cores", [1.0, float("nan")])
def test_usage_that_is_no_number_shrinks_nothing(cores: float, memory: float) -> None:
    """A maximum over resources does not see it: the others would say that little is needed."""
    unit, objectives = {"cpu_cores": 1, "memory_gib": 2}, {"cpu": 0.5, "memory": 0.5}
    seen = {Resource.CPU: 1.0, Resource.MEMORY: 1.0}
    with World(a_workload(unit=unit, objectives=objectives), demand=lambda at: dict(seen)) as world:
        plan = a_plan()
        world.submit(a_request(), plan.model_copy(update={"slots": ()}))
        world.run_until(minutes(15))
        assert (world.state, world.setting()) == (S.ARMED, count(8))
        cancel(world.ctx, "CHG-1", "ann", "stop")
        seen |= {Resource.CPU: cores, Resource.MEMORY: memory}
        world.run_until(minutes(40))
        assert (world.state, world.setting()) == (S.CANCELLED, count(8))
        assert "no usage data: nothing shrinks" in world.told("not given back")[0]
        seen |= {Resource.CPU: 1.0, Resource.MEMORY: 1.0}
        world.run_until(minutes(65))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, count(4))
