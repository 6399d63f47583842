"""Entitlements of other policies: they hold for every change on the workload, and each plan says whose they are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.app.others import bounds_on
from forebay.app.plan import plan_change
from forebay.app.receive import receive
from forebay.app.rollback import rollback
from forebay.domain.allocation import Lever
from forebay.domain.bounds import NO_BOUNDS, Cap, PolicyBounds
from forebay.domain.lifecycle import ChangeState
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
    bounds = PolicyBounds.of([*changes, change()], "web")
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
                return bounds_on(tx, to_be, "web", world.clock.now()).min_units

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
