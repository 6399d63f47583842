"""For machines that watch over Forebay: its health, and its state in numbers (Prometheus text format 0.0.4)."""

from __future__ import annotations

import logging
from collections import Counter

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, PlainTextResponse

from forebay.app.context import Context
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.web.answers import problems
from forebay.web.auth import Doorkeeper
from forebay.web.overview import Overview, overview

log = logging.getLogger(__name__)

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def monitoring(ctx: Context, doorkeeper: Doorkeeper) -> APIRouter:
    """`GET /healthz` and `GET /metrics`."""
    router = APIRouter()

    @router.get("/healthz", responses={503: {"description": "The store does not answer."}})
    def healthz() -> JSONResponse:
        """200 if the store answers, else 503 and why. Takes no lock: a busy store is a healthy one."""
        try:
            ctx.store.versions("", "")
        except OutsideError as error:
            log.error("health: %s", error)  # it names hosts and files: not for whoever asks
            return JSONResponse({"status": "store away", "reason": "the log of the web door says why"}, 503)
        return JSONResponse({"status": "ok"})

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=problems(429, 500, 503),
        dependencies=[Depends(doorkeeper.by_address)],
    )
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(metrics_text(overview(ctx)), media_type=PROMETHEUS_TEXT)

    return router


def metrics_text(seen: Overview) -> str:
    """Written by hand: a few gauges, and labels that need no escaping."""
    count = Counter(line.record.state for line in seen.changes)
    states = {f'{{state="{state}"}}': float(count[state]) for state in ChangeState}
    at, beat = seen.next_effective_at, seen.reconciled_at
    gauges = [
        ("changes", "Changes by state", states),
        ("open_intents", "External writes whose outcome is not known yet", {"": float(seen.open_intents)}),
        ("tickets_without_run", "Stored tickets whose run was not started", {"": float(len(seen.waiting_tickets))}),
        (
            "outbox_messages",
            "Messages not sent: waiting, or given up",
            {f'{{state="{state}"}}': float(number) for state, number in seen.unsent.items()},
        ),
        (
            "next_effective_seconds",
            "Seconds to the earliest effective time not yet in force; negative: overdue; absent: none",
            {} if at is None else {"": (at - seen.now).total_seconds()},
        ),
        (
            "reconciled_seconds_ago",
            "Seconds since the reconciler last made a pass that looks; absent: never yet",
            {} if beat is None else {"": (seen.now - beat).total_seconds()},
        ),
    ]
    lines = []
    for name, help_text, samples in gauges:
        lines += [f"# HELP forebay_{name} {help_text}", f"# TYPE forebay_{name} gauge"]
        lines += [f"forebay_{name}{labels} {value!r}" for labels, value in samples.items()]
    return "\n".join(lines) + "\n"
