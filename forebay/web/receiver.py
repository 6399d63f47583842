"""The ticketing receiver: a signed delivery is checked, stored, and then answered; its run is started after that."""

from __future__ import annotations

import json
import logging
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from forebay.app.context import Context
from forebay.app.tickets import OLDER, StartRun, store_ticket, sweep_tickets
from forebay.domain.errors import InputError
from forebay.domain.mapping import read_payload
from forebay.domain.records import Ticket
from forebay.domain.signature import (
    SIGNATURE_HEADER,
    BadSignature,
    check_authorization,
    check_body_signature,
    check_gitlab,
    check_signature,
)
from forebay.domain.source import TicketSource
from forebay.domain.ticket import TicketDelivery
from forebay.web.answers import Refused, problems
from forebay.web.body import TOO_DEEP, json_text, read_body
from forebay.web.pace import Pace
from forebay.web.settings import WebSettings

log = logging.getLogger(__name__)

BODY_SIGNED = {"jira": "X-Hub-Signature", "github": "X-Hub-Signature-256"}
CHALLENGE = {"servicenow": 'Basic realm="forebay"'} | dict.fromkeys(("generic", "gitlab", *BODY_SIGNED), "HMAC-SHA256")
SIGNED = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    "parameters": [
        {"name": name, "in": "header", "schema": {"type": "string"}}
        for name in ("X-Forebay-Timestamp", "X-Forebay-Signature", *BODY_SIGNED.values(), "X-Gitlab-Token")
    ],
}


def receiver(ctx: Context, settings: WebSettings, start_run: StartRun | None) -> APIRouter:
    """`POST /v1/tickets/{source}`. Without `start_run` it only stores: a sweep elsewhere starts the runs."""
    router = APIRouter()
    sources = {source.name: source for source in settings.sources}
    paces = {name: Pace(source.deliveries_per_minute) for name, source in sources.items()}

    @router.post(
        "/v1/tickets/{source}",
        status_code=202,
        openapi_extra=SIGNED,
        responses=problems(400, 401, 403, 404, 413, 422, 429, 500, 503)
        | {200: {"description": "Known, ignored or older."}},
    )
    async def receive_ticket(source: str, request: Request) -> JSONResponse:
        """202: stored. 200: known, ignored or older. 400 to 422, 429, 503: refused, nothing changed."""
        door = sources.get(source)
        if door is None:
            # Nothing is signed yet: which others there are is nobody's business.
            raise Refused(404, f"there is no ticket source {source!r}: the sources file names them")
        address = request.client.host if request.client else ""
        if not door.allows(address):
            raise Refused(403, f"{address} is not in the networks of source {source}")
        if wait := paces[source].wait_s(address, ctx.clock.now()):
            headers = {"Retry-After": str(wait)}
            raise Refused(429, f"more than {door.deliveries_per_minute} deliveries a minute", headers=headers)
        body = await read_body(request, door.max_body_bytes)
        try:
            _check(door, request.headers, body, settings, ctx.clock.now())
        except BadSignature as error:
            raise Refused(401, str(error), headers={"WWW-Authenticate": CHALLENGE[door.kind]}) from error
        text = json_text(body)
        try:
            read = await run_in_threadpool(_store, ctx, door, text)
        except InputError as error:
            raise Refused.because(422, error) from error
        except RecursionError as error:
            raise Refused(400, TOO_DEEP) from error
        if read is None:
            return JSONResponse({"status": "ignored"})
        delivery, stored = read
        answer = {"ticket": delivery.ticket, "revision": delivery.revision}
        if delivery.request is not None:
            answer["change"] = delivery.request.change
        # A repeated delivery starts what is waiting as well: the sender may repeat it because nothing happened.
        after = BackgroundTask(start_runs, ctx, start_run) if start_run else None
        if stored is None or stored.run == OLDER:
            status = "older" if stored else "known"
            return JSONResponse(answer | {"status": status}, 200, background=after)
        return JSONResponse(answer | {"status": "stored"}, 202, background=after)

    return router


def _check(source: TicketSource, headers: Headers, body: bytes, settings: WebSettings, now: datetime) -> None:
    """Raises BadSignature unless the delivery is the source's own, by the scheme of its kind."""
    secrets = settings.secrets(source.name)
    if source.kind in BODY_SIGNED:
        check_body_signature(headers, body, secrets, BODY_SIGNED[source.kind])
    elif source.kind == "gitlab":
        check_gitlab(headers, body, secrets, now, settings.replay_window)
    elif source.kind == "servicenow" and SIGNATURE_HEADER not in headers:
        check_authorization(headers, secrets, source.name)
    else:
        check_signature(headers, body, secrets, now, settings.replay_window)


def _store(ctx: Context, source: TicketSource, text: str) -> tuple[TicketDelivery, Ticket | None] | None:
    if not source.mapped:
        return store_ticket(ctx, source.name, text)
    delivery = read_payload(source, json.loads(text))
    # Stored as read: what is accepted now must not become another change when the sources file is edited.
    return None if delivery is None else store_ticket(ctx, source.name, delivery.model_dump_json(exclude_defaults=True))


def start_runs(ctx: Context, start_run: StartRun) -> None:
    """After the answer: start the runs of what is stored."""
    try:
        sweep_tickets(ctx, start_run)
    except Exception:  # The delivery is stored and answered: whatever fails now is the next sweep's to mend.
        log.exception("the run of a stored ticket was not started; the next sweep tries again")
