"""What verification finds and how the outside fails: what is corrected, waited for, held, and settled by reading."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from forebay.app.advance import drive
from forebay.app.people import BY_ITSELF, cancel, hold, resume
from forebay.control.decide import Decision, Hold, Wait
from forebay.control.shown import not_shown_yet
from forebay.domain.allocation import Lever
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import Outcome
from tests.support.cloud import Stale
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
    minutes,
)
from tests.unit.test_control_decide import wrote

pytestmark = pytest.mark.slow

S = ChangeState
BOTH = pytest.mark.parametrize("lever", list(Lever))


@pytest.mark.parametrize("on_misalignment", ["defer", "reject"])
def test_capacity_that_never_arrives(on_misalignment: str) -> None:
    with World() as world:
        world.cloud.services["web"].arrives = 7
        world.submit(a_request(on_misalignment=on_misalignment))
        world.run_until(minutes(20))
        assert world.state is S.HELD
        assert "7 of 8 units serve" in world.record().note and "insufficient capacity" in world.record().note
        world.clock.sleep(EFFECTIVE - MINUTE - world.clock.now())
        resume(world.ctx, "CHG-1", "bob", "try again")
        world.clock.at(EFFECTIVE + timedelta(seconds=5), lambda: world.enforce())
        world.run_until(EFFECTIVE + 2 * MINUTE)
        assert world.version_at(minutes(32)) is None
        if on_misalignment == "reject":
            assert world.state in (S.CANCELLED, S.ROLLED_BACK)
            return
        world.run_until(minutes(50))
        assert world.state is S.HELD
        world.cloud.services["web"].arrives = 100
        resume(world.ctx, "CHG-1", "bob", "the quota was raised")
        world.run_until(minutes(60))
        assert world.actions().count("deferred") == 1
        switched = next(minutes(m / 60) for m in range(50 * 60, 60 * 60) if world.version_at(minutes(m / 60)) == 1)
        assert switched > minutes(50)
        assert world.state is S.SETTLING
        world.run_until(switched + 9 * MINUTE)
        assert world.state is S.SETTLING, "it settles from when it took force"
        world.run_until(switched + 12 * MINUTE)
        assert world.state is S.CLOSED


def test_a_dip_after_the_last_pass_delays_arming_and_nothing_more(world: World) -> None:
    world.submit()
    world.run_until(minutes(7.5))
    service = world.cloud.services["web"]

    def a_unit_is_replaced(name: str) -> None:
        if name == "after a transaction" and all(s.state is StepState.PASSED for s in world.steps()):
            world.store.effect = lambda _: None
            service.serving[-1] = world.clock.now() + 2 * MINUTE

    world.store.effect = a_unit_is_replaced
    world.run_until(minutes(11))
    assert world.state is S.SHAPING
    world.run_until(minutes(14))
    assert world.state is S.ARMED


def test_aligned_only_after_the_effective_time_is_armed_by_itself(world: World) -> None:
    """All steps have passed, one unit is missing just at the effective time: no run is left to arm it later."""
    world.submit()
    world.run_until(minutes(12))
    assert world.state is S.ARMED
    hold(world.ctx, "CHG-1", "bob", "wait")
    service = world.cloud.services["web"]
    service.serving[-1] = EFFECTIVE + 5 * MINUTE
    resume(world.ctx, "CHG-1", "bob", "go on")
    world.run_until(EFFECTIVE + 4 * MINUTE)
    assert (world.state, world.version_at(world.clock.now())) == (S.SHAPING, None)
    assert world.actions().count("deferred") == 1
    world.run_until(EFFECTIVE + 6 * MINUTE)
    assert world.version_at(EFFECTIVE + 6 * MINUTE) == 1
    assert world.state is S.SETTLING


def test_an_armed_change_with_a_unit_being_replaced_is_disarmed_until_it_is_back(world: World) -> None:
    world.submit()
    world.run_until(minutes(15))
    world.cloud.services["web"].serving[-1] = minutes(20)
    world.run_until(minutes(18))
    assert (world.state, world.version_at(EFFECTIVE)) == (S.SHAPING, None)
    assert world.record().note == "no longer aligned: web: 7 units serve, 8 are needed"
    world.run_until(minutes(60))
    assert (world.state, world.version_at(EFFECTIVE)) == (S.CLOSED, 1)


def test_an_armed_change_that_loses_its_capacity_is_not_in_force(world: World) -> None:
    world.submit()
    world.run_until(minutes(20))
    assert world.state is S.ARMED
    world.cloud.set("web", count(4), foreign=True)
    world.run_until(minutes(40))
    assert world.state is S.HELD
    assert "no longer aligned" in world.record().note
    assert world.version_at(minutes(40)) is None


def test_watching_an_armed_change_over_its_effective_time_holds_nothing(world: World) -> None:
    """The look takes long, and the effective time passes meanwhile: what is in force stays in force."""
    from forebay.app.arm import watch_armed

    world.submit()
    world.run_until(EFFECTIVE - timedelta(seconds=30))
    world.cloud.set("web", count(4), foreign=True)
    world.cloud.effect = lambda name: world.clock.sleep(MINUTE) if name == "observe" else None
    watch_armed(world.ctx, "CHG-1")
    world.cloud.effect = lambda name: None
    assert world.state is S.ARMED
    world.run_until(EFFECTIVE + 2 * MINUTE)
    assert world.state is S.SETTLING


def test_high_is_corrected_within_the_soft_limits_and_goes_on() -> None:
    busy = doubling(2.9)
    with World(demand=lambda at: busy(at) if at >= minutes(1) else flat(2)(at)) as world:
        world.submit()
        world.run_until(minutes(29))
        moves = [(w.desired, w.after.units, w.at) for w in world.cloud.ours()]
        assert all(after - before <= 2 for before, after, _ in moves)
        assert all(b[2] - a[2] >= 5 * MINUTE for a, b in pairwise(moves))
        assert "correction 1 asked" in world.actions()
        assert world.steps()[0].corrections >= 1


def test_after_a_spike_that_a_correction_settles_the_rest_is_drawn_anew() -> None:
    """The verdict that ends the step is a pass; what was seen is not."""
    with World(demand=lambda at: flat(2.9 if minutes(1) <= at < minutes(7) else 2)(at)) as world:
        world.cloud.remembers = True
        late = minutes(90)
        world.submit(a_request(effective_at=late), a_plan(((1, 4, 6), (60, 6, 8)), effective_at=late, demand=flat(2)))
        world.run_until(minutes(20))
        first = world.steps()[0].judgement
        assert "correction 1 asked" in world.actions() and first is not None and first.verdict == "pass"
        assert {"replanned", "plan kept", "replan refused"} & set(world.actions())


def test_still_high_after_its_budget_is_held() -> None:
    with World(demand=flat(30)) as world:
        world.submit()
        world.run_until(minutes(29))
        assert world.state is S.HELD
        assert world.record().note.startswith("still high after 2 corrections: cpu at")
        assert world.asked() == [6, 8, 10]


@pytest.mark.parametrize("metrics_back_after", [None, 8])
def test_no_data_holds_after_patience_and_never_shrinks(world: World, metrics_back_after: int | None) -> None:
    world.cloud.services["web"].metrics = False
    world.submit()
    if metrics_back_after:
        world.clock.at(minutes(6), lambda: setattr(world.cloud.services["web"], "metrics", True))
    world.run_until(minutes(20))
    if metrics_back_after:
        assert world.state is S.ARMED
        return
    assert world.state is S.HELD
    assert world.record().note == "no_data: no data for cpu" + BY_ITSELF
    assert world.asked() == [6]


def test_problems_of_the_target_forbid_a_step_and_are_waited_for(world: World) -> None:
    world.cloud.services["web"].problems = ("a deployment is under way",)
    world.submit()
    seen: list[S] = []
    world.clock.at(minutes(5), lambda: seen.append(world.state))
    world.run_until(minutes(6.5))
    assert (world.asked(), seen) == ([], [S.SCHEDULED])
    assert any(isinstance(d, Wait) and "deployment" in d.reason for d in world.decisions)
    assert (world.state, world.record().note) == (S.HELD, "a deployment is under way" + BY_ITSELF)


def test_a_ceiling_lowered_under_the_plan_is_told_and_not_tried_for_ever() -> None:
    limits = {"min_units": 1, "max_units": 7, "soft": {"units": 2, "dwell": "PT5M"}}
    with World(a_workload(limits=limits)) as world:
        world.submit()
        world.run_until(minutes(29))
        assert world.state is S.HELD
        assert world.record().note == "step 2 to 8 units cannot be made: the ceiling of 7 units is in its way"
        assert world.asked() == [6]


@BOTH
@pytest.mark.parametrize("fault", ["lost answer", "throttled"])
@pytest.mark.parametrize("write", [1, 2])
def test_an_answer_that_did_not_come_is_settled_by_reading(lever: Lever, fault: str, write: int) -> None:
    with World(lever=lever) as world:
        world.submit()
        if write == 2:
            world.run_until(minutes(6))
        world.cloud.faults.append(fault)  # type: ignore[arg-type]
        world.run_until(minutes(29))
        assert world.state is S.ARMED
        assert world.asked() == [6, 8]
        outcomes = [i.outcome for i in world.intents()]
        assert outcomes.count(Outcome.NOT_DONE) == (1 if fault == "throttled" else 0)
        assert outcomes.count(Outcome.DONE) == 2


# Reads that are older than our last write
def reads_are_old(world: World, seconds: float) -> None:
    targets = {w.name: Stale(world.cloud.target(w), world.clock.now) for w in world.ctx.catalog.workloads}
    for target in targets.values():
        target.age = timedelta(seconds=seconds)
    world.ctx = replace(world.ctx, target=lambda workload: targets[workload.name])


@BOTH
@pytest.mark.parametrize("seconds", [5, 20, 50])
def test_a_read_from_before_our_write_is_no_other_hand(lever: Lever, seconds: float) -> None:
    with World(lever=lever) as world:
        reads_are_old(world, seconds)
        world.submit()
        world.run_until(minutes(29))
        assert (world.state, world.asked()) == (S.ARMED, [6, 8])
        assert any("from before our write" in d.reason for d in world.decisions)


def test_a_last_look_from_before_our_write_is_no_other_hand() -> None:
    with World(a_workload(on_foreign_write="insist")) as world:
        target = Stale(world.cloud.target(world.ctx.workload("web")), world.clock.now)
        world.ctx = replace(world.ctx, target=lambda workload: target)

        def only_the_last(name: str) -> None:
            target.on = any(i.outcome is None for i in world.intents())

        world.cloud.effect = only_the_last
        world.submit()
        world.clock.at(minutes(1) + timedelta(seconds=5), lambda: world.cloud.set("web", count(5), foreign=True))
        world.run_until(minutes(29))
        assert (world.state, world.asked()) == (S.ARMED, [6, 6, 8])
        with world.sql.transaction() as tx:
            told = [e.event.reason for e in tx.audit_entries("CHG-1") if e.event.action == "write not done"]
        assert told and all("from before our write" in text for text in told)


def test_what_another_sets_to_just_our_value_before_we_write_it_is_theirs() -> None:
    """The write is called off; made again over that value, it has moved nothing, and nothing of it is given back."""
    with World(demand=flat(2)) as world:

        def just_before(name: str) -> None:
            if name == "observe" and any(i.outcome is None for i in world.intents()):
                world.cloud.effect = lambda name: None
                world.cloud.set("web", count(6), foreign=True)

        world.cloud.effect = just_before
        world.submit(None, a_plan(demand=flat(2)))
        world.run_until(minutes(15))
        assert world.setting() == count(8) and Outcome.NOT_DONE in [i.outcome for i in world.intents()]
        cancel(world.ctx, "CHG-1", "ann", "stop")
        world.run_until(minutes(50))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, count(6))


@BOTH
@pytest.mark.parametrize("lost", [False, True], ids=["its answer came", "its answer was lost"])
@pytest.mark.parametrize("after", [1, 15], ids=["at once", "later"])
def test_what_is_cancelled_right_after_a_write_that_does_not_show_is_given_back(
    lever: Lever, lost: bool, after: float
) -> None:
    with World(lever=lever, demand=flat(2)) as world:
        reads_are_old(world, 20)
        before = world.setting()
        world.submit(None, a_plan(demand=flat(2)))
        if lost:
            world.cloud.faults.append("lost answer")

        def cancelled_soon(name: str) -> None:
            if name == "after the write":
                world.cloud.effect = lambda _: None
                at = world.clock.now() + timedelta(seconds=after)
                world.clock.at(at, lambda: cancel(world.ctx, "CHG-1", "ann", "stop"))

        world.cloud.effect = cancelled_soon
        world.run_until(minutes(20), every=timedelta(seconds=2))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, before)
        assert all(i.outcome is Outcome.DONE for i in world.intents())


def test_nobody_resumes_on_a_value_that_may_be_older_than_our_write(world: World) -> None:
    reads_are_old(world, 20)
    world.submit()
    world.cloud.effect = lambda name: hold(world.ctx, "CHG-1", "bob", "wait") if name == "after the write" else None
    world.clock.sleep(MINUTE)
    world.drive()
    with pytest.raises(OutsideError, match="web still shows count 4, from before our write of count 6"):
        resume(world.ctx, "CHG-1", "bob", "go on")
    world.clock.sleep(MINUTE)
    resume(world.ctx, "CHG-1", "bob", "go on")
    world.cloud.effect = lambda name: None
    world.run_until(minutes(29))
    assert (world.state, world.asked()) == (S.ARMED, [6, 8])


def test_another_hand_that_sets_back_just_what_stood_before_is_found_a_minute_later(world: World) -> None:
    world.submit()
    world.clock.at(minutes(1) + timedelta(seconds=5), lambda: world.cloud.set("web", count(4), foreign=True))
    world.run_until(minutes(3))
    assert world.record().note == "changed by another: web stands at count 4, we had set count 6"
    assert world.record().updated_at >= minutes(2)


def test_what_cannot_heal_is_held_at_once_and_resumed_with_the_step_as_it_was(world: World) -> None:
    world.submit()
    world.cloud.faults.append("refused")
    world.run_until(minutes(3))
    assert (world.state, world.asked()) == (S.HELD, [])
    assert "access denied" in world.record().note
    resume(world.ctx, "CHG-1", "bob", "the role may now")
    assert world.steps()[0].state is StepState.PENDING
    assert world.intents()[0].outcome is Outcome.NOT_DONE
    world.run_until(minutes(29))
    assert (world.state, world.asked()) == (S.ARMED, [6, 8])


def test_a_foreign_value_under_an_open_first_write_is_gone_on_from(world: World) -> None:
    """Nothing was ours yet: the step must be asked again, not waited for."""
    world.submit()
    world.cloud.faults.append("refused")
    world.run_until(minutes(2))
    world.cloud.set("web", count(5), foreign=True)
    resume(world.ctx, "CHG-1", "bob", "5 is fine")
    world.run_until(minutes(29))
    assert (world.state, world.asked()) == (S.ARMED, [6, 8])
    assert world.intents()[0].outcome is Outcome.FOREIGN


def test_a_correction_that_never_took_place_costs_no_budget() -> None:
    with World(demand=flat(30)) as world:
        world.submit()
        world.clock.at(minutes(3), lambda: world.cloud.faults.extend(["throttled", "throttled"]))
        world.run_until(minutes(29))
        assert world.record().note.startswith("still high after 2 corrections")
        assert world.asked() == [6, 8, 10]
        assert [i.outcome for i in world.intents()].count(Outcome.NOT_DONE) == 2


def test_an_adopted_value_is_what_a_lost_step_goes_back_to(world: World) -> None:
    world.submit()
    world.clock.at(minutes(2), lambda: world.cloud.set("web", count(5), foreign=True))
    world.run_until(minutes(8))
    assert world.state is S.HELD
    world.cloud.faults.append("throttled")
    resume(world.ctx, "CHG-1", "bob", "go on from 5")
    world.run_until(minutes(29))
    assert world.state is S.ARMED
    assert [(i.old, i.new, i.outcome) for i in world.intents()] == [
        (count(4), count(6), Outcome.DONE),
        (count(6), count(5), Outcome.DONE),  # adopted
        (count(5), count(6), Outcome.NOT_DONE),
        (count(5), count(6), Outcome.DONE),
        (count(6), count(8), Outcome.DONE),
    ]


def test_a_cloud_away_is_waited_for_and_then_held(world: World) -> None:
    world.submit()
    world.cloud.unreachable = True
    seen: list[S] = []
    world.clock.at(minutes(5), lambda: seen.append(world.state))
    world.run_until(minutes(8))
    assert seen == [S.SCHEDULED]
    assert (world.state, world.record().note) == (S.HELD, "the cloud does not answer" + BY_ITSELF)
    assert any(isinstance(d, Hold) for d in world.decisions)


@pytest.mark.parametrize(("away_for", "ends"), [(2, S.SETTLING), (7, S.ROLLED_BACK)])
def test_where_nobody_could_look_at_its_time_a_change_is_rejected_only_after_patience(away_for: int, ends: S) -> None:
    with World(demand=flat(2)) as world:
        world.submit(a_request(on_misalignment="reject"), a_plan((), demand=flat(2)))
        world.run_until(EFFECTIVE - 2 * MINUTE)
        world.cloud.unreachable = True
        world.run_until(EFFECTIVE + away_for * MINUTE)
        assert world.actions().count("deferred") == 1
        world.cloud.unreachable = False
        world.run_until(EFFECTIVE + 9 * MINUTE)
        assert world.state is ends


def test_a_store_away_for_a_moment_ends_no_run(world: World) -> None:
    world.submit()
    world.clock.at(minutes(1.5), lambda: setattr(world.store, "away", True))
    world.clock.at(minutes(2), lambda: setattr(world.store, "away", False))
    world.clock.sleep(MINUTE)
    assert "step 2 is due" in world.drive()
    assert world.steps()[0].state is StepState.PASSED


def test_a_store_away_at_the_end_of_a_run_does_not_hide_how_it_ended(world: World) -> None:
    world.submit()
    world.clock.sleep(MINUTE)

    def report(decision: Decision) -> None:
        world.store.away = "step 2 is due" in decision.reason

    assert "step 2 is due" in drive(world.ctx, "CHG-1", "web", "run", report)
    assert world.store.away
    with world.sql.transaction() as tx:
        lease = tx.lease("web")
    assert lease is not None and lease.expires_at > world.clock.now(), "it expires by itself"


def test_a_write_that_was_late_counts_from_when_its_call_ended() -> None:
    """Announced at 9:01:00, made and its answer lost 50 seconds later: a read of 9:01:05 says nothing of it."""
    with World(demand=flat(2)) as world:
        world.cloud.copies = timedelta(seconds=55)
        world.cloud.faults.append("lost answer")

        def stalls(name: str) -> None:
            if name == "before the write":
                world.cloud.effect = lambda _: None
                world.clock.sleep(timedelta(seconds=50))

        world.cloud.effect = stalls
        world.submit(None, a_plan(demand=flat(2)))
        world.run_until(minutes(20), every=timedelta(seconds=2))
        assert [i.outcome for i in world.intents()] == [Outcome.DONE] * len(world.intents())
        assert world.asked() == [6, 8]


@pytest.mark.parametrize(("died", "until"), [(False, 110), (True, 120)], ids=["no answer", "the writer died"])
def test_what_is_open_is_told_once_it_must_show(died: bool, until: int) -> None:
    """The writer's lease, of a minute, and the minute after which a write shows."""
    stored = minutes(1)
    made = wrote(count(6), at=1).model_copy(update={"outcome": None, "settled_at": None})
    if not died:
        made = made.model_copy(update={"unanswered_at": stored + timedelta(seconds=50)})
    told = [not_shown_yet([made], count(4), stored + timedelta(seconds=s), MINUTE) for s in (until - 1, until)]
    assert told[0] is not None and told[1] is None
