"""Connections to SQLite and PostgreSQL: their settings, their time limits, and their errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from forebay.domain.errors import InputError, OutsideError

CONNECT_SECONDS = 5
LOCK_SECONDS = 10
STATEMENT_SECONDS = 30
# Errors show no values, which may be secret; JSON is read by its model (schema.ModelJson), in one go.
SHARED: dict[str, Any] = {"hide_parameters": True, "json_deserializer": lambda text: text}
ACCEPTED = "sqlite:////var/lib/forebay/forebay.db or postgresql://user:password@host:5432/forebay"
ESCAPES = "in user and password write @ as %40 and : as %3A"


def parse_url(text: str) -> URL:
    """Raises InputError for anything but a SQLite file or PostgreSQL."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Neither the text nor the cause is told: where a URL cannot be read, any part of it may be the password's.
        raise InputError(f"the store URL cannot be read: write {ACCEPTED}, and {ESCAPES}") from None
    if "@" in (url.host or ""):
        raise InputError(f"the store URL has more than one @: {ESCAPES}")
    match url.drivername:
        case "postgresql" | "postgresql+psycopg":
            return url.set(drivername="postgresql+psycopg")
        case "sqlite" | "sqlite+pysqlite" if url.database and url.database != ":memory:":
            return url
        case "sqlite" | "sqlite+pysqlite":
            raise InputError(f"the store has no file, so it would be lost with the process: write {ACCEPTED}")
    raise InputError(f"the store cannot be kept in {url.drivername!r}: write {ACCEPTED}")


def shown(url: URL) -> str:
    """The URL as it may be printed: without its password, and without options, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def connect(url: URL, *, reads_only: bool = False) -> Engine:
    """An engine of which every wait has an end. `reads_only`: for single reads, which need no BEGIN.

    Raises InputError if a SQLite file's folder does not exist.
    """
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        folder = Path(url.database).absolute().parent
        if not folder.is_dir():
            raise InputError(f"the store {shown(url)} needs the folder {folder}, which does not exist: create it")
        engine = create_engine(url, connect_args={"timeout": LOCK_SECONDS}, **SHARED)
        event.listen(engine, "connect", _set_up_sqlite)
        if reads_only:
            event.listen(engine, "connect", _refuse_writes)
        return engine
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_SECONDS,
        "idle_in_transaction_session_timeout": STATEMENT_SECONDS,
    }
    options = " ".join(f"-c {name}={seconds}s" for name, seconds in limits.items())
    arguments: dict[str, Any] = {
        "application_name": "forebay",
        "connect_timeout": CONNECT_SECONDS,
        # A host that vanishes sends no reset: without these a read waits for hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": LOCK_SECONDS * 1000,
        "options": f"{options} {url.query.get('options', '')}",
    }
    if reads_only:  # without a ping, which costs as much as the read: who reads tries twice
        return create_engine(url, connect_args=arguments, isolation_level="AUTOCOMMIT", **SHARED)
    # The ping lets a restarted database cost nobody an error.
    return create_engine(url, connect_args=arguments, pool_pre_ping=True, **SHARED)


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # Python's driver begins transactions by itself, late and not before DDL; None leaves BEGIN to us.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _refuse_writes(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


@contextmanager
def our_errors(url: URL) -> Iterator[None]:
    """Turns the database's errors into ours: InputError for values it cannot hold, else OutsideError.

    Trying again can help where the database is away, busy or restarting; not where it refuses what was asked.
    """
    try:
        yield
    except SQLAlchemyError as error:
        # SQLAlchemy's own text repeats the statement and its values, which may be secret: only the cause is told.
        cause = " ".join(str(error.orig if isinstance(error, StatementError) else error).split())
        if isinstance(error, DataError) or type(error) is StatementError:
            raise InputError(f"the store cannot hold this value: {cause}") from error
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        retryable = lost or isinstance(error, OperationalError | InterfaceError | PoolTimeout)
        raise OutsideError(f"store {shown(url)}: {cause}", retryable=retryable) from error
