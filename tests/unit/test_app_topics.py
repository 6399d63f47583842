"""Whatever people are told of, a use case records under just that name: one renamed on one side only tells nobody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import chain

import pytest

from forebay.app import accuracy
from forebay.app.approvals import approve, reject
from forebay.app.break_glass import break_glass
from forebay.app.defects import tell_unread
from forebay.app.outbox import drain
from forebay.app.people import cancel, hold, resume
from forebay.app.pins import pin
from forebay.app.plan_failure import tell_unplanned
from forebay.app.policies import import_policy
from forebay.app.raises import settle
from forebay.app.receive import receive
from forebay.app.recurring import check_occurrences
from forebay.app.rollback import rollback
from forebay.app.rules import agree_to_rules, set_rules, withdraw_rules
from forebay.app.tickets import sweep_tickets
from forebay.domain.allocation import Foreseen
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.policy import PolicyVersion
from forebay.domain.resources import Resource
from forebay.domain.rules import ChangeRules
from forebay.domain.telling import TOPICS, worth_telling
from forebay.forecasting import evaluation
from tests.support.samples import a_version
from tests.support.world import (
    EFFECTIVE,
    MINUTE,
    Recorder,
    World,
    a_plan,
    a_request,
    a_workload,
    count,
    flat,
    leave,
    minutes,
)
from tests.unit.test_app_accuracy import HOURLY, context, load
from tests.unit.test_app_outbox import post
from tests.unit.test_control_defects import break_one
from tests.unit.test_control_tickets import Scheduler

LATER = ((10, 4, 6), (16, 6, 8))
SCENES: dict[tuple[str, ...], Callable[[World], object]] = {}


def scene(*actions: str) -> Callable[[Callable[[World], object]], Callable[[World], object]]:
    """What is done in a new world, and which entries of the audit log it leads to."""

    def keep(play: Callable[[World], object]) -> Callable[[World], object]:
        SCENES[actions] = play
        return play

    return keep


def lived(world: World, until: float) -> World:
    world.submit()
    world.run_until(minutes(until))
    return world


def asked(world: World) -> World:
    world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob"]}, "break_glass": ["bob"]}])
    world.submit(a_request(), a_plan(LATER))
    return world


# A change comes
@scene("received", "armed", "in force", "closed")
def _(world: World) -> None:
    world.submit(a_request(settle="PT1M"))
    world.run_until(minutes(34))


@scene("edited")
def _(world: World) -> None:
    lived(world, 0)
    receive(world.ctx, a_request(reason="on second thoughts"))


@scene("denied", "asked for again")
def _(world: World) -> None:
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "PT1H"}])
    world.submit()
    world.put_rules()
    receive(world.ctx, a_request(reason="now that it may"))


@scene("ticket refused")
def _(world: World) -> None:
    with world.sql.transaction() as tx:
        tx.add_ticket("jira", "T-1", "1", "{", world.clock.now())
    sweep_tickets(world.ctx, Scheduler())


@scene("occurrence late")
def _(world: World) -> None:
    request = a_request(change="", effective_at=None, effective_in="PT2H")
    due = world.clock.now() + MINUTE
    for _ in range(2):
        check_occurrences(world.ctx, "weekly", request, lambda after, until: [due] if after < due <= until else [])
        world.clock.step(timedelta(minutes=7))


# It is approved
@scene("awaiting approval", "approved")
def _(world: World) -> None:
    approve(asked(world).ctx, "CHG-1", "bob", "fine")


@scene("rejected")
def _(world: World) -> None:
    reject(asked(world).ctx, "CHG-1", "bob", "too dear")


@scene("approval asked again")
def _(world: World) -> None:
    world.cloud.services["web"].demand = lambda at: {Resource.CPU: 2.0 if at < EFFECTIVE else 6.0}
    world.cloud.remembers = True
    world.put_rules(rules=[{"name": "careful", "approval": {}}])
    impacts = [{"workload": "web", "factor": 2, "low": 1.5, "high": 4, "scope": "workload"}]
    world.submit(a_request(impacts=impacts, settle="PT3H"), a_plan(LATER))
    approve(world.ctx, "CHG-1", "bob", "eight")
    world.run_until(minutes(52))


@scene(*(f"change rules {done}" for done in ("set", "proposed", "agreed", "withdrawn", "overtaken")))
def _(world: World) -> None:
    strict = ChangeRules.model_validate({"amendment": {"quorum": 2, "delay": "PT1H"}})
    set_rules(world.ctx, strict, "eve", "two of us")
    for _ in range(3):
        set_rules(world.ctx, ChangeRules(), "eve", "one of us")
    withdraw_rules(world.ctx, 1, "ann", "no")
    for number in (2, 3):
        agree_to_rules(world.ctx, number, "lea", "fine")
    world.clock.step(timedelta(hours=1))
    world.reconcile()


# People act on it
@scene("held", "resumed")
def _(world: World) -> None:
    hold(lived(world, 2).ctx, "CHG-1", "bob", "wait")
    resume(world.ctx, "CHG-1", "bob", "go on")


@scene("pinned", "unpinned")
def _(world: World) -> None:
    pin(lived(world, 0).ctx, "CHG-1", 4, minutes(5), "bob", "a broadcast")
    world.run_until(minutes(6))


@scene("in force by break glass", "GLASS BROKEN")
def _(world: World) -> None:
    break_glass(asked(world).ctx, "CHG-1", "bob", "the shop is down")


@scene("cancelled", "rolled back")
def _(world: World) -> None:
    cancel(lived(world, 0).ctx, "CHG-1", "ann", "not now")


@scene("superseded")
def _(world: World) -> None:
    lived(world, 0)
    receive(world.ctx, a_request(change="CHG-2", supersedes="CHG-1"))


@scene("rolling back")
def _(world: World) -> None:
    import_policy(world.ctx, "acme", "quota", "quota", {"requests_per_minute": 6000}, "ann", "as sold")
    rollback(lived(world, 33).ctx, "CHG-1", "bob", "they changed their mind")


@scene("settled by a person")
def _(world: World) -> None:
    leave(lived(world, 5))
    settle(world.ctx, "CHG-1", "bob", "9 is what the shop needs now")


# Something is in its way
@scene("deferred")
def _(world: World) -> None:
    world.cloud.services["web"].arrives = 7
    lived(world, 32)


@scene("expected late")
def _(world: World) -> None:
    pin(lived(world, 0).ctx, "CHG-1", 4, minutes(40), "bob", "not before the release")
    world.run_until(minutes(2))


@scene("foreseen")
def _(world: World) -> None:
    lived(world, 4)
    world.cloud.services["web"].foreseen = Foreseen(warnings=("the scheduled action 'nightly' would go below",))
    world.run_until(minutes(8))


@scene("shaping again")
def _(world: World) -> None:
    lived(world, 15)
    world.cloud.services["web"].serving[-1] = minutes(20)
    world.run_until(minutes(18))


@scene("demand above what serves")
def _(world: World) -> None:
    lived(world, 15).cloud.services["web"].demand = flat(7)
    world.run_until(minutes(19))


@scene("changed by another")
def _(world: World) -> None:
    lived(world, 5)
    world.cloud.set("web", count(3), foreign=True)
    world.run_until(minutes(8))


@scene("not looked at")
def _(world: World) -> None:
    lived(world, 12)
    world.cloud.unreachable = True
    world.run_until(minutes(28))


@scene("unexpected error")
def _(world: World) -> None:
    lived(world, 15)
    cancel(world.ctx, "CHG-1", "ann", "stop")
    break_one(world, "web")
    world.run_until(minutes(20))


@scene("workloads not read")
def _(world: World) -> None:
    tell_unread(world.ctx, InputError("workloads.yaml: it is wrong"))


@scene("not planned")
def _(world: World) -> None:
    receive(world.ctx, a_request())
    tell_unplanned(world.ctx, world.record().change, OutsideError("no region", retryable=False))


@scene("in trouble")
def _(world: World) -> None:
    world.submit(a_request(settle="PT3H"), a_plan(((1, 4, 6), (7, 6, 8), (40, 8, 10)), aligned=8))
    world.run_until(minutes(35))
    world.cloud.services["web"].arrives = 8
    world.run_until(minutes(60))


@scene("high after giving back")
def _(world: World) -> None:
    cores = [2.0]
    world.cloud.services["web"].demand = lambda at: {Resource.CPU: cores[0]}
    world.submit(a_request(), a_plan(demand=flat(2)))
    world.run_until(minutes(15))
    cancel(world.ctx, "CHG-1", "ann", "not needed any more")
    world.clock.at(minutes(15.5), lambda: cores.__setitem__(0, 5.5))
    world.run_until(minutes(19))


@scene("settled in doubt")
def _(world: World) -> None:
    lived(world, 29)
    world.cloud.services["web"].demand = flat(7)
    world.run_until(minutes(42))


@scene("left raised")
def _(world: World) -> None:
    lived(world, 15)
    cancel(world.ctx, "CHG-1", "ann", "stop")
    world.cloud.set("web", count(9), foreign=True)
    world.run_until(minutes(20))


@scene("not given back")
def _(world: World) -> None:
    lived(world, 15)
    world.cloud.services["web"].demand = flat(3)
    cancel(world.ctx, "CHG-1", "ann", "stop")
    world.run_until(minutes(60))


@scene("given up")
def _(world: World) -> None:
    class Defect(Recorder):
        def push(self, version: PolicyVersion) -> None:
            raise KeyError("bucket")

    object.__setattr__(world.ctx, "enforcers", (Defect("broken"),))
    post(world, a_version(armed_at=a_version().effective_at))
    drain(world.ctx)


@scene("forecast decayed")
def _(world: World) -> None:
    accuracy.backtest_workload(context(world, load(jump=6.0)), HOURLY)


def test_every_action_of_every_topic_has_its_scene() -> None:
    assert sorted(action for actions in SCENES for action in actions) == sorted(chain(*TOPICS.values()))


@pytest.mark.slow
@pytest.mark.parametrize("actions", SCENES, ids=", ".join)
def test_what_a_topic_names_is_what_the_log_calls_it(actions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "DEFAULT", ("simple",))
    with World(a_workload(on_foreign_write="insist")) as world:
        SCENES[actions](world)
        with world.sql.transaction() as tx:
            entries = tx.audit_entries()
    for action in actions:
        topic = next(topic for topic, named in TOPICS.items() if action in named)
        told = [entry.event.action for entry in worth_telling(entries, {topic})]
        assert any(name.endswith(action) for name in told), action


@pytest.mark.parametrize(("rule", "to"), [("insist", 5), ("yield", 7)])
def test_another_hand_is_told_of_once_where_the_run_of_a_step_meets_it(rule: str, to: int) -> None:
    """The watch looks nowhere a run is at work."""
    with World(a_workload(on_foreign_write=rule)) as world:
        world.submit()
        world.clock.at(minutes(3), lambda: world.cloud.set("web", count(to), foreign=True))
        world.run_until(minutes(8))
        with world.sql.transaction() as tx:
            told = worth_telling(tx.audit_entries(), {"misaligned"})
    assert [(t.event.action, t.event.workload) for t in told] == [("changed by another", "web")]
    assert "web stands at count" in told[0].event.reason


def test_what_a_person_pinned_is_told_as_that_and_not_as_another_hand() -> None:
    with World(a_workload()) as world:
        world.submit()
        pin(world.ctx, "CHG-1", 6, minutes(6), "bob", "a broadcast")
        world.run_until(minutes(5))
        with world.sql.transaction() as tx:
            entries = tx.audit_entries()
    assert "pin asked" in [entry.event.action for entry in entries]
    assert worth_telling(entries, {"misaligned"}) == []
    assert [entry.event.action for entry in worth_telling(entries, {"held"})] == ["pinned"]
