"""What many use cases look up of a change in the store: itself, its version, its pin, what the audit log says of it."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.domain.audit import AuditEvent
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.model import quoted
from forebay.domain.policy import PolicyVersion
from forebay.domain.records import ChangeRecord, Pin
from forebay.ports import Snapshot


def change_record(ctx: Context, name: str) -> ChangeRecord:
    """Raises InputError if there is no change of that name."""
    with ctx.store.snapshot() as tx:
        record = tx.change(name)
    if record is None:
        raise InputError(f"there is no change {quoted(name)}: `forebay status` lists them")
    return record


def own_version(tx: Snapshot, record: ChangeRecord) -> PolicyVersion | None:
    """The policy version this change brings; None for a denied one, which has no version of its own."""
    versions = tx.versions(record.change.entity, record.change.policy)
    return next((v for v in versions if v.change == record.change.change), None)


def has_moved(tx: Snapshot, change: PolicyChange) -> bool:
    """Whether anything was written for it: what was there before is recorded first."""
    return any(tx.original(change.change, workload) for workload in change.workloads)


def pin_on(tx: Snapshot, change: str, workload: str) -> Pin | None:
    """The pin that a person has put on `workload` for `change`, its time over or not; None without one."""
    return next((pin for pin in tx.pins(change) if pin.workload == workload), None)


def events_of(tx: Snapshot, change: str) -> list[AuditEvent]:
    """What the audit log says of the change, oldest first."""
    return [entry.event for entry in tx.audit_entries(change)]
