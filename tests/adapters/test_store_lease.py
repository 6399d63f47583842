"""The store: one writer per workload, told from an old one by its fencing number, on both databases."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.domain.errors import LostLease
from forebay.domain.records import Lease
from forebay.store import SqlStore
from tests.support.samples import NOW
from tests.support.stores import store, store_url  # noqa: F401

TTL = timedelta(seconds=30)
TICK = timedelta(microseconds=1)


def test_a_first_lease_has_fencing_one(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        assert tx.lease("web") is None
        lease = tx.acquire_lease("web", "a", NOW, TTL)
    assert lease == Lease(workload="web", holder="a", fencing=1, expires_at=NOW + TTL)
    with store.transaction() as tx:
        assert tx.lease("web") == lease
        tx.check_lease(lease, NOW + TTL - TICK)


@pytest.mark.parametrize(
    ("holder", "after", "fencing"),
    [
        pytest.param("a", TTL - TICK, 1, id="the holder renews in time"),
        pytest.param("a", TTL, 2, id="the holder comes back too late"),
        pytest.param("b", TTL - TICK, None, id="another has to wait"),
        pytest.param("b", TTL, 2, id="another takes over at the expiry"),
    ],
)
def test_who_gets_a_held_lease(store: SqlStore, holder: str, after: timedelta, fencing: int | None) -> None:  # noqa: F811
    with store.transaction() as tx:
        first = tx.acquire_lease("web", "a", NOW, TTL)
    with store.transaction() as tx:
        second = tx.acquire_lease("web", holder, NOW + after, TTL)
        assert (second.fencing if second else None) == fencing
        latest = tx.lease("web")
        assert latest == (second or first)
        assert tx.acquire_lease("db", "b", NOW, TTL).fencing == 1  # workloads do not share a lease


def test_a_lost_lease_is_told(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        never = Lease(workload="web", holder="a", fencing=1, expires_at=NOW + TTL)
        with pytest.raises(LostLease, match="a lost the lease 1 on web: nobody holds it"):
            tx.check_lease(never, NOW)
        old = tx.acquire_lease("web", "a", NOW, TTL)
        with pytest.raises(LostLease, match="expired at 2026-11-24T09:30:30"):
            tx.check_lease(old, NOW + TTL)
        tx.acquire_lease("web", "b", NOW + TTL, TTL)
        with pytest.raises(LostLease, match="a lost the lease 1 on web: b holds it with 2"):
            tx.check_lease(old, NOW + TTL)


def test_a_renewal_covers_the_lease_already_in_hand(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        first = tx.acquire_lease("web", "a", NOW, TTL)
        tx.acquire_lease("web", "a", NOW + TTL / 2, TTL)
        tx.check_lease(first, NOW + TTL)


def test_a_released_lease_is_free_at_once(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        first = tx.acquire_lease("web", "a", NOW, TTL)
        tx.release_lease(first, NOW)
        with pytest.raises(LostLease):
            tx.check_lease(first, NOW)
        second = tx.acquire_lease("web", "b", NOW, TTL)
        assert second.fencing == 2
        tx.release_lease(first, NOW)  # not ours any more
        tx.check_lease(second, NOW)
        tx.release_lease(second, NOW + TTL * 2)  # late: it must not live on until then
        assert tx.lease("web").expires_at == NOW + TTL


_workloads = (f"workload-{number}" for number in itertools.count())
holders = st.sampled_from("abc")
moves = st.one_of(
    st.tuples(st.just("acquire"), holders),
    st.tuples(st.just("release"), holders),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 10, 29, 30, 31])),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(moves, max_size=14))
def test_there_are_never_two_holders_and_fencing_only_grows(store: SqlStore, script: list) -> None:  # noqa: F811
    """Each holder believes its last lease for as long as the store confirms it, as a controller does."""
    workload, now = next(_workloads), NOW
    believed: dict[str, Lease] = {}
    given_out: list[Lease] = []

    def valid(holder: str) -> bool:
        if holder not in believed:
            return False
        with store.transaction() as tx:
            try:
                tx.check_lease(believed[holder], now)
            except LostLease:
                return False
            return True

    for move, value in script:
        if move == "wait":
            now += timedelta(seconds=value)
        elif move == "release" and value in believed:
            with store.transaction() as tx:
                tx.release_lease(believed[value], now)
            assert not valid(value)
        elif move == "acquire":
            taken = any(valid(other) for other in "abc" if other != value)
            renewal = valid(value)
            with store.transaction() as tx:
                lease = tx.acquire_lease(workload, value, now, TTL)
            assert (lease is None) == taken
            if lease is not None:
                last = given_out[-1].fencing if given_out else 0
                assert lease.fencing == (last if renewal else last + 1)
                given_out.append(lease)
                believed[value] = lease
                assert valid(value)
        assert sum(valid(holder) for holder in "abc") <= 1
