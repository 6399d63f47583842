"""What needs somebody else's name: approving, rejecting, breaking the glass."""

from __future__ import annotations

from typing import Annotated

import typer

from forebay.cli import common

app = typer.Typer()
Plan = Annotated[
    str | None, typer.Option("--plan", help="Hash of the plan you were shown (8 digits or more); another is refused.")
]


@app.command()
def approve(change: str, by: common.By, reason: common.Reason, plan: Plan = None) -> None:
    """Approve the plan of a change that waits for it, or the new plan of one under way."""
    from forebay.app import approvals

    common.say(approvals.approve(common.context(), change, by, reason, plan=plan))


@app.command()
def reject(change: str, by: common.By, reason: common.Reason, plan: Plan = None) -> None:
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
