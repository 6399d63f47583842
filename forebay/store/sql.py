"""The store on a SQL database: transactions, the decision point's fast reads, the check of the audit chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, select

from forebay.domain.access import ApiKey
from forebay.domain.audit import GENESIS, AuditEntry, first_break, first_difference
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.policy import PolicyVersion
from forebay.store import schema
from forebay.store.engine import LOCK_SECONDS, STATEMENT_SECONDS, connect, our_errors, parse_url, shown
from forebay.store.migrate import schema_of, too_new
from forebay.store.seals import misfiled, stored_rows
from forebay.store.snapshot import SqlSnapshot, audit_entry, read_changed, read_key, read_versions
from forebay.store.transaction import SqlTransaction

R = TypeVar("R")
ENTRIES_AT_A_TIME = 1000
MOST_KNOWN = 10_000  # policies
# From a writer's look at the clock until what it wrote can be read: its waits for the lock and for each statement.
LONGEST_WRITE = timedelta(seconds=LOCK_SECONDS + STATEMENT_SECONDS)
FIRST = datetime.min.replace(tzinfo=UTC) + LONGEST_WRITE  # nothing before it lies in the calendar


class SqlStore:
    """Implements `ports.Store`. May be shared by threads; a forked process opens its own."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._writer = connect(url)
        self._sqlite = url.get_backend_name() == "sqlite"
        # Connections of their own: whoever reads must be answered even while all writers wait for each other.
        self._reader = connect(url, reads_only=True)
        # A look is many reads, which cannot be tried twice together: on PostgreSQL its connections are pinged first.
        self._looker = self._reader if self._sqlite else connect(url)
        self._known: dict[tuple[str, str], tuple[str, tuple[PolicyVersion, ...]]] = {}

    @contextmanager
    def transaction(self) -> Iterator[SqlTransaction]:
        """Commit at the end of the block, roll back if it raises. Writers wait for each other, at most ten seconds.

        Raises OutsideError if the database is away or too busy, and for what it refuses.
        """
        with our_errors(self._url), self._writer.begin() as connection:
            if self._sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            # On PostgreSQL this lock is what makes writers wait; SQLite has its own and ignores it.
            connection.execute(select(schema.audit_head).with_for_update()).one()
            yield SqlTransaction(connection)

    @contextmanager
    def snapshot(self) -> Iterator[SqlSnapshot]:
        """What is committed now; waits for no writer, and nothing can be written. Raises OutsideError."""
        with self._reading() as connection:
            yield SqlSnapshot(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A read-only transaction in which everything is seen as of one moment."""
        begin = "BEGIN" if self._sqlite else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        with our_errors(self._url), self._looker.connect() as connection:
            connection.exec_driver_sql(begin)
            yield connection

    def versions(self, entity: str, policy: str) -> Sequence[PolicyVersion]:
        """All versions of a policy, oldest first, without the writers' lock. Raises OutsideError."""
        return self._read(lambda connection: self._versions(connection, entity, policy))

    def _read(self, query: Callable[[Connection], R]) -> R:
        """Tried twice: the connection may be one to a database that has been restarted since."""
        try:
            with our_errors(self._url), self._reader.connect() as connection:
                return query(connection)
        except OutsideError as error:
            if not error.retryable:
                raise
        with our_errors(self._url), self._reader.connect() as connection:
            return query(connection)

    def _versions(self, connection: Connection, entity: str, policy: str) -> Sequence[PolicyVersion]:
        """What was read before is still so if the audit log ends in the same entry: every write adds one.

        Its hash tells, not its number: a database put back from a backup grows to the same number with other entries.
        """
        written: str = connection.exec_driver_sql("SELECT hash FROM audit_head").scalar_one()
        before, versions = self._known.get((entity, policy), ("", ()))
        if before != written:
            versions = tuple(read_versions(connection, entity, policy))
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[entity, policy] = (written, versions)
        return list(versions)

    def changed_versions(self, since: datetime, until: datetime) -> Sequence[PolicyVersion]:
        """As the port says; without the writers' lock. Raises OutsideError."""
        return self._read(lambda c: read_changed(c, max(since, FIRST) - LONGEST_WRITE, since, until))

    def key(self, key_id: str) -> ApiKey | None:
        """The API key of that id, without the writers' lock. Raises OutsideError."""
        return self._read(lambda connection: read_key(connection, key_id))

    def audit_break(self) -> str | None:
        """None if the audit log is whole and the rows that decide are as it says; else what is not, in words: an entry
        that was altered, is missing or was cut off, or a policy version, change rules or approvals of another hand.

        Reads the log once, a thousand entries at a time, while writers go on. Raises OutsideError.
        """
        # One moment, so that an entry written meanwhile does not look like one too many.
        with self._reading() as connection:
            head = connection.execute(select(schema.audit_head)).one_or_none()
            last, unread = (0, GENESIS), 1
            sealed: dict[str, str] = {}

            def entries() -> Iterator[AuditEntry]:
                nonlocal last, unread
                query = select(schema.audit).order_by(schema.audit.c.number)
                for row in connection.execution_options(yield_per=ENTRIES_AT_A_TIME).execute(query):
                    entry = audit_entry(row)
                    if entry.event.change != row.change:
                        raise ValueError(f"its index names change {row.change!r}, it {entry.event.change!r}")
                    last, unread = (entry.number, entry.hash), entry.number + 1
                    if (seal := entry.event.seal) is not None:
                        sealed[seal.row] = seal.digest
                    yield entry

            try:
                broken = first_break(entries())
            except ValueError as error:  # of JSON or of its model
                return f"entry {unread} was altered: {error}"
            if broken is None and (head is None or last != (head.number, head.hash)):
                return f"the log ends with entry {last[0]}, but {head.number if head else 'no'} entries were written"
            return broken or _difference(connection, sealed)

    def close(self) -> None:
        """Give back all connections."""
        for engine in (self._writer, self._reader, self._looker):
            engine.dispose()


def _difference(connection: Connection, sealed: Mapping[str, str]) -> str | None:
    try:
        return first_difference(sealed, dict(stored_rows(connection))) or misfiled(connection)
    except ValueError as error:  # of JSON
        return f"a policy version, change rules or an approval was altered: {error}"


def open_store(url: str) -> SqlStore:
    """The store at `sqlite:////path/to/file` or `postgresql://user:password@host/database`.

    Raises InputError for a URL that cannot be used and for a schema other than this version's (the message says which
    command mends it), OutsideError if the database is away.
    """
    database = parse_url(url)
    name = shown(database)
    missing = f"the store {name} has no tables yet: run `forebay migrate` once"
    if database.get_backend_name() == "sqlite" and not Path(database.database or "").exists():
        raise InputError(missing)  # SQLite would make an empty file of it
    store = SqlStore(database)
    with our_errors(database), store._reader.connect() as connection:
        found = schema_of(connection)
    if found == schema.SCHEMA:
        return store
    store.close()
    if found is None:
        raise InputError(missing)
    if found > schema.SCHEMA:
        raise InputError(too_new(name, found))
    raise InputError(f"the store {name} has schema {found}, this Forebay needs {schema.SCHEMA}: run `forebay migrate`")
