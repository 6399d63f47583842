"""What is to be told to the outside: pushes of policies, notifications, answers."""

from __future__ import annotations

from typing import Annotated

import typer

from forebay.cli import common

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("show")
def show(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """What waits to be sent, and what was given up."""
    from forebay.app.outbox import outlets, unsent
    from forebay.report.table import outbox_table

    ctx = common.context()
    messages = unsent(ctx)
    if as_json:
        for message in messages:
            typer.echo(message.model_dump_json())
        return
    typer.echo(outbox_table(messages, outlets(ctx)) if messages else "everything was sent")


@app.command("retry")
def retry(
    number: Annotated[int, typer.Argument(help="The message's number in `forebay outbox show`.")],
    by: common.By,
    reason: common.Reason,
) -> None:
    """Send a message that was given up once more."""
    from forebay.app.outbox import drain, unsent
    from forebay.app.outbox import retry as try_again

    ctx = common.context()
    message = try_again(ctx, number, by, reason)
    drain(ctx)
    after = next((m for m in unsent(ctx) if m.number == number), None)
    common.say_line(f"{message.name}: {f'{after.state}: {after.failure}' if after else 'sent'}")


@app.command("discard")
def discard(
    number: Annotated[int, typer.Argument(help="The message's number in `forebay outbox show`.")],
    by: common.By,
    reason: common.Reason,
) -> None:
    """Drop a message that was given up: it is not sent any more, and nothing counts or lists it."""
    from forebay.app.outbox import discard as drop

    common.say_line(f"{drop(common.context(), number, by, reason).name}: discarded")


@app.command("try")
def try_out() -> None:
    """Send one notice to every address of FOREBAY_NOTIFY now."""
    from forebay.app.telling import try_out as send

    send(common.context())
    typer.echo("everybody was told")
