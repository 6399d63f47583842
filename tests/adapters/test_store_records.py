"""The store: policy versions, change rules and ticket deliveries, on both databases; times and odd text survive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from forebay.domain.access import ApiKey, Role
from forebay.domain.accuracy import Judged
from forebay.domain.errors import InputError
from forebay.domain.freeze import FreezeWindow
from forebay.domain.outbox import Message, MessageState
from forebay.domain.records import Leftover, Pin
from forebay.domain.rules import ChangeRule, ChangeRules
from forebay.store import SqlStore, open_store
from tests.support.samples import NOW, a_change, a_count, a_version, an_accuracy, an_event, store_change
from tests.support.stores import drop, postgresql_url, store, store_url  # noqa: F401


def test_versions_come_oldest_first_and_per_policy(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        for version in (a_version(10), a_version(2), a_version(1), a_version(1, entity="globex")):
            tx.put_version(version, an_event())
        assert tx.versions("acme", "quota") == [a_version(1), a_version(2), a_version(10)]
    assert store.versions("acme", "quota") == [a_version(1), a_version(2), a_version(10)]
    assert store.versions("globex", "quota") == [a_version(1, entity="globex")]
    assert store.versions("acme", "tier") == []


def test_a_version_is_replaced_and_audited(store: SqlStore) -> None:  # noqa: F811
    armed = a_version(armed_at=NOW + timedelta(microseconds=1))
    with store.transaction() as tx:
        tx.put_version(a_version(), an_event("accepted"))
    with store.transaction() as tx:
        tx.put_version(armed, an_event("armed"))
        assert [entry.event.action for entry in tx.audit_entries()] == ["accepted", "armed"]
    assert store.versions("acme", "quota") == [armed]


def test_reads_of_the_decision_point_do_not_wait_for_a_writer(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        tx.put_version(a_version(1), an_event())
    with store.transaction() as tx:
        tx.put_version(a_version(2), an_event())
        assert store.versions("acme", "quota") == [a_version(1)]  # a wait would end in OutsideError
    assert store.versions("acme", "quota") == [a_version(1), a_version(2)]


def test_change_rules_start_with_the_default_and_are_versioned(store: SqlStore) -> None:  # noqa: F811
    freeze = FreezeWindow(start=NOW, end=NOW + timedelta(days=2), reason="Black Friday")
    strict = ChangeRules(rules=(ChangeRule(name="strict", minimum_delay=timedelta(hours=4)),), freezes=(freeze,))
    with store.transaction() as tx:
        assert tx.rules() == ChangeRules()
        assert tx.put_rules(ChangeRules(freezes=(freeze,)), an_event("rules")) == 1
        assert tx.put_rules(strict, an_event("rules")) == 2
    with store.transaction() as tx:
        assert tx.rules() == strict
        assert len(tx.audit_entries()) == 2


def test_a_delivery_is_stored_once(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        first = tx.add_ticket("jira", "OPS-1", "1", '{"a": 1}', NOW)
        assert tx.add_ticket("jira", "OPS-1", "1", "another body", NOW) is None
        others = [tx.add_ticket(*key, "{}", NOW) for key in (("snow", "OPS-1", "1"), ("jira", "OPS-1", "2"))]
    with store.transaction() as tx:
        assert tx.tickets_without_run() == [first, *others]
    assert (first.body, first.run, first.failures) == ('{"a": 1}', None, 0)


def test_a_delivery_waits_until_it_has_a_run_however_often_that_failed(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        first = tx.add_ticket("jira", "OPS-1", "1", "{}", NOW)
        second = tx.add_ticket("jira", "OPS-2", "1", "{}", NOW)
    failed = first.model_copy(update={"failure": "the server is away", "failures": 3})
    with store.transaction() as tx:
        tx.put_ticket(failed)
        assert tx.tickets_without_run() == [failed, second]
        tx.put_ticket(failed.model_copy(update={"run": "brave-otter", "failure": None}))
    with store.transaction() as tx:
        assert tx.tickets_without_run() == [second]


def test_an_unknown_delivery_cannot_be_written(store: SqlStore) -> None:  # noqa: F811
    with store.transaction() as tx:
        ticket = tx.add_ticket("jira", "OPS-1", "1", "{}", NOW)
    with pytest.raises(InputError, match="no ticket delivery 99"), store.transaction() as tx:
        tx.put_ticket(ticket.model_copy(update={"number": 99}))


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(datetime(2026, 11, 24, 10, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))), id="zone"),
        pytest.param(datetime(2026, 10, 25, 0, 59, 59, 999999, tzinfo=UTC), id="last microsecond before DST ends"),
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), id="first"),
        pytest.param(datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), id="last"),
    ],
)
def test_times_come_back_as_the_same_instant_in_utc(store: SqlStore, at: datetime) -> None:  # noqa: F811
    with store.transaction() as tx:
        tx.add_change(a_change(), 1, an_event(at=at))
        tx.acquire_lease("web", "a", at - timedelta(0), timedelta(0))
    with store.transaction() as tx:
        for read in (tx.change("CHG-1").received_at, tx.lease("web").expires_at):
            assert read == at
            assert read.utcoffset() == timedelta(0)
            assert read.microsecond == at.microsecond


def test_a_time_is_stored_as_its_instant_whatever_its_zone(store: SqlStore) -> None:  # noqa: F811
    india = timezone(timedelta(hours=5, minutes=30))
    with store.transaction() as tx:
        lease = tx.acquire_lease("web", "a", NOW, timedelta(minutes=1))
        tx.release_lease(lease, NOW.astimezone(india))
    with store.transaction() as tx:
        assert tx.lease("web").expires_at == NOW


def test_a_time_without_a_zone_is_the_callers_fault(store: SqlStore) -> None:  # noqa: F811
    event = an_event().model_copy(update={"at": NOW.replace(tzinfo=None)})
    with (
        pytest.raises(InputError, match=r"2026-11-24T09:30:00.123456 has no zone") as refused,
        store.transaction() as tx,
    ):
        tx.put_rules(ChangeRules(), event)
    assert "INSERT" not in str(refused.value)


def test_a_value_the_database_cannot_hold_is_the_callers_fault() -> None:
    """Only PostgreSQL refuses a NUL; whoever sent it must hear so rather than be told to try again."""
    url = postgresql_url()
    opened = open_store(url)
    with pytest.raises(InputError, match=r"NUL"), opened.transaction() as tx:
        tx.add_ticket("jira", "OPS-1", "1", "\u0000", NOW)
    opened.close()
    drop(url)


def test_a_key_is_found_by_its_id_also_while_others_write(store: SqlStore) -> None:  # noqa: F811
    key = ApiKey(
        id="0" * 12,
        hash="f" * 64,
        person="zoe",
        roles=frozenset({Role.VIEWER}),
        made_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    used = key.model_copy(update={"last_used_at": NOW, "entities": frozenset({"acme"})})
    other = key.model_copy(update={"id": "1" * 12})
    with store.transaction() as tx:
        tx.put_key(key, an_event("key created"))
        tx.put_key(other, an_event("key created"))
    with store.transaction() as tx:
        tx.put_key(used)
        assert store.key(key.id) == key
        assert (tx.key(key.id), tx.keys()) == (used, [used, other])
        assert len(tx.audit_entries()) == 2, "its use is no event"
    assert (store.key(key.id), store.key("2" * 12)) == (used, None)


def test_accuracies_are_replaced_by_what_they_judge_and_come_oldest_first(store: SqlStore) -> None:  # noqa: F811
    today = an_accuracy()
    earlier = an_accuracy(until=NOW - timedelta(days=1), workload="web")
    of_a_plan = an_accuracy(judged=Judged.PLAN, change="CHG-1")
    mended = today.model_copy(update={"coverage": 0.5})
    with store.transaction() as tx:
        for accuracy in (today, of_a_plan, earlier, mended):
            tx.put_accuracy(accuracy)
        assert tx.accuracies() == [earlier, mended, of_a_plan]
        assert tx.accuracies("cart") == []
        assert tx.audit_entries() == []


def test_a_pin_is_replaced_and_dropped(store: SqlStore) -> None:  # noqa: F811
    pin = Pin(change="CHG-1", workload="web", units=9, until=NOW, actor="bob", reason="a broadcast")
    store_change(store)
    with store.transaction() as tx:
        tx.put_pin(pin, an_event())
        tx.put_pin(pin.model_copy(update={"workload": "api"}), an_event())
        tx.put_pin(later := pin.model_copy(update={"until": NOW + timedelta(hours=1)}), an_event("pinned again"))
    with store.transaction() as tx:
        assert [p for p in tx.pins("CHG-1") if p.workload == "web"] == [later]
        assert len(tx.pins("CHG-1")) == 2
        tx.drop_pins("CHG-1", an_event("unpinned"), "web")
        assert [p.workload for p in tx.pins("CHG-1")] == ["api"]
        tx.drop_pins("CHG-1", an_event("unpinned"))
        assert tx.pins("CHG-1") == []
        assert [e.event.action for e in tx.audit_entries()][-3:] == ["pinned again", "unpinned", "unpinned"]


def test_what_is_left_is_kept_until_it_is_dropped(store: SqlStore) -> None:  # noqa: F811
    left = Leftover(
        change="CHG-1", workload="web", live=a_count(9), ours=a_count(8), restore=a_count(4), reason="why", since=NOW
    )
    store_change(store)
    with store.transaction() as tx:
        tx.put_leftover(left, an_event())
        tx.put_leftover(left, an_event())
    with store.transaction() as tx:
        assert tx.leftovers() == [left]
        tx.drop_leftovers("CHG-1", an_event("settled"))
        assert tx.leftovers() == []


def test_a_message_is_stored_once_and_found_by_state_and_lane(store: SqlStore) -> None:  # noqa: F811
    first = Message(outlet="push to ssm", lane="acme/quota", key="1", body="☃", made_at=NOW, due_at=NOW)
    second = first.model_copy(update={"key": "2", "change": "CHG-1"})
    with store.transaction() as tx:
        stored = [tx.add_message(m) for m in (first, second, first)]
        assert stored == [first.model_copy(update={"number": 1}), second.model_copy(update={"number": 2}), None]
        assert stored[0] is not None
        tx.put_message(stored[0].claimed(NOW).sent())
    with store.transaction() as tx:
        assert [m.key for m in tx.messages(MessageState.WAITING)] == ["2"]
        assert [m.attempts for m in tx.messages(MessageState.SENT, ("push to ssm", "acme/quota"))] == [1]
        assert tx.messages(MessageState.SENT, ("push to ssm", "other")) == []
        with pytest.raises(InputError, match="no message 9"):
            tx.put_message(first.model_copy(update={"number": 9}))


def test_what_another_process_writes_is_seen_at_once(store: SqlStore, store_url: str) -> None:  # noqa: F811
    assert store.versions("acme", "quota") == []
    other = open_store(store_url)
    for version in (a_version(1), a_version(2)):
        with other.transaction() as tx:
            tx.put_version(version, an_event())
        assert store.versions("acme", "quota")[-1] == version
    with other.transaction() as tx:
        tx.put_version(a_version(2, armed_at=NOW), an_event())
    other.close()
    assert store.versions("acme", "quota") == [a_version(1), a_version(2, armed_at=NOW)]


def test_a_read_outlives_its_lost_connection(store: SqlStore, store_url: str) -> None:  # noqa: F811
    with store.transaction() as tx:
        tx.put_version(a_version(1), an_event())
    assert store.versions("acme", "quota") == [a_version(1)]
    if store_url.startswith("postgresql"):
        engine = sa.create_engine(store_url, isolation_level="AUTOCOMMIT")
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forebay'"
        with engine.connect() as connection:
            assert connection.exec_driver_sql(others).rowcount > 0
        engine.dispose()
    assert store.versions("acme", "quota") == [a_version(1)]


def test_policies_that_changed_are_found_with_all_their_versions(store: SqlStore) -> None:  # noqa: F811
    hour = timedelta(hours=1)
    with store.transaction() as tx:
        for version in (a_version(2, armed_at=NOW + 2 * hour), a_version(1), a_version(1, entity="globex")):
            tx.put_version(version, an_event())
    switch = NOW + 2 * hour
    assert store.changed_versions(NOW + hour, switch - timedelta(microseconds=1)) == []
    assert [v.version for v in store.changed_versions(NOW + hour, switch)] == [1, 2]
    assert len(store.changed_versions(NOW, NOW)) == 3
