"""A change takes the place of another of its policy, for which nothing has moved yet: both at once, or neither."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.app.people import has_moved, let_go, own_version
from forebay.app.turn import check_nobody_behind, same_policy
from forebay.domain.audit import AuditEvent
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import SUPERSEDABLE, ChangeState
from forebay.ports import Transaction


def supersede(tx: Transaction, ctx: Context, change: PolicyChange) -> AuditEvent:
    """End `change.supersedes` within `tx`, in which `change` is then accepted: whoever asks may cancel the other.

    Raises InputError where there is no such change of this policy, RuleRefusal where it is too late for it.
    """
    name, actor = change.supersedes, change.requested_by
    known = tx.change(name)
    if known is None:
        raise InputError(f"supersedes: there is no change {name!r}: `forebay status` lists them")
    if not same_policy(known.change, change):
        raise InputError(
            f"supersedes: {name} is of {known.change.title}, and this one of {change.title}: cancel that one instead"
        )
    tx.rules().check_permitted("cancel", known.change, actor)
    moved = has_moved(tx, known.change)
    if known.state not in SUPERSEDABLE or moved:
        raise RuleRefusal(
            "supersede only before the first step",
            f"change {name} is {known.state}{', and capacity has moved for it' if moved else ''}",
            "this change without `supersedes`, which then comes after it, or cancelling it first",
        )
    check_nobody_behind(tx, known.change, known.change)
    reason = f"by {change.change}: {change.reason or 'no reason given'}"
    let_go(tx, ctx, known, own_version(tx, known), actor, reason)
    event = ctx.event(known.change, "superseded", reason, actor, new=change.change)
    tx.move(name, ChangeState.SUPERSEDED, event)
    return event
