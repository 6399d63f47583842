"""Webhooks that were signed and then mutated, and signed ones whose YAML was: no 5xx, none accepted without a valid
signature, none refused that changed anything. A few hundred here; 100,000 by `make fuzz`.

What is valid is judged by an HMAC of its own, not by the code under test.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from forebay.domain.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER
from forebay.domain.source import GENERIC
from forebay.store import open_store
from tests.adapters.test_web_sources import SOURCES, body_signed
from tests.support.samples import NOW
from tests.support.stores import sqlite_url
from tests.support.web import OLD_SECRET, SECRET, HandClock, a_client, a_context, a_delivery
from tests.unit.test_mapping import payload

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


@st.composite
def webhooks(draw: st.DrawFn) -> tuple[frozenset[str], dict[str, Any]]:
    """What was mutated, and the arguments of a request. JSON and `signed body` are mutated before the signing."""
    kinds = frozenset(draw(st.lists(st.sampled_from(MUTATIONS), max_size=3)))
    delivery = a_delivery(
        ticket=draw(st.sampled_from(["CHG-7", "CHG-8", "CHG-9"])), revision=str(draw(st.integers(1, 99)))
    )
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
    signature = "sha256=" + hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    if "body" in kinds:
        body = altered(draw, body, 0, 255)
    if "encoding" in kinds:
        encoding = draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-7", "latin-1"]))
        body = body.decode("utf-8", "replace").encode(encoding, "replace")
    if "timestamp" in kinds:
        timestamp = altered(draw, timestamp.encode(), 0x20, 0x7E).decode()
    if "signature" in kinds:
        signature = altered(draw, signature.encode(), 0x20, 0x7E).decode()
    headers = [(TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signature)]
    if "header" in kinds:
        headers = draw(st.lists(st.sampled_from([*headers, ("X-Other", "1"), (SIGNATURE_HEADER, "")]), max_size=4))
        odd = [("Content-Encoding", "gzip"), ("Content-Type", "text/plain; charset=utf-16"), ("Expect", "x")]
        headers.append(draw(st.sampled_from([*odd, ("Content-Length", str(draw(st.integers(0, 10**6))))])))
    method = (
        draw(st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])) if "method" in kinds else "POST"
    )
    path = draw(
        st.sampled_from(["generic/", "Generic", "generic%00", "%2e%2e/generic", "", "generic?a=b", "..;/generic"])
    )
    url = "/v1/tickets/" + (path if "path" in kinds else "generic")
    return kinds, {"method": method, "url": url, "content": body, "headers": headers}


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


def is_signed(request: dict[str, Any]) -> bool:
    """By the document's words: HMAC-SHA256 of timestamp, dot and body, within 300 s; the first header of a name."""
    given: dict[str, str] = {}
    for name, value in request["headers"]:
        given.setdefault(name, value.strip(" \t"))
    timestamp, signature = given.get(TIMESTAMP_HEADER, ""), given.get(SIGNATURE_HEADER, "")
    if not re.fullmatch(r"[0-9]{1,11}", timestamp) or abs(NOW.timestamp() - int(timestamp)) > 300:
        return False
    signed = timestamp.encode() + b"." + request["content"]
    return signature in [
        "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in (SECRET, OLD_SECRET)
    ]


def rows(file: Path) -> int:
    """How many rows the store holds. Read anew each time: a connection kept open may stay on what it has seen."""
    with closing(sqlite3.connect(file)) as database:
        # SQLite's own tables apart: its row of a sequence comes with the first value that is drawn.
        named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        counts = " UNION ALL ".join(
            f"SELECT count(*) AS n FROM {name}" for (name,) in database.execute(named).fetchall()
        )
        return int(database.execute(f"SELECT sum(n) FROM ({counts})").fetchall()[0][0])


def tried(limit: int) -> settings:
    return settings(
        max_examples=limit,
        deadline=None,
        database=None,
        derandomize=not LONG,  # `make test` meets the same ones each time, `make fuzz` others
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(0 if LONG else 300)
def test_mutated_webhooks(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path))
    # An error that nobody caught is to be seen as the 500 that it is, not raised into the test.
    endless = (GENERIC.model_copy(update={"deliveries_per_minute": 10**9}),)
    app = a_client(a_context(store, HandClock()), sources=endless).app
    client = TestClient(app, raise_server_exceptions=False)
    file = tmp_path / "forebay.db"
    answers: Counter[int] = Counter()
    mutated: Counter[str] = Counter()

    @given(webhook=webhooks())
    @tried(WEBHOOKS)
    def fuzz(webhook: tuple[frozenset[str], dict[str, Any]]) -> None:
        kinds, request = webhook
        before = rows(file)
        answer = client.request(**request)
        answers[answer.status_code] += 1
        mutated.update(kinds or {"nothing"})
        assert answer.status_code < 500, answer.text
        accepted = answer.status_code in (200, 202) and request["method"] == "POST"
        assert is_signed(request) or not accepted, "accepted without a valid signature"
        added = rows(file) - before
        assert added == 0 or accepted, "a refused one changed something"
        assert added == 1 or answer.status_code != 202, "stored, but not in the store"

    fuzz()
    store.close()
    print(f"\n{sum(answers.values())} webhooks; by answer {dict(sorted(answers.items()))}; mutated {dict(mutated)}")
    assert {200, 202, 400, 401, 404, 405, 422} <= set(answers), "every kind of answer was met, or this tests little"


@pytest.mark.timeout(0 if LONG else 300)
def test_mutated_blocks(tmp_path: Path) -> None:
    store = open_store(sqlite_url(tmp_path))
    endless = tuple(source.model_copy(update={"deliveries_per_minute": 10**9}) for source in SOURCES)
    client = TestClient(a_client(a_context(store, HandClock()), sources=endless).app, raise_server_exceptions=False)
    file = tmp_path / "forebay.db"
    answers: Counter[int] = Counter()

    @given(request=blocks())
    @tried(WEBHOOKS // 10 if LONG else WEBHOOKS)
    def fuzz(request: dict[str, Any]) -> None:
        before = rows(file)
        answer = client.post("/v1/tickets/reviews", **request)
        answers[answer.status_code] += 1
        assert answer.status_code in (200, 202, 422), answer.text
        refused = answer.headers["content-type"].startswith("application/problem+json")
        assert refused == (answer.status_code == 422)
        assert rows(file) - before == (answer.status_code == 202)

    fuzz()
    store.close()
    print(f"\n{sum(answers.values())} blocks; by answer {dict(sorted(answers.items()))}")
    assert {202, 422} <= set(answers), "every kind of answer was met, or this tests little"
