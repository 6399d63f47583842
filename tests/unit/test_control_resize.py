"""A change whose plan resizes, from its first step to what is given back, in virtual time over the model cloud."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forebay.app.people import cancel, resume
from forebay.app.policies import import_policy
from forebay.app.rollback import rollback
from forebay.domain.allocation import Lever, Setting
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.plan import ShapingPlan, ShapingStep
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize
from forebay.domain.verdict import Verdict
from tests.support.cloud import Bomb, Crash, Demand
from tests.support.world import EFFECTIVE, MINUTE, REASON, World, a_plan, a_request, a_workload, doubling, flat, minutes

pytestmark = pytest.mark.slow

SMALL, LARGE = TaskSize(cpu_units=1024, memory_mib=2048), TaskSize(cpu_units=2048, memory_mib=4096)


def a_sized_workload(**fields: Any) -> Any:
    """2 cores of demand need 4 units of a core at 50 %, or 2 of two; a deployment is planned with 4 minutes."""
    large = {"unit": {"cpu_cores": 2, "memory_gib": 4}, "price": {"per_unit_hour": "0.1"}}
    given: dict[str, Any] = {
        "unit": {"cpu_cores": 1, "memory_gib": 2}, "sizes": [large], "deployment": {"drain": "PT3M"},
    }  # fmt: skip
    return a_workload(**(given | fields))


def a_resize(
    *, demand: Demand | None = None, units: int = 4, then: tuple[tuple[float, int, int], ...] = ()
) -> ShapingPlan:
    """One resize a minute after the beginning, of `units`; then moves in units of the new size."""
    plan = a_plan(((1, units, units), *then), demand=demand, aligned=units)
    first, *rest = plan.steps
    resize = ShapingStep.model_validate(first.model_dump() | {"size": LARGE, "verified_by": minutes(7)})
    return plan.model_copy(update={"steps": (resize, *rest), "size": SMALL, "sizing": REASON.text})


def a_world(lever: Lever = Lever.COUNT, demand: Demand | None = None, **fields: Any) -> World:
    return World(a_sized_workload(**fields), lever=lever, demand=demand)


def sizes(world: World) -> list[TaskSize | None]:
    return [w.after.size for w in world.cloud.ours()]


@pytest.mark.parametrize("lever", list(Lever))
def test_a_life_with_a_resize(lever: Lever) -> None:
    with a_world(lever) as world:
        units = 4 if lever is Lever.COUNT else 1
        world.submit(a_request(), a_resize(units=units, then=((14, units, units + 1),)))
        world.run_until(minutes(60))
        assert world.state is ChangeState.CLOSED
        first, second = world.steps()
        assert (first.state, second.state) == (StepState.PASSED, StepState.PASSED)
        assert first.passed_at is not None and second.asked_at is not None and first.passed_at <= second.asked_at
        assert first.asked_at is not None and first.serving_at is not None
        assert first.serving_at - first.asked_at >= 2 * MINUTE, "followed until the deployment is through"
        assert first.judgement is not None and first.judgement.verdict is Verdict.PASS
        assert world.version_at(EFFECTIVE) == 1
        assert world.setting().size == LARGE, "the new size is what the new policy needs"
        assert {i.new.revision for i in world.intents()} == {world.setting().revision}


def test_usage_is_judged_against_the_size_that_serves() -> None:
    """3.6 of 4 cores would be close to saturation; of the 8 there are after the resize it is 45 %."""
    with a_world(demand=flat(3.6)) as world:
        world.submit(a_request(effective_at=minutes(30)), a_resize(demand=flat(3.6)))
        world.run_until(minutes(10))
        (step,) = world.steps()
        assert step.judgement is not None and step.judgement.verdict is Verdict.PASS
        assert step.judgement.evidence.utilisation[Resource.CPU] == pytest.approx(0.45)


@pytest.mark.parametrize("lever", list(Lever))
@pytest.mark.parametrize("point", [*range(1, 26, 4), 30, 60])
def test_crashed_anywhere_there_is_one_revision_and_one_deployment(lever: Lever, point: int) -> None:
    with a_world(lever, flat(2)) as world:
        units = 4 if lever is Lever.COUNT else 1
        world.submit(a_request(effective_at=minutes(16), settle="PT2M"), a_resize(demand=flat(2), units=units))
        world.clock.sleep(MINUTE)
        world.cloud.effect = world.store.effect = bomb = Bomb(point)
        crashes = 0
        while True:
            try:
                world.run_until(minutes(24), every=2 * MINUTE)
                break
            except Crash:
                crashes += 1
                bomb.defuse()
        assert (crashes, world.state) == (1, ChangeState.CLOSED)
        assert len(world.cloud.services["web"].revisions) == 2, "a crash after registering finds it again"
        assert sizes(world) == [LARGE] * len(sizes(world)) and len(sizes(world)) <= 1 + (lever is Lever.FLOOR)
        assert all(i.outcome is not None for i in world.intents())
        assert world.sql.audit_break() is None


def test_a_crash_between_register_and_update_finds_the_revision_again() -> None:
    with a_world(demand=flat(2)) as world:
        world.submit(a_request(), a_resize(demand=flat(2)))
        world.clock.sleep(MINUTE)

        def die(name: str) -> None:
            if name == "after a revision":
                world.cloud.effect = lambda _: None
                raise Crash

        world.cloud.effect = die
        with pytest.raises(Crash):
            world.drive()
        assert (len(world.cloud.services["web"].revisions), world.cloud.ours()) == (2, [])
        assert world.steps()[0].state is StepState.PENDING
        world.run_until(minutes(10))
        assert len(world.cloud.services["web"].revisions) == 2
        assert sizes(world) == [LARGE] and world.steps()[0].state is StepState.PASSED
        assert world.actions().count("revision ready") == 1


def test_a_deployment_that_ecs_rolls_back_is_an_error_and_holds_the_change() -> None:
    with a_world(demand=flat(2)) as world:
        world.cloud.services["web"].breaks = True
        world.submit(a_request(), a_resize(demand=flat(2)))
        world.run_until(minutes(5))
        record, (step,) = world.record(), world.steps()
        assert record.state is ChangeState.HELD
        assert "error: the deployment of 2 vCPU, 4 GiB failed, and ECS has gone back to 1 vCPU" in record.note
        assert "tasks failed to start" in record.note
        assert step.judgement is not None and step.judgement.verdict is Verdict.ERROR
        world.cloud.services["web"].breaks, world.cloud.services["web"].failures = False, ()
        resume(world.ctx, "CHG-1", "ann", "the image is mended")
        world.run_until(minutes(15))
        assert world.steps()[0].state is StepState.PASSED and world.setting().size == LARGE


def test_a_deployment_of_another_over_ours_holds_the_change_one_before_ours_does_not() -> None:
    with a_world(demand=flat(2)) as world:
        world.submit(a_request(effective_at=minutes(40)), a_resize(demand=flat(2), then=((20, 4, 5),)))
        service = world.cloud.services["web"]
        service.revisions["web:by-ci"] = SMALL
        world.cloud.set("web", service.setting.model_copy(update={"revision": "web:by-ci"}), foreign=True)
        world.run_until(minutes(12))
        assert world.steps()[0].state is StepState.PASSED
        service.revisions["web:by-ci-2"] = LARGE
        world.cloud.set("web", service.setting.model_copy(update={"revision": "web:by-ci-2"}), foreign=True)
        world.run_until(minutes(16))
        assert world.state is ChangeState.HELD and "changed by another" in world.record().note


def cancelled(world: World, at: float = 10, until: float = 60) -> list[tuple[int, TaskSize | None]]:
    """Cancel, let it go back, and tell Forebay's own writes as (units, size)."""
    world.run_until(minutes(at))
    cancel(world.ctx, "CHG-1", "ann", "not needed any more")
    world.run_until(minutes(until))
    return [(w.after.units, w.after.size) for w in world.cloud.ours()]


