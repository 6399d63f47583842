"""Break glass: a named, permitted person puts a policy in force at once, or overrides a hold. Loud, and on record."""

from __future__ import annotations

from forebay.app.arm import enforce, enforce_now
from forebay.app.context import Context
from forebay.app.people import permitted, resume
from forebay.domain.records import ChangeRecord


def break_glass(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """The policy is in force from this moment on, aligned or not, frozen or not, approved or not (rule 1's exception).

    Steps still to come are made as planned. Raises InputError; RuleRefusal if `actor` may not, or it is in force
    already; OutsideError if a push failed: the policy is in force, and is pushed again.
    """
    with ctx.store.transaction() as tx:
        record, event = enforce_now(tx, ctx, permitted(tx, change, "break-glass", actor, reason), actor, reason)
    ctx.notifier.notify(event)
    enforce(ctx, change)
    return record


def override_hold(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """Resume a held change without the right to hold. Raises InputError, RuleRefusal and OutsideError."""
    return resume(ctx, change, actor, reason, breaking_glass=True)
