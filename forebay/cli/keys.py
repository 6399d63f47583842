"""Keys to the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from forebay.cli import common
from forebay.domain.model import read_duration

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("create")
def create(
    person: Annotated[str, typer.Argument(help="Whose it is: the name that rules and the audit log know.")],
    roles: Annotated[list[str], typer.Option("--role", help="viewer, requester, approver, operator or admin.")],
    by: common.By,
    reason: common.Reason,
    entities: Annotated[list[str] | None, typer.Option("--entity", help="Only for these; default: all.")] = None,
    valid: Annotated[str, typer.Option("--valid", help="For how long: 90d, 12h.")] = "90d",
) -> None:
    """Make a key, and print it this once: only its hash is kept."""
    from forebay.app.keys import create_key

    span = read_duration(valid, "--valid")
    token, key = create_key(common.context(), person, roles, entities or (), span, by, reason)
    typer.echo(f"key {key.id} for {person}, valid until {key.expires_at.isoformat()}; it is not shown again:", err=True)
    typer.echo(token)


@app.command("list")
def list_all() -> None:
    """All keys: whose, what for, until when, when last used."""
    from forebay.app.keys import list_keys

    ctx = common.context()
    if not (keys := list_keys(ctx)):
        typer.echo("there is no key: `forebay key create` makes one")
    for key in keys:
        used = f"last used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used"
        scope = f" of {', '.join(sorted(key.entities))}" if key.entities else ""
        until = f"{key.standing(ctx.clock.now())}, until {key.expires_at:%Y-%m-%d %H:%M} UTC"
        typer.echo(f"{key.id}  {key.person}  {', '.join(sorted(key.roles))}{scope}  {until}, {used}")


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Its id in `forebay key list`.")], by: common.By, reason: common.Reason
) -> None:
    """From now on the key lets nobody in."""
    from forebay.app.keys import revoke_key

    revoked = revoke_key(common.context(), key, by, reason)
    typer.echo(f"key {revoked.id} of {revoked.person} is revoked")
