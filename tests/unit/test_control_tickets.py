"""Tickets: stored, swept, received once, counted from when they came, and none in another's way."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

import tasks.reconcile
from forebay.app.break_glass import break_glass
from forebay.app.people import cancel
from forebay.app.runs import SILENT_FOR, Run
from forebay.app.tickets import store_ticket, submit, sweep_tickets
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.ticket import parse_delivery
from tasks.runs import PrefectAway
from tests.support.world import MINUTE, NOW, World, a_plan, a_request, minutes


class Scheduler:
    """Starts runs; `away` lets that fail for the keys that contain it, for good if it `refuses`."""

    def __init__(self, away: str | None = None, refuses: bool = False) -> None:
        self.away, self.refuses, self.runs = away, refuses, dict[str, dict[str, Any]]()

    def __call__(self, key: str, parameters: dict[str, Any]) -> str:
        if self.away is not None and self.away in key:
            raise OutsideError(f"Prefect {'refuses' if self.refuses else 'is away'}", retryable=not self.refuses)
        self.runs[key] = parameters
        return f"run of {key}"


def delivery(ticket: str = "T-1", revision: str = "1", **change: Any) -> str:
    asked = {
        "entity": "acme",
        "policy": "quota",
        "effective_in": "PT30M",
        "impacts": [{"workload": "web", "factor": 2}],
        "requested_by": "ann",
    }
    return json.dumps({"ticket": ticket, "revision": revision, "change": asked | change})


def test_a_ticket_is_stored_then_swept_into_one_change_and_one_run(world: World) -> None:
    scheduler = Scheduler()
    assert store_ticket(world.ctx, "jira", delivery())[1] is not None
    assert store_ticket(world.ctx, "jira", delivery())[1] is None, "delivered twice"
    assert sweep_tickets(world.ctx, scheduler) == 1
    assert sweep_tickets(world.ctx, scheduler) == 0
    assert list(scheduler.runs) == ["ticket:jira:T-1:1"]
    assert world.record("T-1").state is ChangeState.RECEIVED
    assert world.actions("T-1") == ["received", "policy version stored"]


def test_a_delay_counts_from_the_moment_of_receipt(world: World) -> None:
    world.put_rules(rules=[{"name": "half an hour", "minimum_delay": "PT30M"}])
    store_ticket(world.ctx, "jira", delivery())
    world.clock.sleep(7 * MINUTE)
    scheduler = Scheduler()
    sweep_tickets(world.ctx, scheduler)
    record = world.record("T-1")
    assert (record.state, record.change.effective_at) == (ChangeState.RECEIVED, minutes(30))
    assert scheduler.runs["ticket:jira:T-1:1"]["change"]["effective_at"] == "2026-11-24T09:30:00Z"


def test_prefect_away_keeps_the_ticket_and_the_change(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery())
    scheduler = Scheduler(away="")
    for _ in range(3):
        with pytest.raises(OutsideError, match="Prefect is away"):
            sweep_tickets(world.ctx, scheduler)
    assert world.record("T-1").state is ChangeState.RECEIVED
    scheduler.away = None
    assert sweep_tickets(world.ctx, scheduler) == 1


def test_one_that_cannot_be_started_does_not_stand_in_the_way(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery("T-1"))
    store_ticket(world.ctx, "jira", delivery("T-2", policy="tier"))
    scheduler = Scheduler(away="T-1")
    with pytest.raises(OutsideError):
        sweep_tickets(world.ctx, scheduler)
    assert list(scheduler.runs) == ["ticket:jira:T-2:1"]


def test_what_prefect_refuses_is_refused_and_its_change_stands_in_nobodys_way(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery("T-1"))
    scheduler = Scheduler(away="T-1", refuses=True)
    assert sweep_tickets(world.ctx, scheduler) == 1
    denied = world.record("T-1")
    assert denied.state is ChangeState.DENIED
    assert "Prefect refuses; mend what it names" in denied.note
    assert [e.action for e in world.people.events] == ["denied", "ticket refused"]
    assert sweep_tickets(world.ctx, scheduler) == 0, "it is not tried again"

    store_ticket(world.ctx, "jira", delivery("T-2"))
    sweep_tickets(world.ctx, scheduler)
    assert world.record("T-2").state is ChangeState.RECEIVED, "of the same policy, at the same time"


def test_a_repeated_delivery_that_prefect_refuses_leaves_the_planned_change_alone(world: World) -> None:
    world.submit(a_request(change="T-1"), a_plan(change="T-1"))
    store_ticket(world.ctx, "jira", delivery(settle="PT10M"))
    sweep_tickets(world.ctx, Scheduler(away="", refuses=True))
    assert world.record("T-1").state is ChangeState.SCHEDULED
    assert [run for run, _ in delivered(world)] == ["refused"]


@pytest.mark.parametrize(
    "body", ["{", '{"ticket": "T-1"}', "[]", delivery(impacts=[{"workload": "gone", "factor": 2}])]
)
def test_a_poisoned_ticket_is_refused_for_good_and_blocks_nobody(world: World, body: str) -> None:
    """Stored by an older version, or while the workloads file had another workload."""
    with world.sql.transaction() as tx:
        tx.add_ticket("jira", "T-1", "1", body, world.clock.now())
    store_ticket(world.ctx, "jira", delivery("T-2"))
    scheduler = Scheduler()
    sweep_tickets(world.ctx, scheduler)
    assert list(scheduler.runs) == ["ticket:jira:T-2:1"]
    assert sweep_tickets(world.ctx, scheduler) == 0
    assert [e.action for e in world.people.events] == ["ticket refused"]


def test_another_persons_ticket_under_the_same_name_is_refused(world: World) -> None:
    scheduler = Scheduler()
    store_ticket(world.ctx, "jira", delivery())
    store_ticket(world.ctx, "other", delivery(requested_by="eve", impacts=[{"workload": "web", "factor": 9}]))
    sweep_tickets(world.ctx, scheduler)
    assert list(scheduler.runs) == ["ticket:jira:T-1:1"]
    assert "taken by another request" in world.people.events[-1].reason


def test_a_second_ticket_for_the_same_policy_and_time_is_denied(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery("T-1"))
    store_ticket(world.ctx, "jira", delivery("T-2"))
    sweep_tickets(world.ctx, Scheduler())
    second = world.record("T-2")
    assert second.state is ChangeState.DENIED
    assert "change T-1 (received) on web will be in force and settled" in second.note


def test_a_denied_ticket_has_no_run_that_might_ask_again_late_and_only_an_edit_asks_again(world: World) -> None:
    scheduler = Scheduler()
    for ticket in ("T-0", "T-1"):
        store_ticket(world.ctx, "jira", delivery(ticket))
    sweep_tickets(world.ctx, scheduler)
    assert list(scheduler.runs) == ["ticket:jira:T-0:1"]
    assert delivered(world) == [("denied", world.record("T-1").note)]
    cancel(world.ctx, "T-0", "ann", "not now")
    denied = world.record("T-1")
    store_ticket(world.ctx, "jira", delivery("T-1", "2"))
    sweep_tickets(world.ctx, scheduler)
    assert world.record("T-1") == denied, "somebody has touched the ticket, and asked for nothing"
    store_ticket(world.ctx, "jira", delivery("T-1", "3", reason="now, please"))
    sweep_tickets(world.ctx, scheduler)
    assert world.record("T-1").state is ChangeState.RECEIVED
    assert list(scheduler.runs)[1:] == ["ticket:jira:T-1:3"]


@pytest.mark.parametrize(
    "body", ["{", "[]", delivery(effective_in=5), delivery(impacts=[{"workload": "x", "factor": 2}])]
)
def test_a_wrong_delivery_is_refused_at_the_door_and_not_stored(world: World, body: str) -> None:
    with pytest.raises(InputError):
        store_ticket(world.ctx, "jira", body)
    assert sweep_tickets(world.ctx, Scheduler()) == 0


def test_submitted_twice_is_one_change_and_one_run(world: World) -> None:
    scheduler = Scheduler()
    request = a_request(effective_at=None, effective_in="PT1H")
    first = submit(world.ctx, request)
    world.clock.sleep(timedelta(minutes=3))
    assert submit(world.ctx, request) == first
    assert sweep_tickets(world.ctx, scheduler) == 1
    assert world.record().change.effective_at == minutes(60)


def closing(revision: str = "2", by: str = "ann") -> str:
    return json.dumps({"ticket": "T-1", "revision": revision, "closed": {"by": by}})


def delivered(world: World) -> list[tuple[str, str | None]]:
    with world.sql.transaction() as tx:
        return [(t.run or "waits", t.failure) for t in tx.deliveries("jira", "T-1")]


def test_a_closed_ticket_cancels_its_change(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery())
    store_ticket(world.ctx, "jira", closing())
    sweep_tickets(world.ctx, Scheduler())
    record = world.record("T-1")
    assert (record.state, record.note) == (
        ChangeState.ROLLED_BACK,
        "cancelled before anything had moved: jira T-1: the ticket was closed",
    )
    store_ticket(world.ctx, "jira", closing("3"))
    sweep_tickets(world.ctx, Scheduler())
    assert delivered(world)[1:] == [("closed", None), ("closed", "change T-1 is rolled back already")]


def test_a_ticket_may_be_closed_with_the_longest_reason_but_with_none_that_hides_something(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery())
    body = {"ticket": "T-1", "revision": "2", "closed": {"by": "ann", "reason": "a\u202eb"}}
    with pytest.raises(InputError, match="invisible"):
        store_ticket(world.ctx, "jira", json.dumps(body))
    body["closed"] = {"by": "ann", "reason": "x" * 2000}
    store_ticket(world.ctx, "jira", json.dumps(body))
    sweep_tickets(world.ctx, Scheduler())
    assert world.record("T-1").state is ChangeState.ROLLED_BACK


def test_a_ticket_closes_what_it_asked_for_and_nothing_else(world: World) -> None:
    store_ticket(world.ctx, "other", delivery())
    store_ticket(world.ctx, "jira", closing())
    sweep_tickets(world.ctx, Scheduler())
    assert world.record("T-1").state is ChangeState.RECEIVED
    assert delivered(world) == [("closed", "it had asked for nothing before")]


def test_who_may_not_cancel_cannot_close(world: World) -> None:
    world.put_rules(rules=[{"name": "ours", "cancellers": ["ann"]}])
    store_ticket(world.ctx, "jira", delivery())
    store_ticket(world.ctx, "jira", closing(by="eve"))
    sweep_tickets(world.ctx, Scheduler())
    assert world.record("T-1").state is ChangeState.RECEIVED
    assert delivered(world)[1][0] == "refused"
    assert "'eve' may not cancel" in world.people.events[-1].reason


def test_a_policy_in_force_outlives_its_ticket(world: World) -> None:
    world.put_rules(rules=[{"name": "ours", "break_glass": ["ann"]}])
    store_ticket(world.ctx, "jira", delivery())
    sweep_tickets(world.ctx, Scheduler())
    break_glass(world.ctx, "T-1", "ann", "now")
    state = world.record("T-1").state
    store_ticket(world.ctx, "jira", closing())
    sweep_tickets(world.ctx, Scheduler())
    assert world.record("T-1").state is state
    assert world.actions("T-1")[-1] == "ticket closed, nothing changed"
    assert "is in force: `forebay rollback` takes it back" in str(delivered(world)[1][1])


@pytest.mark.parametrize("first", ["2", "3"])
def test_deliveries_out_of_order_end_as_those_in_order(world: World, first: str) -> None:
    """Revision 3 is what the ticket says, whichever of its last two came first, swept in between or not."""
    store_ticket(world.ctx, "jira", delivery(revision="1"))
    sweep_tickets(world.ctx, Scheduler())
    later = {"2": delivery(revision="2", reason="second"), "3": delivery(revision="3", reason="third")}
    store_ticket(world.ctx, "jira", later.pop(first))
    sweep_tickets(world.ctx, Scheduler())
    store_ticket(world.ctx, "jira", *later.values())
    sweep_tickets(world.ctx, Scheduler())
    assert world.record("T-1").change.reason == "third"


def test_a_relative_time_that_is_said_again_means_the_time_it_was_given(world: World) -> None:
    """A later revision may differ in what is not mapped alone: Forebay's own answer is such an edit in some systems."""
    scheduler = Scheduler()
    asked = ["P2D", "P2D", "P2D", "P3D"]
    for day, delay in enumerate(asked):
        store_ticket(world.ctx, "jira", delivery(revision=str(day), effective_in=delay))
        world.clock.sleep(MINUTE)
        sweep_tickets(world.ctx, scheduler)
        world.clock.step(timedelta(hours=12) - MINUTE)
    first, edited = NOW + timedelta(days=2), NOW + timedelta(days=3, hours=36)
    times = [datetime.fromisoformat(run["change"]["effective_at"]) for run in scheduler.runs.values()]
    assert times == [first, first, first, edited]
    assert world.actions("T-1").count("edited") == 1
    assert world.record("T-1").change.effective_at == edited


