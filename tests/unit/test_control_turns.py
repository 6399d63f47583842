"""Changes that overlap on a workload or a policy: planned one on top of the other, made one after the other."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pytest

from forebay.app.outlook import Outlook
from forebay.app.people import cancel, deny, hold, resume
from forebay.app.pins import pin
from forebay.app.plan import draw, plan_change
from forebay.app.policies import import_policy
from forebay.app.receive import receive
from forebay.app.rollback import rollback
from forebay.domain.allocation import Lever
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import Pin
from forebay.domain.resources import Resource
from forebay.planning.draft import Start
from forebay.planning.problem import Clock
from forebay.planning.slots import horizon_slots
from tests.support.world import (
    EFFECTIVE,
    MINUTE,
    NOW,
    World,
    a_plan,
    a_request,
    a_workload,
    count,
    flat,
    floor,
    minutes,
)

pytestmark = pytest.mark.slow

S = ChangeState
LATER = minutes(90)
BOTH = pytest.mark.parametrize("lever", list(Lever))


def second(*workloads: str, **fields: Any) -> ChangeRequest:
    """Of another customer, at 10:30: CHG-1 is in force at 9:30 and settled at 9:40."""
    return a_request(*workloads, **({"change": "CHG-2", "entity": "bolt", "effective_at": LATER} | fields))


def its_plan(**fields: Any) -> ShapingPlan:
    moves = ((60, 8, 10), (66, 10, 12))
    plan = a_plan(moves, change="CHG-2", start=8, effective_at=LATER, **fields)
    return plan.model_copy(update={"after": ("CHG-1",)})


def world_of_two(**fields: Any) -> World:
    """2 cores, from 9:30 on 4, from 10:30 on 6: units 4, 8, 12."""

    def demand(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 2.0 + 2.0 * (at >= EFFECTIVE) + 2.0 * (at >= LATER)}

    return World(demand=demand, **fields)


def plan_demand(at: datetime) -> dict[Resource, float]:
    return {Resource.CPU: 4.0 + 2.0 * (at >= LATER)}


@BOTH
def test_both_come_into_force_in_one_sequence_of_steps(lever: Lever) -> None:
    with world_of_two(lever=lever) as world:
        world.submit()
        assert world.submit(second(), its_plan(demand=plan_demand)).state is S.SCHEDULED
        world.run_until(minutes(140))
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.CLOSED, S.CLOSED]
        assert [who for who, _ in groupby(i.change for i in world.intents())] == ["CHG-1", "CHG-2"]
        steps = world.steps("CHG-1"), world.steps("CHG-2")
        assert [[s.asked_units for s in made] for made in steps] == [[6, 8], [10, 12]]
        assert world.setting() == (floor(1) if lever is Lever.FLOOR else count(12)), "what was there before the first"
        assert not world.troubles


def test_a_later_version_of_the_same_policy_builds_on_the_earlier() -> None:
    with World(a_workload("web"), a_workload("api")) as world:
        world.submit()
        request = second("api", entity="acme", base_version=1)
        plan = a_plan((), change="CHG-2", workload="api", demand=flat(2), effective_at=LATER)
        assert world.submit(request, plan).state is S.SCHEDULED
        world.run_until(minutes(140))
        at = [minutes(29), EFFECTIVE, LATER - MINUTE, LATER + MINUTE]
        assert [world.version_at(when) for when in at] == [None, 1, 1, 2]


def test_it_does_not_come_without_the_version_it_builds_on() -> None:
    with World(a_workload("web"), a_workload("api")) as world:
        world.submit()
        plan = a_plan((), change="CHG-2", workload="api", demand=flat(2), effective_at=LATER)
        world.submit(second("api", entity="acme", base_version=1), plan)
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(minutes(100))
        assert world.record("CHG-2").state is S.SCHEDULED
        assert world.version_at(LATER + MINUTE) is None
        assert "deferred" in world.actions("CHG-2")


def test_nor_where_that_version_was_rolled_back() -> None:
    """What is in force then says what the version before said, and the change was written on top of another."""
    with World(a_workload("web"), a_workload("api"), demand=flat(2)) as world:
        import_policy(world.ctx, "acme", "quota", "quota", {"rpm": 1}, "ann", "as sold")
        world.submit(a_request(document={"rpm": 2}))
        plan = a_plan((), change="CHG-2", workload="api", demand=flat(2), effective_at=LATER)
        assert world.submit(second("api", entity="acme", base_version=2), plan).state is S.SCHEDULED
        world.run_until(minutes(33))
        rollback(world.ctx, "CHG-1", "bob", "worse")
        world.run_until(minutes(100))
        assert [world.version_at(when) for when in (minutes(32), minutes(34), LATER + MINUTE)] == [2, 4, 4]
        deferred = [e.reason for e in world.people.events if e.action == "deferred"]
        assert any("it builds on version 2, and version 4 is in force" in reason for reason in deferred)


@pytest.mark.parametrize(
    ("at", "fields"), [(20, {}), (20, {"entity": "acme"}), (30, {"entity": "acme"}), (40, {"entity": "acme"})]
)
def test_no_change_overtakes_an_earlier_one(at: float, fields: dict[str, str]) -> None:
    with World() as world:
        world.submit()
        refused = world.submit(second(effective_at=minutes(at), **fields))
        assert refused.state is S.DENIED
        assert "overlapping changes take turns" in refused.note
        assert "will be in force and settled at 2026-11-24T09:40:00+00:00" in refused.note
        assert receive(world.ctx, second(change="CHG-3", effective_at=minutes(41))).state is S.RECEIVED


def test_a_cancelled_change_is_in_nobodys_way_but_for_what_goes_back() -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        assert cancel(world.ctx, "CHG-1", "bob", "not now").state is S.ROLLED_BACK
        assert world.record().note == "cancelled before anything had moved: not now"
        assert [e.action for e in world.people.events][-1] == "cancelled"
        again = second(entity="acme", effective_at=EFFECTIVE)
        assert world.submit(again, a_plan(change="CHG-2")).state is S.SCHEDULED
        world.run_until(minutes(5))
        assert world.asked() == [6]
        assert cancel(world.ctx, "CHG-2", "bob", "nor now").state is S.CANCELLED
        refused = receive(world.ctx, second(change="CHG-3", entity="acme", effective_at=EFFECTIVE))
        assert refused.state is S.DENIED
        assert "change CHG-2 (cancelled) on web is going back" in refused.note
        assert "in force" not in refused.note


def test_the_later_one_waits_while_the_earlier_is_held() -> None:
    with World(demand=flat(2.0)) as world:
        world.submit()
        world.submit(second(), its_plan(demand=plan_demand))
        world.run_until(minutes(5))
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.run_until(minutes(100))
        assert world.asked() == [6]
        assert world.version_at(minutes(100)) is None
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.HELD, S.SCHEDULED]
        assert any("waits for CHG-1 (held)" in e.reason for e in world.people.events if e.action == "deferred")
        assert {s.attempt for s in world.steps("CHG-2")} == {1}, "waiting is not being dead"
        resume(world.ctx, "CHG-1", "bob", "go on")
        world.run_until(minutes(200))
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.CLOSED, S.CLOSED]
        assert world.asked() == [6, 8, 10, 12]


@BOTH
def test_what_waits_its_turn_is_neither_pinned_nor_kept_on_the_workload_of_another(lever: Lever) -> None:
    with world_of_two(lever=lever) as world:
        world.submit()
        world.submit(second(), its_plan(demand=plan_demand))
        world.run_until(minutes(15))
        with pytest.raises(RuleRefusal, match=r"waits for CHG-1 \(armed\).*a pin on the change whose turn it is"):
            pin(world.ctx, "CHG-2", 9, minutes(80), "bob", "a broadcast")
        kept = Pin(change="CHG-2", workload="web", units=9, until=minutes(80), actor="bob", reason="a broadcast")
        told = world.ctx.event(world.record("CHG-2").change, "pinned", "a broadcast", "bob")
        with world.sql.transaction() as tx:
            tx.put_pin(kept, told)  # one that is there all the same
        world.run_until(minutes(35))
        assert world.record("CHG-1").state is S.SETTLING
        assert (world.asked(), {i.change for i in world.intents()}) == ([6, 8], {"CHG-1"})
        world.run_until(minutes(50))
        assert world.asked()[-1] == 9, "now it is its turn"


@BOTH
def test_where_the_earlier_one_was_undone_a_person_looks_if_no_new_plan_can_be_drawn(lever: Lever) -> None:
    with world_of_two(lever=lever) as world:
        original = world.setting()
        world.cloud.services["web"].demand = flat(1.0)
        world.submit(a_request(), a_plan(demand=flat(1.0)))
        world.submit(second(), its_plan())
        world.run_until(minutes(5))
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(minutes(40))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, original)
        record = world.record("CHG-2")
        assert record.state is S.HELD
        assert record.note.startswith("web: the plan came after CHG-1, now undone; web: no cpu usage")
        resume(world.ctx, "CHG-2", "bob", "go on with the plan as it is")
        world.run_until(minutes(45))
        assert world.record("CHG-2").state is S.SCHEDULED, "asked once"


def test_cancelling_the_later_one_leaves_the_earlier_alone() -> None:
    with world_of_two() as world:
        world.submit()
        world.submit(second(), its_plan(demand=plan_demand))
        world.run_until(minutes(5))
        cancel(world.ctx, "CHG-2", "ann", "not needed")
        world.run_until(minutes(60))
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.CLOSED, S.ROLLED_BACK]
        assert world.setting() == count(8)


def test_the_plan_sees_the_earlier_ones_plan_and_impact_and_is_drawn_anew_without_it() -> None:
    """Through the real planning: half of the demand is acme's and half bolt's."""
    shares = a_workload(shares={"acme": 0.5, "bolt": 0.5})
    at = NOW + timedelta(hours=3)
    with World(shares, demand=flat(2.0)) as world:
        world.cloud.remembers = True
        receive(world.ctx, a_request())
        receive(world.ctx, second(effective_at=at))
        assert plan_change(world.ctx, "CHG-2").state is S.RECEIVED, "what comes first is planned first"
        assert plan_change(world.ctx, "CHG-1").state is S.SCHEDULED
        assert plan_change(world.ctx, "CHG-2").state is S.SCHEDULED
        with world.sql.transaction() as tx:
            first, then = tx.plan("CHG-1", "web"), tx.plan("CHG-2", "web")
        assert first is not None and then is not None
        assert (first.start_units, then.start_units) == (4, first.aligned_units)
        assert then.aligned_units == first.aligned_units + 2, "a core more is two units more"
        assert then.after == ("CHG-1",)
        assert then.steps[0].due_at >= EFFECTIVE + timedelta(minutes=10)
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(minutes(10))
        with world.sql.transaction() as tx:
            anew = tx.plan("CHG-2", "web")
        assert anew is not None
        assert (anew.after, anew.start_units, anew.aligned_units) == ((), 4, first.aligned_units)
        assert any(e.action == "replanned" and "CHG-1 over" in e.reason for e in world.people.events)


def test_the_dwell_goes_on_over_one_new_plan_after_the_other() -> None:
    limits = {"min_units": 1, "max_units": 40, "soft": {"units": 2, "dwell": "PT60M"}}

    def growing(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 2.0 + 1.2 * (at >= EFFECTIVE) + 0.6 * (at >= minutes(35)) + 2.0 * (at >= minutes(80))}

    with World(a_workload(shares={"acme": 1.0}, history="P2D", limits=limits), demand=growing) as world:
        world.cloud.remembers = True
        world.submit(a_request(settle="PT5H"), a_plan(((1, 4, 6),), aligned=6, demand=flat(2)))
        world.run_until(minutes(75))
        assert world.actions().count("replanned") == 2, "at 9:36 and 9:51, as demand is seen to grow"
        first, then = [write.at for write in world.cloud.ours()]
        anew = [step.step.due_at for step in world.steps() if step.step.due_at > EFFECTIVE]
        assert min(then, *anew) - first >= timedelta(minutes=60)
        world.run_until(minutes(190))
        assert world.actions().count("replanned") >= 3
        moves = [write.at for write in world.cloud.ours()]
        assert len(moves) >= 3
        assert all(after - before >= timedelta(minutes=60) for before, after in pairwise(moves))


def test_asked_for_too_soon_after_the_earlier_it_is_refused_with_the_time_that_would_do() -> None:
    with World(a_workload(shares={"acme": 0.5}), demand=flat(2.0)) as world:
        world.cloud.remembers = True
        receive(world.ctx, a_request())
        plan_change(world.ctx, "CHG-1")
        impacts = [{"workload": "web", "factor": 3, "scope": "workload"}]
        receive(world.ctx, second(effective_at=minutes(45), impacts=impacts))
        note = plan_change(world.ctx, "CHG-2").note
        assert "it begins once CHG-1 is over, at 24 Nov 09:43 UTC" in note
        assert "effective_at 2026-11-24T1" in note


def test_demand_has_every_impact_from_its_own_effective_time() -> None:
    work, outlook_of = a_workload(shares={"acme": 0.25, "bolt": 0.5}), NOW
    first = a_request().accepted(outlook_of)
    then = second().accepted(outlook_of)
    index = horizon_slots(then, work, NOW)
    outlook = Outlook(index, {Resource.CPU: np.full((20, len(index)), 4.0)}, {})
    plan = draw(work, then, outlook, Start(10, None), Clock(NOW, NOW), ahead=[first])
    assert not isinstance(plan, PlanRefusal)
    medians = [plan.slot_at(at).demand[Resource.CPU].median for at in (NOW, EFFECTIVE, LATER)]  # type: ignore[union-attr]
    assert medians == [4.0, 5.0, 7.0]


@pytest.mark.parametrize(
    ("first", "then", "measured", "expected"),
    [
        pytest.param(("acme", "entity"), "bolt", {}, 7.0, id="another's: 1 and 2 more"),
        pytest.param(("acme", "entity"), "acme", {}, 7.0, id="the same customer's: doubled twice, 1 to 4"),
        pytest.param(("acme", "workload"), "bolt", {}, 12.0, id="all of it doubled: bolt's half as well"),
        pytest.param(("acme", "entity"), "bolt", {"bolt": 3.0}, 8.0, id="bolt's part measured: 3"),
        pytest.param(("acme", "entity"), "bolt", {"acme": 0.5}, 6.5, id="the earlier's part measured, not its share"),
        pytest.param(("cora", "entity"), "dora", {"cora": 0.5, "dora": 1.5}, 6.0, id="both measured, no share stated"),
    ],
)
def test_what_one_change_adds_is_not_another_customers(
    first: tuple[str, str], then: str, measured: dict[str, float], expected: float
) -> None:
    limits = {"min_units": 1, "max_units": 40, "soft": {"units": 2}}
    work = a_workload(shares={"acme": 0.25, "bolt": 0.5}, limits=limits)
    impact = {"workload": "web", "factor": 2, "scope": first[1]}
    earlier = a_request(entity=first[0], impacts=[impact]).accepted(NOW)
    later = second(entity=then).accepted(NOW)
    index = horizon_slots(later, work, NOW)
    total = np.full((20, len(index)), 4.0)
    parts = {name: {Resource.CPU: np.full_like(total, cores)} for name, cores in measured.items()}
    outlook = Outlook(index, {Resource.CPU: total}, {}, parts)
    plan = draw(work, later, outlook, Start(20, None), Clock(NOW, NOW), ahead=[earlier])
    assert isinstance(plan, ShapingPlan)
    slot = plan.slot_at(LATER)
    assert slot is not None and slot.demand[Resource.CPU].median == expected


@pytest.mark.parametrize("over", [False, True], ids=["under way", "denied"])
def test_a_change_that_another_comes_after_is_not_edited(over: bool) -> None:
    """One that was denied least of all: asked for again it would be ahead of what is under way."""
    with World() as world:
        receive(world.ctx, a_request())
        if over:
            deny(world.ctx, "CHG-1", "no data")
        receive(world.ctx, second())
        with pytest.raises(RuleRefusal, match=r"CHG-2 .* was accepted after CHG-1 and overlaps with it"):
            receive(world.ctx, a_request(effective_at=minutes(35)))
        assert world.record().change.effective_at == EFFECTIVE
        receive(world.ctx, second(effective_at=minutes(95)))
        assert world.record("CHG-2").change.effective_at == minutes(95), "the last one may be"
