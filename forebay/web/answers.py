"""How errors and headers go out: one JSON shape for programs, one page for people, and headers that bind a browser."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.templating import Jinja2Templates
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forebay.domain.errors import InputError, LostLease, OutsideError, RuleRefusal
from forebay.domain.model import Model, faults

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
# Everything a page needs comes from here, in files: no inline style or script can run, whatever slips into a page.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

# Files called *.html are escaped by default in Starlette's environment; a test with a hostile ticket watches it.
templates = Jinja2Templates(Path(__file__).parent / "templates")


PROBLEM_JSON = "application/problem+json"


class Problem(Model):
    """What is answered instead of success (RFC 9457), for people: `detail` says what was wrong and how to mend it,
    `faults` where, one line a fault; where a rule said no, `rule` names it, and `would_pass` what would be accepted.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    faults: tuple[str, ...] = ()
    rule: str | None = None
    would_pass: str | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What FastAPI is told of a route's answers other than success."""
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {PROBLEM_JSON: reference}} for status in statuses
    }


class Refused(Exception):
    """An answer other than success, in the words of `Problem`."""

    def __init__(
        self,
        status: int,
        detail: str,
        faults: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        rule: str | None = None,
        would_pass: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = faults
        self.headers = headers
        self.rule = rule
        self.would_pass = would_pass

    @classmethod
    def because(cls, status: int, error: InputError) -> Refused:
        """The first line of our error is the detail, each further one a fault."""
        first, *rest = str(error).splitlines()
        return cls(status, first, tuple(line.strip() for line in rest))


class SecurityHeaders:
    """ASGI middleware: adds HEADERS to every response that does not set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


def install(app: FastAPI) -> None:
    """Give `app` the headers and the error answers."""
    app.add_middleware(SecurityHeaders)

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        return _answer(request, error)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        return _answer(request, Refused(error.status_code, str(error.detail), headers=error.headers))

    @app.exception_handler(InputError)
    def input_error(request: Request, error: InputError) -> Response:
        return _answer(request, Refused.because(400, error))

    @app.exception_handler(RequestValidationError)
    def validation_error(request: Request, error: RequestValidationError) -> Response:
        told = tuple(line for _, line in faults(error.errors(), quote=False))
        return _answer(request, Refused(422, "the request is not valid", told))

    @app.exception_handler(RuleRefusal)
    def rule_refusal(request: Request, error: RuleRefusal) -> Response:
        return _answer(request, Refused(409, str(error), rule=error.rule, would_pass=error.would_pass))

    @app.exception_handler(LostLease)
    def lost_lease(request: Request, error: LostLease) -> Response:
        return _answer(request, Refused(409, f"{error}: another is at work on it; look again, then try again"))

    @app.exception_handler(OutsideError)
    def outside_error(request: Request, error: OutsideError) -> Response:
        # The text names hosts and files: it is for our log, not for whoever asked.
        # The route, not the path: that of an approval's link is the link.
        route = getattr(request.scope.get("route"), "path", "")
        log.error("%s %s: %s", request.method, route, error)
        if not error.retryable:
            return _answer(request, Refused(500, "what is outside refused; the log of the web door says why"))
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return _answer(request, Refused(503, "the store or the cloud cannot be reached: try again", (), headers))


def _answer(request: Request, refused: Refused) -> Response:
    detail, faults = _printable(refused.detail), [_printable(line) for line in refused.faults]
    headers = dict(refused.headers or {})
    for_people = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
    if for_people:
        context = {"status": refused.status, "error": detail, "details": faults}
        return templates.TemplateResponse(request, "error.html", context, status_code=refused.status, headers=headers)
    problem = Problem(
        title=HTTPStatus(refused.status).phrase,
        status=refused.status,
        detail=detail,
        faults=tuple(faults),
        rule=refused.rule and _printable(refused.rule),
        would_pass=refused.would_pass and _printable(refused.would_pass),
    )
    content = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, refused.status, headers, media_type=PROBLEM_JSON)


def _printable(text: str) -> str:
    """An error quotes what was sent, and that may hold halves of characters, which UTF-8 cannot carry."""
    return text.encode("utf-8", "backslashreplace").decode()
