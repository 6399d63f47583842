"""Rolling back: a cancel before the policy is in force; afterwards it goes back by a new version, then the capacity."""

from __future__ import annotations

from datetime import datetime

from forebay.app.context import Context
from forebay.app.lookup import own_version
from forebay.app.outbox import post_version
from forebay.app.people import permitted, withdraw
from forebay.app.writing import last_setting
from forebay.domain.allocation import Setting, in_words
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.policy import PolicyVersion, begun, called, followed, in_force, next_number
from forebay.domain.records import ChangeRecord
from forebay.domain.workload import Workload
from forebay.ports import Snapshot, Transaction


def rollback(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """Take a change back while it is not closed. Raises InputError and RuleRefusal.

    In force or settling, a new version with the document that was in force before takes force at once: what serves was
    verified for more than it needs. Where the change took capacity away that is not so, and it is refused.
    """
    with ctx.store.snapshot() as tx:
        record = _permitted(tx, ctx, change, actor, reason)
        in_force_already = begun(own_version(tx, record), ctx.clock.now())
    if in_force_already:
        _check_capacity_stands(ctx, record)
    with ctx.store.transaction() as tx:
        record = _permitted(tx, ctx, change, actor, reason)
        version, now = own_version(tx, record), ctx.clock.now()
        if version is None or not begun(version, now):
            record, event = withdraw(tx, ctx, record, actor, reason)
        else:
            record, event = _set_back(tx, ctx, record, version, now, actor, reason)
    ctx.notifier.notify(event)
    return record


def _set_back(
    tx: Transaction,
    ctx: Context,
    record: ChangeRecord,
    version: PolicyVersion,
    now: datetime,
    actor: str,
    reason: str,
) -> tuple[ChangeRecord, AuditEvent]:
    """Within `tx`: in place of `version`, which is in force, what it followed takes force again under a new number."""
    change = record.change.change
    if record.state is ChangeState.ARMED:
        assert version.in_force_from is not None, "it has begun"
        began = f"version {version.version} is in force since {version.in_force_from.isoformat()}"
        record = tx.move(change, ChangeState.IN_FORCE, ctx.event(record.change, Deed.IN_FORCE, began))
    versions = tx.versions(record.change.entity, record.change.policy)
    before, latest = followed(versions, version), in_force(versions, now)
    if before is None or latest != version:
        raise RuleRefusal(
            "roll back to what was in force before",
            f"there was no version in force before version {version.version}"
            if before is None
            else f"version {latest.version if latest else '?'} has taken its place",
            "a new change that sets the policy as wanted",
        )
    fresh = {"change": None, "effective_at": now, "armed_at": now, "withdrawn_at": None, "glass_broken_at": None}
    back = before.model_copy(update={"version": next_number(versions), **fresh})
    words = f"version {back.version} sets back what version {before.version} said: {reason}"
    numbers = {"old": called(version.version), "new": called(back.version)}
    event = ctx.event(record.change, Deed.ROLLING_BACK, words, actor, **numbers)
    record = tx.move(change, ChangeState.ROLLING_BACK, event)
    if tx.pins(change):  # what is taken back is kept no longer, and must not be told to have been
        tx.drop_pins(change, ctx.event(record.change, Deed.UNPINNED, reason, actor))
    tx.put_version(back, ctx.event(record.change, Deed.POLICY_SET_BACK, words, actor))
    post_version(tx, ctx, change, back)
    return record, event


def _permitted(tx: Snapshot, ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """To take back what is in force is a right of its own."""
    record = tx.change(change)
    in_force_already = record is not None and begun(own_version(tx, record), ctx.clock.now())
    return permitted(tx, change, "revoke" if in_force_already else "cancel", actor, reason)


def _check_capacity_stands(ctx: Context, record: ChangeRecord) -> None:
    """Raises RuleRefusal where the change lowered a workload: the former policy would come before its capacity."""
    for name in record.change.workloads:
        with ctx.store.snapshot() as tx:
            original = tx.original(record.change.change, name)
        ours = last_setting(ctx, record.change.change, name)
        if original is not None and ours is not None and _lowered(ctx.workload(name), original, ours):
            held = original if ours.revision else original.unsized
            raise RuleRefusal(
                "capacity before policy",
                f"the change lowered {name} from {in_words(held)} to {in_words(ours)}",
                "a new change that sets the policy back, so that the capacity is there first",
            )


def _lowered(workload: Workload, before: Setting, after: Setting) -> bool:
    """Whether less is held, or an autoscaler may hold less, in any resource that is shaped: units times their size."""
    resized = after.revision is not None
    was, now = (workload.sized(before.size), workload.sized(after.size)) if resized else (workload, workload)
    units = [(before.units, after.units), (before.ceiling or 0, after.ceiling or 0)]
    return any(new * now.unit[r] < old * was.unit[r] for old, new in units for r in workload.resources)
