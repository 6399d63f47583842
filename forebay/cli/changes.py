"""What people do with a change: submit it, look at it, hold, resume, cancel."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from forebay.cli import common
from forebay.domain.change import ChangeRequest

app = typer.Typer()


@app.command()
def submit(change: common.ChangeFile) -> None:
    """Store a change; a running reconciler plans and shapes it. Prints its name and state."""
    from forebay.app.tickets import submit as submit_change

    record = submit_change(common.context(), ChangeRequest.parse(common.read(change), str(change)))
    typer.echo(f"{record.change.change}: {record.state}: {record.note}")
    if record.state == "denied":
        raise typer.Exit(3)


@app.command()
def status(
    change: Annotated[str | None, typer.Argument(help="A change; default: all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """What changes there are and where they stand, or everything about one."""
    from forebay.app.status import change_status, list_changes
    from forebay.report.table import changes_table, status_table

    ctx = common.context()
    if change is None:
        records = list_changes(ctx)
        rows = [record.model_dump(mode="json") for record in records]
        typer.echo(json.dumps(rows) if as_json else changes_table(records, ctx.clock.now()))
        return
    found = change_status(ctx, change)
    typer.echo(found.model_dump_json() if as_json else status_table(found.record, found.steps, ctx.clock.now()))


@app.command()
def hold(change: str, by: common.By, reason: common.Reason) -> None:
    """Make no further step until the change is resumed."""
    from forebay.app import people

    common.say(people.hold(common.context(), change, by, reason))


@app.command()
def resume(change: str, by: common.By, reason: common.Reason) -> None:
    """Go on where a change was held."""
    from forebay.app import people

    common.say(people.resume(common.context(), change, by, reason))


@app.command()
def cancel(change: str, by: common.By, reason: common.Reason) -> None:
    """Cancel a change that is not in force; its allocation goes back."""
    from forebay.app import people

    common.say(people.cancel(common.context(), change, by, reason))
