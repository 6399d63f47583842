"""What is still raised: its owner and its end, what its way back waits for, and what a person lets be."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from forebay.app.people import cancel, hold, resume
from forebay.app.pins import pin
from forebay.app.raises import open_raises, settle
from forebay.domain.allocation import Lever, TargetState, in_words
from forebay.domain.errors import InputError, OutsideError, RuleRefusal
from forebay.domain.freeze import FreezeWindow
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import Outcome
from forebay.domain.resources import Resource
from forebay.domain.workload import WorkloadCatalog
from forebay.ports import Target
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, a_workload, count, flat, floor, minutes

pytestmark = pytest.mark.slow

S = ChangeState
BOTH = pytest.mark.parametrize("lever", list(Lever))


@BOTH
def test_each_raise_has_its_owner_reason_expiry_and_what_it_goes_back_to(lever: Lever) -> None:
    with World(lever=lever) as world:
        original = world.setting()
        world.submit()
        assert open_raises(world.ctx) == []
        world.run_until(minutes(15))
        (raised,) = open_raises(world.ctx)
        assert (raised.workload, raised.was, raised.now.units, raised.change) == ("web", original, 8, "CHG-1")
        assert (raised.reason, raised.restore) == ("cpu binds", original)
        assert raised.until == EFFECTIVE + timedelta(minutes=10), "settling takes 10 minutes"
        pin(world.ctx, "CHG-1", 8, minutes(55), "bob", "a broadcast")
        assert open_raises(world.ctx)[0].until == minutes(55)
        resume(world.ctx, "CHG-1", "bob", "over")
        hold(world.ctx, "CHG-1", "bob", "wait")
        assert open_raises(world.ctx)[0].until is None
        resume(world.ctx, "CHG-1", "bob", "go on")
        world.run_until(EFFECTIVE + 5 * MINUTE)
        assert [r.restore for r in open_raises(world.ctx)] == [None if lever is Lever.COUNT else original]
        world.run_until(minutes(60))
        assert (world.state, open_raises(world.ctx)) == (S.CLOSED, [])


@BOTH
def test_what_a_write_may_have_raised_is_listed_while_nobody_can_read_it(lever: Lever) -> None:
    with World(lever=lever) as world:
        original = world.setting()
        world.submit()
        silent_from_the_next_write_on(world)
        world.run_until(minutes(25))
        assert (world.state, world.setting().units) == (S.HELD, 6)
        (raised,) = open_raises(world.ctx)
        assert (raised.unread, raised.was, raised.now, raised.restore) == (True, original, world.setting(), original)
        assert raised.row[1] == f"{in_words(original)} -> may stand at {in_words(world.setting())}, not read yet"
        world.cloud.unreachable = False
        world.cloud.effect = lambda _: None
        world.run_until(minutes(27))
        assert [(r.unread, r.row[1]) for r in open_raises(world.ctx)] == [
            (False, f"{in_words(original)} -> {in_words(world.setting())}")
        ]


def test_what_may_have_gone_back_is_listed_as_raised_until_that_is_read() -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(15))
        raised = world.setting()
        cancel(world.ctx, "CHG-1", "bob", "moved")
        silent_from_the_next_write_on(world)
        world.run_until(minutes(17))
        assert [(r.unread, r.now, r.restore) for r in open_raises(world.ctx)] == [(True, raised, floor(1))]


def silent_from_the_next_write_on(world: World) -> None:
    """The cloud makes it, and neither its answer nor any look comes through from then on."""

    def falls_silent(moment: str) -> None:
        world.cloud.unreachable |= moment == "after the write"

    world.cloud.faults.append("lost answer")
    world.cloud.effect = falls_silent


def test_what_another_hand_keeps_from_going_back_is_listed_until_a_person_settles_it() -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(EFFECTIVE + 2 * MINUTE)
        world.cloud.set("web", floor(9), foreign=True)
        world.run_until(minutes(60))
        assert (world.state, world.setting()) == (S.CLOSED, floor(9))
        (left,) = open_raises(world.ctx)
        assert (left.now, left.restore, left.until, left.change) == (floor(9), floor(1), None, "CHG-1")
        with pytest.raises(InputError, match="your name"):
            settle(world.ctx, "CHG-1", "", "")
        settle(world.ctx, "CHG-1", "bob", "9 is what the shop needs now")
        assert open_raises(world.ctx) == []
        with pytest.raises(RuleRefusal, match="has left nothing"):
            settle(world.ctx, "CHG-1", "bob", "again")


@dataclass
class Gone:
    """A Target that the cloud knows nothing of any more."""

    inner: Target

    def observe(self) -> TargetState:
        raise OutsideError("ecs:DescribeServices on ECS service c/web found nothing of that name", retryable=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def told_of_waiting(world: World) -> list[str]:
    return [f"{e.workload}: {e.reason}" for e in world.people.events if e.action == "not given back"]


@BOTH
@pytest.mark.parametrize("how", ["gone", "renamed"])
def test_a_workload_that_cannot_go_back_keeps_no_other_raised_and_is_told_once(lever: Lever, how: str) -> None:
    api = a_plan(workload="api", demand=flat(2))
    with World(a_workload(), a_workload("api"), lever=lever, demand=flat(2)) as world:
        world.submit(a_request("web", "api"), a_plan(demand=flat(2)), api)
        world.run_until(minutes(15))
        assert (world.setting("web").units, world.setting("api").units) == (8, 8)
        cancel(world.ctx, "CHG-1", "ann", "stop")
        target = world.ctx.target
        if how == "gone":
            world.ctx = replace(world.ctx, target=lambda w: Gone(target(w)) if w.name == "web" else target(w))
        else:
            world.ctx = replace(world.ctx, catalog=WorkloadCatalog(workloads=(world.ctx.workload("api"),)))
        world.run_until(minutes(90))
        assert (world.state, world.setting("web").units) == (S.CANCELLED, 8)
        assert world.setting("api").units == (4 if lever is Lever.COUNT else 1), "the other one is given back"
        (told,) = told_of_waiting(world)
        assert told.startswith("web: ") and ("found nothing" in told or "not in the workloads file" in told)
        settle(world.ctx, "CHG-1", "bob", "web is no more")
        assert (world.state, open_raises(world.ctx)) == (S.ROLLED_BACK, [])
        assert "web was set to" in world.record().note


def test_demand_that_keeps_what_was_raised_is_told_once_and_a_person_may_let_it_be(world: World) -> None:
    """The numbers in what is waited for change all the time: that is no news."""
    cores = itertools.cycle([2.6, 2.7, 3.0])
    world.submit(a_request(), a_plan(demand=flat(2)))
    world.run_until(minutes(15))
    world.cloud.services["web"].demand = lambda at: {Resource.CPU: next(cores)}
    cancel(world.ctx, "CHG-1", "ann", "stop")
    later = a_request(change="CHG-2", policy="tier", effective_at=minutes(400))
    world.submit(later, a_plan(((310, 6, 8),), start=6, change="CHG-2", effective_at=minutes(400), demand=flat(3)))
    world.run_until(minutes(120))
    assert (world.state, world.setting()) == (S.CANCELLED, count(6))
    (told,) = told_of_waiting(world)
    assert told.startswith("web: the demand seen needs") and "`forebay settle CHG-1`" in told
    settle(world.ctx, "CHG-1", "bob", "6 is what the shop needs now")
    world.run_until(minutes(130))
    assert (world.state, world.setting(), open_raises(world.ctx)) == (S.ROLLED_BACK, count(6), [])
    assert world.record("CHG-2").state is S.SCHEDULED and world.sql.audit_break() is None


def test_a_way_back_that_is_slow_only_is_not_told(world: World) -> None:
    world.submit()
    world.run_until(minutes(15))
    world.cloud.services["web"].demand = flat(1)
    cancel(world.ctx, "CHG-1", "ann", "stop")
    world.run_until(minutes(40))
    assert (world.state, told_of_waiting(world)) == (S.ROLLED_BACK, [])


def test_a_person_does_not_let_be_what_is_not_on_its_way_back_or_is_being_written(world: World) -> None:
    world.submit(a_request(), a_plan(demand=flat(2)))
    world.run_until(minutes(15))
    with pytest.raises(RuleRefusal, match="has left nothing"):
        settle(world.ctx, "CHG-1", "bob", "8 is right")
    cancel(world.ctx, "CHG-1", "ann", "stop")
    refused = []

    def settle_in_the_midst(where: str) -> None:
        if where == "before the write":
            with pytest.raises(RuleRefusal, match="still under way") as refusal:
                settle(world.ctx, "CHG-1", "bob", "8 is right")
            refused.append(refusal)

    world.cloud.effect = settle_in_the_midst
    world.reconcile()
    assert len(refused) == 1 and world.state is S.CANCELLED


def lifted(world: World) -> World:
    """Up to 6 units of web were allowed, 8 are needed until an hour and a half after the effective time, then 4."""
    service = world.cloud.services["web"]
    service.setting = floor(1, 6)
    service.demand = lambda at: {Resource.CPU: 4.0 if EFFECTIVE <= at < minutes(120) else 2.0}
    names = list(world.cloud.services)
    world.submit(a_request(*names), *[a_plan(workload=name) for name in names])
    world.run_until(minutes(45))
    assert (world.state, world.setting("web")) == (S.SETTLING, floor(1, 8)), "its floor is back"
    return world


def test_a_ceiling_that_was_raised_comes_back_once_fewer_units_run() -> None:
    with lifted(World(lever=Lever.FLOOR)) as world:
        world.run_until(minutes(119), every=2 * MINUTE)
        assert (world.state, world.setting()) == (S.SETTLING, floor(1, 8))
        assert [r.restore for r in open_raises(world.ctx)] == [floor(1, 6)]
        assert ["not 6, while 8 units run" in told for told in told_of_waiting(world)] == [True]
        world.run_until(minutes(130))
        assert (world.state, world.setting(), open_raises(world.ctx)) == (S.CLOSED, floor(1, 6), [])


def test_a_ceiling_that_waits_is_left_to_a_person_before_it_makes_another_change_late() -> None:
    with lifted(World(lever=Lever.FLOOR)) as world:
        late = minutes(110)
        path = a_plan(((80, 8, 10),), start=8, change="CHG-2", effective_at=late, demand=flat(4))
        world.submit(a_request(change="CHG-2", policy="tier", effective_at=late), path)
        world.run_until(minutes(74))
        assert world.state is S.SETTLING
        world.run_until(minutes(90))
        assert (world.state, world.asked()) == (S.CLOSED, [6, 8, 1, 10])
        (left,) = (r for r in open_raises(world.ctx) if r.change == "CHG-1")
        assert (left.now, left.restore) == (floor(1, 8), floor(1, 6))
        world.run_until(late + MINUTE)
        assert world.version_at(late, "tier") == 1


def test_a_ceiling_that_waits_makes_no_step_on_another_workload_late() -> None:
    with lifted(World(a_workload("web"), a_workload("api"), lever=Lever.FLOOR)) as world:
        late = minutes(180)
        path = a_plan(((80, 4, 6),), workload="api", change="CHG-2", effective_at=late, demand=flat(2))
        world.submit(a_request("api", change="CHG-2", policy="tier", effective_at=late), path)
        world.run_until(minutes(90))
        assert (world.state, [s.state for s in world.steps("CHG-2", "api")]) == (S.CLOSED, [StepState.PASSED])


def test_what_stood_before_a_write_that_was_never_made_is_not_what_it_goes_back_to() -> None:
    """Step 1 is refused; while the change is held an operator sets what the shop needs, and a person resumes on it."""
    effective_at = minutes(120)
    path = a_plan(((1, 4, 6), (60, 7, 9)), effective_at=effective_at, demand=flat(2))
    with World(lever=Lever.COUNT, demand=flat(2)) as world:
        world.submit(a_request(effective_at=effective_at), path)
        world.cloud.faults.append("refused")
        world.run_until(minutes(5))
        assert (world.state, world.setting()) == (S.HELD, count(4))
        world.cloud.set("web", count(7), foreign=True)
        resume(world.ctx, "CHG-1", "ann", "the role may scale now, and 7 is right")
        world.run_until(minutes(70))
        assert world.setting() == count(9)
        cancel(world.ctx, "CHG-1", "ann", "stop")
        world.run_until(minutes(110))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, count(7))


@BOTH
def test_what_another_hand_has_set_back_already_is_not_left_to_a_person(lever: Lever) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        original = world.setting()
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(15))
        world.cloud.set("web", original, foreign=True)
        cancel(world.ctx, "CHG-1", "ann", "put back by hand")
        world.run_until(minutes(20))
        assert (world.state, world.setting(), open_raises(world.ctx)) == (S.ROLLED_BACK, original, [])


def test_a_hold_that_ends_by_itself_does_not_say_that_it_waits_for_a_person(world: World) -> None:
    world.submit()
    world.run_until(minutes(5))
    world.cloud.services["web"].arrives = 6
    world.run_until(minutes(20))
    assert world.record().lapses
    assert [r.waits_for for r in open_raises(world.ctx)] == ["what it is held for, or a person: cancel"]
    hold(world.ctx, "CHG-1", "bob", "wait")
    assert [r.waits_for for r in open_raises(world.ctx)] == ["a person: resume or cancel"]
    world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob", "eve"], "quorum": 1}}])
    resume(world.ctx, "CHG-1", "bob", "go on")
    assert [(r.waits_for, r.until) for r in open_raises(world.ctx)] == [("an approval, or a person: cancel", None)]


def test_what_is_let_be_on_one_workload_stops_no_other_on_its_way_back() -> None:
    with World(a_workload("web"), a_workload("api"), demand=flat(2)) as world:
        world.submit(a_request("web", "api"), *[a_plan(workload=name, demand=flat(2)) for name in ("web", "api")])
        world.run_until(minutes(20))
        cancel(world.ctx, "CHG-1", "ann", "stop")
        world.cloud.set("web", count(9), foreign=True)
        world.run_until(minutes(23))
        assert [r.workload for r in open_raises(world.ctx) if r.until is None and r.now == count(9)] == ["web"]
        settle(world.ctx, "CHG-1", "ann", "9 on web is right")
        world.run_until(minutes(60))
        assert (world.state, world.setting("web"), world.setting("api")) == (S.ROLLED_BACK, count(9), count(4))
        assert open_raises(world.ctx) == [] and world.actions().count("left raised") == 1


def test_settled_in_the_midst_of_a_pass_a_change_stops_it_not(world: World) -> None:
    """Another pass, or a person, is quicker: that is no error, and what comes after in the pass is done."""
    world.submit()
    world.run_until(minutes(8))
    cancel(world.ctx, "CHG-1", "ann", "stop")
    inner, taken = world.store.inner, []

    def settled_by_a_person(when: str) -> None:
        with inner.transaction() as tx:
            lease = tx.lease("web")
        if lease and lease.expires_at > world.clock.now() and not taken:
            taken.append(when)
            settle(world.ctx, "CHG-1", "ann", "it stands right")

    world.store.effect = settled_by_a_person
    world.reconcile()
    assert taken and world.state is S.ROLLED_BACK


def test_a_ramp_that_takes_longer_than_settling_is_followed_to_its_end(world: World) -> None:
    ramp = [{"workload": "web", "factor": 2.0, "adoption": {"shape": "ramp", "over": "PT1H"}}]
    path = a_plan(((1, 4, 6), (70, 6, 8)), aligned=6)
    world.submit(a_request(impacts=ramp, settle="PT10M"), path)
    world.run_until(EFFECTIVE + timedelta(minutes=55))
    assert (world.state, world.setting(), world.asked()) == (S.SETTLING, count(8), [6, 8])
    world.run_until(EFFECTIVE + timedelta(minutes=90))
    assert (world.state, world.setting()) == (S.CLOSED, count(8))


def test_no_step_is_made_once_the_way_back_has_begun() -> None:
    """A freeze window covers a step of the policy in force and the end of settling; both are free at once."""
    freeze = FreezeWindow(start=minutes(38), end=minutes(50), reason="release")
    with World(lever=Lever.FLOOR) as world:
        original = world.setting()
        world.put_rules(freezes=[freeze])
        world.submit(None, a_plan(((1, 4, 6), (10, 6, 8), (39, 8, 10)), aligned=8))
        world.run_until(minutes(49))
        assert (world.state, world.setting().floor) == (S.SETTLING, 8)
        (raised,) = open_raises(world.ctx)
        assert (raised.until, raised.waits_for) == (None, "its way back, move by move")
        world.run_until(minutes(70))
        assert (world.state, world.setting(), world.asked()) == (S.CLOSED, original, [6, 8, original.units])


def test_a_first_write_whose_answer_was_lost_is_ours_under_another_hands_ceiling() -> None:
    with World(lever=Lever.FLOOR, demand=flat(2)) as world:
        original = world.setting()
        assert original.ceiling is not None
        theirs = original.ceiling + 10
        world.submit(None, a_plan(demand=flat(2)))
        world.cloud.faults.append("lost answer")

        def widened(name: str) -> None:
            if name == "after the write":
                world.cloud.effect = lambda _: None
                world.cloud.set("web", floor(6, theirs), foreign=True)

        world.cloud.effect = widened
        world.run_until(minutes(5))
        assert world.intents()[0].outcome is Outcome.DONE and open_raises(world.ctx)
        cancel(world.ctx, "CHG-1", "ann", "stop")
        world.run_until(minutes(50))
        assert original.floor is not None
        assert (world.state, world.setting()) == (S.ROLLED_BACK, floor(original.floor, theirs))


@pytest.mark.parametrize("rule", ["insist", "yield"])
def test_what_an_operator_sets_on_a_workload_that_was_given_back_is_theirs(rule: str) -> None:
    """`api` went back; `web` waits for its ceiling, so the change still settles."""
    with lifted(World(*[a_workload(n, on_foreign_write=rule) for n in ("web", "api")], lever=Lever.FLOOR)) as world:
        assert world.setting("api").floor == 1
        world.cloud.set("api", floor(3), foreign=True)
        world.run_until(minutes(70))
        assert (world.state, world.setting("api")) == (S.SETTLING, floor(3))
