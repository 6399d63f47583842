"""What a policy had guaranteed or capped is given back by the change that replaces it, if nobody else was at it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from forebay.app.break_glass import break_glass
from forebay.app.left import stood_before
from forebay.app.others import bounds_on
from forebay.app.people import cancel
from forebay.app.plan import plan_change
from forebay.app.raises import open_raises, settle
from forebay.app.receive import receive
from forebay.app.rollback import rollback
from forebay.domain.allocation import Lever
from forebay.domain.impact import Entitlement
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import Outcome
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, a_workload, flat, floor, minutes

pytestmark = pytest.mark.slow

S = ChangeState
HOUR = timedelta(hours=1)


def ask(world: World, number: int, at: datetime, bounds: dict[str, int], **fields: Any) -> None:
    """A version of acme's tier, in force from `at` on."""
    web = [{"workload": "web", **bounds}] if bounds else []
    nothing = [] if bounds else [{"workload": "web", "factor": 1.0}]
    given = {"change": f"CHG-{number}", "policy": "tier", "impacts": nothing, "entitlements": web, "settle": "PT10M"}
    receive(world.ctx, a_request(**given | fields, effective_at=at))
    plan_change(world.ctx, f"CHG-{number}")


def version(world: World, number: int, hours: int, bounds: dict[str, int], **fields: Any) -> None:
    """The next one, from `hours` after 9:30 on, followed until it is closed."""
    ask(world, number, EFFECTIVE + hours * HOUR, bounds, **fields)
    world.run_until(EFFECTIVE + hours * HOUR + timedelta(minutes=30))
    assert world.record(f"CHG-{number}").state is S.CLOSED, world.record(f"CHG-{number}").note


def a_world(*names: str) -> World:
    shares = {"acme": 0.5, "bolt": 0.5}
    world = World(*(a_workload(name, shares=shares) for name in names or ["web"]), lever=Lever.FLOOR, demand=flat(1))
    world.cloud.remembers = True
    world.put_rules(rules=[{"name": "r", "break_glass": ["bob"]}])
    return world


@pytest.mark.parametrize("last", [{}, {"min_units": 0}])
def test_a_floor_goes_back_when_no_version_asks_for_it_any_more_however_many_there_were(
    last: dict[str, int],
) -> None:
    with a_world() as world:
        for number, (least, stands) in enumerate([(6, 6), (8, 8), (3, 3)]):
            version(world, number, number, {"min_units": least})
            assert world.setting() == floor(stands)
        version(world, 3, 3, last)
        assert world.setting() == floor(1)


def test_so_does_a_maximum_that_was_capped() -> None:
    with a_world() as world:
        version(world, 0, 0, {"max_units": 5})
        assert world.setting() == floor(1, 5)
        version(world, 1, 1, {"max_units": 12})
        assert world.setting() == floor(1, 12)
        version(world, 2, 2, {})
        assert world.setting() == floor(1, 20)


ELSEWHERE: dict[str, Any] = {"impacts": [], "entitlements": [{"workload": "api", "min_units": 3}]}


def test_what_a_version_had_raised_where_the_next_one_says_nothing_is_listed_for_a_person() -> None:
    with a_world("web", "api") as world:
        version(world, 0, 0, {"min_units": 6})
        version(world, 1, 1, {}, **ELSEWHERE)
        assert world.setting("web") == floor(6)
        (left,) = open_raises(world.ctx)
        assert (left.change, left.workload, left.now, left.restore) == ("CHG-0", "web", floor(6), floor(1))
        assert [e.action for e in world.people.events if e.workload == "web"][-1] == "left raised"
        version(world, 2, 2, {}, **ELSEWHERE)
        assert len(open_raises(world.ctx)) == 1, "once"
        settle(world.ctx, "CHG-0", "ann", "it is right so")
        version(world, 3, 3, {}, **ELSEWHERE)
        assert open_raises(world.ctx) == []


