"""The store: approvals, the plans proposed for one, links that were used, and changes that were edited."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from forebay.domain.approval import Approval, Envelope
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.store import SqlStore
from tests.support.samples import NOW, a_change, a_plan, an_event, store_change
from tests.support.stores import store, store_url  # noqa: F401


def an_approval(person: str, money: str) -> Approval:
    envelope = Envelope(workload="web", plan_hash="f" * 64, max_units=8, largest_move=2, money=Decimal(money))
    return Approval(
        change="CHG-1",
        person=person,
        reason="fine ☃",
        door="link",
        at=NOW,
        fingerprint="a" * 64,
        asked="b" * 64,
        envelopes=(envelope,),
    )


def test_approvals_come_back_as_they_were_oldest_first(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    given = [an_approval("eve", "1.10"), an_approval("bob", "0.1000000000000000000001")]
    with store.transaction() as tx:
        for approval in given:
            tx.add_approval(approval, an_event("approved", change="CHG-1"))
    with store.transaction() as tx:
        assert tx.approvals("CHG-1") == given
        assert tx.approvals("CHG-2") == []
        assert [e.event.action for e in tx.audit_entries("CHG-1")][-2:] == ["approved", "approved"]


def test_a_proposed_plan_moves_nothing_and_goes_with_the_next_current_one(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    current, first, second = a_plan(), a_plan(steps=3), a_plan(steps=4)
    with store.transaction() as tx:
        tx.add_plan(current, an_event("plan"))
        tx.propose_plan(first, an_event("asked"))
        tx.propose_plan(second, an_event("asked"))
    with store.transaction() as tx:
        assert tx.proposed_plan("CHG-1", "web") == second
        assert tx.plan("CHG-1", "web") == current
        assert {s.plan_hash for s in tx.steps("CHG-1")} == {current.hash}
        assert tx.proposed_plan("CHG-1", "api") is None
        tx.drop_proposal("CHG-1", "web")
        assert tx.proposed_plan("CHG-1", "web") is None
        tx.propose_plan(first, an_event("asked"))
        tx.add_plan(second, an_event("plan"))
        assert tx.proposed_plan("CHG-1", "web") is None


def test_a_link_is_used_once(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        assert tx.use_link("one", NOW)
        assert tx.use_link("two", NOW)
    with store.transaction() as tx:
        assert not tx.use_link("one", NOW)


def test_an_edited_change_keeps_what_it_said_before_and_loses_its_plans(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    first = a_change()
    later = first.model_copy(update={"reason": "more", "effective_at": NOW + timedelta(days=2)})
    with store.transaction() as tx:
        tx.add_plan(a_plan(), an_event("plan"))
        tx.propose_plan(a_plan(steps=3), an_event("asked"))
        record = tx.edit_change(later, 5, an_event("edited", change="CHG-1", reason="reason changed"))
    with store.transaction() as tx:
        assert tx.change("CHG-1") == record
        assert (record.change, record.policy_version, record.note) == (later, 5, "reason changed")
        assert tx.revisions("CHG-1") == [first] and tx.revisions("CHG-2") == []
        assert (tx.plan("CHG-1", "web"), tx.proposed_plan("CHG-1", "web"), tx.steps("CHG-1")) == (None, None, [])
    with pytest.raises(InputError, match="no change called 'CHG-2'"), store.transaction() as tx:
        tx.edit_change(later.model_copy(update={"change": "CHG-2"}), 1, an_event("edited"))


def test_an_edit_is_all_or_nothing(store: SqlStore) -> None:  # noqa: F811
    store_change(store, "CHG-1", ChangeState.PLANNED, ChangeState.SCHEDULED, ChangeState.SHAPING)
    with pytest.raises(RuleRefusal, match="it cannot become received"), store.transaction() as tx:
        tx.edit_change(a_change().model_copy(update={"reason": "more"}), 5, an_event("edited"))
    with store.transaction() as tx:
        record = tx.change("CHG-1")
        assert record is not None and record.change == a_change() and tx.revisions("CHG-1") == []
