"""The audit log."""

from __future__ import annotations

from typing import Annotated

import typer

from forebay.cli import common
from forebay.domain.errors import RuleRefusal

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("verify")
def audit_verify() -> None:
    """Check that no audit entry was altered, and no policy, change rules or approval behind its back."""
    from forebay.settings import load_settings
    from forebay.store import open_store

    store = open_store(load_settings().database_url.get_secret_value())
    broken = store.audit_break()
    if broken:
        raise RuleRefusal(
            "audit chain", broken, "the log, and what it records, as they were written: compare with a backup"
        )
    with store.snapshot() as tx:
        typer.echo(f"the audit chain holds: {len(tx.audit_entries())} entries")


@app.command("show")
def audit_show(change: Annotated[str | None, typer.Argument(help="Only this change's entries.")] = None) -> None:
    """The audit log, one JSON object a line."""
    from forebay.app.lookup import change_record

    ctx = common.context()
    with ctx.store.snapshot() as tx:
        entries = tx.audit_entries(change)
    if change is not None and not entries:
        change_record(ctx, change)  # raises: a change that is there has entries
    for entry in entries:
        typer.echo(entry.model_dump_json())
