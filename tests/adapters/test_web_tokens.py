"""Bearer tokens of an OpenID Connect issuer: what is let in, as whom, and every way in which a token is not one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient

from forebay.domain.errors import InputError
from forebay.oidc import OidcAuthenticator
from forebay.settings import load_settings
from forebay.web.app import create_app
from forebay.web.settings import WebSettings
from forebay.wiring import make_authenticator
from tests.support.api import a_key
from tests.support.issuer import AUDIENCE, DISCOVERY, KEY_SET, Issuer, public, rsa_key
from tests.support.world import World, a_request

CHANGES = "/v1/changes"
HS_SECRET = b"a shared secret, long enough for HS256"


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as made:
        yield made


class Door:
    """The web door with `issuer` trusted."""

    def __init__(self, world: World, issuer: Issuer, **trusted: Any) -> None:
        self.world, self.issuer = world, issuer
        tokens = OidcAuthenticator(issuer.trusted(**trusted), world.clock)
        app = create_app(world.ctx, WebSettings(open_reading=False), tokens=tokens)
        self.client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)

    def get(self, token: str, path: str = CHANGES) -> tuple[int, str]:
        answer = self.client.get(path, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json()["detail"] if answer.status_code >= 400 else ""

    def token(self, **more: Any) -> str:
        return self.issuer.token(self.world.clock.now(), **more)

    def signed_by(self, key: Any, algorithm: str, **headers: Any) -> str:
        claims = self.issuer.claims(self.world.clock.now())
        named = {name: value for name, value in ({"kid": "rsa-1"} | headers).items() if value is not None}
        return jwt.encode(claims, key, algorithm, headers=named)


@pytest.fixture
def door(world: World, issuer: Issuer) -> Door:
    return Door(world, issuer)


@pytest.mark.parametrize("key", ["rsa-1", "ec-1"])
def test_a_token_of_the_issuer_lets_in_as_a_key_does(door: Door, key: str) -> None:
    assert door.get(door.token(key=key)) == (200, "")
    assert door.get(a_key(door.world, "zoe", "viewer")) == (200, "")


def test_what_is_done_by_a_token_is_done_in_its_name(door: Door) -> None:
    body = a_request().model_dump(mode="json", exclude={"requested_by"})
    headers = {"Authorization": f"Bearer {door.token(groups=['staff', 'capacity'])}"}
    assert door.client.post(CHANGES, json=body, headers=headers).json()["change"]["requested_by"] == "zoe"
    viewer = {"Authorization": f"Bearer {door.token()}"}
    assert door.client.post(CHANGES, json=body, headers=viewer).status_code == 403


SPOILT: dict[str, tuple[Callable[[Door], str], str]] = {
    "another audience": (lambda door: door.token(aud="billing"), "another audience"),
    "no audience": (lambda door: door.token(aud=None), "does not say its aud"),
    "another issuer": (lambda door: door.token(iss="https://elsewhere.example"), "another issuer"),
    "the issuer with a slash": (lambda door: door.token(iss=door.issuer.url + "/"), "another issuer"),
    "no expiry": (lambda door: door.token(exp=None), "does not say its exp"),
    "an expiry that is no time": (lambda door: door.token(exp="soon"), "exp is no time"),
    "an expiry beyond numbers": (lambda door: door.token(exp=float("inf")), "exp is no time"),
    "a start beyond floats": (lambda door: door.token(nbf=10**400), "not valid yet"),
    "no role": (lambda door: door.token(groups=["guests"]), "has a role here"),
    "no groups": (lambda door: door.token(groups=None), "has a role here"),
    "no name": (lambda door: door.token(sub=None), "sub is no name"),
    "a name of two lines": (lambda door: door.token(sub="zoe\nroot"), "no name"),
    "alg none": (lambda door: door.signed_by(None, "none"), "signed by one of RS256, ES256"),
    "HS256 with the public key": (
        lambda door: forged_with_public_key(door, Encoding.PEM, "HS256"),
        "signed by one of RS256, ES256",
    ),
    "RS256 said, HMAC with the public key done": (
        lambda door: forged_with_public_key(door, Encoding.PEM, "RS256"),
        "signature or form",
    ),
    "HS256 with a secret": (lambda door: door.signed_by(HS_SECRET, "HS256"), "signed by one of"),
    "RS512": (lambda door: door.signed_by(door.issuer.keys["rsa-1"], "RS512"), "signed by one of"),
    "another key of the same name": (lambda door: door.signed_by(rsa_key(), "RS256"), "signature or form"),
    "an EC key where an RSA key is meant": (
        lambda door: door.signed_by(door.issuer.keys["ec-1"], "ES256"),
        "signature or form",
    ),
    "a key of another name": (lambda door: door.signed_by(rsa_key(), "RS256", kid="mine"), "none of its issuer's"),
    "no key name": (lambda door: door.signed_by(rsa_key(), "RS256", kid=None), "does not name the key"),
    "an extension that must be understood": (
        lambda door: door.signed_by(door.issuer.keys["rsa-1"], "RS256", crit=["b64"], b64=False),
        "",
    ),
    "claims exchanged": (lambda door: exchanged(door.token(), sub="root"), "signature or form"),
    "no token": (lambda door: "abc", "neither a key of ours"),
    "JSON without end": (lambda door: b64(b"[" * 9000) + ".e30.", "neither a key of ours"),
    "a number without end": (lambda door: b64(b'{"alg":' + b"9" * 9000 + b"}") + ".e30.", "neither a key of ours"),
    "too long": (lambda door: "a" * 16_385, "at most 16384"),
}


def b64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def exchanged(token: str, **claims: Any) -> str:
    head, body, signature = token.split(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=="))
    return ".".join((head, b64(json.dumps(payload | claims).encode()), signature))


def forged_with_public_key(door: Door, encoding: Encoding, said: str) -> str:
    """What the attack of that name sends: an HMAC whose secret is the public key. By hand: libraries refuse to."""
    secret = door.issuer.keys["rsa-1"].public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    head = b64(json.dumps({"alg": said, "kid": "rsa-1", "typ": "JWT"}).encode())
    body = b64(json.dumps(door.issuer.claims(door.world.clock.now())).encode())
    return f"{head}.{body}.{b64(hmac.new(secret, f'{head}.{body}'.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_no_token_for_us_is_refused_and_says_why(door: Door, case: str) -> None:
    spoil, words = SPOILT[case]
    status, detail = door.get(spoil(door))
    assert (status, words in detail) == (401, True), detail
    assert door.get(door.token())[0] == 200, "the door stands as before"


@pytest.mark.parametrize(
    ("claim", "seconds", "status"),
    [("exp", -31, 401), ("exp", -30, 401), ("exp", -29, 200), ("nbf", 30, 200), ("nbf", 31, 401)],
)
def test_times_are_judged_with_half_a_minute_of_leeway(door: Door, claim: str, seconds: int, status: int) -> None:
    at = door.world.clock.now().timestamp() + seconds
    assert door.get(door.token(**{claim: at}))[0] == status


def test_a_token_ends_when_it_says_so(door: Door) -> None:
    token = door.token()
    assert door.get(token)[0] == 200
    door.world.clock.step(timedelta(minutes=6))
    assert door.get(token) == (401, "the token is expired: ask your issuer for a new one")


def test_name_groups_and_entities_are_found_where_the_configuration_says(world: World, issuer: Issuer) -> None:
    where = {"name": "email", "groups": "realm_access.roles", "entities": '"https://forebay.example/entities"'}
    door = Door(world, issuer, **where)
    world.submit()  # of acme
    granted = {"email": "zoe@example.com", "email_verified": True, "realm_access": {"roles": ["staff"]}}
    named = "https://forebay.example/entities"
    for entities, status in (
        (["acme"], 200),
        ("acme other", 200),
        (["other"], 404),
        (["*"], 200),
        ([], 401),
        (None, 401),
    ):
        assert door.get(door.token(**granted, **{named: entities}), f"{CHANGES}/CHG-1")[0] == status, entities
    for verified in (False, None, "true"):
        answer = door.get(door.token(**granted | {"email_verified": verified}, **{named: ["*"]}))
        assert answer == (401, "the token's email is not verified by its issuer (email_verified)")


@pytest.mark.parametrize(
    "claims", [{"email": "root@example.com"}, {"email": "root@example.com", "email_verified": False}]
)
def test_an_email_that_is_only_fallen_back_on_is_to_be_verified_too(
    world: World, issuer: Issuer, claims: dict[str, Any]
) -> None:
    door = Door(world, issuer, name="preferred_username || email")
    answer = door.get(door.token(**claims))
    assert answer == (401, "the token's email is not verified by its issuer (email_verified)")
    assert door.get(door.token(**claims, preferred_username="zoe"))[0] == 200, "it is not the name"


def test_keys_are_asked_for_once_and_a_rotated_one_is_found(door: Door) -> None:
    for _ in range(5):
        assert door.get(door.token())[0] == 200
    assert door.issuer.asked == [DISCOVERY, KEY_SET]
    old = door.token()
    door.issuer.keys = {"rsa-2": rsa_key()}
    assert door.get(door.token(key="rsa-2"))[0] == 401, "asked a moment ago: a new name does not make us ask at once"
    door.world.clock.step(timedelta(seconds=30))
    assert door.get(door.token(key="rsa-2"))[0] == 200
    assert door.get(old)[0] == 401, "its key is no longer published"


def test_made_up_key_names_do_not_make_us_ask_the_issuer_each_time(door: Door) -> None:
    for number in range(20):
        door.get(door.signed_by(rsa_key_once(), "RS256", kid=f"mine-{number}"))
    assert door.issuer.asked == [DISCOVERY, KEY_SET]


_ONCE: list[Any] = []


def rsa_key_once() -> Any:
    if not _ONCE:
        _ONCE.append(rsa_key())
    return _ONCE[0]


def test_without_the_issuer_tokens_wait_and_keys_go_on(door: Door) -> None:
    door.issuer.status = 500
    status, detail = door.get(door.token())
    assert (status, detail) == (
        503,
        "the token's issuer does not say by which keys it signs: try again, or use an API key",
    )
    assert door.get(a_key(door.world, "zoe", "viewer"))[0] == 200
    door.issuer.status = 200
    assert door.get(door.token())[0] == 503, "asked a moment ago"
    door.world.clock.step(timedelta(seconds=30))
    assert door.get(door.token())[0] == 200


def test_known_keys_outlast_the_issuer_by_an_hour(door: Door) -> None:
    assert door.get(door.token())[0] == 200
    door.issuer.status = 302  # where it leads is not asked
    door.world.clock.step(timedelta(minutes=59))
    assert door.get(door.token())[0] == 200
    door.world.clock.step(timedelta(minutes=1))
    assert door.get(door.token())[0] == 503


def test_an_issuer_that_nobody_answers_for_is_away_too(door: Door) -> None:
    door.issuer.server.shutdown()
    door.issuer.server.server_close()
    assert door.get(door.token())[0] == 503


@pytest.mark.parametrize(
    ("path", "document"),
    [
        pytest.param(DISCOVERY, {"issuer": "https://elsewhere.example", "jwks_uri": "x"}, id="of another issuer"),
        pytest.param(DISCOVERY, {}, id="empty"),
        pytest.param(DISCOVERY, [], id="no object"),
        pytest.param(KEY_SET, {"keys": []}, id="no keys"),
        pytest.param(KEY_SET, {"keys": "none"}, id="keys that are no list"),
        pytest.param(KEY_SET, {"keys": ["none", {}, {"kty": "RSA", "kid": "rsa-1", "n": "!", "e": 1}]}, id="no key"),
        pytest.param(KEY_SET, {"keys": [{"kty": "oct", "kid": "rsa-1", "k": b64(HS_SECRET)}]}, id="a secret for a key"),
        pytest.param(KEY_SET, {"keys": [public(rsa_key(1024)) | {"kid": "rsa-1"}]}, id="a short key"),
        pytest.param(
            KEY_SET, {"keys": [public(ec.generate_private_key(ec.SECP384R1())) | {"kid": "ec"}]}, id="another curve"
        ),
    ],
)
def test_what_an_issuer_must_not_publish_lets_nobody_in(door: Door, path: str, document: Any) -> None:
    door.issuer.documents[path] = document
    assert door.get(door.token())[0] == 503


def test_members_of_no_use_do_not_spoil_the_key_set(door: Door) -> None:
    short = public(rsa_key(1024)) | {"kid": "short"}
    encrypting = public(rsa_key()) | {"kid": "enc", "use": "enc"}
    door.issuer.more_members = ["none", {"kty": "oct", "kid": "s", "k": b64(HS_SECRET)}, short, encrypting, {"kid": 1}]
    assert door.get(door.token())[0] == 200
    assert door.get(door.signed_by(HS_SECRET, "HS256", kid="s"))[0] == 401


def test_where_no_issuer_is_trusted_a_token_is_no_key(world: World, issuer: Issuer) -> None:
    client = TestClient(create_app(world.ctx, WebSettings()))
    token = issuer.token(world.clock.now(), aud=AUDIENCE)
    assert client.get(CHANGES, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert issuer.asked == []


def test_the_environment_says_which_issuer_is_trusted(
    world: World, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_authenticator(load_settings()) is None
    monkeypatch.setenv("FOREBAY_OIDC", issuer.trusted().model_dump_json())
    tokens = make_authenticator(load_settings())
    assert tokens is not None
    assert tokens.principal(issuer.token(datetime.now(UTC))).name == "zoe"
    monkeypatch.setenv("FOREBAY_OIDC", issuer.trusted().model_dump_json().replace("viewer", "king"))
    with pytest.raises(InputError, match=r"OIDC\.roles\.staff"):
        load_settings()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("issuer", "https://u:p@host", "issuer: write it as"),
        ("unencrypted", False, "use https"),
        ("roles", {}, "roles"),
        ("groups", "realm..roles", "no JMESPath"),
        ("audience", "", "audience"),
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_refused(issuer: Issuer, field: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        issuer.trusted(**{field: value})
