"""Policies as the decision point answers them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from forebay.cli import common
from forebay.domain.errors import InputError
from forebay.domain.model import parse_yaml

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("import")
def policy_import(
    entity: str,
    policy: str,
    by: common.By,
    reason: common.Reason,
    kind: Annotated[str, typer.Option("--kind")] = "quota",
    document: Annotated[Path | None, typer.Option("--document", help="The policy's content, YAML or JSON.")] = None,
) -> None:
    """Store what is in force already as the first version of a policy Forebay does not know yet."""
    from forebay.app.policies import import_policy

    content: Any = parse_yaml(common.read(document), str(document)) if document else {}
    if not isinstance(content, dict):
        raise InputError(f"{document}: the policy's content must be a mapping of names to values")
    version = import_policy(common.context(), entity, policy, kind, content, by, reason)
    typer.echo(f"{entity} {policy}: version {version.version} is in force")


@app.command("show")
def policy_show(
    entity: str,
    policy: str,
    at: Annotated[str | None, typer.Option("--at", help="ISO time with zone; default: now.")] = None,
) -> None:
    """What the decision point answers, as JSON; where nothing is in force, that is said and the exit code is 2."""
    from forebay.app.policies import policy_at

    answer = policy_at(common.context(), entity, policy, common.time(at, "--at") if at else None)
    if answer.version is None:
        raise InputError(answer.nothing)
    typer.echo(json.dumps(answer.content | {"at": answer.at.isoformat()}, ensure_ascii=False))