def test_another_ones_write_that_was_called_off_hides_nothing() -> None:
    with a_world("web", "api") as world:
        version(world, 0, 0, {"min_units": 6})
        ask(world, 1, EFFECTIVE + HOUR, {}, **ELSEWHERE)
        with world.sql.transaction() as tx:
            last, by = tx.last_intent("web"), world.record("CHG-0").change
            assert last is not None
            off = last.model_copy(update={"new": floor(8), "outcome": None, "stored_at": world.clock.now()})
            number = tx.add_intent(off, world.ctx.event(by, "asked", "8")).number
            tx.settle_intent(number, Outcome.NOT_DONE, world.ctx.event(by, "called off", "cancelled"))
        world.run_until(EFFECTIVE + HOUR + 30 * MINUTE)
        assert [left.now for left in open_raises(world.ctx)] == [floor(6)]


def test_also_where_another_is_to_move_which_may_come_to_nothing() -> None:
    with a_world("web", "api") as world:
        version(world, 0, 0, {"min_units": 6})
        ask(world, 9, EFFECTIVE + 5 * HOUR, {"min_units": 8}, entity="bolt")
        ask(world, 1, EFFECTIVE + HOUR, {}, **ELSEWHERE)
        world.cloud.remembers = False  # so that nobody draws CHG-9 anew: without the guarantee of 6 it would go down
        world.run_until(EFFECTIVE + HOUR + 30 * MINUTE)
        assert world.record("CHG-1").state is S.CLOSED
        cancel(world.ctx, "CHG-9", "ann", "not needed")
        world.run_until(EFFECTIVE + 2 * HOUR)
        assert [left.change for left in open_raises(world.ctx)] == ["CHG-0"]


def test_but_not_where_another_has_moved() -> None:
    with a_world("web", "api") as world:
        version(world, 0, 0, {"min_units": 6})
        ask(world, 9, EFFECTIVE + 50 * MINUTE, {"min_units": 8}, entity="bolt", settle="PT2H")
        version(world, 1, 1, {}, **ELSEWHERE)
        assert [left.change for left in open_raises(world.ctx)] == ["CHG-9"]
        version(world, 10, 8, {"min_units": 0}, entity="bolt")
        assert world.setting("web") == floor(1), "whoever was at work there gives it back"


def test_nor_what_a_change_under_way_is_still_raising() -> None:
    """Broken glass: it is in force before its floor stands, and nobody has to look at it."""
    with World(a_workload("web"), a_workload("api"), lever=Lever.FLOOR, demand=flat(2)) as world:
        world.put_rules(rules=[{"name": "r", "break_glass": ["bob"]}])
        world.submit(a_request("web"), a_plan(((1, 4, 6),), demand=flat(2)))
        world.run_until(minutes(60))
        late, bound = minutes(400), [{"workload": "web", "min_units": 12}]
        climb = a_plan(((62, 4, 6), (300, 6, 9), (310, 9, 12)), change="CHG-2", effective_at=late, demand=flat(2))
        world.submit(a_request(change="CHG-2", policy="tier", effective_at=late, impacts=[], entitlements=bound), climb)
        world.run_until(minutes(70))
        break_glass(world.ctx, "CHG-2", "bob", "urgent")
        at = minutes(90)
        api = a_plan(((75, 4, 6),), workload="api", change="CHG-3", effective_at=at, demand=flat(2))
        world.submit(a_request("api", change="CHG-3", effective_at=at), api)
        world.run_until(minutes(190))
        assert (world.record("CHG-3").state, world.record("CHG-2").state) == (S.CLOSED, S.SETTLING)
        assert world.setting("web") == floor(6) and not world.told("left raised")


def by_another_hand(world: World) -> None:
    world.cloud.services["web"].setting = floor(6, 25)


def by_a_person(world: World) -> None:
    """As if it had been in the way of giving more back, and somebody had said that it stays."""
    with world.sql.transaction() as tx:
        tx.audit(
            world.ctx.event(world.record("CHG-0").change, "left as it is", "it is right so", "ann", workload="web")
        )


