"""What an operator wants to see of the changes: one summary a change, the same for CLI, pages and the API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from forebay.app.approvals import as_it_stands, may_be_answered, request_of
from forebay.app.context import Context
from forebay.app.edit import builds_on
from forebay.app.foretell import expected
from forebay.app.lookup import change_record, own_version
from forebay.domain.allocation import Setting
from forebay.domain.approval import Request
from forebay.domain.audit import AuditEntry
from forebay.domain.errors import ForebayError
from forebay.domain.lifecycle import AFTER, COME_TO_NOTHING, TERMINAL, ChangeState, StepState
from forebay.domain.model import Model
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import ChangeRecord, StepRecord
from forebay.ports import Snapshot

ARMED_OR_LATER = AFTER | {ChangeState.ARMED, ChangeState.ROLLING_BACK, ChangeState.CLOSED}


class WorkloadStatus(Model):
    """One workload of a change: its plan, its steps, what is raised and will be given back, and when it
    is `expected` to be aligned, in words.
    """

    workload: str
    plan: ShapingPlan | None
    steps: tuple[StepRecord, ...]
    original: Setting | None
    expected: str | None = None


class ChangeStatus(Model):
    """A change with everything that hangs on it. `in_force_from` is None while it is not armed.

    `builds_on`: the version it was accepted on top of, or that there was none; None for a refused one. `request`: what
    is asked for where it waits for an approval, or wanted one for a new plan; `pending`: what else is under way for the
    same entity.
    """

    record: ChangeRecord
    in_force_from: datetime | None
    builds_on: str | None
    workloads: tuple[WorkloadStatus, ...]
    request: Request | None
    pending: tuple[ChangeRecord, ...]
    audit: tuple[AuditEntry, ...]

    @property
    def steps(self) -> list[StepRecord]:
        """The steps of all workloads."""
        return [step for workload in self.workloads for step in workload.steps]


class Wanted(Model):
    """Which changes are listed: all that are not left out. `only_open`: none that is over."""

    state: ChangeState | None = None
    entity: str | None = None
    only_open: bool = False

    def lists(self, record: ChangeRecord) -> bool:
        return (
            self.state in (None, record.state)
            and self.entity in (None, record.change.entity)
            and not (self.only_open and record.state in TERMINAL)
        )


def list_changes(ctx: Context) -> list[ChangeRecord]:
    """All of them, newest first."""
    with ctx.store.snapshot() as tx:
        return _listed(tx, Wanted())


def list_with_times(ctx: Context, wanted: Wanted | None = None) -> tuple[list[ChangeRecord], dict[str, datetime]]:
    """Those that are `wanted`, newest first, and from when each is in force, if it is armed."""
    with ctx.store.snapshot() as tx:
        records = _listed(tx, wanted or Wanted())
        return records, in_force_times(tx, records)


def _listed(tx: Snapshot, wanted: Wanted) -> list[ChangeRecord]:
    return [as_it_stands(tx, record) for record in tx.changes() if wanted.lists(record)]


def in_force_times(tx: Snapshot, records: Iterable[ChangeRecord]) -> dict[str, datetime]:
    """By change: from when its policy is in force. That is not the time asked for after a deferral or break glass.

    One that is not armed is left out.
    """
    wanted = {r.change.change: (r.change.entity, r.change.policy) for r in records if r.state in ARMED_OR_LATER}
    versions = [version for policy in set(wanted.values()) for version in tx.versions(*policy)]
    return {v.change: v.in_force_from for v in versions if v.change and v.change in wanted and v.in_force_from}


def change_status(ctx: Context, name: str) -> ChangeStatus:
    """Raises InputError if there is no such change."""
    record = change_record(ctx, name)
    with ctx.store.snapshot() as tx:
        version = own_version(tx, record)
        request = request_of(tx, record) if may_be_answered(tx, record) else None
        audit = tuple(tx.audit_entries(name))
        return ChangeStatus(
            record=as_it_stands(tx, record),
            in_force_from=version.in_force_from if version else None,
            builds_on=builds_on(audit),
            workloads=tuple(
                WorkloadStatus(
                    workload=workload,
                    plan=tx.plan(name, workload),
                    steps=tuple(_as_it_ended(record, step) for step in tx.steps(name, workload)),
                    original=tx.original(name, workload),
                    expected=_expected(tx, ctx, record, workload),
                )
                for workload in record.change.workloads
            ),
            request=None if request is None or request.standing.approved else request,
            pending=tuple(others_pending(tx, record)),
            audit=audit,
        )


def others_pending(tx: Snapshot, record: ChangeRecord) -> list[ChangeRecord]:
    """What else is under way for the same entity, newest first."""
    return [
        other
        for other in tx.changes(frozenset(ChangeState) - TERMINAL)
        if other.change.entity == record.change.entity and other.change.change != record.change.change
    ]


def _as_it_ended(record: ChangeRecord, step: StepRecord) -> StepRecord:
    """What is pending when its change comes to nothing will never be made, though nobody has dropped it by itself."""
    if record.state in TERMINAL | COME_TO_NOTHING and step.state is StepState.PENDING:
        return step.model_copy(update={"state": StepState.DROPPED})
    return step


def _expected(tx: Snapshot, ctx: Context, record: ChangeRecord, workload: str) -> str | None:
    """In words. A workloads file that cannot be read hides nothing else of the change."""
    try:
        coming = expected(tx, ctx, record, workload)
    except ForebayError as error:
        return f"not known: {error}"
    return coming.text if coming else None
