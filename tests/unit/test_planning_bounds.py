"""Entitlements of other policies: they hold for every change on the workload, and each plan says whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from forebay.app.break_glass import break_glass
from forebay.app.others import bounds_on, in_force_on
from forebay.app.plan import plan_change
from forebay.app.raises import open_raises
from forebay.app.receive import receive
from forebay.app.replan import review
from forebay.app.rollback import rollback
from forebay.app.writing import release
from forebay.domain.allocation import Lever
from forebay.domain.bounds import NO_BOUNDS, Cap, PolicyBounds
from forebay.domain.change import ChangeRequest
from forebay.domain.lifecycle import ChangeState
from forebay.domain.verdict import Verdict
from tests.support.planning_cases import EFFECTIVE as EFFECTIVE_THERE
from tests.support.planning_cases import change, drawn, moves, refused, workload
from tests.support.world import EFFECTIVE, World, a_plan, a_request, a_workload, count, flat, floor, minutes

S = ChangeState
HOUR = timedelta(hours=1)


def policy(name: str, number: int = 7, **bounds: int) -> PolicyBounds:
    to_be = change(change=f"CHG-{number}", policy=name, entitlements=[{"workload": "web"} | bounds])
    return PolicyBounds.of([to_be], "web")


def test_of_several_the_narrowest_hold() -> None:
    given = [("tier", {"min_units": 5}), ("plan", {"min_units": 3, "max_units": 30}), ("cap", {"max_units": 20})]
    changes = [
        change(change=f"CHG-{n}", policy=name, entitlements=[{"workload": "web"} | bounds])
        for n, (name, bounds) in enumerate(given)
    ]
    bounds = PolicyBounds.of([*changes, change(change="CHG-9")], "web")
    assert (bounds.min_units, bounds.max_units) == (5, 20)
    assert bounds.cap(workload()) == Cap("acme cap (CHG-2)", 30)
    assert PolicyBounds.of([], "web").cap(workload()) is policy("tier", max_units=41).cap(workload()) is None
    assert bounds.text == (
        "other policies keep to their bounds: acme tier (CHG-0) at least 5 units, "
        "acme plan (CHG-1) at least 3 and at most 30 units, acme cap (CHG-2) at most 20 units"
    )
    assert PolicyBounds.of(changes, "api") == NO_BOUNDS


def test_a_floor_that_another_policy_guarantees_is_not_lowered() -> None:
    given = {"start": 12, "floor": 12, "level": 2.0, "autoscaled": True}
    assert min(to for _, _, to in moves(drawn(**given))) < 12, "it would pay"
    bounds = policy("tier", min_units=12)
    plan = drawn(**given, bounds=bounds)
    assert moves(plan) == [] and bounds.text in plan.preflight
    assert plan.hash != plan.model_copy(update={"bounds": NO_BOUNDS}).hash


def test_what_another_policy_caps_is_refused_in_its_name() -> None:
    no = refused(bounds=policy("tier", max_units=10))
    assert no.reason.startswith(
        "12 units must serve, verified, at 24 Nov 12:00 UTC to carry the demand with 95 % confidence, "
        "but max_units of acme tier (CHG-7) is 10"
    )
    assert no.reason.endswith("other policies keep to their bounds: acme tier (CHG-7) at most 10 units")
    assert [way.limit for way in no.counter_proposal.relax] == ["max_units of acme tier (CHG-7): 12 (now 10)"]


def test_a_cap_is_not_said_to_be_all_where_the_next_limit_is_in_the_way_too() -> None:
    own = {"min_units": 2, "max_units": 11, "soft": {"units": 3, "dwell": "PT10M"}}
    no = refused(workload(limits=own), bounds=policy("tier", max_units=10))
    assert "max_units of acme tier (CHG-7) is 10" in no.reason and not no.counter_proposal.relax


def test_a_plan_as_it_was_stored_before_has_the_hash_it_had() -> None:
    plan = drawn()
    assert "bounds" in plan.model_dump() and plan.bounds == NO_BOUNDS
    again = type(plan).model_validate(plan.model_dump(exclude={"bounds"}))
    assert again.hash == plan.hash


@pytest.mark.slow
def test_the_bounds_of_a_policy_in_force_hold_for_the_next_change_until_its_own_next_version() -> None:
    guaranteed, more = ([{"workload": "web", "min_units": units}] for units in (6, 7))
    with World(a_workload(shares={"acme": 0.5, "bolt": 0.5}), lever=Lever.FLOOR, demand=flat(1)) as world:
        world.cloud.services["web"].setting = floor(6)
        world.cloud.remembers = True
        receive(world.ctx, a_request(change="CHG-0", policy="tier", impacts=[], entitlements=guaranteed))
        plan_change(world.ctx, "CHG-0")

        def seen(**fields: object) -> int:
            asked = a_request(change="CHG-9", entity="bolt", effective_at=minutes(500)).accepted(world.clock.now())
            with world.sql.transaction() as tx:
                to_be = asked.model_copy(update=fields)
                return bounds_on(tx, [to_be], "web", world.clock.now()).min_units

        assert seen() == 6, "it comes before"
        world.run_until(EFFECTIVE + timedelta(minutes=40))
        assert world.record("CHG-0").state is S.CLOSED
        assert (seen(), seen(entity="acme", policy="tier")) == (6, 0)
        later = EFFECTIVE + timedelta(hours=3)
        receive(world.ctx, a_request(change="CHG-1", entity="bolt", effective_at=later, settle="PT10M"))
        plan_change(world.ctx, "CHG-1")
        world.run_until(later + timedelta(minutes=40))
        assert world.state is S.CLOSED and min([6, *world.asked()]) == 6
        again = a_request(change="CHG-3", policy="tier", impacts=[], entitlements=more, effective_at=later + HOUR)
        receive(world.ctx, again)
        plan_change(world.ctx, "CHG-3")
        world.run_until(later + HOUR + timedelta(minutes=5))
        assert seen() == 7
        rollback(world.ctx, "CHG-3", "ann", "not yet")
        assert seen() == 6, "it says again what the version before said"
        world.run_until(later + HOUR + timedelta(minutes=40))
        assert seen() == 6
        last = later + 3 * HOUR
        nothing = [{"workload": "web", "factor": 1.0}]
        receive(world.ctx, a_request(change="CHG-2", policy="tier", impacts=nothing, effective_at=last))
        plan_change(world.ctx, "CHG-2")
        world.run_until(last + timedelta(minutes=40))
        assert seen() == 0


@pytest.mark.slow
def test_no_correction_goes_beyond_what_another_policy_caps() -> None:
    with World(demand=flat(30)) as world:
        bounds = policy("tier", max_units=8)
        world.submit(None, a_plan().model_copy(update={"bounds": bounds}))
        world.run_until(minutes(29))
        assert (world.asked(), world.setting()) == ([6, 8], count(8))
        assert "the ceiling of 8 units is in the way" in world.record().note


def its_next(next_one: dict[str, int] | None, **guaranteed: int) -> PolicyBounds:
    """Bounds of the plan for the change of `change()`, whose policy has `guaranteed` in force."""
    web = {"workload": "web"}
    old = change(change="CHG-0", entitlements=[web | guaranteed])
    return PolicyBounds.of([old], "web", [change(entitlements=[web | next_one] if next_one else [])], 1)


def test_what_the_version_in_force_guarantees_it_guarantees_until_the_next_one_replaces_it() -> None:
    given = {"start": 20, "floor": 20, "level": 2.0, "autoscaled": True}
    alone, bounds = drawn(**given), its_next(None, min_units=15)
    plan = drawn(**given, bounds=bounds)
    assert min(step.to_units for step in alone.steps if step.due_at < EFFECTIVE_THERE) < 15, "it would pay"
    assert min(step.to_units for step in plan.steps if step.due_at < EFFECTIVE_THERE) == 15
    assert plan.steps[-1].to_units < 15, "after that it does"
    assert "until CHG-1 replaces it, acme quota (CHG-0) keeps at least 15 units" in plan.preflight
    last = [s for s in plan.steps if s.due_at < EFFECTIVE_THERE][-1]
    assert (last.reason.limit, "guaranteed until then" in last.reason.text) == ("entitlement in force", True)


@pytest.mark.parametrize(
    ("old", "new", "outgoing", "cap"),
    [
        ({"min_units": 6}, {"min_units": 8}, 6, None),
        ({"min_units": 6}, {"max_units": 4}, 4, None),
        ({"min_units": 6, "max_units": 10}, {"max_units": 20}, 6, 20),
        ({"max_units": 10}, {"max_units": 8}, None, 10),
        ({"max_units": 10}, None, None, None),
        ({"min_units": 6}, None, 6, None),
    ],
)
def test_the_bounds_before_a_version_is_replaced(
    old: dict[str, int], new: dict[str, int] | None, outgoing: int | None, cap: int | None
) -> None:
    """A lower ceiling is met by its time, so less is guaranteed until then; a higher one is prepared for."""
    bounds = its_next(new, **old)
    assert [one.min_units for one in bounds.outgoing] == ([] if outgoing is None else [outgoing])
    assert (bounds.own_cap, bounds.min_units, bounds.max_units) == (cap, 0, None)


def test_of_another_policy_that_will_have_changed_by_then_both_versions_count() -> None:
    web = {"workload": "web"}
    old = change(change="CHG-0", policy="tier", entitlements=[web | {"min_units": 9, "max_units": 12}])
    new = change(change="CHG-2", policy="tier", entitlements=[web | {"min_units": 5, "max_units": 30}])
    bounds = PolicyBounds.of([old], "web", [new, change()], 1)
    assert (bounds.min_units, bounds.max_units, bounds.own_cap) == (5, 30, None)
    assert [(one.change, one.at, one.min_units) for one in bounds.outgoing] == [("CHG-2", new.effective_at, 9)]
    on_one_path = PolicyBounds.of([old], "web", [new, change()], 2)
    caps = {"acme tier (CHG-0)": 12}  # another on the path may need more before that is over
    assert (on_one_path.min_units, on_one_path.caps, len(on_one_path.outgoing)) == (0, caps, 1)


def test_before_its_time_a_plan_goes_no_higher_than_either_version_allows() -> None:
    """Twelve units are needed until demand falls with the change, to nine."""
    to_be = change(impacts=[{"workload": "web", "factor": 0.5}], entitlements=[{"workload": "web", "max_units": 9}])
    work = workload(risk={"shortfall_per_unit_hour": "100"})

    def highest(bounds: PolicyBounds) -> int:
        return max(s.to_units for s in drawn(work, to_be, level=6.0, start=8, bounds=bounds).steps)

    assert (highest(NO_BOUNDS), highest(its_next({"max_units": 9}, max_units=10))) == (12, 10)
    assert highest(its_next({"max_units": 9}, min_units=1)) == 12, "the version in force caps nothing"


def tier(change: str, **fields: Any) -> ChangeRequest:
    return a_request(**({"change": change, "policy": "tier", "impacts": [], "settle": "PT10M"} | fields))


def web(**bounds: int) -> list[dict[str, Any]]:
    return [{"workload": "web"} | bounds]


@contextmanager
def guaranteed(units: int) -> Iterator[World]:
    """CHG-0, closed since 9:41, guarantees `units`, more than demand needs; before it the floor was 1."""
    with World(a_workload(shares={"acme": 0.5, "bolt": 0.5}), lever=Lever.FLOOR, demand=flat(1)) as world:
        world.cloud.remembers = True
        receive(world.ctx, tier("CHG-0", entitlements=web(min_units=units)))
        plan_change(world.ctx, "CHG-0")
        world.run_until(EFFECTIVE + timedelta(minutes=11))
        assert (world.record("CHG-0").state, world.setting()) == (S.CLOSED, floor(units))
        yield world


def floors(world: World, since: datetime) -> list[tuple[datetime, int]]:
    return [(i.stored_at, i.new.units) for i in world.intents() if i.stored_at >= since]


@pytest.mark.slow
def test_the_floor_stays_at_what_is_guaranteed_until_the_next_version_takes_force() -> None:
    """Without that it would pay to let the autoscaler have it at once."""
    with guaranteed(6) as world:
        asked, at = world.clock.now(), EFFECTIVE + timedelta(hours=2)
        receive(world.ctx, tier("CHG-1", entitlements=web(min_units=2), effective_at=at, settle="PT20M"))
        plan_change(world.ctx, "CHG-1")
        with world.sql.transaction() as tx:
            plan = tx.plan("CHG-1", "web")
        assert plan and plan.bounds.outgoing[0].min_units == 6 and plan.bounds.own_cap is None
        world.run_until(at + timedelta(hours=1))
        assert world.record().state is S.CLOSED
        written = floors(world, asked)
        assert [units for when, units in written if when < at and units < 6] == []
        assert written[-1][0] >= at and world.setting() == floor(2), "what nobody guarantees any more goes back"


@pytest.mark.slow
def test_a_step_below_what_is_still_guaranteed_waits_until_the_next_version_is_in_force() -> None:
    """Whatever the plan says: its time may have come while the policy is deferred."""
    with guaranteed(6) as world:
        world.cloud.remembers = False  # so that nobody draws it anew
        asked, at = world.clock.now(), EFFECTIVE + 2 * HOUR
        plan = a_plan(((120, 6, 4),), start=6, demand=flat(1), aligned=4, effective_at=at)
        world.submit(tier("CHG-1", entitlements=web(min_units=2), effective_at=at), plan)
        world.run_until(at - timedelta(minutes=10))
        assert floors(world, asked) == []
        assert any("policies in force guarantee 6" in d.reason for d in world.decisions)


@pytest.mark.slow
def test_what_is_given_back_stays_within_what_others_guarantee_by_then() -> None:
    """The floor was 1 before the first of two changes on one path; the second one's policy guarantees 7."""
    work, later = a_workload(shares={"acme": 0.5, "bolt": 0.5}), minutes(35)
    with World(work, lever=Lever.FLOOR, demand=flat(2)) as world:
        world.cloud.remembers = True
        receive(world.ctx, a_request())
        plan_change(world.ctx, "CHG-1")
        world.run_until(minutes(2))
        receive(world.ctx, tier("CHG-2", entity="bolt", effective_at=later, entitlements=web(min_units=7)))
        assert plan_change(world.ctx, "CHG-2").state is S.SCHEDULED
        world.run_until(later + timedelta(minutes=5))
        assert {r.restore for r in open_raises(world.ctx)} == {floor(7)}
        world.run_until(minutes(90))
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.CLOSED, S.CLOSED]
        assert world.setting() == floor(7)


