"""The store: the audit log is append-only and its chain shows what was done to it behind its back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from forebay.domain.audit import GENESIS, first_break
from forebay.store import SqlStore, open_store
from tests.support.samples import an_event
from tests.support.stores import store, store_url  # noqa: F401

DROP_TRIGGERS = {
    "sqlite": ["DROP TRIGGER audit_update", "DROP TRIGGER audit_delete", "DROP TRIGGER audit_replace"],
    "postgresql": ["DROP FUNCTION audit_refuse() CASCADE"],
}


def write(log: SqlStore, count: int, change: str | None = None) -> None:
    with log.transaction() as tx:
        for number in range(count):
            tx.audit(an_event(f"act {number}", change=change, reason="☃ \u0000"))


def run_sql(url: str, *statements: str) -> None:
    engine = sa.create_engine(sa.make_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_entries_are_chained_from_the_first(store: SqlStore) -> None:  # noqa: F811
    assert store.audit_break() is None
    with store.transaction() as tx:
        first, second = tx.audit(an_event("one")), tx.audit(an_event("two"))
    assert (first.number, first.previous_hash) == (1, GENESIS)
    assert (second.number, second.previous_hash) == (2, first.hash)
    with store.transaction() as tx:
        assert tx.audit_entries() == [first, second]
        assert first_break(tx.audit_entries()) is None
    assert store.audit_break() is None


def test_entries_of_one_change(store: SqlStore) -> None:  # noqa: F811
    write(store, 2, "CHG-1")
    write(store, 1, "CHG-2")
    write(store, 1)
    with store.transaction() as tx:
        assert [entry.number for entry in tx.audit_entries("CHG-1")] == [1, 2]
        assert [entry.number for entry in tx.audit_entries("CHG-2")] == [3]
        assert len(tx.audit_entries()) == 4


def test_a_log_longer_than_one_read_is_checked_to_its_end(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("forebay.store.sql.ENTRIES_AT_A_TIME", 7)
    write(store, 30)
    assert store.audit_break() is None


def refuses(log: SqlStore, url: str, statement: str) -> bool:
    write(log, 2)
    with log.transaction() as tx:
        before = tx.audit_entries()
    with pytest.raises(sa.exc.DBAPIError, match=r"append-only"):
        run_sql(url, statement)
    with log.transaction() as tx:
        return tx.audit_entries() == before and log.audit_break() is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET hash = 'x' WHERE number = 1",
        "DELETE FROM audit WHERE number = 2",
        "DELETE FROM audit",
    ],
)
def test_the_database_refuses_to_change_the_log(store: SqlStore, store_url: str, statement: str) -> None:  # noqa: F811
    assert refuses(store, store_url, statement)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_sqlite_refuses_to_replace_an_entry(store: SqlStore, store_url: str) -> None:  # noqa: F811
    columns = "number, change, event, previous_hash"
    assert refuses(store, store_url, f"INSERT OR REPLACE INTO audit SELECT {columns}, 'x' FROM audit WHERE number = 1")
    assert refuses(
        store, store_url, "INSERT OR REPLACE INTO audit SELECT 9, change, event, previous_hash, hash FROM audit"
    )


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_postgresql_refuses_to_truncate_the_log(store: SqlStore, store_url: str) -> None:  # noqa: F811
    assert refuses(store, store_url, "TRUNCATE audit")


def in_event(old: str, new: str) -> Callable[[str], str]:
    def tamper(dialect: str) -> str:
        cast = "::json" if dialect == "postgresql" else ""
        return f"UPDATE audit SET event = replace(CAST(event AS TEXT), '{old}', '{new}'){cast} WHERE number = 2"

    return tamper


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        pytest.param(in_event("ann", "bob"), "entry 2 was altered", id="another actor"),
        pytest.param(in_event("actor", "author"), "entry 2 was altered", id="no longer an event"),
        pytest.param(lambda _: "UPDATE audit SET change = 'CHG-9' WHERE number = 2", "entry 2 was altered", id="index"),
        pytest.param(lambda _: "UPDATE audit SET hash = 'x' WHERE number = 2", "entry 2 was altered", id="hash"),
        pytest.param(lambda _: "UPDATE audit SET previous_hash = 'x' WHERE number = 2", "entry 2 does not", id="link"),
        pytest.param(lambda _: "DELETE FROM audit WHERE number = 1", "entry 1 is missing", id="first gone"),
        pytest.param(lambda _: "DELETE FROM audit WHERE number = 2", "entry 2 is missing", id="middle gone"),
        pytest.param(
            lambda _: "DELETE FROM audit WHERE number = 3",
            "the log ends with entry 2, but 3 entries were written",
            id="last gone",
        ),
        pytest.param(lambda _: "DELETE FROM audit", "the log ends with entry 0, but 3 entries were written", id="all"),
        pytest.param(lambda _: "DELETE FROM audit_head", "the log ends with entry 3, but no entries", id="head gone"),
    ],
)
def test_tampering_is_found(store: SqlStore, store_url: str, tamper: Callable[[str], str], found: str) -> None:  # noqa: F811
    write(store, 3)
    dialect = sa.make_url(store_url).get_backend_name()
    run_sql(store_url, *DROP_TRIGGERS[dialect], tamper(dialect))
    reopened = open_store(store_url)
    assert found in (reopened.audit_break() or "the chain holds")
    reopened.close()
