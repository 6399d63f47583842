"""Approving by link: only as whom it is for, only what was shown, only once, only in time, and never by a preview."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from forebay.app.approvals import approve, invite
from forebay.app.context import Context
from forebay.app.plan import store_plans
from forebay.app.receive import receive
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.rules import ChangeRules
from forebay.store import open_store
from forebay.web.link import ApprovalLink, read_token, token_of
from tests.support.samples import NOW, an_event
from tests.support.stores import sqlite_url
from tests.support.web import HandClock, a_client, a_context
from tests.support.world import EFFECTIVE, a_plan, a_request

SECRET, OLD = "links are signed with this one", "and were with this one before"
HOUR = timedelta(hours=1)
YES = {"decision": "approve", "reason": "as agreed"}


@pytest.fixture
def clock() -> HandClock:
    return HandClock(EFFECTIVE - HOUR)


@pytest.fixture
def ctx(tmp_path: Path, clock: HandClock) -> Iterator[Context]:
    """A change that waits for one approval, of bob or eve; its first step is due in 55 minutes."""
    store = open_store(sqlite_url(tmp_path))
    ctx = a_context(store, clock)
    rules = {"rules": [{"name": "careful", "approval": {"approvers": ["bob", "eve"]}}]}
    with store.transaction() as tx:
        tx.put_rules(ChangeRules.model_validate(rules), an_event("rules"))
    receive(ctx, a_request())
    store_plans(ctx, "CHG-1", [a_plan([(25, 4, 6)])])
    yield ctx
    store.close()


@pytest.fixture
def client(ctx: Context) -> TestClient:
    return a_client(ctx, link_secrets=(SecretStr(SECRET), SecretStr(OLD)))


def token(ctx: Context, person: str = "bob", secret: str = SECRET, **fields: Any) -> str:
    asked, expires, nonce = invite(ctx, "CHG-1", person, "ann", HOUR)
    given = {"change": "CHG-1", "person": person, "asked": asked, "expires": expires, "nonce": nonce}
    return token_of(ApprovalLink(**given | fields), secret)


def state(ctx: Context) -> ChangeState:
    with ctx.store.transaction() as tx:
        record = tx.change("CHG-1")
    assert record is not None
    return record.state


def test_no_link_is_logged_where_the_store_is_away(
    ctx: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent, away = token(ctx), open_store(sqlite_url(tmp_path))
    client = a_client(replace(ctx, store=away), link_secrets=(SecretStr(SECRET),))
    away.close()
    (tmp_path / "forebay.db").rename(tmp_path / "moved.db")
    (tmp_path / "forebay.db").mkdir()
    assert client.post(f"/approvals/{sent}", data=YES).status_code in (500, 503)
    assert "/approvals/{token}" in caplog.text
    assert sent not in caplog.text


def test_the_page_shows_what_is_asked_for(client: TestClient, ctx: Context) -> None:
    page = client.get("/changes/CHG-1").text
    for shown in ("0 of 1 approvals; bob or eve may approve", "4 → 6 units for 1.23 USD", "0.10 without it"):
        assert shown in page, shown
    assert "An approval holds up to 7 units, moves of 3 and 1.35 USD" in page
    assert "<form" not in page, "who looks at the page is not known"


def test_the_list_says_what_is_waited_for_and_until_when(client: TestClient, ctx: Context) -> None:
    approve_by = client.get("/v1/changes/CHG-1").json()["record"]["note"]
    assert "at the latest" in approve_by and approve_by in client.get("/changes").text.replace("&#39;", "'")


def test_what_people_should_know_of_the_plan_stands_where_it_is_approved(client: TestClient, ctx: Context) -> None:
    known = {"preflight": ("max_units <60> is under the need",), "after": ("F-1",)}
    store_plans(ctx, "CHG-1", [a_plan([(25, 4, 6)]).model_copy(update=known)])
    for path in ("/changes/CHG-1", f"/approvals/{token(ctx)}"):
        page = client.get(path).text
        for note in ("max_units &lt;60&gt; is under the need", "it begins once F-1 is over"):
            assert page.count(f"Note: {note}") == 2, "with what is asked for, and with the plan"


def test_a_links_page_loads_nothing_that_asks_for_a_password(ctx: Context) -> None:
    client = a_client(ctx, link_secrets=(SecretStr(SECRET),), open_reading=False)
    page = client.get(f"/approvals/{token(ctx)}")
    assert page.status_code == 200 and client.get("/changes/CHG-1").status_code == 401
    loaded = re.findall(r'<(?:img|script)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"', page.text)
    paths = [src or href for src, href in loaded]
    assert len(paths) == 3 and all(path.startswith("/static/") for path in paths)
    assert [client.get(path).status_code for path in paths] == [200, 200, 200]


@pytest.mark.parametrize("secret", [SECRET, OLD])
def test_a_link_shows_the_request_and_its_form_answers_it(client: TestClient, ctx: Context, secret: str) -> None:
    url = f"/approvals/{token(ctx, secret=secret)}"
    for _ in range(3):
        page = client.get(url)
        assert page.status_code == 200 and "Your answer, bob" in page.text and "<form" in page.text
    assert client.head(url).status_code == 405
    assert state(ctx) is ChangeState.AWAITING_APPROVAL, "opening it is no answer"
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    done = client.post(url, data=YES)
    assert done.status_code == 200 and "bob: approved" in done.text
    assert state(ctx) is ChangeState.SCHEDULED
    with ctx.store.transaction() as tx:
        assert [(a.person, a.door, a.reason) for a in tx.approvals("CHG-1")] == [("bob", "link", "as agreed")]


def test_a_link_rejects_too_and_works_once(client: TestClient, ctx: Context) -> None:
    with ctx.store.transaction() as tx:
        tx.put_rules(ChangeRules.model_validate({"rules": [{"name": "two", "approval": {"quorum": 2}}]}), an_event("r"))
    url = f"/approvals/{token(ctx)}"
    assert client.post(url, data=YES).status_code == 200
    again = client.post(url, data={"decision": "reject", "reason": "or not"})
    assert again.status_code == 409 and "this link was used before" in again.text
    assert (
        client.post(f"/approvals/{token(ctx, 'eve')}", data={"decision": "reject", "reason": "no"}).status_code == 200
    )
    assert state(ctx) is ChangeState.DENIED


def test_a_link_expires_and_at_the_latest_with_the_request(client: TestClient, ctx: Context, clock: HandClock) -> None:
    url = f"/approvals/{token(ctx)}"
    clock.time = EFFECTIVE - timedelta(minutes=5)
    late = client.post(url, data=YES)
    assert late.status_code == 403 and "this link expired at 2026-11-24T09:25" in late.text
    assert state(ctx) is ChangeState.AWAITING_APPROVAL


def test_a_link_is_for_the_plan_it_was_made_for(client: TestClient, ctx: Context) -> None:
    url = f"/approvals/{token(ctx)}"
    store_plans(ctx, "CHG-1", [a_plan([(26, 4, 6)])])
    shown = client.get(url).text
    assert "not what is asked for now" in shown and "<form" not in shown
    refused = client.post(url, data=YES)
    assert refused.status_code == 409 and "is not what is asked for now" in refused.text


def test_a_link_for_somebody_who_may_no_longer_approve_is_refused(client: TestClient, ctx: Context) -> None:
    url = f"/approvals/{token(ctx)}"
    with ctx.store.transaction() as tx:
        rules = {"rules": [{"name": "eve only", "approval": {"approvers": ["eve"]}}]}
        tx.put_rules(ChangeRules.model_validate(rules), an_event("rules"))
    assert client.post(url, data=YES).status_code == 409
    assert state(ctx) is ChangeState.AWAITING_APPROVAL


@pytest.mark.parametrize("data", [{}, {"decision": "approve"}, {"decision": "perhaps", "reason": "x"}])
def test_a_form_that_says_nothing_is_refused(client: TestClient, ctx: Context, data: dict[str, str]) -> None:
    assert client.post(f"/approvals/{token(ctx)}", data=data).status_code == 422
    assert client.post(f"/approvals/{token(ctx)}", data=YES | {"reason": "x" * 9000}).status_code == 413
    assert state(ctx) is ChangeState.AWAITING_APPROVAL


@pytest.mark.parametrize("again", ["decision=reject", "reason=not+as+agreed", "decision=", "reason="])
def test_a_form_that_says_two_things_says_nothing(client: TestClient, ctx: Context, again: str) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    sent = f"decision=approve&reason=as+agreed&{again}"
    answer = client.post(f"/approvals/{token(ctx)}", content=sent, headers=form)
    assert (answer.status_code, "given twice" in answer.json()["detail"]) == (422, True)
    assert state(ctx) is ChangeState.AWAITING_APPROVAL


def test_nothing_in_a_link_can_be_altered(ctx: Context) -> None:
    made = token(ctx)
    body, signature = made.split(".")
    text = base64.urlsafe_b64decode(body + "==")
    other = base64.urlsafe_b64encode(text.replace(b'"bob"', b'"eve"')).rstrip(b"=").decode()
    for bad in (f"{other}.{signature}", body, f"{body}.", f"{body}.{signature[:-4]}AAAA", "", "x.y.z", "é.ü"):
        with pytest.raises(InputError, match="not one of ours"):
            read_token(bad, [SECRET], NOW)
    for secrets in ([], [OLD]):
        with pytest.raises(InputError, match="not one of ours"):
            read_token(made, secrets, NOW)


def test_without_a_secret_every_link_is_refused(ctx: Context) -> None:
    assert a_client(ctx).get(f"/approvals/{token(ctx)}").status_code == 403


def test_what_else_is_pending_is_part_of_the_page(client: TestClient, ctx: Context) -> None:
    other = a_request(change="CHG-2", policy="tier").accepted(ctx.clock.now())
    with ctx.store.transaction() as tx:
        tx.add_change(other, 1, ctx.event(other, "received", "more"))
    page = client.get("/changes/CHG-1").text
    assert "Also under way for acme" in page and "/changes/CHG-2" in page
    approve(ctx, "CHG-1", "bob", "fine")
    assert "An approval holds up to" not in client.get("/changes/CHG-1").text
