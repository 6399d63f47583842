"""Ticketing systems at the door: how each signs, from where and how often it may deliver, and what becomes of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from forebay.app.context import Context
from forebay.app.tickets import sweep_tickets
from forebay.cli.service import web_settings
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.source import TicketSources
from forebay.settings import Settings
from forebay.web.pace import MOST_ADDRESSES, Pace
from forebay.web.settings import WebSettings
from tests.support.samples import NOW
from tests.support.web import OLD_SECRET, SECRET, a_client, signed, stored_tickets
from tests.unit.test_mapping import EXAMPLES, payload

SOURCES = TicketSources.parse(
    (EXAMPLES / "sources.yaml")
    .read_text()
    .replace("checkout", "web")
    .replace("workload: cmdb_ci", "workload: \"'web'\""),
    "sources",
).sources


@pytest.fixture
def client(ctx: Context) -> TestClient:
    return a_client(ctx, sources=SOURCES)


def body_signed(sent: Any, header: str, secret: str = SECRET) -> dict[str, Any]:
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content": body, "headers": {header: f"sha256={digest}"}}


def jira(**more: Any) -> dict[str, Any]:
    return body_signed(payload("jira") | more, "X-Hub-Signature")


def github() -> Any:
    sent = payload("github")
    sent["issue"]["body"] = sent["issue"]["body"].replace("checkout", "web")
    return sent


SIGNING_KEY = b"thirty-two bytes that sign hooks"
SIGNING_TOKEN = "whsec_" + base64.b64encode(SIGNING_KEY).decode()


def gitlab() -> bytes:
    sent = payload("gitlab")
    sent["object_attributes"]["description"] = sent["object_attributes"]["description"].replace("checkout", "web")
    return json.dumps(sent).encode()


def standard(key: bytes = SIGNING_KEY, now: datetime = NOW, others: str = "", **headers: str) -> dict[str, Any]:
    """As Standard Webhooks sign: by the document's words, not by the code under test."""
    named = {"webhook-id": "msg-1", "webhook-timestamp": str(int(now.timestamp()))}
    signed = f"msg-1.{named['webhook-timestamp']}.".encode() + gitlab()
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"content": gitlab(), "headers": named | {"webhook-signature": f"{others}v1,{signature}"} | headers}


def gitlab_client(ctx: Context, *secrets: str) -> TestClient:
    return a_client(ctx, sources=SOURCES, webhook_secrets={"gitlab": tuple(map(SecretStr, secrets))})


def token(secret: str) -> dict[str, Any]:
    return {"content": gitlab(), "headers": {"X-Gitlab-Token": secret}}


@pytest.mark.parametrize(
    ("secrets", "delivery"),
    [
        pytest.param((SECRET,), token(SECRET), id="a secret token"),
        pytest.param((OLD_SECRET, SECRET), token(OLD_SECRET), id="the former one"),
        pytest.param((SIGNING_TOKEN,), standard(), id="signed"),
        pytest.param((SECRET, SIGNING_TOKEN), standard(), id="signed by the newer of two"),
        pytest.param((SECRET, SIGNING_TOKEN), token(SECRET), id="still by the secret token"),
        pytest.param((SECRET,), standard(**{"X-Gitlab-Token": SECRET}), id="both sent, one known"),
        pytest.param((SIGNING_TOKEN,), standard(others="v1,AAAA v2,BBBB "), id="several signatures"),
    ],
)
def test_gitlab_is_known_by_its_signature_or_its_token(ctx: Context, secrets: Any, delivery: dict[str, Any]) -> None:
    client = gitlab_client(ctx, *secrets)
    assert [client.post("/v1/tickets/gitlab", **delivery).status_code for _ in range(2)] == [202, 200]
    assert stored_tickets(ctx.store) == [("gitlab-15-7", "2026-11-24T09:00:00Z")]


@pytest.mark.parametrize(
    ("secrets", "delivery", "words"),
    [
        pytest.param((SECRET,), {"content": gitlab()}, "neither signed nor", id="nothing"),
        pytest.param((SECRET,), token("x" * 20), "does not match", id="another token"),
        pytest.param((SIGNING_TOKEN,), token(SIGNING_TOKEN), "does not match", id="a signing token sent as it is"),
        pytest.param((SIGNING_TOKEN,), standard(b"x" * 32), "does not match", id="another signing token"),
        pytest.param((SIGNING_TOKEN,), standard() | {"content": gitlab() + b" "}, "does not match", id="altered"),
        pytest.param((SIGNING_TOKEN,), standard(**{"webhook-id": "msg-2"}), "does not match", id="another id"),
        pytest.param((SIGNING_TOKEN,), standard(now=NOW - timedelta(minutes=6)), "360 s old", id="kept for long"),
        pytest.param((SIGNING_TOKEN,), standard(**{"webhook-timestamp": "soon"}), "does not match", id="no time"),
    ],
)
def test_what_is_not_gitlabs_own_is_refused(ctx: Context, secrets: Any, delivery: dict[str, Any], words: str) -> None:
    answer = gitlab_client(ctx, *secrets).post("/v1/tickets/gitlab", **delivery)
    assert (answer.status_code, stored_tickets(ctx.store)) == (401, [])
    assert words in answer.json()["detail"]


