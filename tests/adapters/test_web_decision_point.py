"""The policy decision point: exact at the microsecond, honest about what it does not know, never cached too long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forebay.app.context import Context
from forebay.app.people import cancel
from forebay.app.policies import import_policy
from forebay.app.receive import receive
from forebay.domain.change import ChangeRequest
from forebay.domain.lifecycle import ChangeState
from forebay.domain.policy import PolicyVersion
from forebay.store import open_store
from tests.support.samples import NOW, an_event
from tests.support.stores import sqlite_url
from tests.support.web import HandClock, a_client, a_context

URL = "/v1/policies/acme/quota"
SWITCH = NOW + timedelta(hours=2)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    """Version 1 is in force; CHG-7 brings version 2 at SWITCH, and is not armed yet."""
    store = open_store(sqlite_url(tmp_path))
    context = a_context(store, HandClock())
    import_policy(context, "acme", "quota", "quota", {"limit": 100}, "ann", "as it was")
    request = {
        "change": "CHG-7",
        "entity": "acme",
        "policy": "quota",
        "effective_at": SWITCH,
        "impacts": [{"workload": "web", "factor": 2}],
        "requested_by": "ann",
        "document": {"limit": 200},
    }
    receive(context, ChangeRequest.model_validate(request))
    yield context
    store.close()


@pytest.fixture
def client(ctx: Context) -> TestClient:
    return a_client(ctx)


def arm(ctx: Context) -> None:
    """As the controller does once the capacity is verified."""
    event = an_event(change="CHG-7", at=ctx.clock.now())
    with ctx.store.transaction() as tx:
        version = tx.versions("acme", "quota")[-1]
        tx.put_version(version.model_copy(update={"armed_at": ctx.clock.now()}), event)
        for state in (ChangeState.PLANNED, ChangeState.SCHEDULED, ChangeState.ARMED):
            tx.move("CHG-7", state, event)


def test_the_answer_says_what_is_in_force_since_when_and_by_which_change(ctx: Context, client: TestClient) -> None:
    arm(ctx)
    assert client.get(URL).json() == {
        "entity": "acme",
        "policy": "quota",
        "kind": "quota",
        "version": 1,
        "document": {"limit": 100},
        "change": None,
        "in_force_from": NOW.isoformat(),
        "at": NOW.isoformat(),
        "next_switch_at": SWITCH.isoformat(),
    }
    ctx.clock.time = SWITCH
    after = client.get(URL).json()
    assert (after["version"], after["document"], after["change"]) == (2, {"limit": 200}, "CHG-7")
    assert (after["in_force_from"], after["next_switch_at"]) == (SWITCH.isoformat(), None)


def test_it_switches_at_the_microsecond_with_nobody_doing_anything(ctx: Context, client: TestClient) -> None:
    arm(ctx)
    ctx.clock.time = SWITCH - MICROSECOND
    assert client.get(URL).json()["version"] == 1
    ctx.clock.time = SWITCH
    assert client.get(URL).json()["version"] == 2


def test_what_is_not_armed_never_switches(ctx: Context, client: TestClient) -> None:
    ctx.clock.time = SWITCH + timedelta(days=1)
    assert client.get(URL).json()["version"] == 1


def test_armed_late_it_is_in_force_from_the_arming_on_and_not_before(ctx: Context, client: TestClient) -> None:
    ctx.clock.time = SWITCH + timedelta(minutes=7)
    assert client.get(URL).json()["version"] == 1
    arm(ctx)
    assert client.get(URL).json()["version"] == 2
    before = ctx.clock.time - MICROSECOND
    assert client.get(URL, params={"at": before.isoformat()}).json()["version"] == 1


def test_cancelled_it_never_switches_though_it_was_armed(ctx: Context, client: TestClient) -> None:
    arm(ctx)
    ctx.clock.time = SWITCH - MICROSECOND
    cancel(ctx, "CHG-7", "ann", "not wanted any more")
    ctx.clock.time = SWITCH + timedelta(days=1)
    answer = client.get(URL).json()
    assert (answer["version"], answer["next_switch_at"]) == (1, None)


@given(off=st.integers(-(10**12), 10**12).map(lambda us: timedelta(microseconds=us)))
@example(off=timedelta(0))
@example(off=-MICROSECOND)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_asked_about_a_time_it_answers_for_that_time(armed: TestClient, off: timedelta) -> None:
    at = SWITCH + off
    answer = armed.get(URL, params={"at": at.isoformat()})
    expected = 404 if at < NOW else (1 if off < timedelta(0) else 2)
    assert (answer.status_code if answer.status_code == 404 else answer.json()["version"]) == expected


@pytest.fixture
def armed(ctx: Context, client: TestClient) -> TestClient:
    arm(ctx)
    return client


def test_a_time_in_another_zone_is_the_same_instant(armed: TestClient) -> None:
    answer = armed.get(f"{URL}?at=2026-11-24T12:30:00.123456%2B01:00").json()
    assert (answer["version"], answer["at"]) == (2, SWITCH.isoformat())


@pytest.mark.parametrize(
    ("at", "words"),
    [
        pytest.param("2026-11-24T12:30:00", "has no zone: write its offset", id="naive"),
        pytest.param("2026-11-24", "has no zone", id="a date"),
        pytest.param("tomorrow", "Invalid isoformat", id="no time"),
        pytest.param("", "Invalid isoformat", id="empty"),
        pytest.param("2026-11-24T12:30:00 01:00", "its + as %2B", id="a plus that the URL turned into a blank"),
        pytest.param("0001-01-01T00:00:00+14:00", "beyond the calendar", id="before the calendar"),
    ],
)
def test_what_is_no_time_with_a_zone_is_refused_with_the_mend(armed: TestClient, at: str, words: str) -> None:
    answer = armed.get(URL, params={"at": at})
    assert answer.status_code == 400
    assert words in " ".join(answer.json()["faults"])


def test_where_nothing_is_in_force_it_says_why(ctx: Context, client: TestClient) -> None:
    unknown = client.get("/v1/policies/acme/tier")
    assert unknown.status_code == 404
    assert "'tier' of 'acme' is in force" in unknown.json()["detail"]
    assert unknown.json()["detail"].endswith("and none is armed")

    start = NOW + timedelta(seconds=30)
    version = PolicyVersion(
        entity="acme",
        policy="tier",
        kind="tier",
        version=1,
        document={},
        change=None,
        effective_at=start,
        armed_at=NOW,
    )
    with ctx.store.transaction() as tx:
        tx.put_version(version, an_event())
    early = client.get("/v1/policies/acme/tier")
    assert early.status_code == 404
    assert early.json()["detail"].endswith(f"the next one takes force at {start.isoformat()}")
    assert "max-age" in early.headers["cache-control"], "a 404 that is kept for long would hide the switch"


@pytest.mark.parametrize("odd", ["a%00b", "%ED%A0%80", "..%2f", "%3Cscript%3E"])
def test_odd_names_are_not_found_and_nothing_worse(client: TestClient, odd: str) -> None:
    assert client.get(f"/v1/policies/{odd}/quota").status_code == 404


@pytest.mark.parametrize(
    ("before_switch", "max_age"),
    [
        pytest.param(timedelta(hours=1), 1, id="long before: it may be armed, deferred or cancelled any moment"),
        pytest.param(timedelta(seconds=1), 1, id="exactly as long as it may be kept"),
        pytest.param(timedelta(seconds=1) - MICROSECOND, 0, id="a copy kept one second would outlive the switch"),
        pytest.param(MICROSECOND, 0, id="right before"),
        pytest.param(timedelta(0), 1, id="switched"),
    ],
)
def test_no_copy_outlives_the_switch(ctx: Context, armed: TestClient, before_switch: timedelta, max_age: int) -> None:
    ctx.clock.time = SWITCH - before_switch
    assert armed.get(URL).headers["cache-control"] == f"max-age={max_age}"


def test_the_tag_stays_while_the_answer_does_and_no_longer(ctx: Context, client: TestClient) -> None:
    first = client.get(URL).headers["etag"]
    ctx.clock.time += timedelta(seconds=10)
    same = client.get(URL, headers={"If-None-Match": f'"other", {first}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first)
    assert same.headers["cache-control"] == "max-age=1"

    arm(ctx)  # the version is the same, the announced switch is not
    announced = client.get(URL, headers={"If-None-Match": first})
    assert announced.status_code == 200
    ctx.clock.time = SWITCH
    switched = client.get(URL, headers={"If-None-Match": announced.headers["etag"]})
    assert (switched.status_code, switched.json()["version"]) == (200, 2)


def test_it_answers_while_a_writer_holds_the_store(ctx: Context, client: TestClient) -> None:
    with ctx.store.transaction() as tx:
        tx.audit(an_event())
        assert client.get(URL).json()["version"] == 1


def changed(client: TestClient, since: datetime) -> list[tuple[int | None, str | None]]:
    answer = client.get("/v1/policies", params={"changed_since": since.isoformat()})
    assert answer.headers["cache-control"] == "no-store"
    return [(policy["version"], policy["next_switch_at"]) for policy in answer.json()["policies"]]


def test_pollers_are_told_what_changed_and_the_next_switch_in_advance(ctx: Context, client: TestClient) -> None:
    later = NOW + timedelta(minutes=10)
    assert changed(client, NOW - timedelta(days=1)) == [(1, None)]
    ctx.clock.time = later
    assert changed(client, later) == []
    arm(ctx)
    ctx.clock.time = later + timedelta(minutes=5)
    assert changed(client, later) == [(1, SWITCH.isoformat())], "announced"
    assert changed(client, ctx.clock.time) == []

    ctx.clock.time = SWITCH - MICROSECOND
    assert changed(client, SWITCH - timedelta(minutes=5)) == []
    ctx.clock.time = SWITCH
    assert changed(client, SWITCH - MICROSECOND) == [(2, None)], "by the clock alone"
    assert changed(client, SWITCH) == [], "asked with the time of the answer, it was told"


def test_pollers_are_told_that_an_announced_switch_will_not_be(ctx: Context, client: TestClient) -> None:
    arm(ctx)
    ctx.clock.time = NOW + timedelta(minutes=10)
    cancel(ctx, "CHG-7", "ann", "not wanted any more")
    assert changed(client, NOW + timedelta(minutes=9)) == [(1, None)]


def test_what_was_written_while_a_poller_asked_is_told_the_next_time(ctx: Context, client: TestClient) -> None:
    """A writer looks at the clock, then commits: a poller that asked in between must hear of it."""
    ctx.clock.time = stamped = NOW + timedelta(minutes=10)
    with ctx.store.transaction() as tx:
        version = tx.versions("acme", "quota")[-1]
        tx.put_version(version.model_copy(update={"armed_at": stamped}), an_event(at=stamped))
        ctx.clock.time = stamped + timedelta(seconds=20)
        asked = client.get("/v1/policies", params={"changed_since": stamped.isoformat()}).json()
        assert asked["policies"] == []
    ctx.clock.time += timedelta(seconds=5)
    again = client.get("/v1/policies", params={"changed_since": asked["at"]}).json()
    assert [p["next_switch_at"] for p in again["policies"]] == [SWITCH.isoformat()]


def test_any_time_of_the_calendar_may_be_asked_for(ctx: Context, client: TestClient) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert changed(client, first) == [(1, None)]
    assert changed(client, last) == []
    arm(ctx)
    assert client.get(URL, params={"at": first.isoformat()}).status_code == 404
    assert client.get(URL, params={"at": last.isoformat()}).json()["version"] == 2


def test_since_when_must_be_a_time(client: TestClient) -> None:
    answer = client.get("/v1/policies", params={"changed_since": "yesterday"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "changed_since='yesterday' is not a time with a zone")


def test_a_misspelt_time_is_not_taken_for_now(client: TestClient) -> None:
    answer = client.get(URL, params={"att": "2026-01-01T00:00:00Z"})
    assert answer.status_code == 422 and "no query parameter att here: it takes at" in answer.text


def test_of_two_times_none_is_taken_for_the_one_that_was_meant(client: TestClient) -> None:
    answer = client.get(f"{URL}?at=2026-01-01T00:00:00Z&at=2027-01-01T00:00:00Z")
    assert answer.status_code == 422 and "the query parameter at is given twice" in answer.text
    assert client.get("/v1/changes?limit=1&limit=2").status_code == 422
