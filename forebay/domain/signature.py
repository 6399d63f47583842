"""Signed deliveries: HMAC-SHA256 over `timestamp.body`, so that neither can be altered and none can be kept for later.

Ticketing systems that cannot sign so sign the body alone, or send the secret itself: there a delivery that is sent
again is told by its ticket and revision. Pure: bytes and times in, an answer out. The sender's half (`sign`,
`signed_headers`) is here as well.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from forebay.domain.errors import InputError

SHORTEST_SECRET = 16
TIMESTAMP_HEADER = "X-Forebay-Timestamp"
SIGNATURE_HEADER = "X-Forebay-Signature"
SIGNING_PREFIX = "whsec_"
# One spelling only (no sign, no leading zero): a second spelling of the same time would be a second delivery.
_UNIX_SECONDS = re.compile(r"0|[1-9][0-9]{0,10}")


class BadSignature(InputError):
    """The delivery is unsigned, wrongly signed, or outside the replay window; the text says which and the mend."""


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=<hex>` of the HMAC (RFC 2104) over timestamp (unix seconds as sent), a dot, and the raw body."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed_headers(secret: str, body: bytes, now: datetime) -> dict[str, str]:
    """The two headers a sender adds to `body` at `now` (aware)."""
    timestamp = str(int(now.timestamp()))
    return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: sign(secret, timestamp, body)}


def check_body_signature(headers: Mapping[str, str], body: bytes, secrets: Iterable[str], header: str) -> None:
    """Raises BadSignature unless `header` is `sha256=<hex>` of the HMAC of the raw body under one of `secrets`."""
    given = headers.get(header)
    if given is None:
        raise BadSignature(f"the delivery is not signed: give the webhook its secret, so that it sends {header}")
    expected = ["sha256=" + hmac.new(s.encode(), body, hashlib.sha256).hexdigest() for s in secrets]
    if not _one_of(given, expected):
        raise BadSignature(f"{header} does not match: the webhook must have the secret of this source")


def check_authorization(headers: Mapping[str, str], secrets: Iterable[str], user: str) -> None:
    """Raises BadSignature unless `Authorization` is `Bearer SECRET`, or `Basic` with `user` and the secret."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise BadSignature("Authorization: this is not Basic authentication (base64 of user:secret)") from error
        expected = [f"{user}:{secret}" for secret in secrets]
    elif scheme.lower() == "bearer":
        expected = list(secrets)
    else:
        raise BadSignature(
            f"the delivery is not authenticated: send Authorization, Basic with user {user} and the secret of this "
            f"source or Bearer with the secret, or sign it by {TIMESTAMP_HEADER} and {SIGNATURE_HEADER}"
        )
    if not _one_of(given, expected):
        raise BadSignature("Authorization does not match the secret of this source")


def check_gitlab(
    headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: datetime, window: timedelta
) -> None:
    """Raises BadSignature unless the delivery is GitLab's, by a signing token (`whsec_…`) or by a secret token.

    A signing token signs as Standard Webhooks do: HMAC-SHA256 over `id.timestamp.body`, `v1,` and base64; it is never
    taken for a secret token, which would be sent as it is.
    """
    secrets = list(secrets)
    plain = [secret for secret in secrets if not secret.startswith(SIGNING_PREFIX)]
    given, timestamp = headers.get("webhook-signature"), headers.get("webhook-timestamp", "")
    if given is None or len(plain) == len(secrets):
        if (token := headers.get("X-Gitlab-Token")) is None:
            raise BadSignature("the delivery is neither signed nor has it X-Gitlab-Token: give the webhook its token")
        if not _one_of(token, plain):
            raise BadSignature("X-Gitlab-Token does not match the secret of this source")
        return
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    keys = [_decoded(secret.removeprefix(SIGNING_PREFIX)) for secret in secrets if secret not in plain]
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys if key]
    # Every signature is tried: there may be several, of tokens old and new.
    matches = [_one_of(part.removeprefix("v1,"), expected) for part in given.split() if part.startswith("v1,")]
    if not any(matches):
        raise BadSignature("webhook-signature does not match: the webhook must have the signing token of this source")
    _check_recent("webhook-timestamp", timestamp, now, window)


def broken_signing_token(secret: str) -> bool:
    """Whether it is written as a signing token and no delivery can ever match it."""
    return secret.startswith(SIGNING_PREFIX) and not _decoded(secret.removeprefix(SIGNING_PREFIX))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def check_signature(
    headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: datetime, window: timedelta
) -> None:
    """Raises BadSignature unless one of `secrets` signed `body` within `window` of `now` (aware), in either direction.

    A timestamp exactly `window` away is still accepted.
    """
    timestamp, given = headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER)
    if timestamp is None or given is None:
        raise BadSignature(
            f"the delivery is not signed: send {TIMESTAMP_HEADER} (unix seconds) and {SIGNATURE_HEADER}: "
            "sha256=<hex HMAC-SHA256 of secret over timestamp, a dot, and the raw body>"
        )
    _check_time(TIMESTAMP_HEADER, timestamp)
    if not _one_of(given, [sign(secret, timestamp, body) for secret in secrets]):
        raise BadSignature(
            f"{SIGNATURE_HEADER} does not match: sign timestamp, a dot, and the body byte for byte as sent, "
            "with the secret of this source, as sha256=<lower-case hex>"
        )
    _check_recent(TIMESTAMP_HEADER, timestamp, now, window)


def _check_time(header: str, timestamp: str) -> None:
    if not _UNIX_SECONDS.fullmatch(timestamp):
        raise BadSignature(f"{header} {timestamp!r} is no time: send whole unix seconds, e.g. 1795510800")


def _check_recent(header: str, timestamp: str, now: datetime, window: timedelta) -> None:
    _check_time(header, timestamp)
    apart = now - datetime.fromtimestamp(int(timestamp), UTC)
    if abs(apart) > window:
        side = "old" if apart > timedelta(0) else "in the future"
        raise BadSignature(
            f"{header} is {abs(apart).total_seconds():.0f} s {side}, more than the "
            f"{window.total_seconds():.0f} s allowed: sign anew, and check the sender's clock"
        )


def _one_of(given: str, expected: Iterable[str]) -> bool:
    # Every secret is tried whatever the first ones say, so that the time taken tells nothing. Bytes, because
    # compare_digest refuses text beyond ASCII.
    matches = [hmac.compare_digest(one.encode(), given.encode()) for one in expected]
    return any(matches)
