"""The operators' pages and their JSON: what they show, that nothing hostile gets through, headers, health, metrics."""

from __future__ import annotations

import json
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.testclient import TestClient

from forebay.app.break_glass import break_glass
from forebay.app.context import Context
from forebay.app.receive import receive
from forebay.app.reconcile import reconcile
from forebay.app.status import ChangeStatus
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import ChangeRecord, Leftover, Outcome
from forebay.domain.rules import ChangeRules
from forebay.domain.ticket import parse_delivery
from forebay.domain.verdict import Evidence, Judgement, Verdict
from tests.support.samples import NOW, a_count, a_plan, an_event, an_intent, store_change
from tests.support.web import HandClock, a_client, a_context, a_delivery, signed

HOSTILE = "<script>alert('mine')</script><img src=x onerror=alert(1)>"
PAGE = {"Accept": "text/html"}


@pytest.fixture
def client(ctx: Context) -> TestClient:
    return a_client(ctx)


class _Seen(HTMLParser):
    """What a browser makes of a page: its visible text, its elements, and every attribute that could run or load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", set[str](), set[tuple[str, str]]()
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += " " + data


def see(client: TestClient, path: str, status: int = 200) -> _Seen:
    answer = client.get(path, headers=PAGE)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return _Seen(answer.text)


def shaping(ctx: Context) -> None:
    """CHG-1 as it is half way: step 1 passed with its verdict, step 2 pending."""
    store_change(ctx.store, "CHG-1", ChangeState.PLANNED, ChangeState.SCHEDULED, ChangeState.SHAPING)
    evidence = Evidence(
        start=NOW,
        end=NOW,
        usage={},
        band={},
        utilisation={},
        serving_units=5,
        asked_units=5,
        text="cpu 2.3 cores, within 1.9 to 3.0",
    )
    with ctx.store.transaction() as tx:
        plan = a_plan().model_copy(update={"preflight": ("an <instance> is protected",)})
        tx.add_plan(plan, an_event("plan stored", change="CHG-1"))
        tx.put_original("CHG-1", "web", a_count(4), an_event(change="CHG-1"))
        first = tx.steps("CHG-1")[0]
        judgement = Judgement(verdict=Verdict.PASS, required_units=5, evidence=evidence)
        tx.put_step(first.model_copy(update={"state": StepState.PASSED, "judgement": judgement}))


def test_the_root_leads_to_the_changes(client: TestClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/changes")


def test_an_empty_list_says_how_a_change_comes_in(client: TestClient) -> None:
    assert "No change yet. One comes in by forebay submit CHANGE.yaml" in see(client, "/changes").text


def test_the_list_shows_each_change_with_its_countdown_and_next_step(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    store_change(ctx.store, "CHG-2", ChangeState.DENIED)
    page = see(client, "/changes")
    assert (
        "CHG-2 acme quota denied because 2026-11-25 09:30:00 nothing "
        "CHG-1 acme quota shaping because 2026-11-25 09:30:00 in 1 d step 2/2: web 5 → 6 units due in 2 h"
    ) in page.text
    assert ("href", "/changes/CHG-1") in page.attributes


def test_the_list_is_chosen_from(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    assert "1 of 1:" in client.get("/changes?open=true&entity=acme").text
    for query in ("entity=bolt", "state=denied"):
        page = client.get(f"/changes?{query}")
        assert "0 of 1:" in page.text and "/changes/CHG-1" not in page.text
    assert client.get("/changes?state=nowhere", headers={"accept": "text/html"}).status_code == 422


@pytest.mark.parametrize("query", ["sate=held", "state=held&state=denied", "limit=5"])
def test_a_query_that_the_list_does_not_hear_chooses_nothing_in_silence(client: TestClient, query: str) -> None:
    see(client, f"/changes?{query}", 422)
    said = client.get(f"/changes?{query}").json()["detail"]
    assert "here: it takes state, entity, open" in said or "state is given twice" in said


def test_what_goes_back_is_not_counted_down_to(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    with ctx.store.transaction() as tx:
        tx.move("CHG-1", ChangeState.CANCELLED, an_event(change="CHG-1"))
    assert "in 1 d" not in see(client, "/changes").text
    assert "in 1 d" not in see(client, "/changes/CHG-1").text


def test_what_is_in_force_ahead_of_its_time_is_not_counted_down_to(ctx: Context, client: TestClient) -> None:
    rules = {"rules": [{"name": "all", "break_glass": ["ann"]}]}
    with ctx.store.transaction() as tx:
        tx.put_rules(ChangeRules.model_validate(rules), an_event())
    receive(ctx, parse_delivery(json.dumps(a_delivery())).request)
    break_glass(ctx, "CHG-7", "ann", "customer is down")
    assert "in 2 h" not in see(client, "/changes").text
    page = see(client, "/changes/CHG-7").text
    assert "in 2 h" not in page and "UTC, asked for 2026-11-24 11:30:00" in page


def test_the_list_shows_what_waits(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    client.post("/v1/tickets/generic", **signed(a_delivery("CHG-9", "3")))
    with ctx.store.transaction() as tx:
        tx.add_intent(an_intent(), an_event())
        (ticket,) = tx.tickets_without_run()
        tx.put_ticket(ticket.model_copy(update={"failure": "no scheduler answers", "failures": 1}))
    ctx.clock.time += timedelta(seconds=75)
    text = see(client, "/changes").text
    waits = "ticket CHG-9 revision 3 (generic, received 1 min 15 s ago; not started: no scheduler answers)"
    assert f"waiting for a run: {waits}" in text
    assert "1 external write under way" in text


def test_the_list_shows_what_is_raised_until_a_person_settles_it(ctx: Context, client: TestClient) -> None:
    store_change(ctx.store)
    left = Leftover(
        change="CHG-1", workload="web", live=a_count(9), ours=a_count(8), restore=a_count(4), reason=HOSTILE, since=NOW
    )
    with ctx.store.transaction() as tx:
        tx.put_leftover(left, an_event("left raised"))
    page = see(client, "/changes")
    assert "Raised now" in page.text and "web count 4 -> count 9 CHG-1 a person: `forebay settle CHG-1`" in page.text
    assert "img" not in page.tags


def test_a_change_page_shows_where_it_stands_and_why(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    text = see(client, "/changes/CHG-1").text
    for shown in (
        "acme quota",
        "shaping",
        "in 1 d 2026-11-25 09:30:00 UTC not armed",
        "Expected: web: the steps that are left: aligned at 2026-11-2",
        "1 of 2 steps passed",
        "web: demand of the entity's share times 2 (1.5 to 3)",
        "by ann: asked for",
        "4 → 6 units, to carry the load at the effective time with 95 % confidence",
        "Before the first step: 4 units (count)",
        "Note: an <instance> is protected.",
        "4 → 5 passed pass cpu 2.3 cores, within 1.9 to 3.0",
        "5 → 6 pending \N{EN DASH} CPU binds",
        "price (USD) 1.23 1.10 0.10",
        "expected shortfall (unit-hours) 0.00 0.50 3.00",
        "too small at the effective time 5 % 5 % 90 %",
        "cpu: seasonal naive",
        "ann plan stored",
    ):
        assert shown in text


def test_the_plans_picture_is_drawn_once(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    assert ("src", "/changes/CHG-1/web.svg") in see(client, "/changes/CHG-1").attributes
    first = client.get("/changes/CHG-1/web.svg")
    assert (first.status_code, first.headers["content-type"]) == (200, "image/svg+xml")
    assert first.text.startswith("<svg")
    again = client.get("/changes/CHG-1/web.svg", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    with ctx.store.transaction() as tx:
        tx.add_plan(a_plan(steps=3), an_event("plan stored", change="CHG-1"))
    other = client.get("/changes/CHG-1/web.svg", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200
    assert other.text != first.text
    assert client.get("/changes/CHG-1/other.svg").status_code == 404


def test_a_change_without_a_plan_has_a_page(ctx: Context, client: TestClient) -> None:
    receive(ctx, parse_delivery(json.dumps(a_delivery())).request)
    text = see(client, "/changes/CHG-7").text
    assert "its plan is drawn" in text
    assert "No plan yet." in text


def test_pages_refresh_until_a_change_is_over(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    store_change(ctx.store, "CHG-2", ChangeState.DENIED)
    assert ("http-equiv", "refresh") in see(client, "/changes/CHG-1").attributes
    assert ("http-equiv", "refresh") not in see(client, "/changes/CHG-2").attributes


@pytest.mark.parametrize("path", ["/changes/CHG-404", "/nowhere", "/changes/a%00b", "/changes/%3Cscript%3E"])
def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(client: TestClient, path: str) -> None:
    assert "404" in see(client, path, 404).text
    answer = client.get(path)
    assert (answer.status_code, list(answer.json())) == (404, ["type", "title", "status", "detail", "faults"])
    assert client.get("/v1" + path, headers=PAGE).headers["content-type"] == "application/problem+json"


# The same as JSON


def test_the_json_is_the_models(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    store_change(ctx.store, "CHG-2")
    listed = [ChangeRecord.model_validate(one) for one in client.get("/v1/changes").json()]
    assert [(one.change.change, one.state) for one in listed] == [("CHG-2", "received"), ("CHG-1", "shaping")]
    status = ChangeStatus.model_validate(client.get("/v1/changes/CHG-1").json())
    with ctx.store.transaction() as tx:
        assert status.workloads[0].plan == tx.plan("CHG-1", "web")
        assert status.workloads[0].plan.hash == tx.plan("CHG-1", "web").hash
        assert status.audit == tuple(tx.audit_entries("CHG-1"))


# Hostile input


def test_a_hostile_ticket_is_shown_as_text(ctx: Context, client: TestClient) -> None:
    hostile = a_delivery(reason=HOSTILE, requested_by=HOSTILE, document={HOSTILE: HOSTILE})
    assert client.post("/v1/tickets/generic", **signed(hostile)).status_code == 202
    with ctx.store.transaction() as tx:
        (ticket,) = tx.tickets_without_run()
    receive(ctx, parse_delivery(ticket.body).request)
    with ctx.store.transaction() as tx:
        tx.add_plan(a_plan("CHG-7"), an_event(HOSTILE, change="CHG-7"))
        tx.move("CHG-7", ChangeState.HELD, an_event(HOSTILE, change="CHG-7", reason=HOSTILE))
    for path in ("/changes", "/changes/CHG-7"):
        page = see(client, path)
        assert HOSTILE in page.text, f"{path} shows it as it is"
        assert ("src", "x") not in page.attributes
        assert not any(name.startswith("on") for name, _ in page.attributes)
        scripts = [value for name, value in page.attributes if name == "src" and not value.startswith("/changes/")]
        assert scripts == ["/static/countdown.js"]


@pytest.mark.parametrize("field", ["entity", "policy", "kind", "change"])
def test_a_hostile_name_never_gets_in(ctx: Context, client: TestClient, field: str) -> None:
    answer = client.post("/v1/tickets/generic", **signed(a_delivery(**{field: HOSTILE})))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_hostile_address_is_shown_as_text(client: TestClient) -> None:
    page = see(client, "/changes/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", 404)
    assert "there is no change '<img src=x onerror=alert(1)>'" in page.text
    assert "img" not in page.tags


def test_pages_load_nothing_from_elsewhere_and_run_nothing_inline(ctx: Context, client: TestClient) -> None:
    shaping(ctx)
    for path in ("/changes", "/changes/CHG-1", "/changes/none"):
        page = see(client, path, 404 if path.endswith("none") else 200)
        assert "style" not in page.tags
        loaded = {value for name, value in page.attributes if name in ("src", "href")}
        assert all(value.startswith("/") and not value.startswith("//") for value in loaded)
        for value in loaded:
            assert client.get(value).status_code in (200, 307)


@pytest.mark.parametrize(
    "path", ["/changes", "/v1/changes", "/v1/changes/none", "/healthz", "/metrics", "/static/forebay.css", "/nowhere"]
)
def test_every_answer_binds_the_browser(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "cache-control" in headers


# Health and metrics


class _Away:
    def transaction(self) -> Any:
        raise OutsideError("store postgresql://forebay@db/forebay: no route to host", retryable=True)

    snapshot = transaction

    def versions(self, entity: str, policy: str) -> Any:
        self.transaction()


def test_health_follows_the_store(ctx: Context, client: TestClient) -> None:
    assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (200, {"status": "ok"})
    with ctx.store.transaction():
        assert client.get("/healthz").status_code == 200, "a busy store is not an absent one"
    away = a_client(a_context(_Away(), HandClock())).get("/healthz")
    assert away.status_code == 503
    assert away.json() == {"status": "store away", "reason": "the log of the web door says why"}


@pytest.mark.parametrize("path", ["/changes", "/v1/changes", "/metrics", "/v1/policies/acme/quota"])
def test_every_door_says_that_the_store_is_away(path: str) -> None:
    answer = a_client(a_context(_Away(), HandClock())).get(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def _metrics(client: TestClient) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in samples)}


def test_metrics_count_what_is_there(ctx: Context, client: TestClient) -> None:
    empty = _metrics(client)
    assert "forebay_next_effective_seconds" not in empty, "no change is not the same as one that is due now"
    assert set(empty.values()) == {0.0}
    assert sum(name.startswith("forebay_changes{") for name in empty) == len(ChangeState)

    store_change(ctx.store, "CHG-2", ChangeState.DENIED)
    assert "forebay_next_effective_seconds" not in _metrics(client), "a denied change never takes effect"

    shaping(ctx)
    client.post("/v1/tickets/generic", **signed(a_delivery()))
    with ctx.store.transaction() as tx:
        tx.settle_intent(tx.add_intent(an_intent(), an_event()).number, Outcome.DONE, an_event())
        tx.add_intent(an_intent(), an_event())
    full = _metrics(client)
    assert full['forebay_changes{state="shaping"}'] == 1
    assert full['forebay_changes{state="denied"}'] == 1
    assert full["forebay_open_intents"] == 1
    assert full["forebay_tickets_without_run"] == 1
    assert full["forebay_next_effective_seconds"] == 86400
    ctx.clock.time += timedelta(days=1, seconds=90)
    assert _metrics(client)["forebay_next_effective_seconds"] == -90, "overdue is negative"


def test_metrics_say_how_long_the_reconciler_has_been_silent(ctx: Context, client: TestClient) -> None:
    def passes(look: bool) -> None:
        reconcile(ctx, "pass", timedelta(hours=2), lambda what, error: None, look)

    passes(look=False)
    assert "forebay_reconciled_seconds_ago" not in _metrics(client), "the passes of seconds write nothing"
    passes(look=True)
    assert int(_metrics(client)["forebay_reconciled_seconds_ago"]) == 0
    ctx.clock.time += timedelta(minutes=4)
    passes(look=False)
    assert int(_metrics(client)["forebay_reconciled_seconds_ago"]) == 240
