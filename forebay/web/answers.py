"""How errors and headers go out: one JSON shape for programs, one page for people, and headers that bind a browser."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.templating import Jinja2Templates
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forebay.domain.errors import InputError, OutsideError

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


class Refused(Exception):
    """An answer other than success: `error` and `details` are for people."""

    def __init__(
        self, status: int, error: str, details: tuple[str, ...] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details
        self.headers = headers

    @classmethod
    def because(cls, status: int, error: InputError) -> Refused:
        """The first line of our error is the error, each further one a detail."""
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

    @app.exception_handler(OutsideError)
    def outside_error(request: Request, error: OutsideError) -> Response:
        # The text names hosts and files: it is for our log, not for whoever asked.
        log.error("%s %s: %s", request.method, request.url.path, error)
        if not error.retryable:
            return _answer(request, Refused(500, "the store refused; the log of the web door says why"))
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return _answer(
            request, Refused(503, "the store cannot be reached; nothing was changed: try again", (), headers)
        )


def _answer(request: Request, refused: Refused) -> Response:
    error, details = _printable(refused.error), [_printable(line) for line in refused.details]
    headers = dict(refused.headers or {})
    for_people = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
    if for_people:
        context = {"status": refused.status, "error": error, "details": details}
        return templates.TemplateResponse(request, "error.html", context, status_code=refused.status, headers=headers)
    content = {"error": error} | ({"details": details} if details else {})
    return JSONResponse(content, refused.status, headers)


def _printable(text: str) -> str:
    """An error quotes what was sent, and that may hold halves of characters, which UTF-8 cannot carry."""
    return text.encode("utf-8", "backslashreplace").decode()
