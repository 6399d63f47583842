"""Holding what was set: the answer to another hand, as named rows, and whole lives by each rule."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from forebay.app.people import hold, resume
from forebay.app.pins import pin
from forebay.control.keep import Adopt, Clash, Keep, Later, insisted, keep
from forebay.domain.allocation import Lever, Setting, TargetState
from forebay.domain.audit import AuditEvent
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import Intent, Outcome, Purpose
from tests.support.cloud import ApplyFault
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
BOTH = pytest.mark.parametrize("lever", list(Lever))
Answer = type[Keep] | type[Adopt] | type[Clash] | type[Later] | None


def wrote(new: Setting, purpose: Purpose = Purpose.STEP, at: float = 0, old: Setting | None = None) -> Intent:
    return Intent(
        number=1,
        change="CHG-1",
        workload="web",
        sequence=None,
        plan_hash=None,
        units=new.units,
        old=old or count(1),
        new=new,
        why="why",
        fencing=1,
        stored_at=minutes(at),
        purpose=purpose,
        outcome=Outcome.DONE,
    )


def stands(live: Setting, desired: int | None = None) -> TargetState:
    units = live.units if desired is None else desired
    return TargetState(setting=live, desired=units, serving=units, stable=True)


EIGHT, INSIST, REGAIN, ADOPTED = wrote(count(8)), Purpose.INSIST, Purpose.REGAIN, Purpose.ADOPTED
INSISTED = [EIGHT, *[wrote(count(8), INSIST, at) for at in (1, 2, 3)]]
ROWS: dict[str, tuple[str, TargetState, list[Intent], Answer, Setting | str | None]] = {
    "ours stands": ("insist", stands(count(8)), [EIGHT], None, None),
    "nothing was written yet": ("insist", stands(count(3)), [], None, None),
    "hold": ("hold", stands(count(5)), [EIGHT], Clash, "changed by joe: web stands at count 5, we had set count 8"),
    "insist, within one move": ("insist", stands(count(7)), [EIGHT], Keep, count(8)),
    "insist, the soft limit in the way": ("insist", stands(count(4)), [EIGHT], Keep, count(6)),
    "the rest of it, a dwell later": ("insist", stands(count(6)), [EIGHT, wrote(count(6), INSIST, 5)], Keep, count(8)),
    "the rest of it, not yet": ("insist", stands(count(6)), [EIGHT, wrote(count(6), INSIST, 8)], Later, "09:13:00"),
    "again, not yet": ("insist", stands(count(7)), [EIGHT, wrote(count(8), INSIST, 9)], Later, "09:14:00"),
    "insist has its budget": ("insist", stands(count(7)), INSISTED, Clash, "written again 3 times already"),
    "a new budget after an adoption": (
        "insist",
        stands(count(7)),
        [*INSISTED, wrote(count(8), ADOPTED)],
        Keep,
        count(8),
    ),
    "insist takes no count away": ("insist", stands(count(9)), [EIGHT], Clash, "take capacity away"),
    "a higher maximum is gone on from": ("hold", stands(floor(8, 40)), [wrote(floor(8))], Adopt, floor(8, 40)),
    "and not written over": ("insist", stands(floor(8, 40)), [wrote(floor(8))], Adopt, floor(8, 40)),
    "a lower maximum": ("hold", stands(floor(8, 15)), [wrote(floor(8))], Clash, "stands at floor 8 (ceiling 15)"),
    "a higher minimum is another's": ("hold", stands(floor(9)), [wrote(floor(8))], Clash, "stands at floor 9"),
    "a maximum that the change has lowered": (
        "hold",
        stands(floor(4, 20)),
        [wrote(floor(4, 6), old=floor(4, 20))],
        Clash,
        "had set floor 4 (ceiling 6)",
    ),
    "a higher maximum while the rest is regained": (
        "insist",
        stands(floor(6, 40)),
        [wrote(floor(8)), wrote(floor(6), INSIST, 0)],
        Keep,
        floor(8),
    ),
    "insist on a floor": ("insist", stands(floor(1), desired=8), [wrote(floor(8))], Keep, floor(8)),
    "insist on a floor another raised": ("insist", stands(floor(9), desired=9), [wrote(floor(8))], Keep, floor(8)),
    "a ceiling that ours would cut stays": (
        "insist",
        stands(floor(1, 40), desired=30),
        [wrote(floor(8))],
        Keep,
        floor(8, 40),
    ),
    "insist where an autoscaler was attached": ("insist", stands(floor(8)), [EIGHT], Clash, "floor 8 (ceiling 20)"),
    "yield to more": ("yield", stands(count(9)), [EIGHT], Adopt, count(9)),
    "yield to as much": ("yield", stands(floor(8, 9), desired=8), [wrote(floor(8))], Adopt, floor(8, 9)),
    "yield to less": ("yield", stands(count(7)), [EIGHT], Clash, "less than the 8 units the plan needs"),
}


@pytest.mark.parametrize("name", ROWS)
def test_keep(name: str) -> None:
    rule, target, intents, kind, wanted = ROWS[name]
    answer = keep(a_workload(on_foreign_write=rule), target, intents, minutes(10), "joe", cap=None)
    assert (answer if answer is None else type(answer)) is kind
    if isinstance(wanted, Setting):
        assert isinstance(answer, Keep | Adopt) and answer.setting == wanted
    elif wanted is not None:
        assert wanted in answer.reason  # type: ignore[union-attr]


FIFTEEN, FORTY = [wrote(floor(8, 15))], [wrote(floor(8, 15)), wrote(floor(8, 40), INSIST, 1)]
CAPPED: dict[str, tuple[str, TargetState, list[Intent], Answer, Setting | str | None]] = {
    "a higher maximum within the policy": ("hold", stands(floor(8, 20)), FIFTEEN, Adopt, floor(8, 20)),
    "one beyond it": ("hold", stands(floor(8, 40)), FIFTEEN, Clash, "20 units are the most"),
    "is written over": ("insist", stands(floor(8, 40)), FIFTEEN, Keep, floor(8, 15)),
    "but not under what runs": ("insist", stands(floor(8, 40), desired=30), FIFTEEN, Clash, "stop units that run"),
    "which the floor does not wait for": ("insist", stands(floor(6, 40), desired=30), FIFTEEN, Keep, floor(8, 40)),
    "and the maximum does": ("insist", stands(floor(8, 40), desired=30), FORTY, None, None),
    "until it is gone": ("insist", stands(floor(8, 40), desired=15), FORTY, Keep, floor(8, 15)),
    "is not yielded to": ("yield", stands(floor(8, 40)), FIFTEEN, Clash, "20 units are the most"),
    "nor is such a count": ("yield", stands(count(21)), [EIGHT], Clash, "20 units are the most"),
    "but one within it is": ("yield", stands(count(20)), [EIGHT], Adopt, count(20)),
    "a maximum that the plan left": ("yield", stands(floor(9, 30)), [wrote(floor(8, 30))], Adopt, floor(9, 30)),
}


@pytest.mark.parametrize("name", CAPPED)
def test_keep_takes_over_no_more_than_the_policy_allows(name: str) -> None:
    rule, target, intents, kind, wanted = CAPPED[name]
    answer = keep(a_workload(on_foreign_write=rule), target, intents, minutes(10), "joe", cap=20)
    assert (answer if answer is None else type(answer)) is kind
    if isinstance(answer, Keep | Adopt):
        assert answer.setting == wanted
    elif answer is not None:
        assert str(wanted) in answer.reason


def test_regaining_the_rest_is_not_insisting_again() -> None:
    assert insisted([EIGHT, wrote(count(6), INSIST), wrote(count(8), REGAIN)]) == 1


def a_world(rule: str, lever: Lever = Lever.COUNT) -> World:
    return World(a_workload(on_foreign_write=rule), lever=lever)


@BOTH
@pytest.mark.parametrize("at", [3, 5, 15], ids=["in a step", "between steps", "armed"])
def test_insist_writes_ours_again_and_the_change_lives_on(lever: Lever, at: float) -> None:
    with a_world("insist", lever) as world:
        world.cloud.services["web"].culprit = "the scheduled action 'nightly'"
        world.submit()
        lower = count(3) if lever is Lever.COUNT else floor(1)
        world.clock.at(minutes(at), lambda: world.cloud.set("web", lower, foreign=True))
        world.run_until(minutes(28))
        assert (world.state, world.setting().units) == (S.ARMED, 8)
        insists = [i for i in world.intents() if i.purpose is INSIST]
        assert len(insists) == 1 and "changed by the scheduled action 'nightly'" in insists[0].why
        assert "changed by another" in [e.action for e in world.people.events]
        world.run_until(minutes(60))
        assert (world.state, world.version_at(EFFECTIVE)) == (S.CLOSED, 1)


@pytest.mark.parametrize("rule", ["hold", "insist", "yield"])
@pytest.mark.parametrize("at", [3, 5, 15], ids=["in a step", "between steps", "armed"])
def test_a_maximum_that_another_raises_delays_nothing_and_stays(rule: str, at: float) -> None:
    with a_world(rule, Lever.FLOOR) as world:
        world.submit()
        world.clock.at(minutes(at), lambda: world.cloud.set("web", floor(world.setting().units, 40), foreign=True))
        world.run_until(minutes(28))
        assert (world.state, world.setting()) == (S.ARMED, floor(8, 40))
        assert [w.at.minute for w in world.cloud.ours()] == [1, 7], "no step is asked twice, none waits"
        assert "changed by another" in [e.action for e in world.people.events]
        assert "value of another adopted" in world.actions()
        world.run_until(minutes(60))
        assert (world.state, world.setting()) == (S.CLOSED, floor(1, 40)), "what is another's is not given back"


def test_a_maximum_that_another_raises_beyond_the_policy_is_not_gone_on_from() -> None:
    with a_world("insist", Lever.FLOOR) as world:
        world.cloud.services["web"].setting = floor(1, 15)
        world.submit(a_request(entitlements=[{"workload": "web", "max_units": 20}], settle="PT60M"))
        world.run_until(minutes(40))
        world.cloud.set("web", floor(8, 40), foreign=True)
        world.run_until(minutes(45))
        assert (world.state, world.setting()) == (S.SETTLING, floor(8, 15))
        assert "value of another adopted" not in world.actions()
        world.run_until(minutes(120))
        assert (world.state, world.setting()) == (S.CLOSED, floor(1, 15))


def test_resumed_while_the_rest_was_still_to_be_regained_the_last_step_is_made_again() -> None:
    """Two units of what was taken are back when another raises the maximum, and a person goes on from there."""
    with a_world("insist", Lever.FLOOR) as world:
        world.submit(a_request(effective_at=minutes(60)), a_plan(effective_at=minutes(60), demand=flat(1)))
        world.cloud.services["web"].demand = flat(1)
        world.run_until(minutes(15))
        world.cloud.set("web", floor(1), foreign=True)
        world.cloud.services["web"].serving[3:] = []
        world.run_until(minutes(17))
        assert world.setting().units < 8
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.cloud.set("web", floor(world.setting().units, 40), foreign=True)
        resume(world.ctx, "CHG-1", "bob", "the maximum is right")
        world.run_until(minutes(50))
        assert (world.state, world.setting()) == (S.ARMED, floor(8, 40))


def test_two_that_insist_come_to_an_end() -> None:
    with a_world("insist") as world:
        world.submit()
        for at in range(15, 120, 2):
            world.clock.at(minutes(at), lambda: world.cloud.set("web", count(7), foreign=True))
        request = a_request(effective_at=minutes(120))
        assert request.change == "CHG-1"
        world.run_until(minutes(29))
        assert world.asked().count(8) <= 4, "its own step, and three times again"
        world.run_until(minutes(90))
        assert world.asked().count(8) == 4
        assert (world.state, world.version_at(minutes(90))) == (S.HELD, None) or world.state is S.SETTLING


def test_insist_keeps_to_the_soft_limits() -> None:
    with a_world("insist") as world:
        world.submit()
        world.run_until(minutes(15))
        world.cloud.set("web", count(4), foreign=True)
        world.run_until(minutes(17))
        assert (world.state, world.setting()) == (S.SHAPING, count(6)), "no longer armed: 8 do not serve"
        world.run_until(minutes(28))
        assert (world.state, world.asked()) == (S.ARMED, [6, 8, 6, 8])
        moves = [w.at for w in world.cloud.ours()]
        assert moves[3] - moves[2] >= 5 * MINUTE


@BOTH
def test_yield_goes_on_from_what_carries_the_plan(lever: Lever) -> None:
    with a_world("yield", lever) as world:
        world.submit()
        world.run_until(minutes(5))
        more = count(7) if lever is Lever.COUNT else floor(7)
        world.cloud.set("web", more, foreign=True)
        world.run_until(minutes(28))
        assert (world.state, world.setting().units) == (S.ARMED, 8)
        assert "value of another adopted" in world.actions()


@pytest.mark.parametrize("rule", ["hold", "yield"])
@pytest.mark.parametrize("at", [0.5, 8], ids=["before the first step", "between steps"])
def test_a_step_up_lowers_no_floor_that_stands_higher(rule: str, at: float) -> None:
    with World(a_workload(on_foreign_write=rule), lever=Lever.FLOOR, demand=flat(2)) as world:
        world.submit(None, a_plan(((1, 4, 6), (16, 6, 8)), demand=flat(2)))
        world.run_until(minutes(at))
        world.cloud.set("web", floor(12), foreign=True)
        world.run_until(minutes(10))
        if world.state is S.HELD:
            resume(world.ctx, "CHG-1", "ann", "12 is right: go on from it")
        world.run_until(minutes(28))
        assert (world.state, world.setting()) == (S.ARMED, floor(12))
        assert all(w.after.units >= w.before.units for w in world.cloud.writes)


def test_yield_to_less_than_the_plan_needs_holds_and_a_person_decides() -> None:
    with a_world("yield") as world:
        world.submit()
        world.run_until(minutes(5))
        world.cloud.set("web", count(5), foreign=True)
        world.run_until(minutes(10))
        assert world.state is S.HELD and "less than the 6 units the plan needs" in world.record().note
        resume(world.ctx, "CHG-1", "bob", "5 will do for now")
        world.run_until(minutes(60))
        assert (world.state, world.asked()) == (S.CLOSED, [6, 7, 8])


@pytest.mark.parametrize("rule", ["insist", "yield", "hold"])
def test_what_was_cancelled_insists_on_nothing(rule: str) -> None:
    from forebay.app.people import cancel

    with World(a_workload(on_foreign_write=rule), demand=flat(2)) as world:
        world.submit(a_request(), a_plan(demand=flat(2)))
        world.run_until(minutes(15))
        cancel(world.ctx, "CHG-1", "ann", "not needed any more")
        world.cloud.set("web", count(9), foreign=True)
        world.run_until(minutes(40))
        assert (world.state, world.setting()) == (S.ROLLED_BACK, count(9))


@BOTH
@pytest.mark.parametrize("rule", ["insist", "hold"])
def test_what_a_held_change_has_set_is_kept_by_the_rule_or_its_loss_is_told_once(rule: str, lever: Lever) -> None:
    with a_world(rule, lever) as world:
        less = count(7) if lever is Lever.COUNT else floor(7)
        world.submit()
        world.run_until(minutes(15))
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.cloud.set("web", less, foreign=True)
        world.run_until(minutes(25))
        assert (world.state, world.record().note) == (S.HELD, "wait")
        assert world.setting().units == (8 if rule == "insist" else 7)
        assert [e.action for e in world.people.events].count("changed by another") == 1


@BOTH
@pytest.mark.parametrize("rule", ["insist", "yield"])
def test_more_than_a_held_change_had_set_is_left_to_whoever_resumes_it(rule: str, lever: Lever) -> None:
    with a_world(rule, lever) as world:
        more = count(12) if lever is Lever.COUNT else floor(12)
        world.submit()
        world.run_until(minutes(5))
        hold(world.ctx, "CHG-1", "bob", "more is needed today")
        world.cloud.set("web", more, foreign=True)
        world.run_until(minutes(10))
        assert (world.state, world.setting(), world.asked()) == (S.HELD, more, [6])
        assert [e.action for e in world.people.events].count("changed by another") == 1
        assert "value of another adopted" not in world.actions()
        resume(world.ctx, "CHG-1", "bob", "go on from 12")
        world.run_until(minutes(28))
        assert (world.state, world.setting()) == (S.ARMED, more)


def test_what_a_change_has_set_is_kept_while_it_waits_for_another_approval() -> None:
    with a_world("insist") as world:
        world.submit()
        world.run_until(minutes(15))
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob", "eve"], "quorum": 1}}])
        resume(world.ctx, "CHG-1", "bob", "go on")
        assert world.state is S.AWAITING_APPROVAL
        world.cloud.set("web", count(7), foreign=True)
        world.run_until(minutes(17))
        assert (world.state, world.setting()) == (S.AWAITING_APPROVAL, count(8))
        assert [e.action for e in world.people.events].count("changed by another") == 1


def test_a_change_that_waits_for_an_approval_moves_to_no_pin() -> None:
    with a_world("insist") as world:
        world.submit(a_request(effective_at=minutes(60)), a_plan(((40, 4, 6),), effective_at=minutes(60)))
        pin(world.ctx, "CHG-1", 6, minutes(30), "bob", "a broadcast")
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob", "eve"], "quorum": 1}}])
        with world.sql.transaction() as tx:
            tx.move("CHG-1", S.AWAITING_APPROVAL, AuditEvent(at=NOW, actor="bob", action="resumed", reason="go on"))
        world.run_until(minutes(10))
        assert (world.state, world.asked()) == (S.AWAITING_APPROVAL, [])


def test_a_held_change_keeps_its_pin() -> None:
    with a_world("hold") as world:
        world.submit(a_request(effective_at=minutes(60)), a_plan(((40, 4, 6),), effective_at=minutes(60)))
        pin(world.ctx, "CHG-1", 4, minutes(30), "bob", "a broadcast")
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.cloud.set("web", count(3), foreign=True)
        world.run_until(minutes(5))
        assert (world.state, world.setting()) == (S.HELD, count(4))


@pytest.mark.parametrize("fault", ["throttled", "lost answer", "refused"])
def test_one_write_that_fails_does_not_end_the_watch(fault: ApplyFault) -> None:
    """No step of a held change is due: only the watch can settle what it has left open."""
    with a_world("insist", Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(15))
        hold(world.ctx, "CHG-1", "bob", "wait")
        world.cloud.faults.append(fault)
        world.cloud.set("web", floor(7), foreign=True)
        world.run_until(minutes(25))
        assert (world.state, world.setting()) == (S.HELD, floor(8))


def test_a_pin_whose_write_failed_is_tried_again() -> None:
    with a_world("hold") as world:
        world.submit(a_request(effective_at=minutes(60)), a_plan(((40, 4, 6),), effective_at=minutes(60)))
        pin(world.ctx, "CHG-1", 5, minutes(30), "bob", "a broadcast")
        world.cloud.faults.append("throttled")
        world.run_until(minutes(5))
        assert (world.state, world.setting()) == (S.SHAPING, count(5))


@pytest.mark.parametrize("held", [True, False])
def test_another_hands_value_under_an_open_write_of_the_watch_is_told(held: bool) -> None:
    with a_world("insist", Lever.FLOOR) as world:
        world.submit(a_request(effective_at=minutes(120)), a_plan(((1, 4, 6), (100, 6, 8)), effective_at=minutes(120)))
        world.run_until(minutes(10))
        if held:
            hold(world.ctx, "CHG-1", "bob", "wait")
        world.cloud.set("web", floor(5), foreign=True)
        world.cloud.faults.append("throttled")
        world.reconcile()
        world.cloud.set("web", floor(3), foreign=True)
        world.run_until(minutes(20))
        said = "web stands at floor 3 (ceiling 20) while a write of floor 6 (ceiling 20) was open"
        assert said in world.told("changed by another" if held else "held")[0]
        assert (world.state, world.setting()) == (S.HELD, floor(6))


def test_settling_insists_too_until_it_is_handed_back() -> None:
    with a_world("insist", Lever.FLOOR) as world:
        world.submit(a_request(settle="PT20M"))
        world.run_until(EFFECTIVE + 2 * MINUTE)
        assert world.state is S.SETTLING
        world.cloud.set("web", floor(2), foreign=True)
        world.run_until(EFFECTIVE + 5 * MINUTE)
        assert world.setting() == floor(8)
        world.run_until(EFFECTIVE + timedelta(minutes=30))
        assert (world.state, world.setting()) == (S.CLOSED, floor(1))


def test_the_watch_and_what_is_foretold_go_on_while_no_history_is_to_be_had() -> None:
    late = minutes(300)
    with a_world("insist", Lever.FLOOR) as world:
        world.submit(a_request(effective_at=late), a_plan(((1, 4, 6), (250, 6, 8)), effective_at=late, demand=flat(2)))
        world.run_until(minutes(20))
        world.cloud.no_history = True
        world.run_until(minutes(90))
        world.cloud.set("web", floor(2), foreign=True)
        world.run_until(minutes(95))
        assert "the metrics do not answer" in world.troubles[-1] and world.setting() == floor(6)
        pin(world.ctx, "CHG-1", 6, minutes(310), "bob", "a campaign")
        world.run_until(minutes(100))
        assert "expected late" in [e.action for e in world.people.events]


@pytest.mark.parametrize("effective_at", [minutes(120), EFFECTIVE], ids=["on the way", "settling"])
def test_a_workload_that_does_not_answer_keeps_no_other_from_being_watched(effective_at: datetime) -> None:
    workloads = [a_workload(name, on_foreign_write="insist") for name in ("web", "api")]
    with World(*workloads, lever=Lever.FLOOR) as world:
        plans = [a_plan(((1, 4, 6),), workload=w.name, effective_at=effective_at) for w in workloads]
        world.submit(a_request("web", "api", effective_at=effective_at, settle="PT1H"), *plans)
        world.run_until(minutes(33))
        world.cloud.services["web"].unreachable = True
        world.cloud.set("api", floor(2), foreign=True)
        world.run_until(minutes(36))
        assert world.setting("api") == floor(6)


def test_a_clash_that_only_a_person_settles_keeps_no_other_workload_from_being_watched() -> None:
    with World(a_workload("web"), a_workload("api", on_foreign_write="insist"), lever=Lever.FLOOR) as world:
        plans = [a_plan(((1, 4, 6),), workload=name) for name in ("web", "api")]
        world.submit(a_request("web", "api", settle="PT1H"), *plans)
        world.run_until(minutes(33))
        world.cloud.set("web", floor(3), foreign=True)
        world.run_until(minutes(35))
        world.cloud.set("api", floor(2), foreign=True)
        world.run_until(minutes(37))
        assert (world.state, world.setting("web"), world.setting("api")) == (S.SETTLING, floor(3), floor(6))


def test_what_another_hand_sets_back_right_after_it_was_insisted_on_does_not_take_force() -> None:
    """It is just what stood before our write, and a read from before that would look the same."""
    wide = {"min_units": 1, "max_units": 20, "soft": {"units": 20, "dwell": "PT5M"}}
    workload = a_workload(on_foreign_write="insist", limits=wide)
    with World(workload, lever=Lever.FLOOR, lag=timedelta(0), demand=flat(2)) as world:
        world.submit(a_request(), a_plan(demand=flat(2)))
        for at in (29.05, 29.4):
            world.clock.at(minutes(at), lambda: world.cloud.set("web", floor(6), foreign=True))
        world.run_until(minutes(33), every=timedelta(seconds=10))
        assert world.version_at(EFFECTIVE) is None and "deferred" in world.actions()


def test_a_value_between_two_steps_raises_nothing_that_the_plan_has_lowered_again() -> None:
    with World(a_workload(on_foreign_write="yield"), lever=Lever.FLOOR, demand=flat(1)) as world:
        moves = ((1, 4, 6), (7, 6, 8), (36, 8, 4))
        world.submit(a_request(settle="PT60M"), a_plan(moves, aligned=8, demand=flat(1)))
        world.run_until(minutes(45))
        world.cloud.set("web", floor(5), foreign=True)
        world.run_until(minutes(62))
        assert world.setting() == floor(5) and world.asked() == [4, 6, 8, 4]
