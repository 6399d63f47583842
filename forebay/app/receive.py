"""Accept a policy change: check it against the catalog and the change rules, and store it."""

from __future__ import annotations

from datetime import datetime

from forebay.app.context import Context
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import TERMINAL, ChangeState
from forebay.domain.policy import PolicyVersion, in_force
from forebay.domain.records import ChangeRecord
from forebay.ports import Transaction


def receive(ctx: Context, request: ChangeRequest, asked_at: datetime | None = None) -> ChangeRecord:
    """Store the change as `received`, or as `denied` with the rule that says no and what would pass.

    The same request again (by name) returns the stored change: any door may deliver twice. Raises InputError,
    with nothing stored, for an unknown workload or a name already used for something else. `asked_at` (aware UTC):
    when it came to the door, if that was earlier; the minimum delay counts from then.
    """
    now = ctx.clock.now()
    change = request.accepted(now)
    for workload in change.workloads:
        ctx.workload(workload)
    with ctx.store.transaction() as tx:
        if (known := tx.change(change.change)) is not None:
            return _same_change(known, request)
        versions = tx.versions(change.entity, change.policy)
        number = max((v.version for v in versions), default=0) + 1
        current = in_force(versions, now)
        refusal = _refusal(tx, change, current.version if current else 0, now, asked_at)
        record = tx.add_change(
            change, number, ctx.event(change, "received", change.reason or "no reason given", change.requested_by)
        )
        if refusal is not None:
            event = ctx.event(change, "denied", str(refusal))
            record = tx.move(change.change, ChangeState.DENIED, event)
        else:
            version = PolicyVersion(
                entity=change.entity,
                policy=change.policy,
                kind=change.kind,
                version=number,
                document=change.document,
                change=change.change,
                effective_at=change.effective_at,
                armed_at=None,
            )
            tx.put_version(version, ctx.event(change, "policy version stored", f"version {number}, not armed"))
    if refusal is not None:
        ctx.notifier.notify(event)
    return record


def _same_change(known: ChangeRecord, request: ChangeRequest) -> ChangeRecord:
    """A repeated delivery is the stored change; anything else under its name is refused."""
    # A relative effective time was fixed at the first delivery; the repeat means that same time.
    again = request.model_copy(update={"effective_at": known.change.effective_at, "effective_in": None})
    if request.effective_at not in (None, known.change.effective_at) or (
        again.accepted(known.received_at).fingerprint != known.change.fingerprint
    ):
        raise InputError(
            f"change: the name {known.change.change!r} is taken by another request ({known.state}, effective "
            f"{known.change.effective_at.isoformat()}): cancel that one, or submit this one under a new name"
        )
    return known


def _refusal(
    tx: Transaction, change: PolicyChange, current: int, now: datetime, asked_at: datetime | None
) -> RuleRefusal | None:
    try:
        tx.rules().check_request(change, now, asked_at)
        if change.base_version not in (None, current):
            raise RuleRefusal(
                "base version",
                f"the change builds on version {change.base_version}, version {current} is in force",
                f"base_version {current}, after reading that version",
            )
        for other in tx.changes(frozenset(ChangeState) - TERMINAL):
            if (other.change.entity, other.change.policy) == (change.entity, change.policy):
                raise RuleRefusal(
                    "one change at a time of a policy",
                    f"change {other.change.change} ({other.state}) of {change.title} is under way",
                    f"this change once {other.change.change} is closed or rolled back",
                )
            if shared := set(other.change.workloads) & set(change.workloads):
                raise RuleRefusal(
                    "one change at a time on a workload",
                    f"change {other.change.change} ({other.state}) is under way on {', '.join(sorted(shared))}",
                    f"this change once {other.change.change} is closed or rolled back",
                )
    except RuleRefusal as refusal:
        return refusal
    return None
