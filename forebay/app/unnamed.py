"""What versions of a policy have left on workloads that the version in force says nothing of: listed for a person."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.app.left import stood_before
from forebay.app.others import in_force_on
from forebay.domain.allocation import in_words
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.bounds import PolicyBounds
from forebay.domain.lifecycle import TERMINAL
from forebay.domain.records import ChangeRecord, Leftover, Outcome
from forebay.ports import Snapshot, Transaction


def list_unnamed(tx: Transaction, ctx: Context, record: ChangeRecord) -> list[AuditEvent]:
    """As `record`, which has settled, is closed: what to tell of each workload.

    No later version gives back what it does not name, and `record` was not approved to move it. Nothing is listed where
    the policies in force guarantee what stands there, nor where a change under way has moved it: that one gives back.
    """
    change = record.change
    versions = tx.versions(change.entity, change.policy)
    earlier = [by for v in versions if v.change and (by := tx.change(v.change))]
    names = dict.fromkeys(name for by in earlier for name in by.change.workloads if name not in change.workloads)
    listed = {(left.change, left.workload) for left in tx.leftovers()}
    told = []
    for left in [left for name in names if (left := _left_on(tx, ctx, change.change, name))]:
        owner = tx.change(left.change)
        if owner is None or (left.change, left.workload) in listed:
            continue
        text = f"not back at {in_words(left.restore)}: {change.change}, in force now, says nothing of {left.workload}"
        event = ctx.event(owner.change, Deed.LEFT_RAISED, f"{text}: a person must look", workload=left.workload)
        tx.put_leftover(left, event)
        told.append(event)
    return told


def _left_on(tx: Snapshot, ctx: Context, change: str, workload: str) -> Leftover | None:
    now, last = ctx.clock.now(), tx.last_intent(workload)
    while last is not None and last.outcome is Outcome.NOT_DONE:
        last = tx.last_intent(workload, before=last.number)
    by = tx.change(last.change) if last else None
    if last is None or by is None or by.state not in TERMINAL:
        return None
    stands = last.new.unsized
    bounds = PolicyBounds.of(in_force_on(tx, workload, now), workload)
    restore = stood_before(tx, change, workload, stands).within(bounds)
    if restore == stands:
        return None
    return Leftover(
        change=last.change, workload=workload, live=stands, ours=stands, restore=restore, reason=last.why, since=now
    )
