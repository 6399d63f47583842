"""The store: changes, plans, steps, intents and originals, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.domain.errors import InputError, OutsideError, RuleRefusal
from forebay.domain.impact import Entitlement
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import Outcome
from forebay.domain.resources import Resource
from forebay.domain.verdict import Evidence, Judgement, Verdict
from forebay.store import SqlStore
from tests.support.samples import NOW, a_change, a_count, a_plan, an_event, an_intent, store_change
from tests.support.stores import store, store_url  # noqa: F401


def test_a_new_change_is_received_and_comes_back_as_it_was_given(store: SqlStore) -> None:  # noqa: F811
    change = a_change()
    with store.transaction() as tx:
        added = tx.add_change(change, 2, an_event(change="CHG-1", reason="first of its name"))
    with store.transaction() as tx:
        record = tx.change("CHG-1")
    assert record == added
    assert record.change == change
    assert record.change.fingerprint == change.fingerprint
    assert record.state is ChangeState.RECEIVED
    assert (record.note, record.policy_version, record.received_at) == ("first of its name", 2, NOW)
    assert record.received_at.utcoffset() == timedelta(0)


def test_an_unknown_change_is_none(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        assert tx.change("CHG-1") is None
        assert tx.changes() == []


def test_a_second_change_of_the_same_name_is_refused_by_the_database(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with pytest.raises(OutsideError, match=r"(?i)unique") as refused, store.transaction() as tx:
        tx.add_change(a_change(), 3, an_event())
    assert not refused.value.retryable
    with store.transaction() as tx:
        assert tx.change("CHG-1").policy_version == 2


def test_changes_are_listed_newest_first_and_by_state(store: SqlStore) -> None:  # noqa: F811
    store_change(store, "CHG-1", ChangeState.PLANNED)
    store_change(store, "CHG-2", ChangeState.PLANNED, ChangeState.AWAITING_APPROVAL)
    store_change(store, "CHG-3")

    def names(states: set[ChangeState] | None = None) -> list[str]:
        with store.transaction() as tx:
            return [record.change.change for record in tx.changes(states)]

    assert names() == ["CHG-3", "CHG-2", "CHG-1"]
    assert names({ChangeState.PLANNED, ChangeState.AWAITING_APPROVAL}) == ["CHG-2", "CHG-1"]
    assert names({ChangeState.CLOSED}) == []
    assert names(set()) == []


def test_of_the_closed_ones_only_the_latest_are_listed(store: SqlStore) -> None:  # noqa: F811
    to_the_end = [ChangeState(s) for s in ("planned", "scheduled", "shaping", "armed", "in force", "settling")]
    for number, minutes in enumerate((10, 20, 30), start=1):
        store_change(store, f"CHG-{number}", *to_the_end)
        with store.transaction() as tx:
            at = NOW + timedelta(minutes=minutes)
            tx.move(f"CHG-{number}", ChangeState.CLOSED, an_event("closed", change=f"CHG-{number}", at=at))
    store_change(store, "CHG-4", ChangeState.PLANNED)
    store_change(store, "CHG-5")

    def names(minutes: int, states: set[ChangeState] | None = None) -> list[str]:
        after = NOW + timedelta(minutes=minutes)
        with store.snapshot() as tx:
            return [record.change.change for record in tx.changes(states, closed_after=after)]

    assert names(0) == ["CHG-5", "CHG-4", "CHG-3", "CHG-2", "CHG-1"]
    assert names(20) == ["CHG-5", "CHG-4", "CHG-3"], "what is not closed is there however old it is"
    assert names(10, {ChangeState.CLOSED, ChangeState.PLANNED}) == ["CHG-4", "CHG-3", "CHG-2"]
    assert names(30, {ChangeState.CLOSED}) == []


def test_a_move_is_written_with_its_note_and_its_audit_entry(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    later = NOW + timedelta(seconds=1)
    with store.transaction() as tx:
        moved = tx.move("CHG-1", ChangeState.PLANNED, an_event("plan", change="CHG-1", reason="it fits", at=later))
    with store.transaction() as tx:
        assert tx.change("CHG-1") == moved
        assert (moved.state, moved.note, moved.updated_at) == (ChangeState.PLANNED, "it fits", later)
        assert moved.received_at == NOW
        assert [entry.event.action for entry in tx.audit_entries()] == ["received", "plan"]


def test_a_move_the_table_has_not_is_refused_and_leaves_nothing(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with pytest.raises(RuleRefusal, match="received: it cannot become settling"), store.transaction() as tx:
        tx.move("CHG-1", ChangeState.SETTLING, an_event())
    with store.transaction() as tx:
        assert tx.change("CHG-1").state is ChangeState.RECEIVED
        assert len(tx.audit_entries()) == 1


def test_a_move_of_an_unknown_change_says_so(store: SqlStore) -> None:  # noqa: F811
    with pytest.raises(InputError, match="no change called 'CHG-9'"), store.transaction() as tx:
        tx.move("CHG-9", ChangeState.PLANNED, an_event())


def test_an_exception_in_the_block_leaves_nothing(store: SqlStore) -> None:  # noqa: F811
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.add_change(a_change(), 2, an_event())
        tx.add_plan(a_plan(), an_event())
        assert len(tx.audit_entries()) == 2
        _ = 1 / 0
    with store.transaction() as tx:
        assert tx.changes() == []
        assert tx.plan("CHG-1", "web") is None
        assert tx.audit_entries() == []
    assert store.audit_break() is None


def test_a_plan_keeps_its_hash_and_its_steps_are_pending(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    plan = a_plan()
    with store.transaction() as tx:
        tx.add_plan(plan, an_event("planned"))
    with store.transaction() as tx:
        stored = tx.plan("CHG-1", "web")
        steps = tx.steps("CHG-1")
    assert stored == plan
    assert stored.hash == plan.hash  # what is approved is what is executed, to the last bit of a float
    assert [step.step for step in steps] == list(plan.steps)
    assert {(step.state, step.plan_hash, step.attempt) for step in steps} == {(StepState.PENDING, plan.hash, 1)}


def test_a_new_plan_replaces_the_workloads_current_one_only(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with store.transaction() as tx:
        for plan in (a_plan(workload="web"), a_plan(workload="db"), a_plan(workload="web", start_units=7, steps=1)):
            tx.add_plan(plan, an_event())
        assert tx.plan("CHG-1", "web").start_units == 7
        assert tx.plan("CHG-1", "db").start_units == 4
        assert tx.plan("CHG-1", "other") is None
        assert [(s.workload, s.step.sequence) for s in tx.steps("CHG-1")] == [("db", 1), ("db", 2), ("web", 1)]
        assert [s.step.from_units for s in tx.steps("CHG-1", "web")] == [7]


def test_a_plan_of_an_unknown_change_is_refused(store: SqlStore) -> None:  # noqa: F811
    with pytest.raises(OutsideError, match=r"(?i)foreign key"), store.transaction() as tx:
        tx.add_plan(a_plan("CHG-9"), an_event())


def test_a_step_is_replaced_with_its_evidence(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    evidence = Evidence(
        start=NOW,
        end=NOW + timedelta(minutes=3),
        usage={Resource.CPU: 1 / 3},
        band={},
        utilisation={Resource.CPU: 0.5},
        serving_units=5,
        asked_units=5,
        text="on plan",
    )
    judgement = Judgement(verdict=Verdict.PASS, required_units=4, evidence=evidence)
    with store.transaction() as tx:
        tx.add_plan(a_plan(), an_event())
        first, second = tx.steps("CHG-1")
        changed = second.model_copy(update={"state": StepState.PASSED, "passed_at": NOW, "judgement": judgement})
        tx.put_step(changed, an_event("verified"))
        tx.put_step(changed)
    with store.transaction() as tx:
        assert tx.steps("CHG-1") == [first, changed]
        assert [entry.event.action for entry in tx.audit_entries()][-1] == "verified"


def test_a_step_of_an_old_plan_cannot_be_written(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with store.transaction() as tx:
        tx.add_plan(a_plan(), an_event())
        old = tx.steps("CHG-1")[0]
        tx.add_plan(a_plan(start_units=5), an_event())
    with pytest.raises(RuleRefusal, match="a plan of an old version cannot write"), store.transaction() as tx:
        tx.put_step(old.model_copy(update={"state": StepState.ASKED}))
    with store.transaction() as tx:
        assert {step.state for step in tx.steps("CHG-1")} == {StepState.PENDING}


def test_a_step_no_plan_has_is_refused(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with store.transaction() as tx:
        tx.add_plan(a_plan(), an_event())
        step = tx.steps("CHG-1")[0]
    strange = step.model_copy(update={"step": step.step.model_copy(update={"sequence": 9})})
    with pytest.raises(InputError, match="no step 9 of CHG-1 on web"), store.transaction() as tx:
        tx.put_step(strange)


def test_intents_are_numbered_and_open_until_settled(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    store_change(store, "CHG-2")
    with store.transaction() as tx:
        first = tx.add_intent(an_intent(), an_event("intent"))
        second = tx.add_intent(an_intent("CHG-2"), an_event("intent"))
        other = tx.add_intent(an_intent(workload="db"), an_event("intent"))
        assert first.number < second.number < other.number
        assert tx.intents("web") == [first, second]
        assert tx.intents("web", change="CHG-2") == [second]
    later = NOW + timedelta(microseconds=1)
    with store.transaction() as tx:
        tx.leave_unanswered(second.number, later)
        second = second.model_copy(update={"unanswered_at": later})
        assert tx.intents("web", only_open=True) == [first, second]
    with store.transaction() as tx:
        tx.settle_intent(first.number, Outcome.FOREIGN, an_event("settled", at=later))
    with store.transaction() as tx:
        settled = first.model_copy(update={"outcome": Outcome.FOREIGN, "settled_at": later})
        assert tx.intents("web") == [settled, second]
        tx.leave_unanswered(first.number, later)  # it is settled
        assert tx.intents("web") == [settled, second]
        assert tx.intents("web", only_open=True) == [second]
        assert tx.intents("web", change="CHG-1", only_open=True) == []
        assert tx.last_intent("web") == second
        assert tx.last_intent("web", before=second.number) == tx.intents("web")[0]
        assert tx.last_intent("web", before=tx.intents("web")[0].number) is None
        assert [entry.event.action for entry in tx.audit_entries()][-4:] == ["intent"] * 3 + ["settled"]


def test_an_outcome_is_recorded_once(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with store.transaction() as tx:
        number = tx.add_intent(an_intent(), an_event()).number
        tx.settle_intent(number, Outcome.DONE, an_event())
        written = len(tx.audit_entries())
        tx.settle_intent(number, Outcome.DONE, an_event(at=NOW + timedelta(hours=1)))
        assert len(tx.audit_entries()) == written
        assert tx.intents("web")[0].settled_at == NOW
    with pytest.raises(RuleRefusal, match="settled as 'done', it cannot become 'not done'"), store.transaction() as tx:
        tx.settle_intent(number, Outcome.NOT_DONE, an_event())
    with pytest.raises(InputError, match="no intent 99"), store.transaction() as tx:
        tx.settle_intent(99, Outcome.DONE, an_event())


def test_an_original_is_stored_and_replaced(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with store.transaction() as tx:
        assert tx.original("CHG-1", "web") is None
        tx.put_original("CHG-1", "web", a_count(9), an_event("original"))
        tx.put_original("CHG-1", "web", a_count(4), an_event("original"))
    with store.transaction() as tx:
        assert tx.original("CHG-1", "web") == a_count(4)
        assert tx.original("CHG-1", "db") is None
        assert [entry.event.action for entry in tx.audit_entries()] == ["received", "original", "original"]


def test_of_the_changes_only_those_with_entitlements(store: SqlStore) -> None:  # noqa: F811
    """Whatever their documents say."""
    said = {"entitlements": ({"workload": "web", "min_units": 2},)}
    changes = [a_change("CHG-1"), a_change("CHG-2").model_copy(update={"document": said})]
    changes.append(a_change("CHG-3").model_copy(update={"entitlements": (Entitlement(workload="web", min_units=2),)}))
    with store.transaction() as tx:
        for change in changes:
            tx.add_change(change, 2, an_event("received", change=change.change))
    with store.snapshot() as tx:
        assert [record.change.change for record in tx.changes(entitled=True)] == ["CHG-3"]
        assert tx.changes([ChangeState.CLOSED], entitled=True) == []
