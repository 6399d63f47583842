"""The store: approvals, the plans proposed for one, and links that were used."""

from __future__ import annotations

from decimal import Decimal

from forebay.domain.approval import Approval, Envelope
from forebay.store import SqlStore
from tests.support.samples import NOW, a_plan, an_event, store_change
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
