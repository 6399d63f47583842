"""The ticketing receiver: a signed delivery is checked, stored, and then answered; its run is started after that."""

from __future__ import annotations

import json
import logging

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from forebay.app.context import Context
from forebay.app.tickets import StartRun, store_ticket, sweep_tickets
from forebay.domain.errors import InputError
from forebay.domain.signature import BadSignature, check_signature
from forebay.web.answers import Refused
from forebay.web.settings import SOURCES, WebSettings

log = logging.getLogger(__name__)

TOO_DEEP = "the body is nested too deeply to be a ticket"


def receiver(ctx: Context, settings: WebSettings, start_run: StartRun | None) -> APIRouter:
    """`POST /v1/tickets/{source}`. Without `start_run` it only stores: a sweep elsewhere starts the runs."""
    router = APIRouter()

    @router.post("/v1/tickets/{source}", status_code=202)
    async def receive_ticket(source: str, request: Request) -> JSONResponse:
        """202: stored. 200: known already. 400, 401, 404, 413, 422, 503: refused, nothing changed."""
        if source not in SOURCES:
            raise Refused(404, f"there is no ticket source {source!r}: send to one of {', '.join(SOURCES)}")
        body = await _read(request, settings.max_body_bytes)
        try:
            check_signature(request.headers, body, settings.secrets(source), ctx.clock.now(), settings.replay_window)
        except BadSignature as error:
            raise Refused(401, str(error), headers={"WWW-Authenticate": "HMAC-SHA256"}) from error
        text = _json_text(body)
        try:
            delivery, stored = await run_in_threadpool(store_ticket, ctx, source, text)
        except InputError as error:
            raise Refused.because(422, error) from error
        except RecursionError as error:
            raise Refused(400, TOO_DEEP) from error
        answer = {"ticket": delivery.ticket, "revision": delivery.revision, "change": delivery.request.change}
        # A repeated delivery starts what is waiting as well: the sender may repeat it because nothing happened.
        after = BackgroundTask(_start_runs, ctx, start_run) if start_run else None
        if stored is None:
            return JSONResponse(answer | {"status": "known"}, 200, background=after)
        return JSONResponse(answer | {"status": "stored"}, 202, background=after)

    return router


def _start_runs(ctx: Context, start_run: StartRun) -> None:
    try:
        sweep_tickets(ctx, start_run)
    except Exception:  # The delivery is stored and answered: whatever fails now is the next sweep's to mend.
        log.exception("the run of a stored ticket was not started; the next sweep tries again")


async def _read(request: Request, limit: int) -> bytes:
    """The body. Raises Refused as soon as it is known to exceed `limit` bytes: by its header, else by its stream."""
    too_large = Refused(413, f"the delivery exceeds {limit} bytes: send the change only, without attachments")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _json_text(body: bytes) -> str:
    """The body as text. Raises Refused unless it is JSON as in RFC 8259, in UTF-8."""
    try:
        text = body.decode()
        json.dumps(json.loads(text, parse_constant=_no_number), ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not UTF-8 (byte {error.start}): send JSON in UTF-8") from error
    except UnicodeEncodeError as error:
        raise Refused(400, "the body escapes half a character (a lone surrogate such as \\ud800)") from error
    except RecursionError as error:
        raise Refused(400, TOO_DEEP) from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    return text


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")
