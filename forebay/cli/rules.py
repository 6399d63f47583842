"""The change rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from forebay.cli import common
from forebay.domain.model import parse_yaml, validate

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("set")
def rules_set(
    rules: Annotated[Path, typer.Argument(help="Change rules, YAML or JSON.")], by: common.By, reason: common.Reason
) -> None:
    """Store a new version of the change rules; a freeze's calendar may be a file beside them."""
    from forebay.app.rules import set_rules
    from forebay.domain.rules import ChangeRules

    content = with_calendars(parse_yaml(common.read(rules), str(rules)), rules.parent)
    number = set_rules(common.context(), validate(ChangeRules, content, str(rules)), by, reason)
    typer.echo(f"change rules: version {number}")


def with_calendars(content: Any, folder: Path) -> Any:
    """The rules as parsed, with the text of each iCalendar file in place of its name. Raises InputError."""
    from forebay.domain.freeze import CALENDAR_BEGINS

    freezes = content.get("freezes") if isinstance(content, dict) else None
    if not isinstance(freezes, list):
        return content

    def inlined(freeze: Any) -> Any:
        named = freeze.get("calendar") if isinstance(freeze, dict) else None
        if not isinstance(named, str) or named.lstrip().startswith(CALENDAR_BEGINS):
            return freeze
        return freeze | {"calendar": common.read(folder / named)}

    return content | {"freezes": [inlined(freeze) for freeze in freezes]}


@app.command("show")
def rules_show() -> None:
    """The change rules in force."""
    with common.context().store.transaction() as tx:
        typer.echo(tx.rules().model_dump_json(indent=2))
