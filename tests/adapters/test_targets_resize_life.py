"""A change that resizes its service, with every adapter real: SQLite, and ECS and CloudWatch of the simulated cloud."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forebay.app.advance import drive
from forebay.app.context import Context
from forebay.app.lookup import change_record
from forebay.app.plan import store_plans
from forebay.app.receive import receive
from forebay.domain.change import ChangeRequest
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.plan import Band, PlanSlot, ShapingPlan, ShapingStep, StepReason
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize
from forebay.domain.workload import WorkloadCatalog
from forebay.store import open_store
from forebay.wiring import make_target, make_usage
from sandbox.testing import fresh
from tests.support import samples
from tests.support.aws import ECS, TIMING, CloudClock, a_workload, clients, played
from tests.support.stores import sqlite_url
from tests.support.world import Recorder

LARGE = TaskSize(cpu_units=2048, memory_mib=4096)
UNIT = {"cpu_cores": 2, "memory_gib": 4, "network_mbps": 100}


@pytest.fixture
def cloud(tmp_path):
    with fresh({"workloads": [played(tmp_path)], "timing": TIMING}) as sandbox:
        sandbox.advance(300, step_s=10)
        yield sandbox


@pytest.fixture
def ctx(cloud, tmp_path, monkeypatch):
    aws, clock = clients(cloud, monkeypatch), CloudClock(cloud)
    work = a_workload(
        ECS,
        sizes=[{"unit": UNIT, "price": {"per_unit_hour": "0.1"}}],
        objectives={"cpu": 0.6},
        deployment={"drain": "PT0S"},
    )
    store = open_store(sqlite_url(tmp_path))
    yield Context(
        clock=clock,
        store=store,
        catalog=WorkloadCatalog(workloads=(work,)),
        target=lambda w: make_target(w, aws, clock),
        usage=lambda w: make_usage(w, aws, clock),
        notifier=Recorder(),
    )
    store.close()


def resize_submitted(ctx: Context) -> None:
    """One step, a minute from now: the 4 tasks of a core get two."""
    now, request = ctx.clock.now(), {"impacts": [{"workload": "web", "factor": 2}], "requested_by": "ann"}
    change = ChangeRequest(change="CHG-1", entity="acme", policy="quota", effective_in=timedelta(hours=1), **request)
    effective_at = receive(ctx, change).change.effective_at
    reason = StepReason(binding=Resource.CPU, quantile=0.95, forced_by=effective_at, limit="none", text="resizes")
    at: Any = now + timedelta(minutes=1)
    step = ShapingStep(
        sequence=1,
        due_at=at,
        from_units=4,
        to_units=4,
        verified_by=at + timedelta(minutes=7),
        reason=reason,
        size=LARGE,
    )
    slots = tuple(
        PlanSlot(
            at=now + timedelta(minutes=5 * i),
            asked=4,
            serving=4,
            required_median=4,
            required_high=4,
            demand={Resource.CPU: Band(low=1.5, median=2, high=2.5)},
        )
        for i in range(20)
    )
    plan = ShapingPlan(
        change="CHG-1",
        workload="web",
        created_at=now,
        effective_at=effective_at,
        start_units=4,
        aligned_units=4,
        confidence=0.95,
        steps=(step,),
        slots=slots,
        price=samples.a_plan().price,
        forecast={},
    )
    store_plans(ctx, "CHG-1", [plan])


def the_step(ctx: Context):
    with ctx.store.transaction() as tx:
        return tx.steps("CHG-1", "web")[0]


def test_it_is_deployed_followed_verified_and_armed(cloud, ctx):
    resize_submitted(ctx)
    said = drive(ctx, "CHG-1", "web", "run 1", lambda decision: None, linger=timedelta(minutes=5))
    assert said == "every step has passed"
    step = the_step(ctx)
    assert (step.state, step.judgement.evidence.serving_units) == (StepState.PASSED, 4)
    assert step.judgement.evidence.utilisation[Resource.CPU] == pytest.approx(0.25), "2 of 8 cores, no longer of 4"
    assert change_record(ctx, "CHG-1").state is ChangeState.ARMED
    cloud.advance(60)
    assert cloud.report()["web"]["now"]["capacity_cpu"] == 8


def test_a_revision_whose_tasks_die_is_rolled_back_by_ecs_and_holds_the_change_with_the_cause(cloud, ctx, monkeypatch):
    aws = clients(cloud, monkeypatch)
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    aws.ecs.update_service(cluster="prod", service="web", deploymentConfiguration=breaker)
    cloud.fault(kind="deployment_fails", target="prod/web", revision="web:2", threshold=2)
    resize_submitted(ctx)
    drive(ctx, "CHG-1", "web", "run 1", lambda decision: None, linger=timedelta(minutes=5))
    record = change_record(ctx, "CHG-1")
    assert record.state is ChangeState.HELD
    assert "error: the deployment of 2 vCPU, 4 GiB failed" in record.note and "tasks failed to start" in record.note
    assert the_step(ctx).judgement.verdict == "error"
    service = aws.ecs.describe_services(cluster="prod", services=["web"])["services"][0]
    assert (service["runningCount"], service["taskDefinition"].rsplit("/", 1)[-1]) == (4, "web:1")