def test_cancelled_it_goes_back_to_the_former_revision() -> None:
    with a_world(demand=flat(2)) as world:
        world.submit(a_request(), a_resize(demand=flat(2)))
        assert cancelled(world) == [(4, LARGE), (4, SMALL)]
        assert world.state is ChangeState.ROLLED_BACK
        assert (world.setting().revision, world.setting().units) == ("web:1", 4)


def test_under_an_autoscaler_the_floor_holds_what_the_former_size_needs_while_it_goes_back() -> None:
    """2 cores need 2 large tasks, which is all the autoscaler leaves, but 4 small ones."""
    with a_world(Lever.FLOOR, flat(2)) as world:
        world.submit(a_request(), a_resize(demand=flat(2), units=1))
        assert cancelled(world) == [(1, LARGE), (4, LARGE), (4, SMALL), (1, SMALL)]
        assert world.setting() == Setting(lever=Lever.FLOOR, floor=1, ceiling=20, size=SMALL, revision="web:1")


def test_a_rollback_is_refused_where_as_many_units_hold_less() -> None:
    small = {"unit": {"cpu_cores": 1, "memory_gib": 2}, "price": {"per_unit_hour": "0.05"}}
    fields = {"unit": {"cpu_cores": 2, "memory_gib": 4}, "sizes": [small]}
    plan = a_resize(demand=flat(1))
    smaller = plan.steps[0].model_copy(update={"size": SMALL})
    with a_world(demand=flat(1), **fields) as world:
        import_policy(world.ctx, "acme", "quota", "quota", {}, "ann", "as sold")
        world.submit(a_request(), plan.model_copy(update={"steps": (smaller,), "size": LARGE}))
        world.run_until(EFFECTIVE + MINUTE)
        assert (world.setting().units, world.setting().size) == (4, SMALL)
        with pytest.raises(RuleRefusal, match=r"lowered web from count 4 of 2 vCPU, 4 GiB .* to count 4 of 1 vCPU"):
            rollback(world.ctx, "CHG-1", "bob", "stop")


