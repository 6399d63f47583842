"""What cannot be met any more is said before the effective time, not after."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.control.arrival import Arrival, arrival
from forebay.domain.lifecycle import MOVING
from forebay.domain.records import ChangeRecord
from forebay.ports import Snapshot

LATE = "expected late"


def expected(tx: Snapshot, ctx: Context, record: ChangeRecord, workload: str) -> Arrival | None:
    """From the store alone; None where nothing is to come: no plan, not moving, or every step has its pass.

    Raises InputError where the workloads cannot be read.
    """
    plan = tx.plan(record.change.change, workload)
    if plan is None or not (record.state in MOVING or record.lapses) or (known := ctx.catalog.get(workload)) is None:
        return None
    pin = next((p for p in tx.pins(record.change.change) if p.workload == workload), None)
    return arrival(known, plan, tx.steps(record.change.change, workload), ctx.clock.now(), pin)


def foretell(ctx: Context, record: ChangeRecord) -> None:
    """Tell people, once a step, that the change will not be aligned in time; what to do is theirs to decide."""
    told = []
    with ctx.store.transaction() as tx:
        for name in record.change.workloads:
            coming = expected(tx, ctx, record, name)
            if coming is None or not coming.late or ctx.clock.now() >= record.change.effective_at:
                continue
            step = next(s for s in tx.steps(record.change.change, name) if s.passed_at is None)
            mark = f"step {step.step.sequence}"
            said = [e.event for e in tx.audit_entries(record.change.change) if e.event.action == LATE]
            if any((e.workload, e.plan_hash, e.new) == (name, step.plan_hash, mark) for e in said):
                continue
            then = "it is rejected then" if record.change.on_misalignment == "reject" else "the policy waits for it"
            event = ctx.event(
                record.change, LATE, f"{coming.text}; {then}", workload=name, plan_hash=step.plan_hash, new=mark
            )
            tx.audit(event)
            told.append(event)
    for event in told:
        ctx.notifier.notify(event)
