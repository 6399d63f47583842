"""The `forebay` command. Exit codes: 0 done, 2 the input is wrong, 3 refused by a rule, 4 the outside failed."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from forebay.cli import (
    approvals,
    audit,
    backtest,
    changes,
    cloud,
    keys,
    outbox,
    planning,
    policies,
    rules,
    service,
    tickets,
)
from forebay.domain.errors import ForebayError, InputError, OutsideError, RuleRefusal
from forebay.domain.wording import on_one_line

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for group in (planning, backtest, cloud, changes, approvals, service):
    app.add_typer(group.app)
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="key")
app.add_typer(outbox.app, name="outbox")
app.add_typer(policies.app, name="policy")
app.add_typer(rules.app, name="rules")
app.add_typer(tickets.app, name="ticket")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"forebay {version('forebay')}")
        raise typer.Exit


@app.callback(help=__doc__)
def forebay(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What stands before every command."""


def main() -> None:
    """Run a command; an error made for people becomes one message and its exit code, never a traceback."""
    try:
        app()
    except InputError as error:
        _fail(error, 2)
    except RuleRefusal as error:
        _fail(error, 3)
    except OutsideError as error:
        _fail(error, 4)


def _fail(error: ForebayError, code: int) -> None:
    # Of several lines, as a list of faults is; none of them may hold what a terminal would obey.
    typer.echo("\n".join(map(on_one_line, f"forebay: {error}".split("\n"))), err=True)
    sys.exit(code)
