"""Commands that run Forebay: the database's tables, the web door."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.domain.errors import OutsideError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from forebay.settings import Settings
    from forebay.web.settings import WebSettings

app = typer.Typer()


@app.command()
def migrate() -> None:
    """Create or upgrade the database's tables."""
    from forebay.settings import load_settings
    from forebay.store import migrate as upgrade

    upgrade(load_settings().database_url.get_secret_value())
    typer.echo("the database is up to date")


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that serve side by side.")] = 1,
    upgrade: Annotated[bool, typer.Option("--migrate", help="Create or upgrade the tables first.")] = False,
) -> None:
    """Run the API, the receiver, the decision point and the pages."""
    import uvicorn

    _log_to_stderr()
    if upgrade:
        migrate()
    _checked()
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(f"forebay: starting on {address}, until Ctrl+C", err=True)
    try:
        if workers > 1:  # each process opens a store of its own
            uvicorn.run(
                "forebay.cli.service:worker", factory=True, host=host, port=port, workers=workers, log_level="warning"
            )
            return
        uvicorn.run(worker(), host=host, port=port, log_level="warning")
    except SystemExit as stopped:  # uvicorn's way of saying that it could not start; it has logged why
        raise OutsideError(f"cannot serve on {address}: is the port taken?", retryable=True) from stopped


def worker() -> FastAPI:
    """The application of one process."""
    from forebay.web.app import create_app
    from forebay.wiring import CatalogFile, build_context, make_authenticator

    _log_to_stderr()
    settings, web = _checked()
    catalog = CatalogFile(settings.workloads)
    catalog.refresh()  # what it goes on by where the file is broken before it was ever asked
    return create_app(build_context(settings, catalog=catalog), web, tokens=make_authenticator(settings))


def _checked() -> tuple[Settings, WebSettings]:
    """Raises InputError also for the workloads file: a server that cannot read it would refuse every ticket for it,
    instead of to start.
    """
    from forebay.settings import load_settings
    from forebay.wiring import read_catalog

    settings = load_settings()
    read_catalog(settings.workloads)
    return settings, web_settings(settings)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")


def web_settings(settings: Settings) -> WebSettings:
    """What the web door takes from the environment. Raises InputError naming the variables."""
    from pydantic import ValidationError

    from forebay.settings import not_valid
    from forebay.web.settings import WebSettings, with_sources
    from forebay.wiring import read_sources

    secrets = {name: tuple(valid) for name, valid in settings.webhook_secrets.items()}
    sources, secrets = with_sources(read_sources(settings.sources), secrets, os.environ)
    same = ("link_secrets", "replay_window", "open_reading", "requests_per_minute")
    values = {name: getattr(settings, name) for name in same} | {"sources": sources, "webhook_secrets": secrets}
    try:
        return WebSettings.model_validate(values)
    except ValidationError as error:
        raise not_valid(error) from error
