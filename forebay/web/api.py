"""The HTTP API on changes: everything a person can do by the command line, done by whoever the token says it is."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response

from forebay.app.approvals import request_of
from forebay.app.context import Context
from forebay.app.status import ChangeStatus, Wanted, change_status, list_changes
from forebay.app.tickets import StartRun, submit
from forebay.domain.access import Principal
from forebay.domain.approval import Request as PlanRequest
from forebay.domain.audit import AuditEntry
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import COME_TO_NOTHING, TERMINAL, ChangeState
from forebay.domain.model import validate
from forebay.domain.records import ChangeRecord
from forebay.web.acts import ACTS, Perform
from forebay.web.answers import Refused, problems
from forebay.web.auth import Doorkeeper, covering
from forebay.web.body import json_text, read_body
from forebay.web.openapi import body_of
from forebay.web.receiver import start_runs

MOST_AT_A_TIME = 500
MOST_BYTES = 64 * 1024
Limit = Annotated[int, Query(ge=1, le=MOST_AT_A_TIME, description="At most so many; the Link header leads on.")]
READ_PROBLEMS = problems(400, 401, 403, 404, 422, 429, 500, 503)
WRITE_PROBLEMS = problems(400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
CHANGE = {
    "change": "CHG-2002",
    "entity": "acme",
    "policy": "quota",
    "effective_in": "P2D",
    "impacts": [{"workload": "checkout", "factor": 2.0}],
    "document": {"requests_per_minute": 12000},
}


def api(ctx: Context, doorkeeper: Doorkeeper, start_run: StartRun | None) -> APIRouter:
    """`/v1/changes`, what can be done to one of them, and `/v1/audit`."""
    router = APIRouter()
    # Values, not annotations: those are read as text, which knows nothing of what is local here.
    reader, requester = Depends(doorkeeper.let("read")), Depends(doorkeeper.let("submit"))
    json_body = Depends(_json_body)

    @router.get("/v1/changes", responses=READ_PROBLEMS)
    def changes(
        request: Request,
        response: Response,
        who: Principal = reader,
        state: ChangeState | None = None,
        entity: str | None = None,
        only_open: Annotated[bool, Query(alias="open", description="Leave out what is over.")] = False,
        after: Annotated[str | None, Query(description="The change that ended the page before.")] = None,
        limit: Limit = 100,
    ) -> list[ChangeRecord]:
        """Newest first."""
        listed = [record for record in list_changes(ctx) if who.covers(record.change.entity)]
        if after is not None:
            names = [record.change.change for record in listed]
            if after not in names:
                raise Refused(422, f"after={after!r}: there is no such change here: begin again without it")
            listed = listed[names.index(after) + 1 :]
        # Chosen only now: what ended the page before may have been of the chosen ones then, and be none any more.
        wanted = Wanted(state=state, entity=entity, only_open=only_open)
        found = [record for record in listed if wanted.lists(record)]
        if len(found) > limit:
            _lead_on(request, response, found[limit - 1].change.change)
        return found[:limit]

    @router.post(
        "/v1/changes",
        status_code=201,
        responses=WRITE_PROBLEMS | {200: {"description": "Known already.", "model": ChangeRecord}},
        openapi_extra=body_of(ChangeRequest, CHANGE),
    )
    def submit_change(
        response: Response,
        after: BackgroundTasks,
        who: Principal = requester,
        body: Any = json_body,
    ) -> ChangeRecord:
        """Ask for a change. The same again, by its name, is the same change (200); other content edits it, as long as
        nothing has moved for it. A change that a rule denies is stored as `denied`, its note saying what would pass.
        """
        asked = _asked_by(who, body)
        covering(who, asked.entity)
        if asked.on_misalignment == "enforce" and not who.may("break-glass"):
            raise Refused(403, "on_misalignment: enforce breaks the glass, and this key may not: write defer or reject")
        try:
            now = ctx.clock.now()
            asked = asked.named(now)
            with ctx.store.snapshot() as tx:
                known = tx.change(asked.change)
            if known is not None and not who.covers(known.change.entity):
                raise Refused(422, f"change: the name {asked.change!r} is taken: submit this one under a new name")
            record = submit(ctx, asked, "api", now, only_own=not who.may("control"))
        except InputError as error:
            raise Refused.because(422, error) from error
        if start_run is not None:
            after.add_task(start_runs, ctx, start_run)
        response.headers["Location"] = f"/v1/changes/{record.change.change}"
        response.status_code = 201 if known is None else 200
        return record

    @router.get("/v1/changes/{name}", responses=READ_PROBLEMS)
    def change(name: str, who: Principal = reader) -> ChangeStatus:
        """A change with its plans, steps and audit trail."""
        _see(ctx, who, name)
        status = change_status(ctx, name)
        return status.model_copy(update={"pending": tuple(r for r in status.pending if who.covers(r.change.entity))})

    @router.get("/v1/changes/{name}/plan", responses=READ_PROBLEMS)
    def plan(name: str, who: Principal = reader) -> PlanRequest:
        """What an approval would be of: `asked` is the hash to send with it, `standing` what is still needed."""
        record = _see(ctx, who, name)
        with ctx.store.snapshot() as tx:
            request = request_of(tx, record)
        if request is None and record.state in TERMINAL | COME_TO_NOTHING:
            raise Refused(404, f"change {name} is {record.state}, and has no plan")
        if request is None:
            raise Refused(404, f"change {name} has no plan yet: ask again in a minute")
        return request

    @router.get("/v1/audit", responses=READ_PROBLEMS)
    def audit(
        request: Request,
        response: Response,
        who: Principal = reader,
        change: str | None = None,
        after: Annotated[int, Query(ge=0, le=2**53, description="Entries after this number.")] = 0,
        limit: Limit = 100,
    ) -> list[AuditEntry]:
        """Oldest first. Only the whole log is a chain: `forebay audit verify` checks it."""
        if change is not None:
            _see(ctx, who, change)
        with ctx.store.snapshot() as tx:
            if change is None:
                entries = tx.audit_after(after, limit)
            else:
                entries = [entry for entry in tx.audit_entries(change) if entry.number > after][:limit]
        if len(entries) == limit:
            _lead_on(request, response, str(entries[-1].number))
        return [entry for entry in entries if who.covers(entry.event.entity)]

    for act in ACTS:
        _add(router, ctx, doorkeeper, act)
    return router


def _add(router: APIRouter, ctx: Context, doorkeeper: Doorkeeper, act: Perform[Any]) -> None:
    """The route of one act on a change."""

    permitted, json_body = Depends(doorkeeper.let(act.act)), Depends(_json_body)

    def perform(name: str, who: Principal = permitted, body: Any = json_body) -> ChangeRecord:
        _see(ctx, who, name)
        try:
            return act.perform(ctx, name, who.name, validate(act.body, body, "body"))
        except InputError as error:
            raise Refused.because(422, error) from error

    router.add_api_route(
        f"/v1/changes/{{name}}/{act.name}",
        perform,
        methods=["POST"],
        name=act.name,
        description=act.description,
        responses=WRITE_PROBLEMS,
        openapi_extra=body_of(act.body, act.example),
    )


def _see(ctx: Context, who: Principal, name: str) -> ChangeRecord:
    """Raises Refused (404) for a change that is not there, or is none of theirs: which of the two is not told."""
    with ctx.store.snapshot() as tx:
        record = tx.change(name)
    if record is None or not who.covers(record.change.entity):
        raise Refused(404, f"there is no change {name!r}: /v1/changes lists them")
    return record


def _asked_by(who: Principal, body: Any) -> ChangeRequest:
    """The change, asked for by who sends it. Raises Refused where the body says another name."""
    named = body.get("requested_by", who.name) if isinstance(body, dict) else who.name
    if named != who.name:
        raise Refused(422, f"requested_by: leave it out; the key says that you are {who.name!r}")
    try:
        return validate(ChangeRequest, body | {"requested_by": who.name} if isinstance(body, dict) else body, "change")
    except InputError as error:
        raise Refused.because(422, error) from error


async def _json_body(request: Request) -> Any:
    return json.loads(json_text(await read_body(request, MOST_BYTES)))


def _lead_on(request: Request, response: Response, after: str) -> None:
    """A Link header (RFC 8288) to the next page."""
    query = {name: value for name, value in request.query_params.items() if name != "after"} | {"after": after}
    response.headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
