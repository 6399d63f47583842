"""The operators' pages. They only show: what changes something goes through the command line or the API."""

from __future__ import annotations

import json
import threading
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from forebay.app.context import Context
from forebay.app.status import ChangeStatus, Wanted, change_status
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import COME_TO_NOTHING, TERMINAL, ChangeState
from forebay.report.words import allowance, notes, percent, price_rows
from forebay.web import words
from forebay.web.answers import Refused, templates
from forebay.web.auth import Doorkeeper
from forebay.web.overview import overview

REFRESH_SECONDS = 10
# A picture is looked at, never run. Its styles are its own and inline, which only matters if it is opened by itself.
SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# Drawing changes settings that matplotlib keeps for the whole process.
_drawing = threading.Lock()

templates.env.filters |= {
    "allowance": allowance,
    "clock": words.clock,
    "from_now": words.from_now,
    "notes": notes,
    "percent": percent,
    "price_rows": price_rows,
    "pretty_json": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
}
templates.env.globals |= {"next_step": words.next_step, "demands": words.demands, "over": TERMINAL | COME_TO_NOTHING}


def pages(ctx: Context, doorkeeper: Doorkeeper) -> APIRouter:
    """`GET /`, `/changes`, `/changes/{name}`."""
    router = APIRouter(dependencies=[Depends(doorkeeper.page_reader)])

    @router.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("/changes")

    @router.get("/changes", include_in_schema=False)
    def changes_page(
        request: Request,
        state: ChangeState | None = None,
        entity: str | None = None,
        only_open: Annotated[bool, Query(alias="open")] = False,
    ) -> Response:
        seen, wanted = overview(ctx), Wanted(state=state, entity=entity, only_open=only_open)
        lines = [line for line in seen.changes if wanted.lists(line.record)]
        context = {"seen": seen, "lines": lines, "now": seen.now, "refresh": REFRESH_SECONDS}
        return templates.TemplateResponse(request, "changes.html", context)

    @router.get("/changes/{name}", include_in_schema=False)
    def change_page(request: Request, name: str) -> Response:
        return templates.TemplateResponse(request, "change.html", page_of(ctx, status_of(ctx, name)))

    @router.get("/changes/{name}/{workload}.svg", include_in_schema=False)
    def plan_picture(request: Request, name: str, workload: str) -> Response:
        plan = next((w.plan for w in status_of(ctx, name).workloads if w.workload == workload), None)
        if plan is None:
            raise Refused(404, f"there is no plan of {workload!r} in change {name!r}")
        # A plan never changes, so a picture that was seen once need not be drawn again: pages refresh often.
        headers = {"ETag": f'"{plan.hash}"', "Content-Security-Policy": SVG_POLICY}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        from forebay.report.picture import plan_svg

        with _drawing:
            svg = plan_svg(plan, ctx.workload(workload))
        return Response(svg, media_type="image/svg+xml", headers=headers)

    return router


def page_of(ctx: Context, status: ChangeStatus) -> dict[str, Any]:
    """What the page of a change is made from."""
    return {
        "status": status,
        "record": status.record,
        "change": status.record.change,
        "steps": status.steps,
        "now": ctx.clock.now(),
        "refresh": None if status.record.state in TERMINAL else REFRESH_SECONDS,
    }


def status_of(ctx: Context, name: str) -> ChangeStatus:
    """Raises Refused (404) if there is no such change."""
    try:
        return change_status(ctx, name)
    except InputError as error:
        raise Refused(404, f"there is no change {name!r}: /changes lists them") from error
