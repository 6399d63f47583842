"""The store: opening and migrating it, and what people are told when that cannot be."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from forebay.domain.errors import InputError, OutsideError
from forebay.store import migrate, open_store
from forebay.store.migrate import MIGRATIONS, write_ahead
from forebay.store.schema import SCHEMA, metadata
from tests.adapters.test_store_audit import run_sql
from tests.adapters.test_store_concurrency import two_processes
from tests.support.samples import NOW, store_change
from tests.support.stores import drop, postgresql_url, store_url  # noqa: F401


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path):
    """A database of each kind without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty%20one.db"
        return
    url = postgresql_url(migrated=False)
    yield url
    drop(url)


def set_schema(url: str, number: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :number"), {"number": number})
    engine.dispose()


def described(url: str) -> dict:
    """Everything the database says about its tables, but for Alembic's own."""
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    tables = {}
    for table in inspector.get_table_names():
        tables[table] = {
            "columns": [
                {**column, "type": str(column["type"].compile(engine.dialect))}
                for column in inspector.get_columns(table)
            ],
            "key": inspector.get_pk_constraint(table),
            "foreign": inspector.get_foreign_keys(table),
            "unique": sorted(inspector.get_unique_constraints(table), key=str),
            "checks": sorted(inspector.get_check_constraints(table), key=str),
            "indexes": sorted(inspector.get_indexes(table), key=str),
        }
    engine.dispose()
    tables.pop("alembic_version", None)
    return {name: re.sub(r" object at 0x\w+", "", str(table)) for name, table in tables.items()}


def test_migrations_make_the_tables_the_code_expects(empty_url: str) -> None:
    migrate(empty_url)
    migrated = described(empty_url)
    engine = sa.create_engine(empty_url)
    metadata.drop_all(engine)
    assert described(empty_url) == {}
    metadata.create_all(engine)
    engine.dispose()
    assert migrated == described(empty_url)
    assert migrated.keys() == metadata.tables.keys()


def test_the_schema_number_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [SCHEMA]


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    migrate(empty_url)
    store = open_store(empty_url)
    store_change(store)
    migrate(empty_url)
    with store.transaction() as tx:
        assert tx.change("CHG-1") is not None
    store.close()


def test_two_processes_may_migrate_at_once(empty_url: str) -> None:
    two_processes("migrate", empty_url)
    store = open_store(empty_url)
    store_change(store)
    store.close()


def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    """Without it the decision point would wait for writers."""
    url = f"sqlite:///{tmp_path}/forebay.db"
    migrate(url)
    with sa.create_engine(url).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_sqlite_is_made_to_write_ahead_once_whoever_writes_has_done(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/forebay.db")
    with engine.connect() as writer, engine.connect() as ours:
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        writer.exec_driver_sql("CREATE TABLE t (n)")
        done = Thread(target=lambda: (time.sleep(0.3), writer.exec_driver_sql("COMMIT")))
        done.start()
        write_ahead(ours)
        done.join()
        assert ours.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_a_store_without_tables_names_the_command(empty_url: str) -> None:
    with pytest.raises(InputError, match=r"has no tables yet: run `forebay migrate`"):
        open_store(empty_url)
    if empty_url.startswith("sqlite"):
        assert not Path(empty_url.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        pytest.param("0000", rf"has schema 0000, this Forebay needs {SCHEMA}: run `forebay migrate`", id="older"),
        pytest.param("9999", r"written by a newer Forebay.*`pip install --upgrade forebay`", id="newer"),
    ],
)
def test_another_schema_names_the_command(store_url: str, number: str, told: str) -> None:  # noqa: F811
    set_schema(store_url, number)
    with pytest.raises(InputError, match=told):
        open_store(store_url)


def test_a_newer_schema_is_not_migrated(store_url: str) -> None:  # noqa: F811
    set_schema(store_url, "9999")
    url = store_url.replace("postgres:@", "postgres:hunter2@")
    for act in (migrate, open_store):
        with pytest.raises(InputError, match=r"written by a newer Forebay") as refused:
            act(url)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("act", [open_store, migrate])
def test_a_database_that_is_away_can_be_tried_again_and_its_password_is_not_told(act) -> None:
    with pytest.raises(OutsideError, match=r"postgresql\+psycopg://ann:\*\*\*@127.0.0.1:1/forebay") as away:
        act("postgresql://ann:hunter2@127.0.0.1:1/forebay?password=hunter2")
    assert away.value.retryable
    assert "hunter2" not in str(away.value)


def test_a_file_that_is_no_database_is_not_worth_trying_again(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not a database, but long enough to have a header" * 30)
    with pytest.raises(OutsideError, match=r"not a database") as refused:
        open_store(f"sqlite:///{tmp_path}/notes.db")
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("url", "told"),
    [
        pytest.param("mysql://host/forebay", r"cannot be kept in 'mysql': write sqlite:", id="other database"),
        pytest.param("sqlite://", r"has no file", id="in memory"),
        pytest.param("sqlite:///:memory:", r"has no file", id="in memory, named"),
        pytest.param("forebay.db", r"cannot be read: write sqlite:", id="no URL"),
        pytest.param("sqlite:////no/such/folder/forebay.db", r"folder /no/such/folder, which does not", id="folder"),
    ],
)
def test_a_url_that_cannot_be_used_says_how_to_mend_it(url: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        migrate(url)


def test_what_tickets_had_brought_before_is_theirs_after_the_upgrade(store_url: str) -> None:  # noqa: F811
    store = open_store(store_url)
    bodies = {
        "T-1": '{"ticket": "T-1", "change": {"change": "CHG-1"}}',
        "CHG-2": '{"ticket": "CHG-2", "change": {}}',
        "T-3": '{"ticket": "T-3", "closed": {"by": "ann"}}',
        "T-4": "{",
    }
    with store.transaction() as tx:
        for ticket, body in bodies.items():
            tx.add_ticket("jira", ticket, "1", body, NOW)
        tx.add_ticket("other", "CHG-2", "1", bodies["CHG-2"], NOW)
        tx.add_ticket("jira", "CHG-3", "1", '{"change": {}}', NOW + timedelta(seconds=1))
        refused = tx.add_ticket("jira", "CHG-4", "1", '{"change": {}}', NOW)
        assert refused is not None
        tx.put_ticket(refused.model_copy(update={"run": "refused"}))
    for name in ("CHG-1", "CHG-2", "CHG-3", "CHG-4"):
        store_change(store, name)
    store.close()
    run_sql(store_url, "ALTER TABLE changes DROP COLUMN door")
    set_schema(store_url, "0010")
    migrate(store_url)
    upgraded = open_store(store_url)
    with upgraded.snapshot() as tx:
        doors = {record.change.change: record.door for record in tx.changes()}
    upgraded.close()
    assert doors == {"CHG-1": "ticket jira T-1", "CHG-2": "ticket jira CHG-2", "CHG-3": None, "CHG-4": None}