@pytest.mark.parametrize("at_once", [True, False])
def test_a_ticket_that_takes_its_edit_back_edits_back_and_what_is_late_changes_nothing(
    world: World, at_once: bool
) -> None:
    scheduler = Scheduler(away="T-1:2")  # whose run starts last
    for revision, reason in enumerate(["first", "second", "first"], start=1):
        store_ticket(world.ctx, "jira", delivery(revision=str(revision), reason=reason))
        if revision == 3 or not at_once:
            with suppress(OutsideError):
                sweep_tickets(world.ctx, scheduler)
    assert world.record("T-1").change.reason == "first"
    scheduler.away = None
    sweep_tickets(world.ctx, scheduler)
    assert list(scheduler.runs)[-1] == "ticket:jira:T-1:2"
    assert world.record("T-1").change.reason == "first"
    assert world.actions("T-1").count("edited") == 2


def test_an_edit_that_leaves_the_relative_time_leaves_the_time_it_was_given(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery())
    sweep_tickets(world.ctx, Scheduler())
    at = world.record("T-1").change.effective_at
    world.clock.sleep(7 * MINUTE)
    store_ticket(world.ctx, "jira", delivery(revision="2", reason="as agreed"))
    sweep_tickets(world.ctx, Scheduler())
    change = world.record("T-1").change
    assert (change.reason, change.effective_at) == ("as agreed", at)


