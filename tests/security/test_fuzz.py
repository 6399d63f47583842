"""Webhooks of every kind of source that were signed and then mutated, and signed ones whose YAML was: no 5xx, none
accepted without a valid signature, none refused that changed anything. A few hundred here; 100,000 by `make fuzz`.

What is valid is judged by an HMAC of its own, not by the code under test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from forebay.domain.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER
from forebay.domain.source import GENERIC
from forebay.store import SqlStore, open_store
from tests.adapters.test_web_sources import SIGNING_KEY, SIGNING_TOKEN, SOURCES, body_signed
from tests.support.samples import NOW
from tests.support.stores import sqlite_url
from tests.support.web import OLD_SECRET, SECRET, HandClock, a_client, a_context, a_delivery
from tests.unit.test_mapping import payload

Headers = list[tuple[str, str]]
LONG = bool(os.environ.get("FOREBAY_LONG"))
WEBHOOKS = int(os.environ.get("FOREBAY_WEBHOOKS", "100000")) if LONG else 300
MUTATIONS = ("body", "signed body", "json", "timestamp", "signature", "header", "encoding", "method", "path")
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["P9999999D", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+14:00", "-PT1S", "\ud800", "\0"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.none(), max_size=2),
)

# What looks like a date, a number or a mapping and is none, and what Python can not tell again.
ODD_YAML = [
    *("2026-02-30T09:00:00+01:00", "2019-13-01", "2026-01-01T25:00:00Z", "2001-01-01 00:00:00+99:99", "2026-11-24"),
    *("0b_", "0x_", "9" * 5000, "0x" + "f" * 5000, "190:20:30", ".inf", "-.nan", "1e999", "P4M", "~", "yes"),
    *("!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary /w==", "!!set {a}", "!!omap [a: 1]", "!x y"),
    *("&a [*a]", "*a", "{<<: 3}", "{<<: {a: 1}, a: 2}", "{a: 1, a: 2}", "{? [a] : 1}", "{2026-02-30: 1}", "{1: 2}"),
    *(
        "[" * 3000,
        "{a: " * 40 + "1" + "}" * 40,
        '"\\ud800"',
        '"\\0"',
        '"\\x85"',
        "|\n  a",
        "=",
        "%",
        "`",
        "- a",
        "a: b: c",
    ),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a JSON value something can be put instead."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


@dataclass(frozen=True)
class Signing:
    """One way by which a source proves itself: its headers, and by which of them what came is its own."""

    source: str
    headers: Callable[[str, bytes], Headers]  # of a timestamp and a body
    proves: Callable[[dict[str, str], bytes], bool]


def mac(secret: str | bytes, signed: bytes) -> str:
    return hmac.new(secret.encode() if isinstance(secret, str) else secret, signed, hashlib.sha256).hexdigest()


def recent(timestamp: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,11}", timestamp)) and abs(NOW.timestamp() - int(timestamp)) <= 300


def by_timestamp(source: str) -> Signing:
    """HMAC-SHA256 of timestamp, dot and body, within 300 s."""

    def headers(timestamp: str, body: bytes) -> Headers:
        signature = "sha256=" + mac(SECRET, timestamp.encode() + b"." + body)
        return [(TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signature)]

    def proves(given: dict[str, str], body: bytes) -> bool:
        timestamp = given.get(TIMESTAMP_HEADER.lower(), "")
        signed = timestamp.encode() + b"." + body
        valid = ["sha256=" + mac(secret, signed) for secret in (SECRET, OLD_SECRET)]
        return recent(timestamp) and given.get(SIGNATURE_HEADER.lower(), "") in valid

    return Signing(source, headers, proves)


def by_body(source: str, header: str) -> Signing:
    """HMAC-SHA256 of the body alone, as Jira and GitHub sign."""

    def proves(given: dict[str, str], body: bytes) -> bool:
        return given.get(header.lower(), "") in ["sha256=" + mac(secret, body) for secret in (SECRET, OLD_SECRET)]

    return Signing(source, lambda _, body: [(header, "sha256=" + mac(SECRET, body))], proves)


def by_authorization(value: str) -> Signing:
    """The secret itself, as ServiceNow sends it."""

    def proves(given: dict[str, str], body: bytes) -> bool:
        scheme, _, sent = given.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            with suppress(ValueError):  # one value has several spellings in base64
                return base64.b64decode(sent, validate=True).decode() in [
                    f"servicenow:{secret}" for secret in (SECRET, OLD_SECRET)
                ]
        return scheme.lower() == "bearer" and sent in (SECRET, OLD_SECRET)

    return Signing("servicenow", lambda *_: [("Authorization", value)], proves)


def by_gitlab_token() -> Signing:
    return Signing(
        "gitlab",
        lambda *_: [("X-Gitlab-Token", SECRET)],
        lambda given, _: "webhook-signature" not in given and given.get("x-gitlab-token") == SECRET,
    )


def by_standard_webhook() -> Signing:
    """HMAC-SHA256 of id, timestamp and body, within 300 s; of several signatures one will do."""

    def signature(id: str, timestamp: str, body: bytes) -> str:
        signed = f"{id}.{timestamp}.".encode() + body
        return "v1," + base64.b64encode(hmac.new(SIGNING_KEY, signed, hashlib.sha256).digest()).decode()

    def headers(timestamp: str, body: bytes) -> Headers:
        named = [("webhook-id", "msg-1"), ("webhook-timestamp", timestamp)]
        return [*named, ("webhook-signature", signature("msg-1", timestamp, body))]

    def proves(given: dict[str, str], body: bytes) -> bool:
        timestamp = given.get("webhook-timestamp", "")
        expected = signature(given.get("webhook-id", ""), timestamp, body)
        return recent(timestamp) and expected in given.get("webhook-signature", "").split()

    return Signing("gitlab", headers, proves)


SIGNINGS = (
    by_timestamp("generic"),
    by_body("jira", "X-Hub-Signature"),
    by_body("reviews", "X-Hub-Signature-256"),
    by_timestamp("servicenow"),
    by_authorization(f"Bearer {SECRET}"),
    by_authorization("Basic " + base64.b64encode(f"servicenow:{SECRET}".encode()).decode()),
    by_gitlab_token(),
    by_standard_webhook(),
)
SECRETS = {source.name: (SecretStr(OLD_SECRET), SecretStr(SECRET)) for source in (GENERIC, *SOURCES)}
SECRETS["gitlab"] = (SecretStr(SECRET), SecretStr(SIGNING_TOKEN))


def a_payload(source: str, number: int, revision: int) -> Any:
    """What the source's system sends of a ticket, valid."""
    clock = f"09:{revision // 60:02}:{revision % 60:02}"
    match source:
        case "jira":
            sent = payload("jira") | {"timestamp": 1795510800000 + revision}
            sent["issue"]["key"] = f"OPS-{number}"
        case "servicenow":
            sent = payload("servicenow") | {"number": f"CHG{number}", "sys_mod_count": str(revision)}
        case "reviews":
            sent = payload("github")
            sent["issue"] |= {"number": number, "updated_at": f"2026-11-24T{clock}Z"}
            sent["issue"]["body"] = sent["issue"]["body"].replace("checkout", "web")
        case "gitlab":
            sent = payload("gitlab")
            sent["object_attributes"] |= {"iid": number, "updated_at": f"2026-11-24 {clock} UTC"}
            text = sent["object_attributes"]["description"]
            sent["object_attributes"]["description"] = text.replace("checkout", "web")
        case _:
            sent = a_delivery(ticket=f"CHG-{number}", revision=str(revision))
    return sent


