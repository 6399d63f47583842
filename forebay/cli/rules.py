"""The change rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli import common

if TYPE_CHECKING:
    from forebay.app.context import Context
    from forebay.domain.amendment import RulesProposal

app = typer.Typer(no_args_is_help=True, help=__doc__)
Proposal = Annotated[int, typer.Argument(help="Number of the proposal.")]


@app.command("set")
def rules_set(
    rules: Annotated[Path, typer.Argument(help="Change rules, YAML or JSON.")], by: common.By, reason: common.Reason
) -> None:
    """Store a new version of the change rules; a freeze's calendar may be a file beside them."""
    from forebay.app.rules import set_rules
    from forebay.domain.amendment import RulesProposal
    from forebay.report.rules import what_changes

    content = common.rules(rules)
    ctx = common.context()
    with ctx.store.snapshot() as tx:
        before = tx.rules()
    done = set_rules(ctx, content, by, reason)
    typer.echo(_said(ctx, done) if isinstance(done, RulesProposal) else f"change rules: version {done}")
    for line in what_changes(before, content):
        typer.echo(f"  {line}")


@app.command("agree")
def rules_agree(number: Proposal, by: common.By, reason: common.Reason) -> None:
    """Agree to change rules that were proposed; with the quorum and after the delay they take force."""
    from forebay.app.rules import agree_to_rules

    ctx = common.context()
    typer.echo(_said(ctx, agree_to_rules(ctx, number, by, reason)))


@app.command("withdraw")
def rules_withdraw(number: Proposal, by: common.By, reason: common.Reason) -> None:
    """Stop change rules that were proposed."""
    from forebay.app.rules import withdraw_rules

    ctx = common.context()
    typer.echo(_said(ctx, withdraw_rules(ctx, number, by, reason)))


def _said(ctx: Context, proposal: RulesProposal) -> str:
    with ctx.store.snapshot() as tx:
        waits = proposal.standing(tx.rules(), ctx.clock.now()) if proposal.state == "open" else None
    return f"proposal {proposal.number} is {proposal.state}" + (f": {waits}" if waits else "")


@app.command("show")
def rules_show(
    proposed: Annotated[bool, typer.Option("--proposed", help="Those proposed, and where they stand.")] = False,
) -> None:
    """The change rules in force."""
    if proposed:
        from forebay.app.rules import list_proposals

        ctx = common.context()
        if not (proposals := list_proposals(ctx)):
            typer.echo("no rules are proposed")
        for proposal in proposals:
            typer.echo(f"{_said(ctx, proposal)}\n{proposal.rules.model_dump_json(indent=2, exclude_defaults=True)}")
        return
    with common.context().store.snapshot() as tx:
        typer.echo(tx.rules().model_dump_json(indent=2))