def test_each_edit_that_is_refused_is_told_whatever_the_words(world: World) -> None:
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "PT20M"}])
    store_ticket(world.ctx, "jira", delivery())
    sweep_tickets(world.ctx, Scheduler())
    for revision, reason in enumerate(["sooner", "sooner", "much sooner"], start=2):
        store_ticket(world.ctx, "jira", delivery(revision=str(revision), reason=reason, effective_in="PT5M"))
        sweep_tickets(world.ctx, Scheduler())
    assert [e.action for e in world.people.events].count("ticket refused") == 2


def test_a_ticket_that_says_nothing_new_leaves_the_edit_of_another_door(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery())
    sweep_tickets(world.ctx, Scheduler())
    by_hand = parse_delivery(delivery(reason="by hand")).request
    assert by_hand is not None and submit(world.ctx, by_hand).note.startswith("reason changed")
    store_ticket(world.ctx, "jira", delivery(revision="2"))
    sweep_tickets(world.ctx, Scheduler())
    assert world.record("T-1").change.reason == "by hand"


def test_closing_means_the_change_asked_for_last_before_it(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery(revision="2", change="A"))
    store_ticket(world.ctx, "jira", delivery(revision="1", change="OLD"))
    store_ticket(world.ctx, "jira", closing("3"))
    store_ticket(world.ctx, "jira", delivery(revision="4", change="B", effective_in="PT9H"))
    sweep_tickets(world.ctx, Scheduler())
    assert world.record("A").state is ChangeState.ROLLED_BACK
    assert world.record("B").state is ChangeState.RECEIVED


