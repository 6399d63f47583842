"""What needs somebody else's name: approving, rejecting, breaking the glass."""

from __future__ import annotations

from typing import Annotated

import typer

from forebay.cli import common
from forebay.domain.errors import InputError

app = typer.Typer()
# No default, as by every other door: whoever names no plan would answer to one they have not seen.
Plan = Annotated[
    str,
    typer.Option("--plan", help="Hash of the plan `forebay status` shows (8 digits or more); another is refused."),
]


@app.command()
def approve(change: str, by: common.By, reason: common.Reason, plan: Plan) -> None:
    """Approve the plan of a change that waits for it, or the new plan of one under way."""
    from forebay.app import approvals

    common.say(approvals.approve(common.context(), change, by, reason, plan=plan))


@app.command()
def reject(change: str, by: common.By, reason: common.Reason, plan: Plan) -> None:
    """Deny a change that waits for approval, or only the new plan of one under way."""
    from forebay.app import approvals

    common.say(approvals.reject(common.context(), change, by, reason, plan=plan))


@app.command("break-glass")
def break_glass(
    change: str,
    by: common.By,
    reason: common.Reason,
    resume: Annotated[bool, typer.Option("--resume", help="Only override a hold; shaping goes on.")] = False,
) -> None:
    """Put a policy in force at once, whatever stands against it; loud in the audit log and in notifications."""
    from forebay.app import break_glass as glass

    act = glass.override_hold if resume else glass.break_glass
    common.say(act(common.context(), change, by, reason))


@app.command("approval-link")
def approval_link(
    change: str,
    person: Annotated[str, typer.Option("--for", help="Who may answer by it, and in whose name.")],
    by: common.By,
    valid: Annotated[str, typer.Option("--valid", help="How long at most: 4h, 1d.")] = "24h",
) -> None:
    """Print a one-time link by which one person may approve or reject what is asked for now; send it to them only."""
    from forebay.app.approvals import invite
    from forebay.cli.service import web_settings
    from forebay.domain.model import read_duration
    from forebay.settings import load_settings
    from forebay.web.link import ApprovalLink, token_of

    settings, ctx = load_settings(), common.context()
    secrets = web_settings(settings).valid_link_secrets()
    if not secrets:
        raise InputError('links need a secret: set FOREBAY_LINK_SECRETS=["..."] here and for `forebay serve`')
    asked, expires, nonce = invite(ctx, change, person, by, read_duration(valid, "--valid"))
    link = ApprovalLink(change=change, person=person, asked=asked, expires=expires, nonce=nonce)
    typer.echo(f"{settings.web_url.rstrip('/')}/approvals/{token_of(link, secrets[0])}")