@st.composite
def webhooks(draw: st.DrawFn) -> tuple[Signing, frozenset[str], dict[str, Any]]:
    """How it was signed, what was mutated, and the arguments of a request. JSON and `signed body` are mutated before
    the signing.
    """
    kinds = frozenset(draw(st.lists(st.sampled_from(MUTATIONS), max_size=3)))
    signing = draw(st.sampled_from(SIGNINGS))
    delivery = a_payload(signing.source, draw(st.integers(7, 9)), draw(st.integers(1, 99)))
    if "json" in kinds:
        for _ in range(draw(st.integers(1, 3))):
            *way, last = draw(st.sampled_from(list(places(delivery))))
            inner: Any = delivery
            for key in way:
                inner = inner[key]
            if draw(st.booleans()) and isinstance(inner, dict):
                inner[draw(st.text(max_size=8))] = inner.pop(last)
            else:
                inner[last] = draw(ODD)
    body = json.dumps(delivery).encode()
    if "signed body" in kinds:
        body = altered(draw, body, 0, 255)
    timestamp = str(int(NOW.timestamp()) + draw(st.sampled_from([0, 0, 0, -300, 300, -301, 302, -(10**6)])))
    headers = signing.headers(timestamp, body)
    if "body" in kinds:
        body = altered(draw, body, 0, 255)
    if "encoding" in kinds:
        encoding = draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-7", "latin-1"]))
        body = body.decode("utf-8", "replace").encode(encoding, "replace")
    if "signature" in kinds:  # what proves it comes last
        headers = [*headers[:-1], mutated(draw, headers[-1])]
    if "timestamp" in kinds:  # and what else is signed before it
        headers = [*(mutated(draw, header) for header in headers[:-1]), headers[-1]]
    if "header" in kinds:
        of_others = draw(st.sampled_from(SIGNINGS)).headers(timestamp, body)
        some = st.sampled_from([*headers, *of_others, ("X-Other", "1"), (headers[-1][0], "")])
        headers = draw(st.lists(some, max_size=4))
        odd = [("Content-Encoding", "gzip"), ("Content-Type", "text/plain; charset=utf-16"), ("Expect", "x")]
        headers.append(draw(st.sampled_from([*odd, ("Content-Length", str(draw(st.integers(0, 10**6))))])))
    method = (
        draw(st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])) if "method" in kinds else "POST"
    )
    name = signing.source
    odd_paths = [f"{name}/", name.title(), f"{name}%00", f"%2e%2e/{name}", "", f"{name}?a=b", f"..;/{name}"]
    path = draw(st.sampled_from(odd_paths)) if "path" in kinds else name
    return signing, kinds, {"method": method, "url": f"/v1/tickets/{path}", "content": body, "headers": headers}


