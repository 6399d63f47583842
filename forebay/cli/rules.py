"""The change rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forebay.cli import common
from forebay.domain.model import parse_yaml, validate

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("set")
def rules_set(
    rules: Annotated[Path, typer.Argument(help="Change rules, YAML or JSON.")], by: common.By, reason: common.Reason
) -> None:
    """Store a new version of the change rules."""
    from forebay.domain.audit import AuditEvent
    from forebay.domain.rules import ChangeRules

    wanted = validate(ChangeRules, parse_yaml(common.read(rules), str(rules)), str(rules))
    ctx = common.context()
    with ctx.store.transaction() as tx:
        event = AuditEvent(at=ctx.clock.now(), actor=by, action="change rules set", reason=reason)
        typer.echo(f"change rules: version {tx.put_rules(wanted, event)}")


@app.command("show")
def rules_show() -> None:
    """The change rules in force."""
    with common.context().store.transaction() as tx:
        typer.echo(tx.rules().model_dump_json(indent=2))
