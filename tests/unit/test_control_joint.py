"""Changes of several customers on one path: one writer, each armed by its own look, nothing given back under anyone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from forebay.app.approvals import approve
from forebay.app.arm import missing_for_alignment, try_to_arm
from forebay.app.break_glass import break_glass
from forebay.app.joint import counts_on, one_way
from forebay.app.people import cancel, disarm_by_controller, hold, resume
from forebay.app.plan import plan_change
from forebay.app.raises import open_raises, settle
from forebay.app.receive import receive
from forebay.app.replan import review
from forebay.app.writing import release, write_setting
from forebay.control.alignment import ahead_of_effect
from forebay.domain.allocation import Lever
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import Purpose
from forebay.domain.resources import Resource
from forebay.domain.verdict import Verdict
from forebay.domain.workload import WorkloadCatalog
from tests.support.cloud import Bomb, Crash
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, a_workload, floor, minutes
from tests.unit.test_control_decide import PASSED, asked, records

pytestmark = pytest.mark.slow

S = ChangeState
LATER = minutes(35)


@contextmanager
def two(
    lever: Lever = Lever.FLOOR,
    later: datetime = LATER,
    rules: dict[str, Any] | None = None,
    on_foreign_write: str = "hold",
    **fields: Any,
) -> Iterator[World]:
    """acme and bolt have a core each; acme's doubles at 9:30, bolt's at `later`, asked for two minutes later."""

    def demand(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 2.0 + (at >= EFFECTIVE) + (at >= later)}

    work = a_workload(shares={"acme": 0.5, "bolt": 0.5}, on_foreign_write=on_foreign_write)
    with World(work, lever=lever, demand=demand) as world:
        world.cloud.remembers = True
        world.put_rules(**(rules or {}))
        receive(world.ctx, a_request())
        if plan_change(world.ctx, "CHG-1").state is not S.SCHEDULED:
            approve(world.ctx, "CHG-1", "eve", "fine")
        world.run_until(minutes(2))
        receive(world.ctx, a_request(**({"change": "CHG-2", "entity": "bolt", "effective_at": later} | fields)))
        plan_change(world.ctx, "CHG-2")
        yield world


def plan_of(world: World, change: str) -> ShapingPlan:
    with world.sql.transaction() as tx:
        plan = tx.plan(change, "web")
    assert plan is not None
    return plan


def states(world: World) -> list[ChangeState]:
    return [world.record(name).state for name in ("CHG-1", "CHG-2")]


@pytest.mark.parametrize("later", [EFFECTIVE, LATER, minutes(40)])
def test_one_path_brings_each_its_capacity_at_its_own_time(later: datetime) -> None:
    with two(later=later) as world:
        assert states(world) == [S.SHAPING if world.steps() and world.asked() else S.SCHEDULED, S.SCHEDULED]
        second = plan_of(world, "CHG-2")
        assert (second.carried_by, second.steps, second.after) == ("CHG-1", (), ("CHG-1",))
        assert 8 <= second.aligned_units <= second.path[-1].to_units
        assert all(step.verified_by <= later for step in second.path)
        world.run_until(minutes(4))
        first = plan_of(world, "CHG-1")
        assert first.carries == {"CHG-1": first.aligned_units, "CHG-2": first.aligned_units + 2}, "a core is two units"
        world.run_until(later + timedelta(minutes=2))
        assert states(world) == [S.SETTLING, S.SETTLING]
        assert world.setting().units >= 8
        with world.sql.transaction() as tx:
            began = [v.in_force_from for e in ("acme", "bolt") for v in tx.versions(e, "quota")]
        assert began == [EFFECTIVE, later]
        world.run_until(minutes(80))
        assert states(world) == [S.CLOSED, S.CLOSED]
        assert {i.change for i in world.intents()} == {"CHG-1"}, "one writer"
        assert world.setting() == floor(1), "what was there before the first"
        assert not world.troubles


def test_nothing_is_given_back_before_the_last_is_settled() -> None:
    with two(settle="PT25M") as world:
        world.run_until(LATER + timedelta(minutes=20))
        assert states(world) == [S.SETTLING, S.SETTLING], "CHG-1 alone would be over since 9:40"
        assert world.setting().units >= 8
        assert [(r.change, r.until) for r in open_raises(world.ctx)] == [("CHG-1", LATER + timedelta(minutes=25))]
        world.run_until(LATER + timedelta(minutes=40))
        assert states(world) == [S.CLOSED, S.CLOSED] and world.setting() == floor(1)


def test_cancelled_the_carrier_gives_back_and_the_other_is_planned_on_its_own() -> None:
    with two() as world:
        world.run_until(minutes(6))
        both_need = plan_of(world, "CHG-2").aligned_units
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(minutes(12))
        assert states(world)[0] is S.ROLLED_BACK
        alone = plan_of(world, "CHG-2")
        assert (alone.carried_by, alone.after) == ("", ()) and alone.aligned_units < both_need
        world.run_until(LATER + MINUTE)
        assert world.record("CHG-2").state in (S.IN_FORCE, S.SETTLING)
        world.run_until(minutes(80))
        assert (states(world)[1], world.setting()) == (S.CLOSED, floor(1))


def test_cancelled_while_the_other_is_armed_it_is_disarmed_before_anything_goes_back() -> None:
    """And it does not come into force on what is no longer held."""
    with two(later=EFFECTIVE) as world:
        world.run_until(EFFECTIVE - timedelta(seconds=20))
        try_to_arm(world.ctx, "CHG-2")
        assert states(world) == [S.ARMED, S.ARMED]
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(EFFECTIVE + 3 * MINUTE)
        assert states(world) == [S.ROLLED_BACK, S.HELD], "too late for a plan of its own: a person must look"
        acts = world.actions(None)
        assert acts.index("cancelled") < acts.index("disarmed") < acts.index("give back asked")
        with world.sql.transaction() as tx:
            (version,) = tx.versions("bolt", "quota")
        assert version.armed_at is None


def test_while_the_carrier_is_held_the_other_is_not_armed_though_all_of_it_serves() -> None:
    with two() as world:
        world.run_until(minutes(28))
        assert states(world) == [S.ARMED, S.ARMED]
        hold(world.ctx, "CHG-1", "bob", "a moment")
        world.run_until(LATER + MINUTE)
        assert states(world) == [S.HELD, S.SHAPING] and world.setting().units >= 8
        assert any("waits for CHG-1 (held)" in e.reason for e in world.people.events if e.action == "deferred")
        resume(world.ctx, "CHG-1", "bob", "go on")
        world.run_until(minutes(80))
        assert states(world) == [S.CLOSED, S.CLOSED]


def test_the_carriers_capacity_stays_under_a_policy_in_force() -> None:
    """CHG-1 waits, held, past its time; CHG-2 came into force on its floor; then CHG-1 is cancelled."""
    with two(later=EFFECTIVE) as world:
        world.run_until(EFFECTIVE - timedelta(seconds=20))
        try_to_arm(world.ctx, "CHG-2")
        event = world.ctx.event(world.record().change, "disarmed", "for the test")
        with world.sql.transaction() as tx:
            (version,) = tx.versions("acme", "quota")
            tx.put_version(version.model_copy(update={"armed_at": None}), event)
            tx.move("CHG-1", S.SHAPING, event)
        world.clock.sleep(timedelta(seconds=20))
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(EFFECTIVE + timedelta(minutes=8))
        assert states(world) == [S.CANCELLED, S.SETTLING]
        assert world.setting().units >= 8
        world.run_until(EFFECTIVE + timedelta(minutes=15))
        assert (states(world), world.setting()) == ([S.ROLLED_BACK, S.CLOSED], floor(1))


def test_cancelled_itself_it_goes_out_of_the_path() -> None:
    with two() as world:
        world.run_until(minutes(4))
        cancel(world.ctx, "CHG-2", "bob", "not needed")
        world.run_until(minutes(6))
        assert states(world)[1] is S.ROLLED_BACK
        assert plan_of(world, "CHG-1").carries == {}
        world.run_until(minutes(60))
        assert (states(world)[0], world.setting()) == (S.CLOSED, floor(1))


def test_held_it_is_not_carried_and_resumed_it_is_again() -> None:
    with two() as world:
        world.run_until(minutes(4))
        hold(world.ctx, "CHG-2", "bob", "a moment")
        world.run_until(minutes(6))
        assert "CHG-2" not in plan_of(world, "CHG-1").carries
        resume(world.ctx, "CHG-2", "bob", "go on")
        world.run_until(minutes(9))
        assert "CHG-2" in plan_of(world, "CHG-1").carries
        world.run_until(minutes(80))
        assert states(world) == [S.CLOSED, S.CLOSED]


def test_a_third_joins_them() -> None:
    with two() as world:
        receive(world.ctx, a_request(change="CHG-3", entity="bolt", policy="tier", effective_at=minutes(38)))
        assert plan_change(world.ctx, "CHG-3").state is S.SCHEDULED
        world.run_until(minutes(5))
        assert set(plan_of(world, "CHG-1").carries) == {"CHG-1", "CHG-2", "CHG-3"}
        assert plan_of(world, "CHG-3").after == ("CHG-1", "CHG-2")
        world.run_until(minutes(90))
        assert [world.record(f"CHG-{n}").state for n in (1, 2, 3)] == [S.CLOSED] * 3
        assert world.setting() == floor(1)


@pytest.mark.parametrize(
    ("lever", "fields", "why"),
    [
        pytest.param(Lever.COUNT, {}, "web has no autoscaler, and a count does not go back by itself", id="a count"),
        pytest.param(
            Lever.FLOOR,
            {"entitlements": [{"workload": "web", "max_units": 18}]},
            "a policy caps the units of web",
            id="a ceiling",
        ),
    ],
)
def test_who_cannot_be_carried_is_refused_with_the_time_that_would_do(
    lever: Lever, fields: dict[str, Any], why: str
) -> None:
    with two(lever, **fields) as world:
        record = world.record("CHG-2")
        assert record.state is S.DENIED
        assert "before CHG-1 is settled, at 2026-11-24T09:40:00+00:00" in record.note
        assert why in record.note
        at = datetime.fromisoformat(record.note.split("What would do: effective_at ")[1].split(" ")[0])
        assert at >= minutes(45)
        assert " USD more than leaving it as it is)" in record.note
        assert not plan_of(world, "CHG-1").carries


def test_what_no_one_path_can_bring_is_refused_and_the_carrier_keeps_its_plan() -> None:
    impacts = [{"workload": "web", "factor": 7}]
    with two(impacts=impacts) as world:
        record = world.record("CHG-2")
        assert record.state is S.DENIED
        assert "on one path with CHG-1" in record.note
        assert "are within reach" in record.note and "limits.soft.units" in record.note
        world.run_until(minutes(60))
        assert states(world)[0] is S.CLOSED


def test_nobody_is_carried_unapproved_nor_beyond_what_the_carrier_was_approved_for() -> None:
    careful = {"rules": [{"name": "careful", "approval": {"approvers": ["eve"]}}]}
    with two(rules=careful) as world:
        world.run_until(minutes(4))
        assert states(world)[1] is S.AWAITING_APPROVAL and not plan_of(world, "CHG-1").carries
        approve(world.ctx, "CHG-2", "eve", "fine")
        world.run_until(minutes(6))
        assert "approval asked again" in world.actions("CHG-1") and not plan_of(world, "CHG-1").carries
        approve(world.ctx, "CHG-1", "eve", "two more units are fine")
        world.run_until(minutes(8))
        assert "CHG-2" in plan_of(world, "CHG-1").carries
        world.run_until(minutes(80))
        assert states(world) == [S.CLOSED, S.CLOSED]


def test_whom_the_path_carries_it_carries_on_where_a_fresh_look_finds_no_path_for_both() -> None:
    """As for one change: what cannot be drawn anew stays as it is, and says so."""
    with two() as world:
        world.run_until(minutes(4))
        both = plan_of(world, "CHG-1")
        assert set(both.carries) == {"CHG-1", "CHG-2"}
        only_one = {"min_units": 1, "max_units": both.carries["CHG-1"], "soft": {"units": 2, "dwell": "PT5M"}}
        small = a_workload(shares={"acme": 0.5, "bolt": 0.5}, limits=only_one)
        world.ctx = replace(world.ctx, catalog=WorkloadCatalog(workloads=(small,)))
        for step in (step for step in world.steps() if step.state is StepState.ASKED):
            passed = {"state": StepState.PASSED, "serving_at": minutes(4), "passed_at": minutes(4)}
            with world.sql.transaction() as tx:
                tx.put_step(step.model_copy(update=passed))
        with world.sql.transaction() as tx:
            lease = tx.acquire_lease("web", "test", world.clock.now(), world.ctx.lease)
        assert lease is not None
        review(world.ctx, world.record(), small, lease, Verdict.HIGH)
        assert plan_of(world, "CHG-1") == both
        assert "replan refused" in world.actions("CHG-1")


@pytest.mark.parametrize("third", [False, True], ids=["the last on it", "before another on it"])
def test_in_force_by_break_glass_it_is_once_in_the_demand_of_the_path(third: bool) -> None:
    """acme's and bolt's core, bolt's second since 9:05; acme's doubles at 9:30, and bolt gets one more at 9:38."""
    glass = minutes(5)
    with two(rules={"rules": [{"name": "r", "break_glass": ["bob"]}]}) as world:
        world.cloud.services["web"].demand = lambda at: {Resource.CPU: 2.0 + (at >= glass) + (at >= EFFECTIVE)}
        if third:
            more = [{"workload": "web", "add": 1, "unit": "cores", "resource": "cpu"}]
            tier = {"change": "CHG-3", "entity": "bolt", "policy": "tier", "effective_at": minutes(38)}
            receive(world.ctx, a_request(**tier, impacts=more))
            assert plan_change(world.ctx, "CHG-3").state is S.SCHEDULED
        world.run_until(glass)
        break_glass(world.ctx, "CHG-2", "bob", "the shop is down")
        world.run_until(minutes(18))
        path = plan_of(world, "CHG-1")
        assert path.created_at > glass
        assert path.carries == {"CHG-1": 9, "CHG-2": 9} | ({"CHG-3": 11} if third else {}), "4 cores, and maybe one"
        for name in path.carries:
            assert path.drawn_for[name] == world.record(name).change.fingerprint
        world.run_until(minutes(90))
        assert {world.record(name).state for name in path.carries} == {S.CLOSED}
        assert (max(world.asked()), world.setting()) == (path.carries[list(path.carries)[-1]], floor(1))


def test_edited_it_is_not_armed_by_what_it_needed_before() -> None:
    """It is planned again before the carrier has looked: the path still brings what the old content needed."""
    with two() as world:
        world.run_until(minutes(4))
        before = plan_of(world, "CHG-1")
        again = {"change": "CHG-2", "entity": "bolt", "effective_at": LATER}
        receive(world.ctx, a_request(**again, impacts=[{"workload": "web", "factor": 3}]))
        assert plan_change(world.ctx, "CHG-2").state is S.SCHEDULED
        assert plan_of(world, "CHG-2").aligned_units > before.carries["CHG-2"]
        assert plan_of(world, "CHG-1") == before
        missing = missing_for_alignment(world.ctx, world.record("CHG-2"))
        assert missing and missing.text == "CHG-1 does not carry it"
        world.run_until(minutes(6))
        assert plan_of(world, "CHG-1").carries["CHG-2"] > before.carries["CHG-2"]


def test_left_behind_by_a_carrier_that_is_over_a_person_is_asked() -> None:
    """Held over its own effective time, it can be carried no more: no step of its own would ever arm it."""
    with two(later=EFFECTIVE) as world:
        world.run_until(minutes(4))
        hold(world.ctx, "CHG-2", "bob", "a moment")
        world.run_until(minutes(46))
        assert states(world)[0] is S.CLOSED
        resume(world.ctx, "CHG-2", "bob", "go on")
        world.run_until(minutes(48))
        for _ in range(2):  # resumed once more it is not left without steps, and without a word
            record = world.record("CHG-2")
            assert (record.state, record.note) == (
                S.HELD,
                "web: CHG-1, which was to carry it, is over; it is too late for another plan",
            )
            resume(world.ctx, "CHG-2", "bob", "go on, I say")
            world.run_until(world.clock.now() + 2 * MINUTE)


def test_a_foreign_write_on_the_shared_floor_is_answered_by_the_carrier_for_both() -> None:
    with two(on_foreign_write="insist", later=EFFECTIVE) as world:
        world.run_until(EFFECTIVE - 2 * MINUTE)
        assert states(world) == [S.ARMED, S.ARMED]
        held = world.setting()
        world.cloud.set("web", floor(2), foreign=True)
        world.run_until(EFFECTIVE + 6 * MINUTE)
        assert "disarmed" in world.actions("CHG-2") and "held" not in world.actions(None)
        assert world.setting() == held and states(world) == [S.SETTLING, S.SETTLING]
        assert {i.change for i in world.intents()} == {"CHG-1"}, "one writer"


def test_whoever_gives_back_and_whoever_arms_at_that_moment_exclude_each_other() -> None:
    """Each is asked for after its look, and while the other has happened since."""
    with two(later=EFFECTIVE) as world:
        world.run_until(EFFECTIVE - 2 * MINUTE)
        assert states(world) == [S.ARMED, S.ARMED]
        ctx, held = world.ctx, world.setting()

        def give_back() -> None:
            with world.sql.transaction() as tx:
                lease = tx.acquire_lease("web", "test", world.clock.now(), ctx.lease)
            assert lease is not None
            try:
                work = ctx.workload("web")
                write_setting(ctx, lease, world.record(), work, world.setting(), floor(1), "over", Purpose.GIVE_BACK)
            finally:
                release(ctx, lease)

        with pytest.raises(RuleRefusal, match=r"CHG-2 \(armed\) counts on it"):
            give_back()
        assert world.setting() == held
        disarm_by_controller(ctx, "CHG-2", "for the test")
        world.cloud.effect = Bomb(1)
        with pytest.raises(Crash):
            give_back()  # announced, and not made
        world.cloud.effect = lambda name: None
        assert world.setting() == held
        missing = try_to_arm(ctx, "CHG-2")
        assert missing is not None and missing.text == "CHG-1, which carries it, gives web back"


def test_a_policy_that_is_set_back_keeps_its_carriers_capacity_until_that_has_reached_everybody() -> None:
    with two(later=EFFECTIVE) as world:
        world.run_until(EFFECTIVE + 2 * MINUTE)
        first, event = world.record(), world.ctx.event(world.record("CHG-2").change, "rolling back", "for the test")
        with world.sql.transaction() as tx:
            tx.move("CHG-2", S.ROLLING_BACK, event)
            assert counts_on(tx, first, ["web"], minutes(90)) == "CHG-2 (rolling back) counts on it"
            tx.move("CHG-1", S.ROLLING_BACK, world.ctx.event(first.change, "rolling back", "for the test"))
        with pytest.raises(RuleRefusal, match="counts on it"):
            settle(world.ctx, "CHG-1", "bob", "it stands right")


def test_nobody_is_carried_on_one_workload_by_whom_it_comes_after_on_another() -> None:
    """Each would wait for the other to be over: refused when it is planned, not found out at the effective time."""
    carried = a_plan(change="CHG-2", workload="web").model_copy(update={"carried_by": "CHG-1", "after": ("CHG-1",)})
    turn = a_plan(change="CHG-2", workload="search").model_copy(update={"after": ("CHG-1",)})
    first, second = one_way([carried, turn])
    assert isinstance(first, PlanRefusal) and "on search, and one waits for the other" in first.reason
    assert second == turn
    other = turn.model_copy(update={"after": ("CHG-0",)})
    assert one_way([carried, other]) == [carried, other]


@pytest.mark.parametrize(
    ("moves", "states", "left"),
    [
        pytest.param([(1, 4, 6), (7, 6, 8), (13, 8, 10)], "ppo", [], id="the step beyond it is another's"),
        pytest.param([(1, 4, 6), (7, 6, 8), (13, 8, 10)], "poo", [2], id="its own is not"),
        pytest.param([(1, 4, 10), (7, 10, 6), (13, 6, 8)], "ppo", [3], id="a peak before it is no pass for its climb"),
        pytest.param([(1, 4, 6), (7, 6, 7)], "po", [2], id="never enough: all of them"),
    ],
)
def test_on_a_shared_path_a_change_waits_for_the_last_climb_to_what_it_needs(
    moves: list[tuple[float, int, int]], states: str, left: list[int]
) -> None:
    plan = a_plan(moves, aligned=8).model_copy(update={"carries": {"CHG-1": 8, "CHG-2": 10}})
    steps = records(*[PASSED if state == "p" else asked() for state in states], plan=plan)
    assert [s.step.sequence for s in ahead_of_effect(plan, steps)] == left


def test_a_step_for_the_carried_is_made_after_the_carriers_own_settling_is_over() -> None:
    """A freeze turns its run away at 9:55; nobody but the reconciler wakes it again, and settling ended at 9:40."""
    ramp = [{"workload": "web", "factor": 5, "adoption": {"shape": "ramp", "over": "PT2H"}}]
    with two(impacts=ramp) as world:
        world.run_until(minutes(39))
        third = world.steps("CHG-1")[2].step.due_at
        assert third > EFFECTIVE + timedelta(minutes=10) == world.record("CHG-1").change.settled_at()
        ends = third + 3 * MINUTE
        world.put_rules(freezes=[{"start": third.isoformat(), "end": ends.isoformat(), "reason": "sale"}])
        world.run_until(minutes(200))
        assert world.asked()[-2] == plan_of(world, "CHG-1").steps[-1].to_units > 8
        assert states(world) == [S.CLOSED, S.CLOSED]