@pytest.mark.parametrize(("left", "stands"), [(by_another_hand, floor(6, 25)), (by_a_person, floor(6))])
def test_what_somebody_else_has_set_or_said_stays(left: Callable[[World], None], stands: object) -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        left(world)
        version(world, 1, 1, {})
        assert world.setting() == stands


def test_another_customers_change_gives_back_no_more_than_is_not_guaranteed() -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        version(world, 1, 1, {"min_units": 8}, entity="bolt")
        assert world.setting() == floor(8)
        version(world, 2, 2, {}, entity="bolt")
        assert world.setting() == floor(6), "acme's guarantee stands"
        version(world, 3, 3, {})
        assert world.setting() == floor(1)


def test_what_another_change_still_holds_is_its_own_to_give_back() -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        more, at = [{"workload": "web", "min_units": 8}], EFFECTIVE + 2 * HOUR
        receive(world.ctx, a_request(change="CHG-1", entity="bolt", impacts=[], entitlements=more, effective_at=at))
        plan_change(world.ctx, "CHG-1")
        world.run_until(at + timedelta(minutes=5))
        assert (world.record().state, world.setting()) == (S.SETTLING, floor(8))
        with world.sql.snapshot() as tx:
            assert stood_before(tx, "CHG-9", "web", floor(8)) == floor(8)
            assert stood_before(tx, "CHG-1", "web", floor(6)) == floor(1), "its own to give back"


def test_whoever_comes_after_it_counts_on_no_more_than_it_leaves() -> None:
    """The next version gives back what stands there now, and a plan made before that must know."""
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        ask(world, 1, at := EFFECTIVE + 2 * HOUR, {})
        ask(world, 2, later := at + 12 * MINUTE, {"min_units": 6}, entity="bolt")
        world.run_until(later + MINUTE)
        assert (world.record("CHG-2").state, world.setting()) == (S.SETTLING, floor(6))
        with world.sql.snapshot() as tx:
            assert tx.versions("bolt", "tier")[-1].in_force_from == later


def test_nobody_carried_gives_back_what_its_carrier_counts_on() -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        four_times = [{"workload": "web", "factor": 4.0}]
        ask(world, 1, at := EFFECTIVE + 2 * HOUR, {}, entity="bolt", impacts=four_times, settle="PT3H")
        ask(world, 2, at + 5 * MINUTE, {})
        world.run_until(at + 40 * MINUTE)
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.SETTLING, S.CLOSED]
        assert {i.change for i in world.intents()} == {"CHG-0", "CHG-1"}
        world.run_until(at + 5 * HOUR)
        assert (world.record("CHG-1").state, world.setting()) == (S.CLOSED, floor(1)), "the last one gives it back"


def test_rolled_back_it_gives_back_too_what_nobody_guarantees_any_more() -> None:
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        version(world, 3, 1, {}, entity="bolt")  # to be set back to
        ask(world, 1, at := EFFECTIVE + 3 * HOUR, {"min_units": 8}, entity="bolt", settle="PT30M")
        ask(world, 2, at + 5 * MINUTE, {})
        world.run_until(at + 8 * MINUTE)
        rollback(world.ctx, "CHG-1", "ann", "not wanted after all")
        world.run_until(at + 3 * HOUR)
        assert [world.record(name).state for name in ("CHG-1", "CHG-2")] == [S.ROLLED_BACK, S.CLOSED]
        assert world.setting() == floor(1)


def test_no_step_goes_below_what_another_policy_guarantees_since_its_plan() -> None:
    """By break glass it is in force hours before anybody could know."""
    with a_world() as world:
        version(world, 0, 0, {"min_units": 6})
        ask(world, 1, at := EFFECTIVE + 2 * HOUR, {"min_units": 2}, settle="PT2H")
        ask(world, 2, at + 6 * HOUR, {"min_units": 6}, entity="bolt")
        with world.sql.snapshot() as tx:
            plan = tx.plan("CHG-1", "web")
        assert plan and min(step.to_units for step in plan.steps) < 6
        world.run_until(at - 2 * MINUTE)
        break_glass(world.ctx, "CHG-2", "bob", "now")
        world.run_until(at + 30 * MINUTE)
        assert world.setting() == floor(6) and not [i for i in world.intents() if i.stored_at >= at - HOUR]


