"""Who may use the HTTP API, and for what: roles, principals, and the keys that programs carry."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from forebay.domain.change import Person
from forebay.domain.errors import ForebayError
from forebay.domain.model import Model, Name, UtcTime

Act = Literal["read", "submit", "approve", "control", "break-glass"]


class Role(StrEnum):
    """What a principal is there for."""

    VIEWER = "viewer"
    REQUESTER = "requester"
    APPROVER = "approver"
    OPERATOR = "operator"
    ADMIN = "admin"


# The one table. What it opens the change rules may still refuse: they know the person and the change.
ALLOWED: Mapping[Role, frozenset[Act]] = {
    Role.VIEWER: frozenset({"read"}),
    Role.REQUESTER: frozenset({"read", "submit"}),
    Role.APPROVER: frozenset({"read", "approve"}),
    Role.OPERATOR: frozenset({"read", "control"}),
    Role.ADMIN: frozenset({"read", "submit", "approve", "control", "break-glass"}),
}
PREFIX = "fbk"


class NotAuthenticated(ForebayError):
    """The token lets nobody in; the text says how to get one that does, and nothing a guesser could use."""


class Principal(Model):
    """Who was let in: the name the audit log keeps. `entities`: the only ones it may see and act on; none: all."""

    name: Person
    roles: Annotated[frozenset[Role], Field(min_length=1)]
    entities: frozenset[str] = frozenset()

    def may(self, act: Act) -> bool:
        return any(act in ALLOWED[role] for role in self.roles)

    def covers(self, entity: str | None) -> bool:
        return not self.entities or entity in self.entities


class ApiKey(Model):
    """A key as it is stored: all but the key itself. `id` is the part of the key that may be shown.

    The hash is SHA-256, plain and fast: a key is 256 random bits, which nobody can guess through any hash. Slow, salted
    hashes are for passwords, and would cost every request.
    """

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    hash: str
    person: Person
    roles: Annotated[frozenset[Role], Field(min_length=1)]
    entities: frozenset[Name] = frozenset()
    made_at: UtcTime
    expires_at: UtcTime
    revoked_at: UtcTime | None = None
    last_used_at: UtcTime | None = None

    def standing(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if now < self.expires_at else "expired"


def token_of(key_id: str, secret: str) -> str:
    """The key as one word: what it is, which one, and what only its holder knows."""
    return f"{PREFIX}_{key_id}_{secret}"


def key_id_of(token: str) -> str | None:
    """Which key `token` says it is; None if it is no key of ours at all."""
    parts = token.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else None


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def check_key(key: ApiKey | None, token: str, now: datetime) -> Principal:
    """Whom `token` lets in by the stored `key` at `now` (aware UTC). Raises NotAuthenticated."""
    if key is None or not hmac.compare_digest(key.hash, token_hash(token)):
        raise NotAuthenticated("this key is not one of ours: ask for one, made by `forebay key create`")
    if (standing := key.standing(now)) != "valid":
        raise NotAuthenticated(f"the key {key.id} is {standing}: ask for a new one, made by `forebay key create`")
    return Principal(name=key.person, roles=key.roles, entities=key.entities)
