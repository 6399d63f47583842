"""Who is at the door: a bearer token (in a browser: a key as password) names a principal; the table says yes or no."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from forebay.app.context import Context
from forebay.app.keys import KeyAuthenticator
from forebay.domain.access import PREFIX, Act, NotAuthenticated, Principal, Role
from forebay.ports import Authenticator
from forebay.web.answers import Refused

ANYBODY = Principal(name="anonymous", roles=frozenset({Role.VIEWER}))
BEARER = {"WWW-Authenticate": 'Bearer realm="forebay"'}
BASIC = {"WWW-Authenticate": 'Basic realm="forebay", charset="UTF-8"'}
# Only so that /openapi.json says it: the header is read below, for both schemes alike.
scheme = Depends(HTTPBearer(auto_error=False, description="An API key, made by `forebay key create`."))


class Doorkeeper:
    """`open_reading`: whoever carries no token may read. `tokens`: for bearer tokens that are no keys of ours."""

    def __init__(self, ctx: Context, open_reading: bool, tokens: Authenticator | None = None) -> None:
        self._keys = KeyAuthenticator(ctx)
        self._tokens = tokens
        self._open_reading = open_reading

    def let(self, act: Act) -> Callable[..., Principal]:
        """A dependency: the principal, who may `act`. Raises Refused (401, 403)."""

        def principal(request: Request, _: object = scheme) -> Principal:
            return self._admit(act, request, BEARER)

        return principal

    def read(self, request: Request) -> Principal:
        """The principal, who may read: for a plain route, which has no dependencies. Raises Refused (401, 403)."""
        return self._admit("read", request, BEARER)

    def page_reader(self, request: Request) -> Principal:
        """A dependency of pages: the browser asks for a key, as a password. Pages show every entity."""
        principal = self._admit("read", request, BASIC)
        if principal.entities:
            raise Refused(403, "the pages show every entity, and this key is for some: use the API under /v1")
        return principal

    def _admit(self, act: Act, request: Request, challenge: dict[str, str]) -> Principal:
        token = _token(request, basic=act == "read")
        if token is None:
            if act == "read" and self._open_reading:
                return ANYBODY
            raise Refused(401, "who are you? Send `Authorization: Bearer` and a key or token", headers=challenge)
        try:
            principal = self._authenticator(token).principal(token)
        except NotAuthenticated as error:
            raise Refused(401, str(error), headers=challenge) from error
        if not principal.may(act):
            roles = ", ".join(sorted(principal.roles))
            raise Refused(403, f"{principal.name!r} ({roles}) may not do this: it takes {_roles_for(act)}")
        return principal

    def _authenticator(self, token: str) -> Authenticator:
        return self._keys if self._tokens is None or token.startswith(f"{PREFIX}_") else self._tokens


def covering(principal: Principal, entity: str) -> None:
    """Raises Refused (403) where the principal has nothing to do with `entity`."""
    if not principal.covers(entity):
        raise Refused(
            403, f"{principal.name!r} is for {', '.join(sorted(principal.entities))} only, not for {entity!r}"
        )


def _roles_for(act: Act) -> str:
    names: Sequence[str] = [role for role in Role if Principal(name="?", roles=frozenset({role})).may(act)]
    return " or ".join(names)


def _token(request: Request, *, basic: bool) -> str | None:
    """None where there is no Authorization header. Raises Refused (401) for one that cannot be read.

    `basic`: a key as a browser's password will do. Only to read: a browser sends it along with whatever another site
    makes it send, so that nothing may be done by it.
    """
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if basic and scheme.lower() == "basic":
        try:
            # The user name says nothing: the key knows whose it is.
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            pass
    raise Refused(401, "the Authorization header holds no bearer token", headers=BEARER)