def test_a_version_that_is_replaced_before_it_has_settled_binds_nobody_any_more() -> None:
    with a_world() as world:
        ask(world, 0, EFFECTIVE, {"min_units": 6}, settle="PT3H")
        world.run_until(EFFECTIVE + 5 * MINUTE)
        ask(world, 1, EFFECTIVE + 6 * HOUR, {"min_units": 2, "max_units": 4})
        break_glass(world.ctx, "CHG-1", "bob", "now")
        other = a_request(change="CHG-9", entity="bolt", effective_at=EFFECTIVE + 9 * HOUR)
        with world.sql.snapshot() as tx:
            bounds = bounds_on(tx, [other.accepted(world.clock.now())], "web", world.clock.now())
        assert (bounds.min_units, bounds.max_units, bounds.outgoing) == (2, 4, ())


def test_whose_only_write_was_called_off_closes_as_one_that_has_moved_nothing() -> None:
    with a_world() as world:
        ask(world, 0, EFFECTIVE, {"min_units": 6})
        world.run_until(minutes(45))
        at, web = minutes(230), [{"workload": "web", "min_units": 8}]
        request = a_request(policy="tier", impacts=[], entitlements=web, effective_at=at)
        plan = a_plan(((50, 6, 8),), start=6, demand=flat(1), effective_at=at)
        world.submit(request, plan.model_copy(update={"created_at": minutes(45)}))

        called_off = []

        def effect(name: str) -> None:
            with world.sql.snapshot() as tx:
                still_open = tx.intents("web", change="CHG-1", only_open=True)
            if name == "observe" and still_open and not called_off:
                called_off.append(still_open)
                world.cloud.set("web", floor(8), foreign=True)
                world.put_rules(freezes=[{"start": minutes(49), "end": minutes(200), "reason": "peace"}])

        world.cloud.effect = effect
        world.run_until(minutes(239))
        assert [i.outcome for i in world.intents() if i.change == "CHG-1"] == [Outcome.NOT_DONE]
        world.cloud.set("web", floor(9), foreign=True)
        world.run_until(minutes(300))
        assert (world.record().state, world.setting(), world.troubles) == (S.CLOSED, floor(9), [])


def test_what_a_person_says_of_one_workload_is_said_of_that_one() -> None:
    with a_world("web", "api") as world:
        six = [{"workload": name, "min_units": 6} for name in ("web", "api")]
        ask(world, 0, EFFECTIVE, {}, impacts=[], entitlements=six)
        world.run_until(EFFECTIVE + 5 * MINUTE)
        world.cloud.set("api", floor(7), foreign=True)
        world.run_until(EFFECTIVE + 40 * MINUTE)
        settle(world.ctx, "CHG-0", "ann", "7 is right")
        nothing = [{"workload": name, "factor": 1.0} for name in ("web", "api")]
        ask(world, 1, EFFECTIVE + 2 * HOUR, {}, impacts=nothing)
        world.run_until(EFFECTIVE + 3 * HOUR)
        assert world.record("CHG-1").state is S.CLOSED
        assert (world.setting("web"), world.setting("api")) == (floor(1), floor(7))


def test_nor_beyond_what_another_policy_caps_since_its_plan() -> None:
    with World(a_workload(shares={"acme": 0.5, "bolt": 0.5}), demand=flat(2)) as world:
        world.put_rules(rules=[{"name": "r", "break_glass": ["bob"]}])
        world.submit(None, a_plan(demand=flat(2)))
        world.run_until(minutes(6))
        seven = Entitlement(workload="web", max_units=7)
        late = a_request(change="CHG-2", entity="bolt", policy="tier", effective_at=EFFECTIVE + 6 * HOUR)
        receive(world.ctx, late.model_copy(update={"impacts": (), "entitlements": (seven,)}))
        break_glass(world.ctx, "CHG-2", "bob", "now")
        world.run_until(minutes(20))
        assert world.asked() == [6] and "the ceiling of 7 units is in its way" in world.record().note