def mutated(draw: st.DrawFn, header: tuple[str, str]) -> tuple[str, str]:
    name, value = header
    return name, altered(draw, value.encode(), 0x20, 0x7E).decode()


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    """A signed request of GitHub's, of an issue whose block of YAML has something odd in some places."""
    sent = payload("github")
    sent["issue"]["number"] = draw(st.integers(1, 9999))
    *lines, fence = sent["issue"]["body"].replace("checkout", "web").splitlines()
    fields = [number for number, line in enumerate(lines) if ": " in line]
    for number in draw(st.lists(st.sampled_from(fields), max_size=2)):
        name, odd = lines[number].partition(": ")[0], draw(st.sampled_from(ODD_YAML))
        lines[number] = draw(st.sampled_from([f"{name}: {odd}", f"{name}: {odd}", f"{odd}: 1", odd]))
    document = f"document: {{a: {draw(st.sampled_from(ODD_YAML))}}}"
    sent["issue"]["body"] = "\n".join([*lines, document, fence])
    return body_signed(sent, "X-Hub-Signature-256")


def altered(draw: st.DrawFn, whole: bytes, least: int, most: int) -> bytes:
    """A few bytes replaced, dropped or put in."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(whole)))
        put = bytes(draw(st.lists(st.integers(least, most), max_size=3)))
        whole = whole[:place] + put + whole[place + draw(st.integers(0, 2)) :]
    return whole


def is_signed(source: str, request: dict[str, Any]) -> bool:
    """By one of the source's own ways, and the documents' words for it; the first header of a name counts."""
    given: dict[str, str] = {}
    for name, value in request["headers"]:
        given.setdefault(name.lower(), value.strip(" \t"))
    return any(way.proves(given, request["content"]) for way in SIGNINGS if way.source == source)


class Watched:
    """A SQLite store's file: whether anything was written to it since the last look, be it a row that is changed."""

    def __init__(self, file: Path) -> None:
        self._kept = sqlite3.connect(file)  # the number means something to the connection that asked before
        self._seen = self._version()

    def _version(self) -> int:
        return int(self._kept.execute("PRAGMA data_version").fetchall()[0][0])

    def changed(self) -> bool:
        before, self._seen = self._seen, self._version()
        return self._seen != before

    def tickets(self) -> int:
        return int(self._kept.execute("SELECT count(*) FROM tickets").fetchall()[0][0])


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    sqlite_url(tmp_path)
    seen = Watched(tmp_path / "forebay.db")
    yield seen
    seen._kept.close()


def fuzzed(tmp_path: Path) -> tuple[SqlStore, TestClient]:
    """A web door on the store in `tmp_path`. An error that nobody caught is the 500 that it is, not raised in here."""
    endless = [source.model_copy(update={"deliveries_per_minute": 10**9}) for source in (GENERIC, *SOURCES)]
    store = open_store(f"sqlite:///{tmp_path}/forebay.db")
    app = a_client(a_context(store, HandClock()), sources=tuple(endless), webhook_secrets=SECRETS).app
    return store, TestClient(app, raise_server_exceptions=False, client=("203.0.113.7", 50_000))


