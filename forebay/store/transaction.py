"""One atomic unit on the store: the writes of `ports.Transaction` in SQL that both databases speak.

Every writer first locks the audit head (see `SqlStore.transaction`). So all of them run one after the other, and
"look, then write" below cannot be overtaken.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, and_, delete, insert, select, update

from forebay.domain.access import ApiKey
from forebay.domain.accuracy import Accuracy
from forebay.domain.allocation import Setting
from forebay.domain.amendment import RulesProposal
from forebay.domain.approval import Approval
from forebay.domain.audit import AuditEntry, AuditEvent, chained
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError, LostLease, RuleRefusal
from forebay.domain.lifecycle import ChangeState, StepState, check_transition
from forebay.domain.model import Model
from forebay.domain.outbox import Message
from forebay.domain.plan import ShapingPlan
from forebay.domain.policy import PolicyVersion
from forebay.domain.records import ChangeRecord, Intent, Lease, Leftover, Outcome, Pin, StepRecord, Ticket
from forebay.domain.rules import ChangeRules
from forebay.domain.verdict import Judgement
from forebay.store import schema as t
from forebay.store.seals import approvals_sealed, rules_sealed, version_sealed
from forebay.store.snapshot import SqlSnapshot, current_plan


class SqlTransaction(SqlSnapshot):
    """Implements `ports.Transaction` on an open connection whose writer's lock is held; commits nothing itself."""

    # Changes
    def add_change(
        self, change: PolicyChange, policy_version: int, event: AuditEvent, door: str | None = None
    ) -> ChangeRecord:
        record = ChangeRecord(
            change=change,
            state=ChangeState.RECEIVED,
            note=event.reason,
            policy_version=policy_version,
            received_at=event.at,
            updated_at=event.at,
            door=door,
        )
        self._insert(t.changes, name=change.change, **_fields(record))
        self.audit(event)
        return record

    def move(self, name: str, to: ChangeState, event: AuditEvent, *, lapses: bool = False) -> ChangeRecord:
        before = self._known(name)
        check_transition(name, before.state, to)
        moved = {"state": to, "note": event.reason, "updated_at": event.at, "lapses": lapses}
        after = before.model_copy(update=moved)
        self._update(t.changes, {"name": name}, **moved)
        self.audit(event)
        return after

    def edit_change(self, change: PolicyChange, policy_version: int, event: AuditEvent) -> ChangeRecord:
        name = change.change
        before = self._known(name)
        self._insert(t.revisions, change=name, content=before.change)
        self._update(t.plans, {"change": name}, current=False, proposed=False)
        # They were of what it said then: edited back to that, it is asked for anew. The audit log keeps who said yes.
        if self._connection.execute(delete(t.approvals).where(t.approvals.c.change == name)).rowcount:
            event = approvals_sealed(event, self._connection, name)
        self._update(t.changes, {"name": name}, change=change, policy_version=policy_version)
        return self.move(name, ChangeState.RECEIVED, event)

    def _known(self, name: str) -> ChangeRecord:
        if (record := self.change(name)) is None:
            raise InputError(f"there is no change called {name!r}: check its name with `forebay status`")
        return record

    # Plans and steps
    def add_plan(self, plan: ShapingPlan, event: AuditEvent) -> None:
        place = {"change": plan.change, "workload": plan.workload}
        plan_hash = plan.hash
        self._update(t.plans, {**place, "current": True}, current=False)
        self.drop_proposal(**place)
        number = self._insert_numbered(t.plans, **place, hash=plan_hash, current=True, plan=plan)
        for step in plan.steps:
            record = StepRecord(**place, plan_hash=plan_hash, step=step, state=StepState.PENDING)
            self._insert(t.steps, plan=number, sequence=step.sequence, step=record)
        self.audit(event)

    def propose_plan(self, plan: ShapingPlan, event: AuditEvent) -> None:
        place = {"change": plan.change, "workload": plan.workload}
        self.drop_proposal(**place)
        self._insert(t.plans, **place, hash=plan.hash, current=False, proposed=True, plan=plan)
        self.audit(event)

    def drop_proposal(self, change: str, workload: str) -> None:
        self._update(t.plans, {"change": change, "workload": workload, "proposed": True}, proposed=False)

    def put_step(self, step: StepRecord, event: AuditEvent | None = None) -> None:
        where = current_plan(step.change), t.plans.c.workload == step.workload
        current = self._one(select(t.plans.c.number, t.plans.c.hash).where(*where))
        name = f"step {step.step.sequence} of {step.change} on {step.workload}"
        if current is None or current.hash != step.plan_hash:
            raise RuleRefusal(
                "one writer per workload",
                f"{name} belongs to plan {step.plan_hash[:12]}, which is not current: "
                "a plan of an old version cannot write",
                f"a step of plan {current.hash[:12]}" if current else "a step of a stored plan",
            )
        if not self._update(t.steps, {"plan": current.number, "sequence": step.step.sequence}, step=step):
            raise InputError(f"there is no {name}: its plan has no step of that number")
        if event is not None:
            self.audit(event)

    # Approvals
    def add_approval(self, approval: Approval, event: AuditEvent) -> None:
        self._insert(t.approvals, change=approval.change, approval=approval)
        self.audit(approvals_sealed(event, self._connection, approval.change))

    def use_link(self, nonce: str, at: datetime) -> bool:
        if self._one(select(t.used_links.c.nonce).filter_by(nonce=nonce)) is not None:
            return False
        self._insert(t.used_links, nonce=nonce, used_at=at)
        return True

    # One writer
    def acquire_lease(self, workload: str, holder: str, now: datetime, ttl: timedelta) -> Lease | None:
        """As the port says; a holder whose own lease has expired counts as a new one."""
        held = self.lease(workload)
        valid = held is not None and now < held.expires_at
        if held is not None and valid and held.holder != holder:
            return None
        fencing = 1 if held is None else held.fencing if valid else held.fencing + 1
        lease = Lease(workload=workload, holder=holder, fencing=fencing, expires_at=now + ttl)
        self._put(t.leases, {"workload": workload}, holder=holder, fencing=fencing, expires_at=lease.expires_at)
        return lease

    def check_lease(self, lease: Lease, now: datetime) -> None:
        held = self.lease(lease.workload)
        if held is None or (held.holder, held.fencing) != (lease.holder, lease.fencing):
            latest = f"{held.holder} holds it with {held.fencing}" if held else "nobody holds it"
            raise LostLease(f"{lease.holder} lost the lease {lease.fencing} on {lease.workload}: {latest}")
        if now >= held.expires_at:
            ended = held.expires_at.isoformat()
            raise LostLease(f"the lease {lease.fencing} of {lease.holder} on {lease.workload} expired at {ended}")

    def release_lease(self, lease: Lease, now: datetime) -> None:
        held = self.lease(lease.workload)
        if held is not None and (held.holder, held.fencing) == (lease.holder, lease.fencing):
            self._update(t.leases, {"workload": lease.workload}, expires_at=min(now, held.expires_at))

    # External writes
    def add_intent(self, intent: Intent, event: AuditEvent) -> Intent:
        opened = intent.outcome is None
        where = {"change": intent.change, "workload": intent.workload}
        number = self._insert_numbered(t.intents, **where, open=opened, intent=intent)
        self.audit(event)
        return intent.model_copy(update={"number": number})

    def leave_unanswered(self, number: int, at: datetime) -> None:
        row = self._one(select(t.intents.c.intent).where(t.intents.c.number == number, t.intents.c.open))
        if row is not None:
            unanswered = row.intent.model_copy(update={"unanswered_at": at})
            self._update(t.intents, {"number": number}, intent=unanswered)

    def settle_intent(self, number: int, outcome: Outcome, event: AuditEvent) -> None:
        """As the port says; settled twice alike is settled once, settled twice differently raises RuleRefusal."""
        intent = self._intent(number)
        if intent.outcome is outcome:
            return
        if intent.outcome is not None:
            raise RuleRefusal(
                "an outcome is recorded once",
                f"intent {number} is settled as {intent.outcome.value!r}, it cannot become {outcome.value!r}",
                "a new intent for a new write",
            )
        settled = intent.model_copy(update={"outcome": outcome, "settled_at": event.at})
        self._update(t.intents, {"number": number}, open=False, intent=settled)
        self.audit(event)

    def judge_intent(self, number: int, judgement: Judgement, event: AuditEvent) -> None:
        judged = self._intent(number).model_copy(update={"judgement": judgement})
        self._update(t.intents, {"number": number}, intent=judged)
        self.audit(event)

    def _intent(self, number: int) -> Intent:
        row = self._one(select(t.intents.c.intent).where(t.intents.c.number == number))
        if row is None:
            raise InputError(f"there is no intent {number}: it was never stored, or its transaction was rolled back")
        intent: Intent = row.intent
        return intent

    # What people decide
    def put_pin(self, pin: Pin, event: AuditEvent) -> None:
        self._put(t.pins, {"change": pin.change, "workload": pin.workload}, pin=pin)
        self.audit(event)

    def drop_pins(self, change: str, event: AuditEvent, workload: str | None = None) -> None:
        query = delete(t.pins).where(t.pins.c.change == change)
        self._connection.execute(query if workload is None else query.where(t.pins.c.workload == workload))
        self.audit(event)

    def put_leftover(self, leftover: Leftover, event: AuditEvent) -> None:
        place = {"change": leftover.change, "workload": leftover.workload}
        self._put(t.leftovers, place, leftover=leftover)
        self.audit(event)

    def drop_leftovers(self, change: str, event: AuditEvent) -> None:
        self._connection.execute(delete(t.leftovers).where(t.leftovers.c.change == change))
        self.audit(event)

    def put_original(self, change: str, workload: str, setting: Setting, event: AuditEvent) -> None:
        self._put(t.originals, {"change": change, "workload": workload}, setting=setting)
        self.audit(event)

    # Policies
    def put_version(self, version: PolicyVersion, event: AuditEvent) -> None:
        key = {"entity": version.entity, "policy": version.policy, "version": version.version}
        times = {"changed_at": event.at, "in_force_from": version.in_force_from}
        self._put(t.policy_versions, key, content=version, **times)
        self.audit(version_sealed(event, version))

    # Change rules
    def put_rules(self, rules: ChangeRules, event: AuditEvent) -> int:
        version = self._insert_numbered(t.change_rules, rules=rules, stored_at=event.at)
        self.audit(rules_sealed(event, self._connection, version))
        return version

    def put_proposal(self, proposal: RulesProposal, event: AuditEvent | None = None) -> None:
        self._put(t.rules_proposals, {"number": proposal.number}, content=proposal)
        if event is not None:
            self.audit(event)

    # Tickets
    def add_ticket(self, source: str, ticket: str, revision: str, body: str, received_at: datetime) -> Ticket | None:
        key = {"source": source, "ticket": ticket, "revision": revision}
        if self._one(select(t.tickets.c.number).filter_by(**key)) is not None:
            return None
        stored = Ticket(number=0, **key, body=body, received_at=received_at)
        number = self._insert_numbered(t.tickets, **_fields(stored, without="number"))
        return stored.model_copy(update={"number": number})

    def put_ticket(self, ticket: Ticket) -> None:
        if not self._update(t.tickets, {"number": ticket.number}, **_fields(ticket, without="number")):
            raise InputError(f"there is no ticket delivery {ticket.number}: it was never stored")

    # Outbox
    def add_message(self, message: Message) -> Message | None:
        key = {name: getattr(message, name) for name in ("outlet", "lane", "key")}
        if self._one(select(t.outbox.c.number).filter_by(**key)) is not None:
            return None
        number = self._insert_numbered(t.outbox, **_fields(message, without="number"))
        return message.model_copy(update={"number": number})

    def put_message(self, message: Message) -> None:
        if not self._update(t.outbox, {"number": message.number}, **_fields(message, without="number")):
            raise InputError(f"there is no message {message.number} in the outbox: it was never stored")

    # Keys to the HTTP API
    def put_key(self, key: ApiKey, event: AuditEvent | None = None) -> None:
        self._put(t.api_keys, {"id": key.id}, content=key)
        if event is not None:
            self.audit(event)

    # Accuracy of the forecasts
    def put_accuracy(self, accuracy: Accuracy) -> None:
        key = {name: getattr(accuracy, name) for name in ("workload", "resource", "judged", "change", "until")}
        self._put(t.accuracy, key, content=accuracy)

    # Marks
    def put_mark(self, name: str, number: int) -> None:
        self._put(t.marks, {"name": name}, number=number)

    # Audit
    def audit(self, event: AuditEvent) -> AuditEntry:
        head = self._connection.execute(select(t.audit_head)).one()
        entry = chained(head.number + 1, event, head.hash)
        self._insert(t.audit, change=event.change, **_fields(entry))
        self._update(t.audit_head, {"id": 1}, number=entry.number, hash=entry.hash)
        return entry

    # SQL
    def _insert(self, table: Table, **values: Any) -> None:
        self._connection.execute(insert(table).values(values))

    def _insert_numbered(self, table: Table, **values: Any) -> int:
        """Returns the number the database gave the new row."""
        key = self._connection.execute(insert(table).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def _update(self, table: Table, key: Mapping[str, Any], /, **values: Any) -> int:
        """Returns how many rows had `key`."""
        where = and_(*(table.c[name] == value for name, value in key.items()))
        return self._connection.execute(update(table).where(where).values(values)).rowcount

    def _put(self, table: Table, key: Mapping[str, Any], **values: Any) -> None:
        if not self._update(table, key, **values):
            self._insert(table, **key, **values)


def _fields(model: Model, *, without: str = "") -> dict[str, Any]:
    """The model's fields as they are (a nested model stays one); the tables' columns are called like them."""
    return {name: getattr(model, name) for name in type(model).model_fields if name != without}
