"""One-time links to approve or reject by: who, which request, until when, signed so that none of it can be altered.

Pure: a secret, values and a time in, an answer out. That a link is used once is the store's to say.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

from pydantic import ValidationError

from forebay.domain.errors import InputError
from forebay.domain.model import Model, UtcTime

# What is signed begins with this, so that no signature made for something else under the same secret is one of these.
PURPOSE = b"forebay approval link 1\n"


class ApprovalLink(Model):
    """`asked` is the hash of what `person` is to approve; `nonce` tells this link from every other."""

    change: str
    person: str
    asked: str
    expires: UtcTime
    nonce: str


def token_of(link: ApprovalLink, secret: str) -> str:
    """The link as one word for a URL: its JSON and its HMAC-SHA256 (RFC 2104), in base64 for URLs."""
    body = link.model_dump_json().encode()
    return f"{_text(body)}.{_text(_signature(secret, body))}"


def read_token(token: str, secrets: Iterable[str], now: datetime) -> ApprovalLink:
    """Raises InputError, saying how to get another, unless one of `secrets` signed it and it has not expired."""
    not_ours = InputError("this link is not one of ours, or was cut off: ask for a new one, or use `forebay approve`")
    try:
        body, given = (base64.urlsafe_b64decode(part.encode() + b"==") for part in token.split("."))
    except ValueError as error:
        raise not_ours from error
    matches = [hmac.compare_digest(_signature(secret, body), given) for secret in secrets]
    if not any(matches):
        raise not_ours
    try:
        link = ApprovalLink.model_validate_json(body)
    except ValidationError as error:
        raise not_ours from error
    if now >= link.expires:
        raise InputError(
            f"this link expired at {link.expires.isoformat()}: ask for a new one, or use `forebay approve`"
        )
    return link


def _signature(secret: str, body: bytes) -> bytes:
    return hmac.new(secret.encode(), PURPOSE + body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