def test_the_size_stays_while_the_former_one_would_not_carry_the_demand() -> None:
    limits = {"min_units": 1, "max_units": 4, "soft": {"units": 2, "dwell": "PT5M"}}
    with a_world(
        demand=lambda at: {Resource.CPU: 2.0 if at < minutes(5) or at > minutes(40) else 3.5}, limits=limits
    ) as world:
        world.submit(a_request(), a_resize(demand=flat(2)))
        assert cancelled(world, at=8, until=35) == [(4, LARGE)]
        assert world.state is ChangeState.CANCELLED
        world.run_until(minutes(60))
        assert (world.state, world.setting().size) == (ChangeState.ROLLED_BACK, SMALL)


def test_without_data_the_size_stays() -> None:
    with a_world(demand=flat(2)) as world:
        world.submit(a_request(), a_resize(demand=flat(2)))
        world.run_until(minutes(10))
        world.cloud.services["web"].metrics = False
        assert cancelled(world, until=40) == [(4, LARGE)]
        world.cloud.services["web"].metrics = True
        world.run_until(minutes(60))
        assert world.setting().size == SMALL


def test_what_another_deployed_over_it_is_left_where_it_stands() -> None:
    with a_world(demand=flat(2)) as world:
        world.submit(a_request(), a_resize(demand=flat(2)))
        world.run_until(minutes(10))
        service = world.cloud.services["web"]
        service.revisions["web:by-ci"] = LARGE
        world.cloud.set("web", service.setting.model_copy(update={"revision": "web:by-ci"}), foreign=True)
        assert cancelled(world) == [(4, LARGE)]
        assert world.state is ChangeState.ROLLED_BACK and "changed by another" in world.record().note


def test_a_size_that_is_not_listed_holds_the_change_and_says_what_to_do() -> None:
    with a_world(demand=doubling()) as world:
        world.submit(a_request(), a_resize())
        world.cloud.services["web"].setting = Setting(
            lever=Lever.COUNT, count=4, size=TaskSize(cpu_units=4096, memory_mib=8192), revision="web:by-hand"
        )
        world.clock.sleep(MINUTE + timedelta(seconds=1))
        world.drive()
        assert world.state is ChangeState.HELD and "list it under sizes" in world.record().note
