"""Whose bearer tokens are taken beside our own keys, and what their claims make of whoever carries them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import jmespath
from pydantic import Field, ValidationError, model_validator

from forebay.domain.access import NotAuthenticated, Principal, Role
from forebay.domain.model import Model
from forebay.domain.source import ADDRESS, Expression

# Clocks of two machines are never quite together.
LEEWAY = timedelta(seconds=30)
EVERY_ENTITY = "*"


class TrustedIssuer(Model):
    """An OpenID Connect issuer. `name`, `groups` and `entities` are JMESPath expressions on a token's claims.

    `roles`: what each group or role of the issuer's may do here. `entities`: the only ones a token's holder may see and
    act on; left out, all of them.
    """

    issuer: str
    audience: Annotated[str, Field(min_length=1)]
    roles: Annotated[Mapping[str, frozenset[Role]], Field(min_length=1)]
    name: Expression = "sub"
    groups: Expression = "groups"
    entities: Expression | None = None
    unencrypted: bool = False

    @model_validator(mode="after")
    def _safe(self) -> TrustedIssuer:
        if not ADDRESS.fullmatch(self.issuer):
            raise ValueError("issuer: write it as the tokens' `iss` says it, https://host or https://host/path")
        if self.issuer.startswith("http:") and not self.unencrypted:
            raise ValueError("whoever is on the way could give us keys of their own: use https, or say unencrypted")
        return self

    def admit(self, claims: Mapping[str, Any], now: datetime) -> Principal:
        """Who carries a token of these claims at `now` (aware). Signature, issuer and audience were checked before.

        Raises NotAuthenticated, saying which claim is at fault.
        """
        _check_times(claims, now)
        name = self._find("name", self.name, claims)
        # Also where the expression only falls back on it: `preferred_username || email`.
        by_email = "email" in self.name and name == claims.get("email")
        if by_email and claims.get("email_verified") is not True:
            raise NotAuthenticated("the token's email is not verified by its issuer (email_verified)")
        groups = _words(self._find("groups", self.groups, claims))
        roles = frozenset(role for group in groups for role in self.roles.get(group, ()))
        if not roles:
            raise NotAuthenticated(f"the token is sound, but nothing in its {self.groups} has a role here")
        entities = None if self.entities is None else _words(self._find("entities", self.entities, claims))
        if entities is not None and not entities:
            raise NotAuthenticated(f"the token is sound, but its {self.entities} names no entity")
        everything = entities is None or EVERY_ENTITY in entities
        try:
            return Principal(name=name, roles=roles, entities=frozenset() if everything else entities or frozenset())
        except ValidationError as error:
            raise NotAuthenticated(f"the token's {self.name} is no name that the audit log could keep") from error

    def _find(self, field: str, expression: str, claims: Mapping[str, Any]) -> Any:
        try:
            return jmespath.search(expression, claims)
        except jmespath.exceptions.JMESPathError as error:
            raise NotAuthenticated(f"{field}: the expression {expression} fails on this token's claims") from error


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    """`exp` and `nbf` (RFC 7519, 4.1.4 and 4.1.5): seconds since 1970 in UTC, a fraction allowed."""
    at, leeway = now.timestamp(), LEEWAY.total_seconds()
    if at - leeway >= _seconds(claims, "exp"):
        raise NotAuthenticated("the token is expired: ask your issuer for a new one")
    if "nbf" in claims and at + leeway < _seconds(claims, "nbf"):
        raise NotAuthenticated("the token is not valid yet (nbf)")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise NotAuthenticated(f"the token's {name} is no time")
    return value


def _words(found: Any) -> frozenset[str]:
    """A claim that lists words: a list of texts, or one text, its words apart by spaces (as `scope` is)."""
    if isinstance(found, str):
        return frozenset(found.split())
    return frozenset(word for word in found if isinstance(word, str)) if isinstance(found, list) else frozenset()
