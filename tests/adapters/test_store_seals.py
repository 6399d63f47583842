"""The store: a policy version, change rules or an approval of another hand shows against the audit log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from forebay.domain.rules import ChangeRules
from forebay.store import SqlStore, migrate, open_store
from tests.adapters.test_store_approvals import an_approval
from tests.adapters.test_store_audit import run_sql
from tests.adapters.test_store_opening import set_schema
from tests.support.samples import NOW, a_change, a_version, an_event, store_change
from tests.support.stores import store, store_url  # noqa: F401

RULES = ChangeRules.model_validate({"rules": [{"name": "slow", "minimum_delay": "P1D"}]})
VERSION = a_version(armed_at=NOW).model_copy(update={"document": a_change().document})


def fill(opened: SqlStore) -> None:
    """Each kind of row that is sealed, the version written twice, the approvals of CHG-2 gone by an edit."""
    for name in ("CHG-1", "CHG-2"):
        store_change(opened, name)
    with opened.transaction() as tx:
        tx.put_version(VERSION, an_event("imported"))
        tx.put_version(VERSION.model_copy(update={"withdrawn_at": NOW}), an_event("withdrawn"))
        tx.put_version(a_version(2), an_event("stored"))
        tx.put_rules(RULES, an_event("rules set"))
        for person in ("eve", "bob"):
            tx.add_approval(an_approval(person, "1.10"), an_event("approved"))
        tx.add_approval(an_approval("eve", "2").model_copy(update={"change": "CHG-2"}), an_event("approved"))
        tx.edit_change(a_change("CHG-2"), 3, an_event("edited"))


def replaced(table: str, column: str, old: str, new: str, where: str = "true") -> Callable[[str], str]:
    def tamper(dialect: str) -> str:
        cast = "::json" if dialect == "postgresql" else ""
        return f"UPDATE {table} SET {column} = replace(CAST({column} AS TEXT), '{old}', '{new}'){cast} WHERE {where}"

    return tamper


def always(statement: str) -> Callable[[str], str]:
    return lambda dialect: statement


VERSION_1, VERSION_9 = "policy acme quota version 1", "policy acme quota version 9"
VERSIONS = "INSERT INTO policy_versions (entity, policy, version, content) SELECT"
APPROVALS = "INSERT INTO approvals (number, change, approval) SELECT"
# Each by one statement: what is done, and what the check says of it.
TAMPERED = {
    "another document": (
        replaced("policy_versions", "content", '"limit": 2', '"limit": 9'),
        "policy acme quota version 2 was altered",
    ),
    "what it was before": (
        replaced("policy_versions", "content", '"withdrawn_at": "2026-11-24T09:30:00.123456Z"', '"withdrawn_at": null'),
        f"{VERSION_1} was altered",
    ),
    "a field more": (
        replaced("policy_versions", "content", '{"entity"', '{"kept": 1, "entity"', "version = 1"),
        f"{VERSION_1} was altered",
    ),
    "another time to list it by": (
        always("UPDATE policy_versions SET in_force_from = changed_at WHERE version = 2"),
        "policy acme quota version 2 was altered",
    ),
    "a version gone": (always("DELETE FROM policy_versions WHERE version = 1"), f"{VERSION_1}: nothing is stored"),
    "a version more": (
        always(f"{VERSIONS} entity, policy, 9, content FROM policy_versions WHERE version = 2"),
        f"{VERSION_9} was written by another hand",
    ),
    "under another name": (
        always("UPDATE policy_versions SET version = 9 WHERE version = 2"),
        f"{VERSION_9} was written",
    ),
    "other rules": (replaced("change_rules", "rules", "P1D", "PT0S"), "change rules version 1 was altered"),
    "rules gone": (always("DELETE FROM change_rules"), "change rules version 1: nothing is stored"),
    "rules more": (
        always("INSERT INTO change_rules (version, rules, stored_at) SELECT 2, rules, stored_at FROM change_rules"),
        "change rules version 2 was written by another hand",
    ),
    "another approver": (replaced("approvals", "approval", "bob", "ann"), "approvals of CHG-1 was altered"),
    "an approval gone": (always("DELETE FROM approvals WHERE number = 1"), "approvals of CHG-1 was altered"),
    "all gone": (always("DELETE FROM approvals"), "approvals of CHG-1: nothing is stored"),
    "an approval twice": (
        always(f"{APPROVALS} 9, change, approval FROM approvals WHERE number = 1"),
        "approvals of CHG-1 was altered",
    ),
    "one that an edit has ended": (
        always(f"{APPROVALS} 9, 'CHG-2', approval FROM approvals WHERE number = 1"),
        "approvals of CHG-2 was altered",
    ),
    "one of another change": (
        always("UPDATE approvals SET change = 'CHG-2' WHERE number = 2"),
        "approvals of CHG-1 was altered",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_another_hand_has_written_is_found(store: SqlStore, store_url: str, case: str) -> None:  # noqa: F811
    tamper, found = TAMPERED[case]
    fill(store)
    assert store.audit_break() is None
    run_sql(store_url, tamper(sa.make_url(store_url).get_backend_name()))
    assert found in (store.audit_break() or "nothing is found")


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_so_is_what_can_no_longer_be_read(store: SqlStore, store_url: str) -> None:  # noqa: F811
    fill(store)
    run_sql(store_url, "UPDATE change_rules SET rules = '{'")
    assert "change rules or an approval was altered: " in (store.audit_break() or "")


def test_what_an_older_version_stored_is_sealed_once_as_it_stands(store: SqlStore, store_url: str) -> None:  # noqa: F811
    run_sql(store_url, 'INSERT INTO change_rules VALUES (7, \'{"rules": [{"name": "old"}]}\', \'2026-11-24\')')
    assert store.audit_break() == "change rules version 7 was written by another hand: no entry records it"
    set_schema(store_url, "0011")
    migrate(store_url)
    upgraded = open_store(store_url)
    assert upgraded.audit_break() is None
    with upgraded.transaction() as tx:
        assert [(e.event.actor, e.event.action) for e in tx.audit_entries()] == [("forebay", "sealed")]
        tx.audit(an_event("and the chain goes on"))
    assert upgraded.audit_break() is None
    run_sql(store_url, "UPDATE change_rules SET version = 8")
    assert "change rules version 8 was written by another hand" in (upgraded.audit_break() or "")
    upgraded.close()
