"""The store under threads, under processes, and under a writer that is killed, on both databases."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import pytest
import sqlalchemy as sa

from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.store import SqlStore, open_store
from forebay.store.transaction import SqlTransaction
from tests.support.samples import NOW, an_event, store_change
from tests.support.stores import store, store_url  # noqa: F401

R = TypeVar("R")
MOST_WRITERS = 15  # connections of an engine: SQLAlchemy's pool of 5 and 10 more


def at_once(count: int, work: Callable[[int], R]) -> list[R]:
    """`work(0)`, `work(1)`, … in threads that start together."""
    gate = threading.Barrier(count)

    def wait_and_work(number: int) -> R:
        gate.wait(timeout=10)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_work, range(count)))


@contextmanager
def other_process(action: str, url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is about to do `action` and waits for `let_go`."""
    command = [sys.executable, "-m", "tests.support.store_process", action, url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def let_go(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[str]) -> str:
    out = process.stdout.read().strip()
    assert process.wait(timeout=30) == 0
    return out


def two_processes(action: str, url: str) -> list[str]:
    """Both begin at once; returns what each printed."""
    with other_process(action, url) as one, other_process(action, url) as two:
        let_go(one)
        let_go(two)
        return [ended(one), ended(two)]


def test_threads_write_one_chain(store: SqlStore) -> None:  # noqa: F811
    def write(_: int) -> None:
        for _ in range(10):
            with store.transaction() as tx:
                tx.audit(an_event())

    at_once(8, write)
    with store.transaction() as tx:
        assert len(tx.audit_entries()) == 80
    assert store.audit_break() is None


def test_one_of_two_equal_tickets_wins(store: SqlStore) -> None:  # noqa: F811
    def add(_: int) -> bool:
        with store.transaction() as tx:
            return tx.add_ticket("jira", "T-2", "1", "{}", NOW) is not None

    assert sorted(at_once(6, add)) == [False] * 5 + [True]


def test_one_of_many_gets_the_lease(store: SqlStore) -> None:  # noqa: F811
    def acquire(number: int) -> bool:
        with store.transaction() as tx:
            return tx.acquire_lease("db", f"thread {number}", NOW, timedelta(minutes=1)) is not None

    assert sum(at_once(6, acquire)) == 1


def test_processes_write_one_chain_and_one_of_them_wins(store: SqlStore, store_url: str) -> None:  # noqa: F811
    printed = " ".join(two_processes("race", store_url)).split()
    assert sorted(printed) == ["-", "-", "lease", "ticket"]
    with store.transaction() as tx:
        assert len(tx.audit_entries()) == 40
    assert store.audit_break() is None


def test_of_two_moves_the_second_sees_the_first(store: SqlStore) -> None:  # noqa: F811
    """Cancel wins: whoever looks at the state inside its transaction cannot be overtaken until it ends."""
    store_change(store, "CHG-1", ChangeState.PLANNED, ChangeState.SCHEDULED)
    looked, cancelling = threading.Event(), threading.Event()

    def step(_: int) -> None:
        with store.transaction() as tx:
            assert tx.change("CHG-1").state is ChangeState.SCHEDULED
            looked.set()
            assert cancelling.wait(timeout=10)
            tx.move("CHG-1", ChangeState.SHAPING, an_event())

    def cancel() -> ChangeState:
        assert looked.wait(timeout=10)
        cancelling.set()
        with store.transaction() as tx:
            seen = tx.change("CHG-1").state
            tx.move("CHG-1", ChangeState.CANCELLED, an_event())
        return seen

    with ThreadPoolExecutor(2) as pool:
        stepping, cancelled = pool.submit(step, 0), pool.submit(cancel)
        stepping.result()
        assert cancelled.result() is ChangeState.SHAPING


def test_a_writer_killed_in_its_transaction_leaves_nothing_and_blocks_nobody(store: SqlStore, store_url: str) -> None:  # noqa: F811
    with other_process("hang", store_url) as process:
        let_go(process)
        assert process.stdout.readline() == "inside\n"
        process.kill()
        process.wait()
    with store.transaction() as tx:
        assert tx.changes() == []
        assert tx.audit_entries() == []
    store_change(store)
    assert store.audit_break() is None


def test_a_writer_that_waits_too_long_is_told_to_try_again(
    store_url: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("forebay.store.engine.LOCK_SECONDS", 1)
    impatient = open_store(store_url)
    with impatient.transaction():
        with pytest.raises(OutsideError, match=r"locked|lock timeout") as busy, impatient.transaction():
            pass
        assert busy.value.retryable
    store_change(impatient)
    impatient.close()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)  # SQLite has no server that could go away
def test_a_transaction_cut_off_by_the_server_is_told_and_the_next_one_works(store: SqlStore, store_url: str) -> None:  # noqa: F811
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    engine = sa.create_engine(store_url, isolation_level="AUTOCOMMIT")
    with pytest.raises(OutsideError) as away, store.transaction() as tx, engine.connect() as connection:
        tx.audit(an_event())
        connection.exec_driver_sql(cut)
        tx.audit(an_event())
    assert away.value.retryable
    with engine.connect() as connection:
        connection.exec_driver_sql(cut)  # connections at rest, too
    assert store.versions("acme", "quota") == []
    with store.transaction() as tx:
        assert tx.audit_entries() == []
    engine.dispose()


def test_who_looks_waits_for_no_writer_and_sees_one_moment(store: SqlStore) -> None:  # noqa: F811
    store_change(store)
    with store.snapshot() as seen:
        before = seen.last_audit_number()
        with ThreadPoolExecutor(1) as pool, store.transaction() as tx:
            tx.audit(an_event())
            looked = pool.submit(_last_number, store).result(timeout=5)  # while this one holds the writers' lock
        assert looked == before, "what is not committed is not seen"
        assert seen.last_audit_number() == before, "nor what was committed since"
    assert _last_number(store) == before + 1


def test_writers_that_wait_leave_connections_to_who_looks(store: SqlStore) -> None:  # noqa: F811
    with ThreadPoolExecutor(MOST_WRITERS) as pool:
        with store.transaction():
            waiting = [pool.submit(_write, store) for _ in range(MOST_WRITERS - 1)]
            while store._writer.pool.checkedout() < MOST_WRITERS:
                assert not any(done.done() for done in waiting)
            assert pool.submit(_last_number, store).result(timeout=5) == 0
        assert sorted(done.result() for done in waiting) == list(range(1, MOST_WRITERS))


def test_through_a_look_nothing_is_written(store: SqlStore) -> None:  # noqa: F811
    with pytest.raises(OutsideError, match="read"), store.snapshot() as seen:
        SqlTransaction(seen._connection).audit(an_event())
    assert _last_number(store) == 0
    with store.transaction() as tx:  # the connection writes again
        tx.audit(an_event())
    assert _last_number(store) == 1


def _write(store: SqlStore) -> int:  # noqa: F811
    with store.transaction() as tx:
        return tx.audit(an_event()).number


def _last_number(store: SqlStore) -> int:  # noqa: F811
    with store.snapshot() as seen:
        return seen.last_audit_number()