def test_a_signing_token_that_is_none_is_refused_at_the_start_and_not_told() -> None:
    with pytest.raises(ValidationError, match="a secret of gitlab begins like a signing token and is none") as refused:
        WebSettings(sources=SOURCES, webhook_secrets={"gitlab": (SecretStr("whsec_no base64 at all"),)})
    assert "at all" not in str(refused.value)


def basic(user: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


SNOW = json.dumps(payload("servicenow")).encode()
TAKEN = {
    "jira": ("jira", jira()),
    "jira, the former secret": ("jira", body_signed(payload("jira"), "X-Hub-Signature", OLD_SECRET)),
    "github": ("reviews", body_signed(github(), "X-Hub-Signature-256")),
    "servicenow, bearer": ("servicenow", {"content": SNOW, "headers": {"Authorization": f"Bearer {SECRET}"}}),
    "servicenow, basic": ("servicenow", {"content": SNOW, "headers": basic("servicenow", OLD_SECRET)}),
    "servicenow, signed": ("servicenow", signed(SNOW)),
}


@pytest.mark.parametrize("case", TAKEN)
def test_each_kind_signs_in_its_own_way(ctx: Context, client: TestClient, case: str) -> None:
    source, delivery = TAKEN[case]
    answer = client.post(f"/v1/tickets/{source}", **delivery)
    assert (answer.status_code, answer.json()["status"]) == (202, "stored")
    again = client.post(f"/v1/tickets/{source}", **delivery)
    assert (again.status_code, again.json()["status"]) == (200, "known"), "kept and sent again, it does nothing"
    assert len(stored_tickets(ctx.store)) == 1


FORGED = {
    "jira, unsigned": ("jira", {"content": b"{}"}, "send"),
    "jira, another secret": ("jira", body_signed(payload("jira"), "X-Hub-Signature", "x" * 20), "does not match"),
    "jira, altered": ("jira", jira() | {"content": jira()["content"] + b" "}, "does not match"),
    "jira, by our own scheme": ("jira", signed(payload("jira")), "is not signed"),
    "jira, by the header of github": ("jira", body_signed(payload("jira"), "X-Hub-Signature-256"), "is not signed"),
    "github, a body of letters beyond ASCII": (
        "reviews",
        {"content": b"{}", "headers": [(b"X-Hub-Signature-256", b"sha256=\xff")]},
        "does not match",
    ),
    "servicenow, nothing": ("servicenow", {"content": SNOW}, "not authenticated"),
    "servicenow, another user": ("servicenow", {"content": SNOW, "headers": basic("jira", SECRET)}, "does not match"),
    "servicenow, no base64": ("servicenow", {"content": SNOW, "headers": {"Authorization": "Basic ?"}}, "not Basic"),
    "servicenow, an empty bearer": (
        "servicenow",
        {"content": SNOW, "headers": {"Authorization": "Bearer "}},
        "does not match",
    ),
    "servicenow, kept for long": ("servicenow", signed(SNOW, NOW - timedelta(minutes=6)), "360 s old"),
}


@pytest.mark.parametrize("case", FORGED)
def test_whatever_is_not_the_systems_own_is_refused(ctx: Context, client: TestClient, case: str) -> None:
    source, delivery, words = FORGED[case]
    answer = client.post(f"/v1/tickets/{source}", **delivery)
    assert (answer.status_code, stored_tickets(ctx.store)) == (401, [])
    assert words in answer.json()["detail"]
    assert SECRET not in answer.text


def test_a_source_without_a_secret_takes_nothing(ctx: Context) -> None:
    client = a_client(ctx, sources=SOURCES, webhook_secrets={})
    assert client.post("/v1/tickets/jira", **jira()).status_code == 401


def test_only_its_networks_may_deliver(ctx: Context) -> None:
    delivery = {"content": SNOW, "headers": {"Authorization": f"Bearer {SECRET}"}}
    outside = a_client(ctx, sources=SOURCES, address="198.51.100.1").post("/v1/tickets/servicenow", **delivery)
    assert (outside.status_code, stored_tickets(ctx.store)) == (403, [])
    assert outside.json()["detail"] == "198.51.100.1 is not in the networks of source servicenow"


def test_a_flood_is_held_off_and_says_until_when(ctx: Context) -> None:
    slow = tuple(source.model_copy(update={"deliveries_per_minute": 2}) for source in SOURCES)
    client = a_client(ctx, sources=slow)
    assert [client.post("/v1/tickets/jira", content=b"").status_code for _ in range(3)] == [401, 401, 429]
    refused = client.post("/v1/tickets/jira", **jira())
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
    ctx.clock.time = NOW + timedelta(seconds=30)
    assert client.post("/v1/tickets/jira", **jira(timestamp=int(NOW.timestamp() * 1000))).status_code == 202


def test_the_pace_of_one_address_is_not_anothers_and_memory_is_bounded() -> None:
    pace = Pace(1)
    assert [pace.wait_s("a", NOW), pace.wait_s("a", NOW), pace.wait_s("b", NOW)] == [0, 60, 0]
    assert pace.wait_s("a", NOW - timedelta(hours=1)) == 60, "a clock that steps back gives nothing away"
    for n in range(MOST_ADDRESSES):
        pace.wait_s(f"flood {n}", NOW)
    assert len(pace._left) == MOST_ADDRESSES


def test_an_invalid_payload_names_the_expression_and_stores_nothing(ctx: Context, client: TestClient) -> None:
    sent = payload("jira")
    sent["issue"]["fields"]["customfield_10104"] = {"value": "double"}
    answer = client.post("/v1/tickets/jira", **body_signed(sent, "X-Hub-Signature"))
    assert (answer.status_code, stored_tickets(ctx.store)) == (422, [])
    assert "[expression: issue.fields.customfield_10104.value]" in answer.json()["faults"][0]


def test_a_field_twice_is_refused_also_where_nothing_is_read_of_it(ctx: Context, client: TestClient) -> None:
    sent = json.dumps(payload("jira")).replace('"issue":', '"colour": 1, "colour": 2, "issue":', 1).encode()
    answer = client.post("/v1/tickets/jira", **body_signed(sent, "X-Hub-Signature"))
    assert (answer.status_code, stored_tickets(ctx.store)) == (400, [])
    assert "'colour' is there twice in one object: keep one" in answer.json()["detail"]


def test_what_is_no_ticket_is_ignored(ctx: Context, client: TestClient) -> None:
    answer = client.post("/v1/tickets/jira", **jira(webhookEvent="comment_created"))
    assert (answer.status_code, answer.json(), stored_tickets(ctx.store)) == (200, {"status": "ignored"}, [])


def test_an_older_revision_after_a_later_one_changes_nothing(ctx: Context, client: TestClient) -> None:
    late = jira(timestamp=1)
    assert client.post("/v1/tickets/jira", **jira()).status_code == 202
    answer = client.post("/v1/tickets/jira", **late)
    assert (answer.status_code, answer.json()["status"]) == (200, "older")
    assert [revision for _, revision in stored_tickets(ctx.store)] == ["1795510800123"]


def test_deleted_before_created_never_becomes_a_change(ctx: Context, client: TestClient) -> None:
    deleted = client.post("/v1/tickets/jira", **jira(timestamp=2, webhookEvent="jira:issue_deleted"))
    assert (deleted.status_code, deleted.json()) == (202, {"ticket": "OPS-12", "revision": "2", "status": "stored"})
    assert client.post("/v1/tickets/jira", **jira(timestamp=1)).json()["status"] == "older"
    sweep_tickets(ctx, lambda key, parameters: pytest.fail("nothing is to be started"))
    with ctx.store.transaction() as tx:
        assert tx.changes(frozenset(ChangeState)) == []
        assert [(t.run, t.failure) for t in tx.deliveries("jira", "OPS-12")] == [
            ("closed", "it had asked for nothing before"),
            ("older", "revision 2 came before it"),
        ]


def test_secrets_come_from_the_named_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sources.yaml"
    file.write_text("sources: [{name: jira, kind: jira, secrets: [OLD_ONE, NEW_ONE]}]")
    monkeypatch.setenv("OLD_ONE", OLD_SECRET)
    settings = Settings(sources=file, webhook_secrets={"generic": [SECRET]})
    with pytest.raises(InputError, match="source jira: its secret 2 names a variable that is not set"):
        web_settings(settings)
    monkeypatch.setenv("NEW_ONE", SECRET)
    web = web_settings(settings)
    assert [source.name for source in web.sources] == ["generic", "jira"]
    assert (web.secrets("jira"), web.secrets("generic")) == ((OLD_SECRET, SECRET), (SECRET,))
    monkeypatch.setenv("NEW_ONE", "short")
    with pytest.raises(InputError, match="a secret of jira is shorter"):
        web_settings(settings)
    with pytest.raises(InputError, match="there is no source jria"):
        web_settings(Settings(webhook_secrets={"jria": [SECRET]}))
