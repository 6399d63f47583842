"""What the store holds at one moment: the reads of `ports.Snapshot` in SQL that both databases speak."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, or_, select, tuple_

from forebay.domain.access import ApiKey
from forebay.domain.accuracy import Accuracy
from forebay.domain.allocation import Setting
from forebay.domain.amendment import RulesProposal
from forebay.domain.approval import Approval
from forebay.domain.audit import AuditEntry
from forebay.domain.change import PolicyChange
from forebay.domain.lifecycle import ChangeState
from forebay.domain.outbox import Message, MessageState
from forebay.domain.plan import ShapingPlan
from forebay.domain.policy import PolicyVersion
from forebay.domain.records import ChangeRecord, Intent, Lease, Leftover, Pin, StepRecord, Ticket
from forebay.domain.rules import ChangeRules
from forebay.store import schema as t


class SqlSnapshot:
    """Implements `ports.Snapshot` on an open connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Changes
    def change(self, name: str) -> ChangeRecord | None:
        row = self._one(select(t.changes).where(t.changes.c.name == name))
        return _change(row) if row else None

    def changes(
        self, states: Collection[ChangeState] | None = None, *, closed_after: datetime | None = None
    ) -> Sequence[ChangeRecord]:
        c = t.changes.c
        query = select(t.changes).order_by(c.number.desc())
        if states is not None:
            query = query.where(c.state.in_(states))
        if closed_after is not None:
            query = query.where(or_(c.state != ChangeState.CLOSED, c.updated_at > closed_after))
        return [_change(row) for row in self._all(query)]

    def revisions(self, name: str) -> Sequence[PolicyChange]:
        query = select(t.revisions.c.content).where(t.revisions.c.change == name).order_by(t.revisions.c.number)
        return [row.content for row in self._all(query)]

    # Plans and steps
    def plan(self, change: str, workload: str) -> ShapingPlan | None:
        row = self._one(select(t.plans.c.plan).where(current_plan(change), t.plans.c.workload == workload))
        return row.plan if row else None

    def proposed_plan(self, change: str, workload: str) -> ShapingPlan | None:
        row = self._one(select(t.plans.c.plan).filter_by(change=change, workload=workload, proposed=True))
        return row.plan if row else None

    def steps(self, change: str, workload: str | None = None) -> Sequence[StepRecord]:
        query = select(t.steps.c.step).join(t.plans).where(current_plan(change))
        if workload is not None:
            query = query.where(t.plans.c.workload == workload)
        return [row.step for row in self._all(query.order_by(t.plans.c.workload, t.steps.c.sequence))]

    # Approvals
    def approvals(self, change: str) -> Sequence[Approval]:
        query = select(t.approvals.c.approval).where(t.approvals.c.change == change).order_by(t.approvals.c.number)
        return [row.approval for row in self._all(query)]

    # One writer
    def lease(self, workload: str) -> Lease | None:
        row = self._one(select(t.leases).where(t.leases.c.workload == workload))
        return Lease.model_validate(row._asdict()) if row else None

    # What people decide
    def pins(self, change: str) -> Sequence[Pin]:
        query = select(t.pins.c.pin).where(t.pins.c.change == change).order_by(t.pins.c.workload)
        return [row.pin for row in self._all(query)]

    def leftovers(self) -> Sequence[Leftover]:
        query = select(t.leftovers.c.leftover).order_by(t.leftovers.c.change, t.leftovers.c.workload)
        return [row.leftover for row in self._all(query)]

    def intents(self, workload: str, *, change: str | None = None, only_open: bool = False) -> Sequence[Intent]:
        query = select(t.intents).where(t.intents.c.workload == workload).order_by(t.intents.c.number)
        if change is not None:
            query = query.where(t.intents.c.change == change)
        if only_open:
            query = query.where(t.intents.c.open)
        return [row.intent.model_copy(update={"number": row.number}) for row in self._all(query)]

    def original(self, change: str, workload: str) -> Setting | None:
        where = t.originals.c.change == change, t.originals.c.workload == workload
        row = self._one(select(t.originals.c.setting).where(*where))
        return row.setting if row else None

    # Policies
    def versions(self, entity: str, policy: str) -> Sequence[PolicyVersion]:
        return read_versions(self._connection, entity, policy)

    # Change rules
    def rules(self) -> ChangeRules:
        row = self._one(select(t.change_rules.c.rules).order_by(t.change_rules.c.version.desc()).limit(1))
        return row.rules if row else ChangeRules()

    def proposals(self) -> Sequence[RulesProposal]:
        query = select(t.rules_proposals.c.content).order_by(t.rules_proposals.c.number)
        return [row.content for row in self._all(query)]

    # Tickets
    def deliveries(self, source: str, ticket: str) -> Sequence[Ticket]:
        query = select(t.tickets).filter_by(source=source, ticket=ticket).order_by(t.tickets.c.number)
        return [Ticket.model_validate(row._asdict()) for row in self._all(query)]

    def tickets_without_run(self) -> Sequence[Ticket]:
        rows = self._all(select(t.tickets).where(t.tickets.c.run.is_(None)).order_by(t.tickets.c.number))
        return [Ticket.model_validate(row._asdict()) for row in rows]

    # Outbox
    def messages(self, state: MessageState, lane: tuple[str, str] | None = None) -> Sequence[Message]:
        query = select(t.outbox).where(t.outbox.c.state == state).order_by(t.outbox.c.number)
        if lane is not None:
            query = query.where(t.outbox.c.outlet == lane[0], t.outbox.c.lane == lane[1])
        return [Message.model_validate(row._asdict()) for row in self._all(query)]

    # Keys to the HTTP API
    def key(self, key_id: str) -> ApiKey | None:
        return read_key(self._connection, key_id)

    def keys(self) -> Sequence[ApiKey]:
        return [row.content for row in self._all(select(t.api_keys.c.content).order_by(t.api_keys.c.number))]

    # Accuracy of the forecasts
    def accuracies(self, workload: str | None = None) -> Sequence[Accuracy]:
        c = t.accuracy.c
        query = select(c.content).order_by(c.until, c.workload, c.resource, c.judged, c.change)
        if workload is not None:
            query = query.where(c.workload == workload)
        return [row.content for row in self._all(query)]

    # Marks
    def mark(self, name: str) -> int | None:
        row = self._one(select(t.marks.c.number).filter_by(name=name))
        return row.number if row else None

    # Audit
    def last_audit_number(self) -> int:
        return int(self._connection.execute(select(t.audit_head)).one().number)

    def audit_after(self, number: int, limit: int) -> Sequence[AuditEntry]:
        query = select(t.audit).where(t.audit.c.number > number).order_by(t.audit.c.number).limit(limit)
        return [audit_entry(row) for row in self._all(query)]

    def audit_entries(self, change: str | None = None) -> Sequence[AuditEntry]:
        query = select(t.audit).order_by(t.audit.c.number)
        if change is not None:
            query = query.where(t.audit.c.change == change)
        return [audit_entry(row) for row in self._all(query)]

    # SQL
    def _one(self, query: Select[Any]) -> Row[Any] | None:
        return self._connection.execute(query).one_or_none()

    def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        return self._connection.execute(query).all()


