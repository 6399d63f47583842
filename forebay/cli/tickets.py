"""Tickets as ticketing systems send them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forebay.cli import common
from forebay.domain.errors import InputError

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.callback()
def tickets() -> None:
    """Tickets as ticketing systems send them."""


@app.command("show")
def show(
    source: Annotated[str, typer.Argument(help="As named in the sources file.")],
    payload: Annotated[Path, typer.Argument(help="What the ticketing system sends, JSON; - reads standard input.")],
    sources: Annotated[Path | None, typer.Option("--sources", help="Default: FOREBAY_SOURCES.")] = None,
) -> None:
    """What a payload would become, or where it fails; nothing is stored."""
    from forebay.domain.mapping import read_payload
    from forebay.domain.source import GENERIC
    from forebay.domain.strict_json import Twice, read_json
    from forebay.settings import load_settings
    from forebay.wiring import read_sources

    found = {s.name: s for s in (GENERIC, *read_sources(sources or load_settings().sources))}
    if source not in found:
        raise InputError(f"there is no ticket source {source!r}. Known: {', '.join(found)}")
    text = common.read(payload)
    try:
        data = read_json(text)
    except Twice as error:
        raise InputError(f"{payload}: {error}") from error
    except ValueError as error:
        raise InputError(f"{payload}: this is not JSON: {error}") from error
    delivery = read_payload(found[source], data)
    if delivery is None:
        typer.echo(f"ignored: {found[source].reading('ignore')}")
        return
    typer.echo(delivery.model_dump_json(indent=2, exclude_defaults=True))
