"""What cannot be met any more is said before the effective time, not after."""

from __future__ import annotations

from datetime import timedelta

from forebay.app.context import Context
from forebay.app.joint import shaped
from forebay.app.lookup import events_of, pin_on
from forebay.app.once import tell_once
from forebay.control.arrival import Arrival, arrival
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.lifecycle import MOVING
from forebay.domain.records import ChangeRecord
from forebay.ports import Snapshot

HELD = "held"
# This long ahead people are told that a change which waits for one of them will not come into force by itself.
REMINDED = timedelta(hours=1)


def expected(tx: Snapshot, ctx: Context, record: ChangeRecord, workload: str) -> Arrival | None:
    """From the store alone; None where nothing is to come: no plan, not moving, or every step has its pass.

    Raises InputError and OutsideError where the workloads cannot be read.
    """
    return _coming(tx, ctx, record, workload) if record.state in MOVING or record.lapses else None


def _coming(tx: Snapshot, ctx: Context, record: ChangeRecord, workload: str) -> Arrival | None:
    """If its steps go on now; on a path that it shares, those of whoever carries it."""
    by, plan, steps = shaped(tx, record.change, workload)
    if plan is None or (known := ctx.catalog.get(workload)) is None:
        return None
    return arrival(known, plan, steps, ctx.clock.now(), pin_on(tx, by, workload))


def foretell(ctx: Context, record: ChangeRecord) -> None:
    """Tell people, once a step or a hold, that the change will not be in force in time; what to do is theirs to say."""
    if ctx.clock.now() >= record.change.effective_at:
        return
    untold = _held if record.waits_for_a_person else _late
    tell_once(ctx, lambda tx: untold(tx, ctx, record))


def _late(tx: Snapshot, ctx: Context, record: ChangeRecord) -> list[AuditEvent]:
    change, told = record.change, []
    for name in change.workloads:
        coming = expected(tx, ctx, record, name)
        if coming is None or not coming.late:
            continue
        _, _, steps = shaped(tx, change, name)
        step = next(s for s in steps if s.passed_at is None)
        mark = f"step {step.step.sequence}"
        if any((e.workload, e.plan_hash, e.new) == (name, step.plan_hash, mark) for e in _said(tx, record)):
            continue
        then = "it is rejected then" if change.on_misalignment == "reject" else "the policy waits for it"
        text = f"{coming.text}; {then}"
        told.append(ctx.event(change, Deed.EXPECTED_LATE, text, workload=name, plan_hash=step.plan_hash, new=mark))
    return told


def _held(tx: Snapshot, ctx: Context, record: ChangeRecord) -> list[AuditEvent]:
    """An hour ahead; earlier where it would be late even if somebody resumed it now."""
    change, at = record.change, record.change.effective_at
    coming = [_coming(tx, ctx, record, name) for name in change.workloads]
    late = [one.text for one in coming if one is not None and one.late]
    if not late and ctx.clock.now() < at - REMINDED:
        return []
    if any(e.new == HELD and e.at >= record.updated_at for e in _said(tx, record)):
        return []
    resumed = f"; resumed now, {'; '.join(late)}" if late else ""
    text = f"held: {record.note}; it does not come into force at {at:%Y-%m-%d %H:%M} UTC unless it is resumed{resumed}"
    return [ctx.event(change, Deed.EXPECTED_LATE, text, new=HELD)]


def _said(tx: Snapshot, record: ChangeRecord) -> list[AuditEvent]:
    return [event for event in events_of(tx, record.change.change) if event.action == Deed.EXPECTED_LATE]