def read_versions(connection: Connection, entity: str, policy: str) -> list[PolicyVersion]:
    """All versions of a policy, oldest first."""
    c = t.policy_versions.c
    query = select(c.content).where(c.entity == entity, c.policy == policy).order_by(c.version)
    return [row.content for row in connection.execute(query)]


def read_changed(
    connection: Connection, written_since: datetime, since: datetime, until: datetime
) -> list[PolicyVersion]:
    """All versions of the policies of which one was written since or took force in (since, until], oldest first."""
    c = t.policy_versions.c
    touched = or_(c.changed_at >= written_since, and_(c.in_force_from > since, c.in_force_from <= until))
    policies = select(c.entity, c.policy).where(touched)
    query = select(c.content).where(tuple_(c.entity, c.policy).in_(policies)).order_by(c.entity, c.policy, c.version)
    return [row.content for row in connection.execute(query)]


def read_key(connection: Connection, key_id: str) -> ApiKey | None:
    row = connection.execute(select(t.api_keys.c.content).where(t.api_keys.c.id == key_id)).one_or_none()
    return row.content if row else None


def audit_entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(number=row.number, event=row.event, previous_hash=row.previous_hash, hash=row.hash)


def _change(row: Row[Any]) -> ChangeRecord:
    columns = row._asdict()
    return ChangeRecord.model_validate({name: columns[name] for name in ChangeRecord.model_fields})


def current_plan(change: str) -> ColumnElement[bool]:
    return and_(t.plans.c.change == change, t.plans.c.current)
