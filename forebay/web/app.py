"""The web application: every door of it, put together."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from forebay.app.context import Context
from forebay.app.tickets import StartRun
from forebay.ports import Authenticator
from forebay.web import answers
from forebay.web.api import api
from forebay.web.approving import approving
from forebay.web.auth import Doorkeeper
from forebay.web.decision_point import decision_point
from forebay.web.monitoring import monitoring
from forebay.web.openapi import describe
from forebay.web.pages import pages
from forebay.web.receiver import receiver
from forebay.web.settings import WebSettings


def create_app(
    ctx: Context, settings: WebSettings, start_run: StartRun | None = None, tokens: Authenticator | None = None
) -> FastAPI:
    """The ASGI application. `start_run` starts a `policy_change` run (see `app.tickets.sweep_tickets`); `tokens` tells
    whose bearer tokens those are that are no keys of ours.
    """
    # FastAPI's own documentation pages load their scripts from elsewhere, which the headers forbid.
    app = FastAPI(title="Forebay", version=version("forebay"), docs_url=None, redoc_url=None)
    doorkeeper = Doorkeeper(ctx, settings.open_reading, tokens, settings.requests_per_minute)
    answers.install(app)
    app.include_router(receiver(ctx, settings, start_run))
    app.include_router(api(ctx, doorkeeper, start_run))
    app.include_router(decision_point(ctx, doorkeeper))
    app.include_router(pages(ctx, doorkeeper))
    app.include_router(approving(ctx, settings))
    app.include_router(monitoring(ctx, doorkeeper))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    describe(app)
    return app