def tried(limit: int) -> settings:
    return settings(
        max_examples=limit,
        deadline=None,
        database=None,
        derandomize=not LONG,  # `make test` meets the same ones each time, `make fuzz` others
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def test_the_watch_sees_a_row_that_is_changed_and_nothing_where_nothing_is(tmp_path: Path, watched: Watched) -> None:
    store, client = fuzzed(tmp_path)
    assert not watched.changed()
    with store.transaction() as tx:
        tx.changes()
    assert client.post("/v1/tickets/generic", content=b"{}").status_code == 401
    assert not watched.changed(), "neither a read nor a refusal is a write"
    with closing(sqlite3.connect(tmp_path / "forebay.db")) as other:
        other.execute("UPDATE audit_head SET hash = hash || 'x'")
        other.commit()
    assert watched.changed() and not watched.changed()
    store.close()


@pytest.mark.timeout(0 if LONG else 300)
def test_mutated_webhooks(tmp_path: Path, watched: Watched) -> None:
    store, client = fuzzed(tmp_path)
    answers: Counter[tuple[str, int]] = Counter()
    kinds_met: Counter[str] = Counter()

    @given(webhook=webhooks())
    @tried(WEBHOOKS)
    def fuzz(webhook: tuple[Signing, frozenset[str], dict[str, Any]]) -> None:
        signing, kinds, request = webhook
        answer = client.request(**request)
        answers[signing.source, answer.status_code] += 1
        kinds_met.update(kinds or {"nothing"})
        assert answer.status_code < 500, answer.text
        accepted = answer.status_code in (200, 202) and request["method"] == "POST"
        assert is_signed(signing.source, request) or not accepted, "accepted without a valid signature"
        stored = accepted and answer.json()["status"] in ("stored", "older")
        assert watched.changed() == stored, "one that was not stored changed something, or one that was did not"

    fuzz()
    stored = watched.tickets()
    store.close()
    codes = Counter[int]()
    for (_, code), count in answers.items():
        codes[code] += count
    print(f"\n{sum(answers.values())} webhooks; by answer {dict(sorted(codes.items()))}; mutated {dict(kinds_met)}")
    assert {200, 202, 400, 401, 404, 405, 422} <= set(codes), "every kind of answer was met, or this tests little"
    assert {(s.name, code) for s in (GENERIC, *SOURCES) for code in (202, 401)} <= set(answers), "of every source"
    assert codes[202] <= stored <= codes[202] + codes[200], "each that was stored is there"


@pytest.mark.parametrize("way", range(len(SIGNINGS)))
def test_a_proof_that_was_altered_proves_nothing(tmp_path: Path, watched: Watched, way: int) -> None:
    """What else is mutated above hides most of these: here the delivery is valid but for its proof."""
    signing = SIGNINGS[way]
    store, client = fuzzed(tmp_path)
    body = json.dumps(a_payload(signing.source, 7, 1)).encode()
    *others, proof = signing.headers(str(int(NOW.timestamp())), body)

    @given(data=st.data())
    @tried(WEBHOOKS // 10)
    def fuzz(data: st.DataObject) -> None:
        request = {"content": body, "headers": [*others, mutated(data.draw, proof)]}
        answer = client.post(f"/v1/tickets/{signing.source}", **request)
        assert answer.status_code == 401 or is_signed(signing.source, request)
        assert watched.changed() == (answer.status_code == 202)

    fuzz()
    whole = client.post(f"/v1/tickets/{signing.source}", content=body, headers=[*others, proof])
    assert whole.status_code in (200, 202), "but for its proof nothing is wrong with it"
    store.close()


@pytest.mark.timeout(0 if LONG else 300)
def test_mutated_blocks(tmp_path: Path, watched: Watched) -> None:
    store, client = fuzzed(tmp_path)
    answers: Counter[int] = Counter()

    @given(request=blocks())
    @tried(WEBHOOKS // 10 if LONG else WEBHOOKS)
    def fuzz(request: dict[str, Any]) -> None:
        answer = client.post("/v1/tickets/reviews", **request)
        answers[answer.status_code] += 1
        assert answer.status_code in (200, 202, 422), answer.text
        refused = answer.headers["content-type"].startswith("application/problem+json")
        assert refused == (answer.status_code == 422)
        stored = answer.status_code == 202 or (answer.status_code == 200 and answer.json()["status"] == "older")
        assert watched.changed() == stored

    fuzz()
    store.close()
    print(f"\n{sum(answers.values())} blocks; by answer {dict(sorted(answers.items()))}")
    assert {202, 422} <= set(answers), "every kind of answer was met, or this tests little"
