"""Keys to the HTTP API: kept as a hash, for a time, for some; and reading that is open or closed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from time import sleep

import pytest

from forebay.app.keys import create_key, list_keys, revoke_key
from forebay.domain.errors import InputError
from tests.support.api import a_caller, a_key, calling
from tests.support.world import World

CHANGES = "/v1/changes"


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


def status(world: World, token: str, path: str = CHANGES) -> int:
    return a_caller(world, token).get(path).status_code


def test_a_key_is_kept_as_a_hash_only(world: World) -> None:
    token = a_key(world, "zoe", "viewer")
    secret = token.rpartition("_")[2]
    assert len(secret) == 64
    world.sql.close()  # all is in the file then
    kept = b"".join(file.read_bytes() for file in world.folder.iterdir())
    assert b"zoe" in kept
    assert secret.encode() not in kept
    assert a_key(world, "zoe", "viewer") != token


def test_it_lets_in_until_it_expires(world: World) -> None:
    token = a_key(world, "zoe", "viewer", valid=timedelta(hours=1))
    world.clock.step(timedelta(minutes=59, seconds=59))
    assert status(world, token) == 200
    world.clock.step(timedelta(seconds=1))
    answer = a_caller(world, token).get(CHANGES)
    assert answer.status_code == 401
    assert "is expired: ask for a new one" in answer.json()["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_revoked_it_lets_nobody_in_from_that_moment_on(world: World) -> None:
    token = a_key(world, "zoe", "viewer")
    assert status(world, token) == 200
    (key,) = list_keys(world.ctx)
    first, again = (revoke_key(world.ctx, key.id, "root", reason) for reason in ("lost", "lost again"))
    assert first.revoked_at == again.revoked_at == world.clock.now()
    assert status(world, token) == 401
    with world.sql.transaction() as tx:
        actions = [entry.event.action for entry in tx.audit_entries()]
    assert actions == ["key created", "key revoked"]
    with pytest.raises(InputError, match="forebay key list"):
        revoke_key(world.ctx, "none", "root", "because")


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"), id="another secret"),
        pytest.param(lambda token: token.replace("fbk_", "fbk_0", 1), id="another id"),
        pytest.param(lambda token: token + "0", id="longer"),
        pytest.param(lambda token: "fbk", id="no key"),
        pytest.param(lambda token: "a.b.c", id="a token of another kind"),
    ],
)
def test_what_is_not_the_key_is_refused_also_where_reading_is_open(world: World, spoilt) -> None:
    assert status(world, spoilt(a_key(world, "zoe", "viewer"))) == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic !", "Basic //8=", "Digest a", ""])
def test_a_header_that_cannot_be_read_is_refused(world: World, header: str) -> None:
    assert a_caller(world).get(CHANGES, headers={"Authorization": header}).status_code == 401


def test_its_use_is_noted_once_a_minute(world: World) -> None:
    token = a_key(world, "zoe", "viewer")
    start = world.clock.now()
    for seconds in (0, 59, 60):
        world.clock.sleep(start + timedelta(seconds=seconds) - world.clock.now())
        assert status(world, token) == 200
        noted = start + timedelta(seconds=60 if seconds == 60 else 0)
        # Beside the answer, which does not wait for it.
        for _ in range(100):
            if list_keys(world.ctx)[0].last_used_at == noted:
                break
            sleep(0.05)
        assert list_keys(world.ctx)[0].last_used_at == noted


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"roles": ["king"]}, "roles"),
        ({"roles": []}, "roles"),
        ({"person": ""}, "person"),
        ({"entities": ["a b"]}, "entities"),
        ({"valid": timedelta(0)}, "lets nobody in"),
        ({"valid": timedelta.max}, "cannot be valid"),
        ({"actor": " "}, "give your name"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(world: World, fields: dict, words: str) -> None:
    good = {"person": "zoe", "roles": ["viewer"], "entities": [], "valid": timedelta(days=1)}
    with pytest.raises(InputError, match=words):
        create_key(world.ctx, **(good | {"actor": "root", "reason": "because"} | fields))
    assert list_keys(world.ctx) == []


CLOSED = ["/v1/changes", "/v1/audit", "/v1/policies/acme/quota", "/changes", "/changes/CHG-1", "/"]


@pytest.mark.parametrize("path", CLOSED)
def test_reading_is_open_or_takes_a_key(world: World, path: str) -> None:
    world.submit()
    assert a_caller(world).get(path).status_code in (200, 307, 404)
    assert a_caller(world, open_reading=False).get(path).status_code == 401
    assert calling(world, "zoe", "viewer", open_reading=False).get(path).status_code in (200, 307, 404)


def test_a_browser_asks_for_the_key_as_a_password(world: World) -> None:
    closed = a_caller(world, open_reading=False)
    assert closed.get("/changes").headers["www-authenticate"].startswith("Basic")
    assert closed.get("/changes", auth=("anybody", a_key(world, "zoe", "viewer"))).status_code == 200
    assert closed.get("/changes", auth=("anybody", "guessed")).status_code == 401
    assert closed.get("/healthz").status_code == 200