def test_a_ticket_closes_no_change_that_it_only_named(world: World) -> None:
    world.submit()
    store_ticket(world.ctx, "generic", delivery(change="CHG-1", requested_by="mallory"))
    sweep_tickets(world.ctx, Scheduler())
    store_ticket(world.ctx, "generic", closing(by="mallory"))
    sweep_tickets(world.ctx, Scheduler())
    with world.sql.transaction() as tx:
        refused, closed = tx.deliveries("generic", "T-1")
    assert (refused.run, closed.run, closed.failure) == ("refused", "closed", "it had asked for nothing before")
    assert world.state is ChangeState.SCHEDULED


def test_a_ticket_breaks_no_glass_in_the_name_it_claims(world: World) -> None:
    with pytest.raises(InputError, match="a ticket only claims it"):
        store_ticket(world.ctx, "generic", delivery(on_misalignment="enforce"))
    with world.sql.transaction() as tx:
        assert tx.deliveries("generic", "T-1") == []


class Prefect:
    """What a pass of the reconciler asks Prefect for; `fails` is raised for what it names."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, fails: dict[str, OutsideError]) -> None:
        self.fails, self.asked = fails, list[str]()
        monkeypatch.setattr(tasks.reconcile, "context", lambda: world.ctx)
        monkeypatch.setattr(tasks.reconcile, "start_run", lambda deployment, key, parameters: self.ask("start"))
        monkeypatch.setattr(tasks.reconcile, "create_run", lambda wake_up: self.ask(wake_up.change))
        monkeypatch.setattr(tasks.reconcile, "open_runs", self.open_runs)
        monkeypatch.setattr(tasks.reconcile, "end_run", lambda ending: self.ask(f"end {ending.run.id}"))
        monkeypatch.setattr(tasks.reconcile, "check_recurring", lambda: self.ask("schedules"))

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.fails:
            raise self.fails[what]

    def open_runs(self) -> list[Run]:
        self.ask("runs")
        return [Run(id=id, kind="step", state="pending", since=NOW) for id in ("1", "2")]


AWAY = PrefectAway("Prefect did not create the run", retryable=True)


def test_a_prefect_that_is_away_stops_nothing_that_needs_no_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.submit()
    world.submit(a_request(change="CHG-2", policy="tier"))
    world.run_until(minutes(6))
    prefect = Prefect(world, monkeypatch, dict.fromkeys(("start", "CHG-1", "CHG-2", "T-0", "T-1", "T-2"), AWAY))
    cancel(world.ctx, "CHG-1", "ann", "stop")
    for number in range(3):
        store_ticket(world.ctx, "jira", delivery(f"T-{number}", policy=f"policy-{number}"))
    for _ in range(12):
        with pytest.raises(OutsideError, match="Prefect did not create the run"):
            tasks.reconcile.reconcile_once("reconciler")
        world.clock.sleep(MINUTE)
    assert world.state is ChangeState.ROLLED_BACK
    asked = [what for what in prefect.asked if what != "start"]
    assert prefect.asked.count("start") == 12, "nor do the tickets each wait for it"
    assert "CHG-2" in asked, "a ticket without its run keeps no step from having its own"
    assert len(asked) == 12, "one call a pass waits for Prefect, however many runs are wanted"


@pytest.mark.parametrize("retryable", [True, False])
def test_what_prefect_answers_no_to_stands_in_no_others_way(
    world: World, monkeypatch: pytest.MonkeyPatch, retryable: bool
) -> None:
    world.submit()
    world.submit(a_request(change="CHG-2", policy="tier"))
    world.run_until(minutes(6))
    no = OutsideError("Prefect says no", retryable=retryable)
    prefect = Prefect(world, monkeypatch, dict.fromkeys(("CHG-1", "CHG-2", "end 1"), no))
    with pytest.raises(OutsideError, match="Prefect says no"):
        tasks.reconcile.reconcile_once("reconciler")
    assert {"CHG-1", "CHG-2"} < set(prefect.asked)
    assert prefect.asked[-4:] == ["runs", "end 1", "end 2", "schedules"]


@pytest.mark.parametrize("where", ["runs", "end 1"])
def test_once_prefect_is_away_nothing_else_waits_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    world.clock.sleep(SILENT_FOR + MINUTE)
    prefect = Prefect(world, monkeypatch, {where: AWAY})
    with pytest.raises(PrefectAway):
        tasks.reconcile.reconcile_once("reconciler")
    assert prefect.asked[-1] == where
