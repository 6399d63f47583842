"""What the store holds at one moment: the reads of `ports.Snapshot` in SQL that both databases speak."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    or_,
    select,
    tuple_,
)

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


def current_plan(change: str | BindParameter[str]) -> ColumnElement[bool]:
    return and_(t.plans.c.change == change, t.plans.c.current)


# Queries that are asked at every look are made once: to make one takes several times as long as SQLite's answer.
_AUDIT_HEAD = select(t.audit_head)
_CHANGE = select(t.changes).filter_by(name=bindparam("name"))
_REVISIONS = select(t.revisions.c.content).filter_by(change=bindparam("change")).order_by(t.revisions.c.number)
_PLAN = select(t.plans.c.plan).where(current_plan(bindparam("change"))).filter_by(workload=bindparam("workload"))
_PROPOSED_PLAN = select(t.plans.c.plan).filter_by(
    change=bindparam("change"), workload=bindparam("workload"), proposed=True
)
_APPROVALS = select(t.approvals.c.approval).filter_by(change=bindparam("change")).order_by(t.approvals.c.number)
_LEASE = select(t.leases).filter_by(workload=bindparam("workload"))
_PINS = select(t.pins.c.pin).filter_by(change=bindparam("change")).order_by(t.pins.c.workload)
_ORIGINAL = select(t.originals.c.setting).filter_by(change=bindparam("change"), workload=bindparam("workload"))
_VERSIONS = (
    select(t.policy_versions.c.content)
    .filter_by(entity=bindparam("entity"), policy=bindparam("policy"))
    .order_by(t.policy_versions.c.version)
)
_RULES = select(t.change_rules.c.rules).order_by(t.change_rules.c.version.desc()).limit(1)
_PROPOSALS = select(t.rules_proposals.c.content).order_by(t.rules_proposals.c.number)


@cache
def _changes(in_states: bool, some_closed: bool, entitled: bool) -> Select[Any]:
    c = t.changes.c
    query = select(t.changes).order_by(c.number.desc())
    if in_states:
        query = query.where(c.state.in_(bindparam("states", expanding=True)))
    if some_closed:
        query = query.where(or_(c.state != ChangeState.CLOSED, c.updated_at > bindparam("closed_after")))
    # As it is written, so on every database; what else holds these words is let go by whoever reads it.
    return query.where(cast(c.change, Text).contains('"entitlements": [{', autoescape=True)) if entitled else query


@cache
def _steps(of_workload: bool) -> Select[Any]:
    query = select(t.steps.c.step).join(t.plans).where(current_plan(bindparam("change")))
    if of_workload:
        query = query.where(t.plans.c.workload == bindparam("workload"))
    return query.order_by(t.plans.c.workload, t.steps.c.sequence)


@cache
def _intents(of_change: bool, only_open: bool) -> Select[Any]:
    query = select(t.intents).filter_by(workload=bindparam("workload")).order_by(t.intents.c.number)
    if of_change:
        query = query.filter_by(change=bindparam("change"))
    return query.where(t.intents.c.open) if only_open else query


@cache
def _last_intent(before: bool) -> Select[Any]:
    query = select(t.intents).filter_by(workload=bindparam("workload")).order_by(t.intents.c.number.desc()).limit(1)
    return query.where(t.intents.c.number < bindparam("before")) if before else query


@cache
def _messages(of_lane: bool) -> Select[Any]:
    query = select(t.outbox).filter_by(state=bindparam("state")).order_by(t.outbox.c.number)
    return query.filter_by(outlet=bindparam("outlet"), lane=bindparam("lane")) if of_lane else query


@cache
def _audit(of_change: bool) -> Select[Any]:
    query = select(t.audit).order_by(t.audit.c.number)
    return query.filter_by(change=bindparam("change")) if of_change else query


class SqlSnapshot:
    """Implements `ports.Snapshot` on an open connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Changes
    def change(self, name: str) -> ChangeRecord | None:
        row = self._one(_CHANGE, name=name)
        return _change(row) if row else None

    def changes(
        self,
        states: Collection[ChangeState] | None = None,
        *,
        closed_after: datetime | None = None,
        entitled: bool = False,
    ) -> Sequence[ChangeRecord]:
        query = _changes(states is not None, closed_after is not None, entitled)
        found = (_change(row) for row in self._all(query, states=list(states or ()), closed_after=closed_after))
        return [record for record in found if record.change.entitlements or not entitled]

    def revisions(self, name: str) -> Sequence[PolicyChange]:
        return [row.content for row in self._all(_REVISIONS, change=name)]

    # Plans and steps
    def plan(self, change: str, workload: str) -> ShapingPlan | None:
        row = self._one(_PLAN, change=change, workload=workload)
        return row.plan if row else None

    def proposed_plan(self, change: str, workload: str) -> ShapingPlan | None:
        row = self._one(_PROPOSED_PLAN, change=change, workload=workload)
        return row.plan if row else None

    def steps(self, change: str, workload: str | None = None) -> Sequence[StepRecord]:
        return [row.step for row in self._all(_steps(workload is not None), change=change, workload=workload)]

    # Approvals
    def approvals(self, change: str) -> Sequence[Approval]:
        return [row.approval for row in self._all(_APPROVALS, change=change)]

    # One writer
    def lease(self, workload: str) -> Lease | None:
        row = self._one(_LEASE, workload=workload)
        return Lease.model_validate(row._asdict()) if row else None

    # What people decide
    def pins(self, change: str) -> Sequence[Pin]:
        return [row.pin for row in self._all(_PINS, change=change)]

    def leftovers(self) -> Sequence[Leftover]:
        query = select(t.leftovers.c.leftover).order_by(t.leftovers.c.change, t.leftovers.c.workload)
        return [row.leftover for row in self._all(query)]

    def intents(self, workload: str, *, change: str | None = None, only_open: bool = False) -> Sequence[Intent]:
        rows = self._all(_intents(change is not None, only_open), workload=workload, change=change)
        return [row.intent.model_copy(update={"number": row.number}) for row in rows]

    def last_intent(self, workload: str, *, before: int | None = None) -> Intent | None:
        row = self._one(_last_intent(before is not None), workload=workload, before=before)
        return row.intent.model_copy(update={"number": row.number}) if row else None

    def original(self, change: str, workload: str) -> Setting | None:
        row = self._one(_ORIGINAL, change=change, workload=workload)
        return row.setting if row else None

    # Policies
    def versions(self, entity: str, policy: str) -> Sequence[PolicyVersion]:
        return read_versions(self._connection, entity, policy)

    # Change rules
    def rules(self) -> ChangeRules:
        row = self._one(_RULES)
        return row.rules if row else ChangeRules()

    def proposals(self) -> Sequence[RulesProposal]:
        return [row.content for row in self._all(_PROPOSALS)]

    # Tickets
    def deliveries(self, source: str, ticket: str) -> Sequence[Ticket]:
        query = select(t.tickets).filter_by(source=source, ticket=ticket).order_by(t.tickets.c.number)
        return [Ticket.model_validate(row._asdict()) for row in self._all(query)]

    def tickets_without_run(self) -> Sequence[Ticket]:
        rows = self._all(select(t.tickets).where(t.tickets.c.run.is_(None)).order_by(t.tickets.c.number))
        return [Ticket.model_validate(row._asdict()) for row in rows]

    # Outbox
    def messages(self, state: MessageState, lane: tuple[str, str] | None = None) -> Sequence[Message]:
        outlet, name = lane or (None, None)
        rows = self._all(_messages(lane is not None), state=state, outlet=outlet, lane=name)
        return [Message.model_validate(row._asdict()) for row in rows]

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
        return int(self._connection.execute(_AUDIT_HEAD).one().number)

    def audit_after(self, number: int, limit: int) -> Sequence[AuditEntry]:
        query = select(t.audit).where(t.audit.c.number > number).order_by(t.audit.c.number).limit(limit)
        return [audit_entry(row) for row in self._all(query)]

    def audit_entries(self, change: str | None = None) -> Sequence[AuditEntry]:
        return [audit_entry(row) for row in self._all(_audit(change is not None), change=change)]

    # SQL
    def _one(self, query: Select[Any], **values: Any) -> Row[Any] | None:
        return self._connection.execute(query, values).one_or_none()

    def _all(self, query: Select[Any], **values: Any) -> Sequence[Row[Any]]:
        return self._connection.execute(query, values).all()


def read_versions(connection: Connection, entity: str, policy: str) -> list[PolicyVersion]:
    """All versions of a policy, oldest first."""
    return [row.content for row in connection.execute(_VERSIONS, {"entity": entity, "policy": policy})]


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
