"""Break glass: a named, permitted person puts a policy in force at once, or overrides a hold. Loud, and on record."""

from __future__ import annotations

import logging

from forebay.app.arm import enforce_now
from forebay.app.context import Context
from forebay.app.outbox import drain
from forebay.app.people import permitted, resume
from forebay.domain.errors import OutsideError
from forebay.domain.records import ChangeRecord

log = logging.getLogger(__name__)


def break_glass(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """The policy is in force from this moment on, aligned or not, frozen or not, approved or not (rule 1's exception).

    Steps still to come are made as planned. Raises InputError; RuleRefusal if `actor` may not, or it is in force
    already, or an earlier version of the policy is still to come; OutsideError if the store is away.

    It is pushed at once to what is configured here. What failed, or is configured elsewhere only, the reconciler
    pushes, and brings the change on to `settling`.
    """
    with ctx.store.transaction() as tx:
        record, event = enforce_now(tx, ctx, permitted(tx, change, "break-glass", actor, reason), actor, reason)
    ctx.notifier.notify(event)
    try:
        drain(ctx, change)
    except OutsideError as error:  # the store is away since: what is in force is none the less so
        log.warning("%s is in force, and is pushed by the reconciler: %s", change, error)
    return record


def override_hold(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """Resume a held change without the right to hold. Raises InputError, RuleRefusal and OutsideError."""
    return resume(ctx, change, actor, reason, breaking_glass=True)
