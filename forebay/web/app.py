"""The web application: every door of it, put together."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from forebay.app.context import Context
from forebay.app.tickets import StartRun
from forebay.web import answers
from forebay.web.approving import approving
from forebay.web.decision_point import decision_point
from forebay.web.monitoring import monitoring
from forebay.web.pages import pages
from forebay.web.receiver import receiver
from forebay.web.settings import WebSettings


def create_app(ctx: Context, settings: WebSettings, start_run: StartRun | None = None) -> FastAPI:
    """The ASGI application. `start_run` starts a `policy_change` run (see `app.tickets.sweep_tickets`)."""
    # FastAPI's own documentation pages load their scripts from elsewhere, which the headers forbid.
    app = FastAPI(title="Forebay", docs_url=None, redoc_url=None)
    answers.install(app)
    app.include_router(receiver(ctx, settings, start_run))
    app.include_router(decision_point(ctx))
    app.include_router(pages(ctx))
    app.include_router(approving(ctx, settings))
    app.include_router(monitoring(ctx))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    return app
