"""The ticketing receiver: each answer it can give, and that a refused delivery changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.app.context import Context
from forebay.app.tickets import sweep_tickets
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER
from forebay.domain.source import GENERIC
from forebay.domain.ticket import parse_delivery
from forebay.store import SqlStore, open_store
from forebay.web import answers
from tests.support.samples import NOW
from tests.support.stores import sqlite_url
from tests.support.web import OLD_SECRET, HandClock, a_client, a_context, a_delivery, signed, stored_tickets

URL = "/v1/tickets/generic"
SMALL = GENERIC.model_copy(update={"max_body_bytes": 1000})


@pytest.fixture
def client(ctx: Context) -> TestClient:
    return a_client(ctx)


def test_a_signed_delivery_is_stored_and_answered(ctx: Context, client: TestClient) -> None:
    answer = client.post(URL, **signed(a_delivery()))
    assert answer.status_code == 202
    assert answer.json() == {"ticket": "CHG-7", "revision": "1", "change": "CHG-7", "status": "stored"}
    with ctx.store.transaction() as tx:
        (ticket,) = tx.tickets_without_run()
    assert (ticket.source, json.loads(ticket.body), ticket.received_at) == ("generic", a_delivery(), NOW)


def test_both_secrets_are_valid_while_one_replaces_the_other(client: TestClient) -> None:
    assert client.post(URL, **signed(a_delivery(), secret=OLD_SECRET)).status_code == 202


def test_a_later_revision_is_the_same_change(ctx: Context, client: TestClient) -> None:
    client.post(URL, **signed(a_delivery()))
    answer = client.post(URL, **signed(a_delivery(revision="2")))
    assert (answer.status_code, answer.json()["change"]) == (202, "CHG-7")
    assert stored_tickets(ctx.store) == [("CHG-7", "1"), ("CHG-7", "2")]


def test_the_same_delivery_again_is_known_and_stored_once(ctx: Context, client: TestClient) -> None:
    delivery = signed(a_delivery())
    client.post(URL, **delivery)
    again = client.post(URL, **delivery)
    assert again.status_code == 200
    assert again.json() == {"ticket": "CHG-7", "revision": "1", "change": "CHG-7", "status": "known"}
    assert stored_tickets(ctx.store) == [("CHG-7", "1")]


def test_a_delivery_kept_back_is_refused_once_the_window_is_over(ctx: Context, client: TestClient) -> None:
    delivery = signed(a_delivery())
    signed_at = NOW.replace(microsecond=0)  # the header carries whole seconds
    ctx.clock.time = signed_at + timedelta(seconds=300, microseconds=1)
    late = client.post(URL, **delivery)
    assert late.status_code == 401
    assert "300 s old, more than the 300 s allowed" in late.json()["detail"]
    assert stored_tickets(ctx.store) == []
    ctx.clock.time = signed_at + timedelta(seconds=300)
    assert client.post(URL, **delivery).status_code == 202


def _without_header(delivery: dict[str, Any], name: str) -> dict[str, Any]:
    return delivery | {"headers": {k: v for k, v in delivery["headers"].items() if k != name}}


TWICE = json.dumps(a_delivery()).replace('"factor": 2', '"factor": 2.0, "factor": 3.0').encode()
REFUSED = {
    "unsigned": (_without_header(signed(a_delivery()), SIGNATURE_HEADER), 401, "is not signed"),
    "without a timestamp": (_without_header(signed(a_delivery()), TIMESTAMP_HEADER), 401, "is not signed"),
    "signed with another secret": (signed(a_delivery(), secret="not the secret of generic"), 401, "does not match"),
    "no JSON": (signed(b"ticket: CHG-7"), 400, "not JSON"),
    "empty": (signed(b""), 400, "not JSON"),
    "not a number": (signed(b'{"ticket": NaN}'), 400, "NaN is no JSON number"),
    "not UTF-8": (signed(b'{"ticket": "\xff"}'), 400, "not UTF-8"),
    "half a character": (signed(b'{"ticket": "\\ud800"}'), 400, "half a character"),
    "nested without end": (signed(b"[" * 30_000), 400, "nested too deeply"),
    "nested deeply": (signed(b'{"ticket": ' + b"[" * 500 + b"]" * 500 + b"}"), 422, "ticket is not valid"),
    "a list": (signed([1, 2]), 422, "ticket is not valid"),
    "a field twice": (signed(TWICE), 400, "'factor' is there twice in one object: keep one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_delivery_changes_nothing(ctx: Context, client: TestClient, case: str) -> None:
    delivery, status, words = REFUSED[case]
    answer = client.post(URL, **delivery)
    assert (answer.status_code, stored_tickets(ctx.store)) == (status, [])
    assert words in answer.json()["detail"]


def test_unauthorised_says_which_scheme_would_do(client: TestClient) -> None:
    assert client.post(URL, json={}).headers["www-authenticate"] == "HMAC-SHA256"


def test_bad_fields_are_named_one_by_one(ctx: Context, client: TestClient) -> None:
    bad = a_delivery(effective_in=7200, impacts=[{"workload": "web", "factor": 1000}])
    answer = client.post(URL, **signed(bad))
    assert answer.status_code == 422
    first, second = answer.json()["faults"]
    assert first.startswith("change.effective_in: 7200 has no unit: write a duration such as PT5M")
    assert second.startswith("change.impacts.0.factor: ")
    assert stored_tickets(ctx.store) == []


def test_an_unknown_workload_is_refused_with_the_known_ones(ctx: Context, client: TestClient) -> None:
    answer = client.post(URL, **signed(a_delivery(impacts=[{"workload": "wbe", "factor": 2}])))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "workload 'wbe' is not in the workloads file. Known: web"
    assert stored_tickets(ctx.store) == []


def test_an_unknown_source_is_not_told_the_known_ones(client: TestClient) -> None:
    answer = client.post("/v1/tickets/jira", **signed(a_delivery()))
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no ticket source 'jira': the sources file names them"


def test_an_error_may_quote_what_utf_8_cannot_carry() -> None:
    app = FastAPI()
    answers.install(app)

    @app.get("/")
    def refuse() -> None:
        raise InputError("ticket is not valid:\n  reason: (found '\ud83d')")

    answer = TestClient(app).get("/")
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "ticket is not valid:",
        "faults": ["reason: (found '\\ud83d')"],
    }


def test_only_post_is_for_tickets(client: TestClient) -> None:
    assert client.get(URL).status_code == 405


@pytest.mark.parametrize(("size", "status"), [(1000, 202), (1001, 413)])
@pytest.mark.parametrize("declared", [True, False])
def test_the_largest_body_is_exact_whether_its_length_is_declared_or_not(
    ctx: Context, size: int, status: int, declared: bool
) -> None:
    short = json.dumps(a_delivery(reason="")).encode()
    body = json.dumps(a_delivery(reason="x" * (size - len(short)))).encode()
    assert len(body) == size
    delivery = signed(body)
    if not declared:
        delivery["content"] = iter([body[:600], body[600:]])  # httpx sends this chunked, without a length
    answer = a_client(ctx, sources=(SMALL,)).post(URL, **delivery)
    assert answer.status_code == status
    assert stored_tickets(ctx.store) == ([("CHG-7", "1")] if status == 202 else [])


def test_a_declared_length_is_believed_before_a_byte_is_read(ctx: Context) -> None:
    def body() -> Iterator[bytes]:
        raise AssertionError("the body of an oversized delivery was read")
        yield b""

    headers = signed(a_delivery())["headers"] | {"Content-Length": "1001"}
    answer = a_client(ctx, sources=(SMALL,)).post(URL, content=body(), headers=headers)
    assert answer.status_code == 413


class _Away:
    """A store whose database is away, or refuses."""

    def __init__(self, *, retryable: bool = True) -> None:
        self.retryable = retryable

    def transaction(self) -> AbstractContextManager[Any]:
        raise OutsideError("store postgresql://forebay@db.internal/forebay: no route", retryable=self.retryable)

    snapshot = versions = audit_break = transaction


@pytest.mark.parametrize(("retryable", "status", "retry_after"), [(True, 503, "5"), (False, 500, None)])
def test_a_store_that_fails_is_not_taken_for_stored(
    caplog: pytest.LogCaptureFixture, retryable: bool, status: int, retry_after: str | None
) -> None:
    answer = a_client(a_context(_Away(retryable=retryable), HandClock())).post(URL, **signed(a_delivery()))
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert "db.internal" not in answer.text, "an outsider must not learn where the database is"
    assert "db.internal" in caplog.text, "but the operator must"


# Runs


def test_the_run_starts_after_the_ticket_is_stored(ctx: Context) -> None:
    started = []

    def start_run(key: str, parameters: dict[str, Any]) -> str:
        started.append((key, parameters["change"]["change"], stored_tickets(ctx.store)))
        return "vivid-otter"

    client = a_client(ctx, start_run)
    assert client.post(URL, **signed(a_delivery())).status_code == 202
    assert started == [("ticket:generic:CHG-7:1", "CHG-7", [("CHG-7", "1")])]
    client.post(URL, **signed(a_delivery()))
    assert len(started) == 1, "a known delivery whose run exists starts nothing"


@pytest.mark.parametrize("failure", [OutsideError("scheduler away", retryable=True), ZeroDivisionError("a bug")])
def test_a_run_that_does_not_start_is_logged_and_left_to_the_next_sweep(
    ctx: Context, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    def start_run(key: str, parameters: dict[str, Any]) -> str:
        raise failure

    with caplog.at_level(logging.ERROR):
        assert a_client(ctx, start_run).post(URL, **signed(a_delivery())).status_code == 202
    assert str(failure) in caplog.text

    started = []
    assert sweep_tickets(ctx, lambda key, parameters: started.append(key) or "vivid-otter") == 1
    assert started == ["ticket:generic:CHG-7:1"]
    assert stored_tickets(ctx.store) == []


# Alterations


@st.composite
def altered(draw: st.DrawFn) -> dict[str, Any]:
    """A signed delivery of which one byte of the body, the timestamp or the signature is another, or is gone."""
    delivery = signed(a_delivery())
    part = draw(st.sampled_from(["body", TIMESTAMP_HEADER, SIGNATURE_HEADER]))
    whole = delivery["content"] if part == "body" else delivery["headers"][part].encode()
    place = draw(st.integers(0, len(whole) - 1))
    # Headers are trimmed in transit, so blanks at their ends alter nothing; visible characters do.
    bytes_of_part = st.integers(0, 255) if part == "body" else st.integers(0x21, 0x7E)
    put = draw(st.lists(bytes_of_part, max_size=2).map(bytes).filter(lambda new: new != whole[place : place + 1]))
    after = whole[:place] + put + whole[place + 1 :]
    if part == "body":
        return delivery | {"content": after}
    return delivery | {"headers": delivery["headers"] | {part: after.decode()}}


@given(delivery=altered())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_altered_delivery_is_refused_and_stores_nothing(
    ctx: Context, client: TestClient, delivery: dict[str, Any]
) -> None:
    answer = client.post(URL, **delivery)
    assert (answer.status_code, stored_tickets(ctx.store)) == (401, [])


def test_no_secret_is_in_an_answer_or_a_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        texts = [client.post(URL, **delivery).text for delivery, _, _ in REFUSED.values()]
        texts.append(client.get("/openapi.json").text)
    assert OLD_SECRET not in caplog.text + "".join(texts)


def test_a_real_store_whose_file_vanished_is_away(tmp_path: Path) -> None:
    store: SqlStore = open_store(sqlite_url(tmp_path))
    store.close()
    for file in tmp_path.iterdir():
        file.unlink()
    tmp_path.rmdir()
    answer = a_client(a_context(store, HandClock())).post(URL, **signed(a_delivery()))
    assert answer.status_code == 503


def test_a_ticket_is_read_as_json_and_not_as_yaml(ctx: Context, client: TestClient) -> None:
    """YAML 1.1 has other escapes and other numbers: an escaped emoji and 1e22 must arrive as they were sent."""
    change = {**a_delivery()["change"], "reason": "sale \N{PARTY POPPER}", "document": {"limit": 1e22}}
    assert client.post(URL, **signed({**a_delivery(), "change": change})).status_code == 202
    with ctx.store.transaction() as tx:
        (stored,) = tx.tickets_without_run()
    request = parse_delivery(stored.body).request
    assert (request.reason, request.document) == ("sale \N{PARTY POPPER}", {"limit": 1e22})
