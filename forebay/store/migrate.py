"""Brings a database's tables to the schema this version of Forebay needs; the migrations are in the package."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from forebay.domain.errors import InputError
from forebay.store.engine import LOCK_SECONDS, connect, our_errors, parse_url, shown
from forebay.store.schema import SCHEMA

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number, but the same in every process: migrations wait for each other on it.
MIGRATION_LOCK = 4_072_111


def migrate(url: str) -> None:
    """Create or upgrade the tables; nothing is done where they are up to date.

    Everything happens in one transaction under a lock, so that two processes may call it at once and a crash leaves
    the old schema. Raises InputError for a URL that cannot be used or a newer schema, OutsideError if the database
    is away.
    """
    # Alembic takes a while to import, and nothing but this needs it.
    from alembic import command
    from alembic.config import Config

    database = parse_url(url)
    engine = connect(database)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with our_errors(database), engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            if (found := schema_of(connection)) is not None and found > SCHEMA:
                raise InputError(too_new(shown(database), found))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            if engine.dialect.name == "sqlite":
                write_ahead(connection)
    finally:
        engine.dispose()


def write_ahead(connection: Connection) -> None:
    """Kept in the file: readers then do not wait for the writer, nor it for them.

    SQLite does not wait for a writer here, as it does everywhere else: another process that migrates may just begin.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except OperationalError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def schema_of(connection: Connection) -> str | None:
    """The database's migration number; None if it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def too_new(store: str, found: str) -> str:
    return (
        f"the store {store} has schema {found}, written by a newer Forebay; this one knows {SCHEMA}: "
        "upgrade it with `pip install --upgrade forebay`"
    )
