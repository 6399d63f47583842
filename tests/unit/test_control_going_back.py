"""Pins, rolling back, and the verdict of each move back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forebay.app.people import cancel, deny, hold, resume
from forebay.app.pins import pin
from forebay.app.policies import import_policy
from forebay.app.receive import receive
from forebay.app.rollback import rollback
from forebay.domain.allocation import Lever
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import Outcome, Purpose
from forebay.domain.resources import Resource
from forebay.domain.verdict import Verdict
from tests.support.web import no_cloud
from tests.support.world import (
    EFFECTIVE,
    MINUTE,
    World,
    a_plan,
    a_request,
    a_workload,
    count,
    doubling,
    flat,
    floor,
    minutes,
)

pytestmark = pytest.mark.slow

S = ChangeState
BOTH = pytest.mark.parametrize("lever", list(Lever))
OLD, NEW = {"requests_per_minute": 6000}, {"requests_per_minute": 12000}


def with_a_policy(world: World, **fields: object) -> World:
    import_policy(world.ctx, "acme", "quota", "quota", OLD, "ann", "as sold")
    world.submit(a_request(document=NEW, **fields))
    return world


def document(world: World) -> object:
    from forebay.app.policies import policy_at

    answer = policy_at(world.ctx, "acme", "quota").version
    return answer and dict(answer.document)


# Pins
@BOTH
def test_a_pin_goes_up_in_moves_keeps_and_then_the_plan_goes_on(lever: Lever) -> None:
    with World(lever=lever) as world:
        world.submit()
        world.run_until(minutes(5))
        pin(world.ctx, "CHG-1", 9, minutes(25), "bob", "a broadcast")
        world.run_until(minutes(24))
        assert world.setting().units == 9
        assert world.asked() == [6, 8, 9], "two units a move at most"
        assert [w.at - v.at >= 5 * MINUTE for v, w in zip(world.cloud.ours(), world.cloud.ours()[1:], strict=False)]
        assert world.state is S.SHAPING, "its second step waits"
        world.run_until(minutes(60))
        assert (world.state, world.version_at(EFFECTIVE + 2 * MINUTE)) == (S.CLOSED, 1)


def test_a_pinned_step_is_not_woken_over_and_over(world: World) -> None:
    world.submit()
    pin(world.ctx, "CHG-1", 4, minutes(20), "bob", "not before the release")
    world.run_until(minutes(19))
    assert world.asked() == [] and not [a for a in world.actions() if "woken" in a]
    world.run_until(minutes(60))
    assert world.asked() == [6, 8]


def test_resuming_ends_a_pin(world: World) -> None:
    world.submit()
    pin(world.ctx, "CHG-1", 4, minutes(25), "bob", "not before the release")
    world.run_until(minutes(10))
    assert world.asked() == []
    resume(world.ctx, "CHG-1", "bob", "released")
    world.run_until(EFFECTIVE)
    assert (world.asked(), world.version_at(EFFECTIVE)) == ([6, 8], 1)


def test_a_cancel_wins_over_a_pin(world: World) -> None:
    world.submit()
    pin(world.ctx, "CHG-1", 9, minutes(60), "bob", "a broadcast")
    world.run_until(minutes(7))
    cancel(world.ctx, "CHG-1", "ann", "not needed any more")
    world.run_until(minutes(50))
    assert (world.state, world.setting()) == (S.ROLLED_BACK, count(4))


def test_what_is_pinned_past_its_settling_is_handed_back_at_the_pins_end() -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(20))
        pin(world.ctx, "CHG-1", 10, minutes(55), "bob", "a broadcast")
        world.run_until(minutes(54))
        assert (world.state, world.setting().units) == (S.SETTLING, 10)
        world.run_until(minutes(60))
        assert (world.state, world.setting()) == (S.CLOSED, floor(1))


@pytest.mark.parametrize("look", [1, 2], ids=["ahead of the announcement", "ahead of the write"])
def test_what_is_pinned_while_it_is_about_to_be_handed_back_is_kept(look: int) -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(39.5))
        looks: list[str] = []

        def pinned_between(name: str) -> None:
            looks.append(name)
            if looks.count("observe") == look and world.clock.now() >= minutes(40):
                world.cloud.effect = lambda name: None
                pin(world.ctx, "CHG-1", 8, minutes(60), "bob", "a broadcast")

        def handing_back() -> None:
            world.cloud.effect = pinned_between

        world.clock.at(minutes(40), handing_back)
        world.run_until(minutes(59))
        assert (world.state, world.setting().units) == (S.SETTLING, 8)
        assert [w.after.units for w in world.cloud.ours()] == [6, 8], "at no time was it given back"
        assert ("give back asked" in world.actions()) is (look == 2)
        world.run_until(minutes(65))
        assert (world.state, world.setting()) == (S.CLOSED, floor(1))


def test_what_is_pinned_as_it_is_about_to_be_closed_is_kept(world: World) -> None:
    world.submit()
    world.run_until(minutes(39.5))

    def pinned_first(name: str) -> None:
        if name == "observe" and world.clock.now() >= minutes(40):
            world.cloud.effect = lambda name: None
            pin(world.ctx, "CHG-1", 10, minutes(60), "bob", "a broadcast")

    world.cloud.effect = pinned_first
    world.run_until(minutes(59))
    assert (world.state, world.setting()) == (S.SETTLING, count(10))
    world.run_until(minutes(65))
    assert world.state is S.CLOSED


@pytest.mark.parametrize(
    ("units", "until", "state", "refusal"),
    [
        (3, 20, None, "4 to 20 units"),
        (21, 20, None, "4 to 20 units"),
        (6, -1, None, "^until: .* is over"),
        (6, 93 * 24 * 60, None, "^until: .* is more than 92 days ahead"),
        (6, 20, "held", "is held"),
    ],
)
def test_a_pin_that_cannot_be_is_refused(
    world: World, units: int, until: float, state: str | None, refusal: str
) -> None:
    world.submit()
    if state:
        hold(world.ctx, "CHG-1", "bob", "wait")
    with pytest.raises((InputError, RuleRefusal), match=refusal):
        pin(world.ctx, "CHG-1", units, minutes(until), "bob", "a broadcast")
    world.run_until(minutes(0.5))
    assert world.asked() == []


def test_what_cannot_be_pinned_is_said_without_a_look_at_the_cloud(world: World) -> None:
    world.submit()
    hold(world.ctx, "CHG-1", "bob", "wait")
    with pytest.raises(RuleRefusal, match="change CHG-1 is held"):
        pin(replace(world.ctx, target=no_cloud), "CHG-1", 6, minutes(20), "bob", "a broadcast")


def test_a_pin_on_one_of_several_workloads_names_it() -> None:
    with World(a_workload(), a_workload("api")) as world:
        world.submit(a_request("web", "api"), a_plan(), a_plan(workload="api"))
        with pytest.raises(InputError, match="name one of them"):
            pin(world.ctx, "CHG-1", 6, minutes(20), "bob", "why")
        pin(world.ctx, "CHG-1", 4, minutes(15), "bob", "why", "api")
        world.run_until(minutes(12))
        assert (world.asked("web"), world.asked("api")) == ([6, 8], [])


def test_the_end_of_a_pin_is_recorded_and_told_once_and_that_of_one_workload_is_no_others() -> None:
    with World(a_workload(), a_workload("api")) as world:
        world.submit(a_request("web", "api"), a_plan(), a_plan(workload="api"))
        pin(world.ctx, "CHG-1", 4, minutes(8), "bob", "a broadcast", "web")
        pin(world.ctx, "CHG-1", 4, minutes(12), "bob", "another", "api")
        world.run_until(minutes(10))
        with world.sql.transaction() as tx:
            (over,) = [e.event for e in tx.audit_entries("CHG-1") if e.event.action == "unpinned"]
            assert [left.workload for left in tx.pins("CHG-1")] == ["api"]
        assert (over.at, over.actor, over.workload, over.old) == (minutes(8), "forebay", "web", "4 units")
        assert over.reason == "web was kept at 4 units at least until 2026-11-24T09:08:00+00:00"
        assert over in world.people.events
        assert (world.asked("web"), world.asked("api")) == ([6], [])
        world.run_until(minutes(60))
        assert world.actions().count("unpinned") == 2
        assert world.state is S.CLOSED


# Rolling back
@BOTH
@pytest.mark.parametrize("after", [30.2, 33, 38])
def test_rolled_back_in_force_policy_and_capacity_go_back(lever: Lever, after: float) -> None:
    with with_a_policy(World(lever=lever, demand=doubling())) as world:
        original = world.setting()
        world.run_until(minutes(after))
        assert document(world) == NEW
        world.cloud.services["web"].demand = flat(1.5)
        rollback(world.ctx, "CHG-1", "bob", "they changed their mind")
        assert document(world) == OLD, "at once, whoever is awake"
        world.run_until(minutes(80))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, original)
        assert [dict(v.document) for v in world.enforcer.pushed][-1] == OLD
        back = [i for i in world.intents() if i.purpose is Purpose.GIVE_BACK]
        assert [i.new.units for i in back] == ([6, 4] if lever is Lever.COUNT else [1])
        assert all(i.judgement is not None and i.judgement.verdict is Verdict.PASS for i in back)
        verdicts = [n for n, a in enumerate(world.actions()) if a == "give back verified"]
        moves = [n for n, a in enumerate(world.actions()) if a == "give back asked"]
        assert all(v > m for m, v in zip(moves, verdicts, strict=True))
        assert all(m > v for v, m in zip(verdicts, moves[1:], strict=False)), "each has its verdict before the next"


def test_what_is_rolled_back_is_pinned_no_longer_and_not_told_to_have_been_kept() -> None:
    with with_a_policy(World(lever=Lever.FLOOR)) as world:
        world.run_until(minutes(33))
        pin(world.ctx, "CHG-1", 8, minutes(60), "bob", "a broadcast")
        rollback(world.ctx, "CHG-1", "bob", "they changed their mind")
        world.cloud.services["web"].unreachable = True  # the way back lasts
        world.run_until(minutes(65))
        assert world.state is S.ROLLING_BACK
        with world.sql.transaction() as tx:
            over = [e.event for e in tx.audit_entries("CHG-1") if e.event.action == "unpinned"]
        assert [(e.actor, e.reason) for e in over] == [("bob", "they changed their mind")]


def test_rolled_back_before_it_is_in_force_is_cancelled(world: World) -> None:
    with_a_policy(world)
    world.run_until(minutes(15))
    assert rollback(world.ctx, "CHG-1", "bob", "stop").state is S.CANCELLED
    world.cloud.services["web"].demand = flat(1)
    world.run_until(minutes(50))
    assert (world.state, world.setting(), document(world)) == (S.ROLLED_BACK, count(4), OLD)


def test_rolling_back_goes_no_further_down_than_demand_and_up_again_with_it(world: World) -> None:
    with_a_policy(world)
    world.run_until(minutes(33))
    service = world.cloud.services["web"]
    service.demand = flat(2.4)
    rollback(world.ctx, "CHG-1", "bob", "stop")
    world.run_until(minutes(60))
    assert (world.state, world.setting()) == (S.ROLLING_BACK, count(5))
    service.demand = flat(6)
    world.run_until(minutes(90))
    assert world.setting() == count(8), "what the demand needs, but no more than there was"
    service.demand = flat(1)
    world.run_until(minutes(130))
    assert (world.state, world.setting()) == (S.ROLLED_BACK, count(4))


def test_what_follows_a_version_that_was_set_back_names_that_and_not_the_number_before_its_own() -> None:
    with World(a_workload(), a_workload("api"), lever=Lever.FLOOR, demand=flat(2)) as world:
        with_a_policy(world)
        later = minutes(120)
        path = a_plan(((80, 4, 6), (90, 6, 8)), change="CHG-2", workload="api", effective_at=later, demand=flat(2))
        world.submit(a_request("api", change="CHG-2", effective_at=later), path)
        world.run_until(minutes(33))
        rollback(world.ctx, "CHG-1", "bob", "they changed their mind")
        world.run_until(later + MINUTE)
        assert [v.version for v in world.enforcer.pushed] == [2, 4, 3] and world.version_at(later) == 3
        with world.sql.transaction() as tx:
            (event,) = (e.event for e in tx.audit_entries("CHG-2") if e.event.action == "in force")
        assert (event.old, event.new) == ("version 4", "version 3")


def test_a_policy_whose_first_change_was_denied_is_imported_and_gone_back_to(world: World) -> None:
    receive(world.ctx, a_request())
    with pytest.raises(RuleRefusal, match="is known"):
        with_a_policy(world)
    deny(world.ctx, "CHG-1", "no plan meets it")
    with_a_policy(world, change="CHG-2")
    assert document(world) == OLD
    world.run_until(minutes(33))
    assert document(world) == NEW
    rollback(world.ctx, "CHG-2", "bob", "worse")
    assert document(world) == OLD


def test_a_rollback_to_nothing_is_refused(world: World) -> None:
    world.submit()
    world.run_until(minutes(33))
    with pytest.raises(RuleRefusal, match="no version in force before version 1"):
        rollback(world.ctx, "CHG-1", "bob", "stop")
    assert world.version_at(minutes(33)) == 1


def test_a_rollback_of_a_change_that_took_capacity_away_is_refused() -> None:
    down = a_plan(((1, 8, 6), (7, 6, 4)), start=8, demand=flat(1))
    with World(units=8, demand=flat(1)) as world:
        import_policy(world.ctx, "acme", "quota", "quota", OLD, "ann", "as sold")
        world.submit(a_request(entitlements=[{"workload": "web", "max_units": 4}]), down)
        world.run_until(minutes(33))
        assert world.setting() == count(4)
        with pytest.raises(RuleRefusal, match="lowered web from count 8 to count 4"):
            rollback(world.ctx, "CHG-1", "bob", "stop")


def test_nor_of_one_that_took_it_from_the_autoscaler() -> None:
    """The floor stands as it stood, but above it the autoscaler has been stopped."""
    down = a_plan(((1, 8, 6), (7, 6, 4)), start=8, aligned=1, demand=flat(1))
    with World(lever=Lever.FLOOR, units=8, demand=flat(1)) as world:
        import_policy(world.ctx, "acme", "quota", "quota", OLD, "ann", "as sold")
        world.submit(a_request(entitlements=[{"workload": "web", "max_units": 4}]), down)
        world.run_until(minutes(33))
        assert world.setting() == floor(1, 4)
        with pytest.raises(RuleRefusal, match=r"lowered web from floor 1 \(ceiling 20\) to floor 1 \(ceiling 4\)"):
            rollback(world.ctx, "CHG-1", "bob", "stop")


def test_a_change_of_today_is_rolled_back_only_while_it_is_not_closed(world: World) -> None:
    with_a_policy(world)
    world.run_until(minutes(60))
    assert world.state is S.CLOSED
    with pytest.raises(RuleRefusal):
        rollback(world.ctx, "CHG-1", "bob", "too late")
    assert document(world) == NEW


def test_a_move_back_without_data_is_waited_for_and_says_so() -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(15))
        cancel(world.ctx, "CHG-1", "ann", "not needed any more")
        world.cloud.services["web"].metrics = False
        world.run_until(minutes(20))
        assert (world.state, world.setting()) == (S.CANCELLED, floor(1))
        world.run_until(minutes(25))
        given = [i for i in world.intents() if i.purpose is Purpose.GIVE_BACK]
        assert [i.judgement.verdict for i in given if i.judgement] == [Verdict.NO_DATA]
        assert world.state is S.ROLLED_BACK


def test_a_floor_that_a_ceiling_lowered_goes_up_again_in_moves() -> None:
    down = a_plan(((1, 8, 6), (7, 6, 4)), start=8, demand=flat(1))
    with World(lever=Lever.FLOOR, units=8, demand=flat(1)) as world:
        world.cloud.services["web"].setting = floor(8)
        world.submit(a_request(entitlements=[{"workload": "web", "max_units": 4}]), down)
        world.run_until(minutes(15))
        assert world.setting() == floor(4, 4)
        cancel(world.ctx, "CHG-1", "ann", "not needed any more")
        world.run_until(minutes(50))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, floor(8))
        back = world.cloud.ours()[2:]
        assert [(w.desired, w.after.floor) for w in back] == [(4, 6), (6, 8)], "two units a move at most"
        assert back[1].at - back[0].at >= 5 * MINUTE


def test_demand_above_what_is_left_is_said() -> None:
    """The verdict of a move back: `high` is told to people, and the way down ends there."""
    cores = [2.0]
    with World(demand=lambda at: {Resource.CPU: cores[0]}) as world:
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(15))
        cancel(world.ctx, "CHG-1", "ann", "not needed any more")
        world.clock.at(minutes(15.5), lambda: cores.__setitem__(0, 5.5))
        world.run_until(minutes(19))
        assert len(world.told("high after giving back")) == 1
        world.run_until(minutes(30))
        assert world.setting() == count(8)


def test_taking_back_what_is_in_force_is_a_right_of_its_own(world: World) -> None:
    world.put_rules(rules=[{"name": "strict", "revokers": ["lea"]}])
    with_a_policy(world)
    world.run_until(minutes(33))
    with pytest.raises(RuleRefusal, match="take back"):
        rollback(world.ctx, "CHG-1", "bob", "stop")
    assert rollback(world.ctx, "CHG-1", "lea", "stop").state is S.ROLLING_BACK


def test_what_may_not_be_given_back_is_tried_ever_more_seldom() -> None:
    """A right may be missing over a weekend: each try is an intent and two entries of the audit log."""
    with World(lever=Lever.FLOOR, demand=flat(2)) as world:
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(12))
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.cloud.faults = ["refused"] * 100
        world.run_until(minutes(132))
        failed = [i for i in world.intents() if i.outcome is Outcome.NOT_DONE]
        assert (world.state, world.setting()) == (S.CANCELLED, floor(8))
        assert 10 <= len(failed) <= 20
        assert [text.partition(":")[0] for text in world.told("not given back")] == ["access denied"]
        world.cloud.faults.clear()
        world.run_until(minutes(150))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, floor(1))
