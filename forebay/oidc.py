"""Bearer tokens of an OpenID Connect issuer: JWTs, checked by the keys that the issuer publishes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from forebay.domain.access import NotAuthenticated, Principal
from forebay.domain.errors import OutsideError
from forebay.domain.issuer import TrustedIssuer
from forebay.ports import Clock

if TYPE_CHECKING:
    import jwt

log = logging.getLogger(__name__)

# By the kind of a key, never by what a token says of itself: `none`, or a public key taken for a shared secret.
ALGORITHMS: Mapping[tuple[str, str | None], str] = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}
SHORTEST_RSA_BITS = 2048
LONGEST_TOKEN, LARGEST_DOCUMENT_BYTES = 16_384, 262_144
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2, 3
KEYS_KEPT = timedelta(minutes=10)
# As long as the issuer is away, the keys it gave last are better than nobody at the door.
KEYS_KEPT_WHILE_AWAY = timedelta(hours=1)
# Whoever sends tokens with made-up key names must not make us ask for each of them.
ASKED_AT_MOST_EVERY = timedelta(seconds=30)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class OidcAuthenticator:
    """Implements `ports.Authenticator`. Used by many threads at once."""

    def __init__(self, issuer: TrustedIssuer, clock: Clock) -> None:
        self._issuer, self._clock = issuer, clock
        self._keys = IssuerKeys(issuer)

    def principal(self, token: str) -> Principal:
        import jwt

        if len(token) > LONGEST_TOKEN:
            raise NotAuthenticated(f"a token has at most {LONGEST_TOKEN} characters")
        try:
            header = jwt.get_unverified_header(token)
        # Before the signature anything may stand there: no base64, no JSON, JSON without end.
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise NotAuthenticated("this is neither a key of ours (fbk_…) nor a signed token (JWT)") from error
        if header.get("alg") not in ALGORITHMS.values():
            raise NotAuthenticated(f"the token must be signed by one of {', '.join(ALGORITHMS.values())}")
        if not isinstance(kid := header.get("kid"), str):
            raise NotAuthenticated("the token's header does not name the key it is signed by (kid)")
        now = self._clock.now()
        key = self._keys.find(kid, now)
        if key is None:
            raise NotAuthenticated("the token is signed by a key that is none of its issuer's")
        return self._issuer.admit(self._claims(token, key), now)

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        import jwt

        try:
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._issuer.audience,
                issuer=self._issuer.issuer,
                # The times are judged by our own clock, in `TrustedIssuer.admit`.
                options={
                    "require": ["iss", "aud", "exp"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidAudienceError as error:
            raise NotAuthenticated(f"the token is for another audience, not for {self._issuer.audience}") from error
        except jwt.InvalidIssuerError as error:
            raise NotAuthenticated(f"the token is of another issuer, not of {self._issuer.issuer}") from error
        except jwt.MissingRequiredClaimError as error:
            raise NotAuthenticated(f"the token does not say its {error.claim}") from error
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise NotAuthenticated("the token's signature or form is not valid") from error


class IssuerKeys:
    """The issuer's public keys by name: asked for when needed, kept for a while, asked again for a name that is new."""

    def __init__(self, issuer: TrustedIssuer) -> None:
        self._issuer = issuer
        self._lock = Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._given_at = self._asked_at = LONG_AGO
        self._failure: OutsideError | None = None

    def find(self, kid: str, now: datetime) -> jwt.PyJWK | None:
        """None: the issuer has no such key. Raises OutsideError where it is away and what it said last is no answer."""
        known, age = self._keys.get(kid), now - self._given_at
        if known is not None and age < KEYS_KEPT:
            return known
        # Whoever can do without does not wait for the one that asks.
        if self._lock.acquire(blocking=known is None or age >= KEYS_KEPT_WHILE_AWAY):
            try:
                if abs(now - self._asked_at) >= ASKED_AT_MOST_EVERY:
                    self._ask(now)
            finally:
                self._lock.release()
        known = self._keys.get(kid)
        if self._failure is not None and (known is None or now - self._given_at >= KEYS_KEPT_WHILE_AWAY):
            raise OutsideError(str(self._failure), retryable=self._failure.retryable) from self._failure
        return known

    def _ask(self, now: datetime) -> None:
        self._asked_at = now
        try:
            self._keys = _published(self._issuer)
        except OutsideError as error:
            self._failure = error
            log.warning("the keys of %s: %s", self._issuer.issuer, error)
        else:
            self._given_at, self._failure = now, None


def _published(issuer: TrustedIssuer) -> Mapping[str, jwt.PyJWK]:
    """By OpenID Connect Discovery 1.0: the document, and the key set (RFC 7517) it names. Raises OutsideError."""
    document = _json(f"{issuer.issuer.rstrip('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer.issuer:
        raise OutsideError(
            f"it says that it is {document.get('issuer')!r}, not {issuer.issuer!r}: write FOREBAY_OIDC as it does",
            retryable=False,
        )
    address = document.get("jwks_uri")
    if not isinstance(address, str) or not address.startswith(("https:", "http:" if issuer.unencrypted else "https:")):
        raise OutsideError("its discovery document names no key set (jwks_uri) at an https address", retryable=False)
    members = _json(address).get("keys")
    keys = [key for member in (members if isinstance(members, list) else []) if (key := _usable(member))]
    if not keys:
        raise OutsideError(f"{address} has no key for {', '.join(ALGORITHMS.values())}", retryable=False)
    return {str(key.key_id): key for key in keys}


def _usable(member: Any) -> jwt.PyJWK | None:
    """A named public key that signs by an algorithm of the list; None for any other member of a key set."""
    import jwt

    if not isinstance(member, dict) or not isinstance(member.get("kid"), str) or member.get("use", "sig") != "sig":
        return None
    algorithm = ALGORITHMS.get((str(member.get("kty")), member.get("crv")))
    if algorithm is None or member.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK({name: value for name, value in member.items() if name != "d"}, algorithm)
    except (jwt.PyJWTError, ValueError) as error:
        log.warning("a key of the issuer's cannot be read: %s", type(error).__name__)
        return None
    return key if algorithm != "RS256" or key.key.key_size >= SHORTEST_RSA_BITS else None


def _json(address: str) -> dict[str, Any]:
    """Redirects are not followed: whoever answers elsewhere was not named. Raises OutsideError."""
    import urllib3

    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
    try:
        with urllib3.PoolManager(timeout=timeout) as pool:
            answer = pool.request(
                "GET", address, headers={"Accept": "application/json", "User-Agent": "forebay"},
                redirect=False, retries=False, preload_content=False,
            )  # fmt: skip
            with answer:
                text = answer.read(LARGEST_DOCUMENT_BYTES + 1)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise OutsideError(f"{address} was not answered: {error}", retryable=True) from error
    if answer.status != 200 or len(text) > LARGEST_DOCUMENT_BYTES:
        raise OutsideError(f"{address} answered {answer.status}, {len(text)} bytes", retryable=True)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OutsideError(f"{address} answered with something other than JSON", retryable=True) from error
    if not isinstance(document, dict):
        raise OutsideError(f"{address} answered with something other than a JSON object", retryable=True)
    return document
