"""A change takes the place of another of its policy, for which nothing has moved yet: both at once, or neither."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.app.lookup import has_moved, own_version
from forebay.app.people import let_go
from forebay.app.turn import check_nobody_behind, same_policy
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import SUPERSEDABLE, ChangeState
from forebay.domain.ticket import source_of
from forebay.ports import Transaction


def supersede(tx: Transaction, ctx: Context, change: PolicyChange, *, only_own: bool, door: str | None) -> AuditEvent:
    """End `change.supersedes` within `tx`, in which `change` is then accepted: whoever asks may cancel the other.

    `only_own`: by this door, only what the same person has asked for; by a ticket also only what a ticket of the same
    source brought, for who asks is only claimed there. Raises InputError where there is no such change of this policy,
    RuleRefusal where it is too late for it.
    """
    name, actor = change.supersedes, change.requested_by
    known = tx.change(name)
    if known is None or not same_policy(known.change, change):  # of another's nothing is told, not even its policy
        raise InputError(f"supersedes: there is no change {name!r} of {change.title}: `forebay status` lists them")
    if only_own and known.change.requested_by != actor:
        raise RuleRefusal(
            "one's own by this door",
            f"change {name} was asked for by {known.change.requested_by}, not by {actor}",
            "the same by whoever asked for that one, or by somebody who may cancel it, by the command line or Prefect",
        )
    source = source_of(door)
    if source is not None and source_of(known.door) != source:
        raise RuleRefusal(
            "one's own by this door",
            f"change {name} did not come by a ticket of {source}",
            "the same by the command line, the API or Prefect, or cancelling that one there first",
        )
    tx.rules().check_permitted("cancel", known.change, actor)
    moved = has_moved(tx, known.change)
    instead = "this change without `supersedes`, which then comes after it, or cancelling it first"
    if known.state not in SUPERSEDABLE or moved:
        state = f"{known.state}{', and capacity has moved for it' if moved else ''}"
        raise RuleRefusal("supersede only before the first step", f"change {name} is {state}", instead)
    try:
        check_nobody_behind(tx, known.change, known.change)
    except RuleRefusal as refusal:
        raise RuleRefusal(refusal.rule, refusal.reason, "this change without `supersedes`") from refusal
    reason = f"by {change.change}: {change.reason or 'no reason given'}"
    let_go(tx, ctx, known, own_version(tx, known), actor, f"superseded {reason}")
    event = ctx.event(known.change, Deed.SUPERSEDED, reason, actor, new=change.change)
    tx.move(name, ChangeState.SUPERSEDED, event)
    return event