@pytest.mark.slow
def test_a_policy_in_force_before_its_turn_by_break_glass_binds_at_once() -> None:
    with World(a_workload(shares={"acme": 0.5, "bolt": 0.5}), lever=Lever.FLOOR, demand=flat(1)) as world:
        world.put_rules(rules=[{"name": "r", "break_glass": ["bob"]}])
        world.cloud.remembers = True
        receive(world.ctx, tier("CHG-0", entitlements=web(min_units=6), effective_at=EFFECTIVE + 5 * HOUR))
        plan_change(world.ctx, "CHG-0")
        other = a_request(entity="bolt").accepted(world.clock.now())

        def seen() -> int:
            with world.sql.transaction() as tx:
                return PolicyBounds.of(in_force_on(tx, "web", world.clock.now()), "web", [other], 1).min_units

        assert seen() == 0
        break_glass(world.ctx, "CHG-0", "bob", "the shop is down")
        assert seen() == 6


@pytest.mark.slow
def test_a_fresh_plan_with_the_same_steps_and_other_bounds_is_another_plan() -> None:
    with guaranteed(6) as world:
        at = EFFECTIVE + timedelta(hours=2)
        receive(world.ctx, tier("CHG-1", entitlements=web(min_units=6), effective_at=at))
        plan_change(world.ctx, "CHG-1")
        for other in (False, True):
            with world.sql.transaction() as tx:
                plan, lease = tx.plan("CHG-1", "web"), tx.acquire_lease("web", "t", world.clock.now(), world.ctx.lease)
                assert plan and lease
                if other:
                    stale = plan.model_copy(update={"bounds": policy("quota", min_units=1)})
                    tx.add_plan(stale, world.ctx.event(world.record().change, "planned", "as of before"))
            review(world.ctx, world.record(), world.ctx.workload("web"), lease, Verdict.HIGH)
            release(world.ctx, lease)
            with world.sql.transaction() as tx:
                now = tx.plan("CHG-1", "web")
            assert now and (now.created_at > plan.created_at, now.bounds) == (other, plan.bounds)
            world.clock.sleep(HOUR)
