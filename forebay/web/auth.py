"""Who is at the door: a bearer token (in a browser: a key as password) names a principal; the table says yes or no."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Sequence

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from forebay.app.context import Context
from forebay.app.keys import KeyAuthenticator
from forebay.domain.access import PREFIX, Act, NotAuthenticated, Principal, Role
from forebay.domain.errors import OutsideError
from forebay.domain.model import short
from forebay.ports import Authenticator
from forebay.web.answers import RETRY_AFTER_SECONDS, Refused
from forebay.web.pace import Failures, Pace

log = logging.getLogger(__name__)

ANYBODY = Principal(name="anonymous", roles=frozenset({Role.VIEWER}))
BEARER = {"WWW-Authenticate": 'Bearer realm="forebay"'}
FAILURES_PER_MINUTE = 30
BASIC = {"WWW-Authenticate": 'Basic realm="forebay", charset="UTF-8"'}
# Only so that /openapi.json says it: the header is read below, for both schemes alike.
scheme = Depends(
    HTTPBearer(
        auto_error=False, description="An API key, made by `forebay key create`, or a token of the trusted issuer."
    )
)


class Doorkeeper:
    """`open_reading`: whoever carries no token may read. `tokens`: for bearer tokens that are no keys of ours.

    `requests_per_minute`: of one principal, or of one address without a token, to all but the decision point, which
    services ask at every turn.
    """

    def __init__(
        self, ctx: Context, open_reading: bool, tokens: Authenticator | None = None, requests_per_minute: int = 600
    ) -> None:
        self._clock = ctx.clock
        self._keys = KeyAuthenticator(ctx)
        self._pace, self._addresses = Pace(requests_per_minute), Pace(requests_per_minute)
        self._failures = Failures(FAILURES_PER_MINUTE)
        self._tokens = tokens
        self._open_reading = open_reading

    def let(self, act: Act) -> Callable[..., Principal]:
        """A dependency: the principal, who may `act`. Raises Refused: 401, 403, 429; for one who may, 422 where the
        query has a parameter that the route does not know, or has twice.
        """

        def principal(request: Request, _: object = scheme) -> Principal:
            found = self._paced(self._admit(act, request, BEARER), request)
            _check_query_of_route(request)
            return found

        return principal

    def _paced(self, found: Principal, request: Request) -> Principal:
        if found is ANYBODY:
            self.by_address(request)
        elif wait := self._pace.wait_s(found.name, self._clock.now()):
            raise _too_many(f"{found.name!r} sends more than {self._pace.per_minute} requests a minute", wait)
        return found

    def by_address(self, request: Request) -> None:
        """A dependency of what takes no token, and is worked for all the same. Raises Refused (429)."""
        if wait := self._addresses.wait_s(_address(request), self._clock.now()):
            per_minute = self._addresses.per_minute
            raise _too_many(f"your address sends more than {per_minute} requests a minute without a token", wait)

    def read(self, request: Request) -> Principal:
        """The principal, who may read: for a plain route, which has no dependencies. Not paced: the
        decision point is asked at every turn. Raises Refused (401, 403, and 429 for tokens that let nobody in).
        """
        return self._admit("read", request, BEARER)

    def page_reader(self, request: Request) -> Principal:
        """A dependency of pages: the browser asks for a key, as a password. Pages show every entity.

        Raises Refused as those of `let` do.
        """
        principal = self._paced(self._admit("read", request, BASIC), request)
        if principal.entities:
            raise Refused(403, "the pages show every entity, and this key is for some: use the API under /v1")
        _check_query_of_route(request)
        return principal

    def _admit(self, act: Act, request: Request, challenge: dict[str, str]) -> Principal:
        token = _token(request, basic=act == "read")
        if token is None:
            if act == "read" and self._open_reading:
                return ANYBODY
            raise Refused(401, "who are you? Send `Authorization: Bearer` and a key or token", headers=challenge)
        address, now = _address(request), self._clock.now()
        if wait := self._failures.wait_s(address, token, now):
            raise _too_many("too many tokens from your address let nobody in", wait)
        try:
            principal = self._principal(token)
        except NotAuthenticated as error:
            self._failures.note(address, token, now, good=False)
            raise Refused(401, str(error), headers=challenge) from error
        self._failures.note(address, token, now, good=True)
        if not principal.may(act):
            roles = ", ".join(sorted(principal.roles))
            raise Refused(403, f"{principal.name!r} ({roles}) may not do this: it takes {_roles_for(act)}")
        return principal

    def _principal(self, token: str) -> Principal:
        """Raises NotAuthenticated, Refused (503) where a token's issuer is away, OutsideError where the store is."""
        if self._tokens is None or token.startswith(f"{PREFIX}_"):
            return self._keys.principal(token)
        try:
            return self._tokens.principal(token)
        except OutsideError as error:
            log.error("tokens cannot be checked: %s", error)
            mend = "the token's issuer does not say by which keys it signs: try again, or use an API key"
            raise Refused(503, mend, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}) from error


def check_query(request: Request, known: Sequence[str]) -> None:
    """Raises Refused (422) for a parameter not `known` here, or given twice: it would list what nobody asked for."""
    given = [name for name, _ in request.query_params.multi_items()]
    if unknown := sorted(set(given) - set(known)):
        heard = f"it takes {', '.join(known)}" if known else "it takes none"
        raise Refused(422, f"there is no query parameter {short(', '.join(unknown))} here: {heard}")
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise Refused(422, f"the query parameter {', '.join(twice)} is given twice: give it once")


def _check_query_of_route(request: Request) -> None:
    check_query(request, [parameter.alias for parameter in request.scope["route"].dependant.query_params])


def covering(principal: Principal, entity: str) -> None:
    """Raises Refused (403) where the principal has nothing to do with `entity`."""
    if not principal.covers(entity):
        raise Refused(
            403, f"{principal.name!r} is for {', '.join(sorted(principal.entities))} only, not for {entity!r}"
        )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _too_many(words: str, wait_s: int) -> Refused:
    return Refused(429, f"{words}: try again after {wait_s} s", headers={"Retry-After": str(wait_s)})


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
