"""How much one sender may ask: by name for those let in, by address for those who are not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from forebay.web.app import create_app
from forebay.web.auth import FAILURES_PER_MINUTE
from forebay.web.settings import WebSettings
from tests.support.api import a_key, calling
from tests.support.world import World

CHANGES = "/v1/changes"


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_each_name_has_its_own_pace_whatever_keys_it_carries(world: World) -> None:
    client = calling(world, "zoe", "viewer", requests_per_minute=3)
    other = bearer(a_key(world, "zoe", "viewer"))
    asked = [client.get(CHANGES), client.get("/v1/audit"), client.get(CHANGES, headers=other), client.get(CHANGES)]
    assert [answer.status_code for answer in asked] == [200, 200, 200, 429]
    assert asked[-1].headers["retry-after"] == "20"
    assert "'zoe' sends more than 3 requests a minute" in asked[-1].json()["detail"]
    assert client.get(CHANGES, headers=bearer(a_key(world, "ann", "viewer"))).status_code == 200
    world.clock.step(timedelta(seconds=20))
    assert client.get(CHANGES).status_code == 200


def test_pages_count_as_any_other_request(world: World) -> None:
    client = calling(world, "zoe", "viewer", requests_per_minute=2)
    answers = [client.get("/changes"), client.get(CHANGES), client.get("/changes")]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_the_decision_point_is_asked_as_often_as_services_like(world: World) -> None:
    client = calling(world, "web", "viewer", requests_per_minute=1)
    assert {client.get("/v1/policies/acme/quota").status_code for _ in range(5)} == {404}


@pytest.mark.parametrize("path", ["/changes", CHANGES, "/v1/policies?changed_since=2026-11-24T09:00:00Z", "/metrics"])
def test_who_carries_no_token_has_the_pace_of_an_address(world: World, path: str) -> None:
    app = create_app(world.ctx, WebSettings(requests_per_minute=2))
    reader, other = (TestClient(app, client=(address, 1)) for address in ("203.0.113.7", "203.0.113.8"))
    assert [reader.get(path).status_code for _ in range(3)] == [200, 200, 429]
    slowed = reader.get(path)
    assert slowed.headers["retry-after"] == "30"
    assert "your address sends more than 2 requests a minute without a token" in slowed.text
    known = bearer(a_key(world, "203.0.113.7", "viewer"))
    assert reader.get(CHANGES, headers=known).status_code == 200, "a name has a pace of its own, whatever it is"
    assert {reader.get("/v1/policies/acme/quota").status_code for _ in range(5)} == {404}, "the decision point answers"
    assert other.get(path).status_code == 200
    world.clock.step(timedelta(seconds=30))
    assert reader.get(path).status_code == 200


def test_monitoring_has_the_pace_of_an_address_where_reading_is_not_open(world: World) -> None:
    client = TestClient(create_app(world.ctx, WebSettings(open_reading=False, requests_per_minute=1)))
    assert [client.get("/metrics").status_code for _ in range(2)] == [200, 429]


def test_an_address_whose_tokens_let_nobody_in_waits_but_not_with_one_that_did(world: World) -> None:
    app = create_app(world.ctx, WebSettings())
    guesser, other = (TestClient(app, client=(address, 1)) for address in ("203.0.113.7", "203.0.113.8"))
    known, new = (bearer(a_key(world, "zoe", "viewer")) for _ in range(2))
    assert guesser.get(CHANGES, headers=known).status_code == 200
    answers = [guesser.get(CHANGES, headers=bearer(f"fbk_{n:012x}_guess")) for n in range(FAILURES_PER_MINUTE + 1)]
    assert [answer.status_code for answer in answers] == [401] * FAILURES_PER_MINUTE + [429]
    assert answers[-1].headers["retry-after"] == "2"
    assert guesser.get(CHANGES, headers=new).status_code == 429, "not even looked at"
    assert guesser.get(CHANGES, headers=known).status_code == 200
    assert other.get(CHANGES, headers=new).status_code == 200
    world.clock.step(timedelta(seconds=2))
    fresh = bearer(a_key(world, "ann", "viewer"))
    assert guesser.get(CHANGES, headers=fresh).status_code == 200


def test_a_key_that_was_good_and_ends_is_a_failure_like_any_other(world: World) -> None:
    client = calling(world, "zoe", "viewer")
    assert client.get(CHANGES).status_code == 200
    world.clock.step(timedelta(days=2))
    answers = [client.get(CHANGES).status_code for _ in range(FAILURES_PER_MINUTE + 1)]
    assert answers == [401] * FAILURES_PER_MINUTE + [429]
