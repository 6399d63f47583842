"""Approving by link: a page that shows the request, and a form on it that answers for the person the link is for.

Opening a link changes nothing: mail programs and chats open them to preview. Only sending the form does.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from forebay.app import approvals
from forebay.app.context import Context
from forebay.app.status import ChangeStatus
from forebay.domain.approval import Decision
from forebay.domain.change import visible
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.records import ChangeRecord
from forebay.web.answers import HEADERS, Refused, templates
from forebay.web.body import read_body
from forebay.web.link import ApprovalLink, read_token
from forebay.web.pages import page_of, status_of
from forebay.web.settings import WebSettings

POLICY = HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'")
MOST_BYTES = 8192
# A link is a key: no cache may keep what it opens.
OWN_HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}


def approving(ctx: Context, settings: WebSettings) -> APIRouter:
    """`GET` and `POST /approvals/{token}`. Without a link secret every link is refused."""
    router = APIRouter()

    def read(token: str) -> tuple[ApprovalLink, ChangeStatus]:
        try:
            link = read_token(token, settings.valid_link_secrets(), ctx.clock.now())
        except InputError as error:
            raise Refused.because(403, error) from error
        return link, status_of(ctx, link.change)

    @router.get("/approvals/{token}", include_in_schema=False)
    def show(request: Request, token: str) -> Response:
        link, status = read(token)
        asked = status.request is not None and status.request.asked == link.asked
        context = page_of(ctx, status) | {"link": link, "open": asked, "refresh": None}
        return templates.TemplateResponse(request, "approve.html", context, headers=OWN_HEADERS)

    @router.post("/approvals/{token}", include_in_schema=False)
    async def answer(request: Request, token: str) -> Response:
        decision, reason = _form(await read_body(request, MOST_BYTES, "form", "give a shorter reason"))
        link, _ = await run_in_threadpool(read, token)
        record = await run_in_threadpool(_decide, ctx, link, decision, reason)
        context = {"record": record, "change": record.change, "decision": decision, "link": link}
        return templates.TemplateResponse(request, "approved.html", context, headers=OWN_HEADERS)

    return router


def _decide(ctx: Context, link: ApprovalLink, decision: Decision, reason: str) -> ChangeRecord:
    act = approvals.approve if decision is Decision.APPROVE else approvals.reject
    try:
        return act(ctx, link.change, link.person, reason, door="link", plan=link.asked, link=link.nonce)
    except RuleRefusal as refusal:
        raise Refused(409, str(refusal)) from refusal


def _form(body: bytes) -> tuple[Decision, str]:
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    if twice := sorted(name for name in ("decision", "reason") if len(fields.get(name, ())) > 1):
        raise Refused(422, f"{' and '.join(twice)}: given twice, so that nobody knows which is meant: give it once")
    decision, reason = fields.get("decision", [""])[0], fields.get("reason", [""])[0].strip()
    if decision not in set(Decision):
        raise Refused(422, "choose approve or reject")
    if not reason:
        raise Refused(422, "give a reason: the audit log keeps it. Go back, and send the form again")
    try:
        return Decision(decision), visible(reason)
    except ValueError as error:
        raise Refused(422, f"reason: {error}") from error
