"""What the outside must offer. Adapters implement these; the use cases in `app` know nothing else of the outside.

Every adapter turns vendor errors into `OutsideError`, whose `retryable` says whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from forebay.domain.access import ApiKey, Principal
from forebay.domain.accuracy import Accuracy
from forebay.domain.allocation import Foreseen, Setting, Span, TargetState
from forebay.domain.amendment import RulesProposal
from forebay.domain.approval import Approval
from forebay.domain.audit import AuditEntry, AuditEvent
from forebay.domain.change import PolicyChange
from forebay.domain.lifecycle import ChangeState
from forebay.domain.outbox import Message, MessageState
from forebay.domain.plan import ShapingPlan
from forebay.domain.policy import PolicyVersion
from forebay.domain.records import ChangeRecord, Intent, Lease, Leftover, Outcome, Pin, StepRecord, Ticket
from forebay.domain.resources import Resource
from forebay.domain.rules import ChangeRules
from forebay.domain.size import TaskSize
from forebay.domain.verdict import Judgement
from forebay.domain.workload import Workload

if TYPE_CHECKING:
    import pandas as pd


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The present, aware UTC."""

    def sleep(self, duration: timedelta) -> None:
        """Return after `duration`; at once if it is not positive."""


class Catalog(Protocol):
    """The workloads that may be shaped."""

    @property
    def workloads(self) -> Sequence[Workload]:
        """All of them. Raises InputError where they cannot be read."""

    def get(self, name: str) -> Workload | None:
        """None if there is none of that name. Raises InputError where they cannot be read."""


class Target(Protocol):
    """Where one workload's allocation lives."""

    def observe(self) -> TargetState:
        """Read everything once; a write of a moment ago may not show yet. Raises OutsideError."""

    def who(self, setting: Setting) -> str | None:
        """Who made the target stand at `setting`, as far as its own records of late tell. Raises OutsideError."""

    def foresee(self, ahead: Sequence[Span], cpu_cores: float, running: int) -> Foreseen:
        """What is in the way of holding `ahead`, units of `cpu_cores` each, where `running` run now: bounds of a count,
        a size that cannot be deployed, quotas of the account, scheduled actions of others. Raises OutsideError.
        """

    def apply(self, setting: Setting) -> None:
        """Write the absolute values of `setting` and nothing else; the same call twice equals once.

        Raises OutsideError. After a retryable one the write may or may not have happened: read, do not guess.
        """

    def revision(self, size: TaskSize, key: str) -> str:
        """The name of what brings units of `size`, made ready under `key` but not in use: what stands now in that size.

        The same call twice makes it once, also after a crash. Raises OutsideError, not retryable where the target
        cannot change its size without losing capacity.
        """


class Usage(Protocol):
    """Where one workload's measured usage comes from, in canonical units (cores, GiB, Mbit/s), summed over units."""

    def history(self, start: datetime, end: datetime, step: timedelta) -> Mapping[Resource, pd.Series]:
        """Mean usage per `step` (or coarser, where only that is kept) in [start, end); aware UTC index.

        Slots without data are absent, never zero. Raises OutsideError.
        """

    def entity_history(
        self, entity: str, start: datetime, end: datetime, step: timedelta
    ) -> Mapping[Resource, pd.Series]:
        """One customer's part of `history`, for the resources it is measured for; empty where it is not. As above."""

    def alarms(self) -> Sequence[str]:
        """The workload's alarms that are in ALARM now. Raises OutsideError, also where one does not exist."""

    def measure(self, start: datetime, end: datetime) -> Mapping[Resource, float]:
        """Mean usage in [start, end) for each resource that has data there; one without data is left out."""


class Enforcer(Protocol):
    """Somewhere a policy that came into force is pushed to. At least once, so idempotent by change and version."""

    name: str

    def prepare(self, version: PolicyVersion) -> None:
        """Shortly before `push`: whatever takes time and changes nothing. May be left out. Raises OutsideError."""

    def push(self, version: PolicyVersion) -> None:
        """Raises OutsideError."""


class Notifier(Protocol):
    """Hears of an event at once, as the log does. What people are told is what the audit log records and
    `forebay.domain.telling` names: who calls this alone tells nobody. It must never stop a change: adapters return.
    """

    def notify(self, event: AuditEvent) -> None: ...


class Snapshot(Protocol):
    """What the store held at one moment. Times are passed in."""

    # Changes
    def change(self, name: str) -> ChangeRecord | None:
        """The change called `name`."""

    def changes(
        self,
        states: Collection[ChangeState] | None = None,
        *,
        closed_after: datetime | None = None,
        entitled: bool = False,
    ) -> Sequence[ChangeRecord]:
        """All changes (in the given states), newest first; of those that are closed only what was `closed_after`.

        `entitled`: only those with entitlements, which most have not.
        """

    def revisions(self, name: str) -> Sequence[PolicyChange]:
        """What the change said before it was edited, oldest first; [] if it never was."""

    # Plans and steps
    def plan(self, change: str, workload: str) -> ShapingPlan | None:
        """The current plan."""

    def proposed_plan(self, change: str, workload: str) -> ShapingPlan | None:
        """The plan proposed last, unless a plan became current since or it was dropped."""

    def steps(self, change: str, workload: str | None = None) -> Sequence[StepRecord]:
        """Steps of the current plans, by workload and sequence."""

    # Approvals
    def approvals(self, change: str) -> Sequence[Approval]:
        """Oldest first."""

    # One writer
    def lease(self, workload: str) -> Lease | None:
        """The lease as stored, expired or not."""

    # External writes
    def intents(self, workload: str, *, change: str | None = None, only_open: bool = False) -> Sequence[Intent]:
        """Intents on a workload (of one change), oldest first."""

    def last_intent(self, workload: str, *, before: int | None = None) -> Intent | None:
        """The newest intent on a workload, of whatever change, of those `before` a number; None without one."""

    def pins(self, change: str) -> Sequence[Pin]:
        """By workload; one whose time is over is among them."""

    def leftovers(self) -> Sequence[Leftover]:
        """Of all changes, by change and workload."""

    def original(self, change: str, workload: str) -> Setting | None: ...

    # Policies
    def versions(self, entity: str, policy: str) -> Sequence[PolicyVersion]:
        """All versions, oldest first; [] if the policy is unknown."""

    # Change rules, stored and versioned like any policy
    def rules(self) -> ChangeRules:
        """The latest change rules; the default ones if none were ever stored."""

    def proposals(self) -> Sequence[RulesProposal]:
        """Oldest first."""

    # Tickets
    def deliveries(self, source: str, ticket: str) -> Sequence[Ticket]:
        """What was stored of this ticket, every revision, oldest first."""

    def tickets_without_run(self) -> Sequence[Ticket]:
        """Deliveries for which no run was created, oldest first; a failed attempt does not give one up."""

    # Outbox
    def messages(self, state: MessageState, lane: tuple[str, str] | None = None) -> Sequence[Message]:
        """Those in `state` (of one outlet and lane), oldest first."""

    # Keys to the HTTP API
    def key(self, key_id: str) -> ApiKey | None: ...

    def keys(self) -> Sequence[ApiKey]:
        """Oldest first."""

    # Accuracy of the forecasts: measurements, which change nothing, so without an audit entry
    def accuracies(self, workload: str | None = None) -> Sequence[Accuracy]:
        """What was recorded (of one workload), oldest first."""

    # Marks: one number under a name, as how far something was read, or when (in epoch seconds) something was done last
    def mark(self, name: str) -> int | None: ...

    # Audit
    def last_audit_number(self) -> int:
        """0 where nothing was ever recorded."""

    def audit_after(self, number: int, limit: int) -> Sequence[AuditEntry]:
        """At most `limit` entries that follow entry `number`, oldest first."""

    def audit_entries(self, change: str | None = None) -> Sequence[AuditEntry]:
        """Oldest first. With `change`, only its entries (which then do not form a chain)."""


class Transaction(Snapshot, Protocol):
    """One atomic read-write unit, serialised against every other writer: what is read stays so until it ends.

    Methods that change something write their audit entry in the same transaction.
    """

    # Changes
    def add_change(
        self, change: PolicyChange, policy_version: int, event: AuditEvent, door: str | None = None
    ) -> ChangeRecord:
        """Store a new change as `received`. The caller has checked that its name is free."""

    def move(self, name: str, to: ChangeState, event: AuditEvent, *, lapses: bool = False) -> ChangeRecord:
        """Transition by the table; `event.reason` becomes the note. Raises RuleRefusal if the table has it not.
        `lapses`: of a hold, see ChangeRecord.
        """

    def edit_change(self, change: PolicyChange, policy_version: int, event: AuditEvent) -> ChangeRecord:
        """Give the change of that name other content; it is `received` again and has no current plan any more."""

    # Plans and steps
    def add_plan(self, plan: ShapingPlan, event: AuditEvent) -> None:
        """Store the plan and its steps (all pending); it becomes the workload's current plan of that change."""

    def propose_plan(self, plan: ShapingPlan, event: AuditEvent) -> None:
        """Store a plan that goes beyond what was approved: it has no steps, and waits for its approval."""

    def drop_proposal(self, change: str, workload: str) -> None:
        """Nobody will approve the proposed plan."""

    def put_step(self, step: StepRecord, event: AuditEvent | None = None) -> None:
        """Replace the record of a step of a current plan (identified by change, workload, sequence)."""

    # Approvals
    def add_approval(self, approval: Approval, event: AuditEvent) -> None: ...

    def use_link(self, nonce: str, at: datetime) -> bool:
        """Note that the one-time link `nonce` was used; False if it was before."""

    # One writer
    def acquire_lease(self, workload: str, holder: str, now: datetime, ttl: timedelta) -> Lease | None:
        """A new or renewed lease; None while another holder's is not expired. A new holder gets a higher fencing."""

    def check_lease(self, lease: Lease, now: datetime) -> None:
        """Raises LostLease unless `lease` is still the latest and not expired."""

    def release_lease(self, lease: Lease, now: datetime) -> None:
        """Expire it now, if it is still ours."""

    # External writes
    def add_intent(self, intent: Intent, event: AuditEvent) -> Intent:
        """Store an intent (its number is given here) before the write it announces."""

    def settle_intent(self, number: int, outcome: Outcome, event: AuditEvent) -> None:
        """Store how the write ended."""

    def leave_unanswered(self, number: int, at: datetime) -> None:
        """Store that the call of an open write ended at `at`, and nobody knows how. Whoever holds the lease may."""

    def judge_intent(self, number: int, judgement: Judgement, event: AuditEvent) -> None:
        """Store the verdict on a write that gave something back."""

    def put_pin(self, pin: Pin, event: AuditEvent) -> None:
        """Insert or replace the pin of a change on a workload."""

    def drop_pins(self, change: str, event: AuditEvent, workload: str | None = None) -> None:
        """Remove the pins of a change, or the one on `workload`."""

    def put_leftover(self, leftover: Leftover, event: AuditEvent) -> None:
        """Insert or replace what a change left on a workload."""

    def drop_leftovers(self, change: str, event: AuditEvent) -> None:
        """Remove what a change left: a person has settled it."""

    def put_original(self, change: str, workload: str, setting: Setting, event: AuditEvent) -> None:
        """Insert or replace what was there before the change moved anything."""

    # Policies
    def put_version(self, version: PolicyVersion, event: AuditEvent) -> None:
        """Insert or replace (entity, policy, version)."""

    # Change rules, stored and versioned like any policy
    def put_rules(self, rules: ChangeRules, event: AuditEvent) -> int:
        """Store a new version; returns its number."""

    def put_proposal(self, proposal: RulesProposal, event: AuditEvent | None = None) -> None:
        """Insert or replace it, found by its number; `event` unless the new rules' own says it."""

    # Tickets
    def add_ticket(self, source: str, ticket: str, revision: str, body: str, received_at: datetime) -> Ticket | None:
        """Store a delivery; None if this source, ticket and revision was stored before."""

    def put_ticket(self, ticket: Ticket) -> None: ...

    # Outbox
    def add_message(self, message: Message) -> Message | None:
        """Store it (its number is given here); None if its outlet, lane and key were stored before."""

    def put_message(self, message: Message) -> None:
        """Replace it, found by its number."""

    # Keys to the HTTP API
    def put_key(self, key: ApiKey, event: AuditEvent | None = None) -> None:
        """Insert or replace it, found by its id; `event` unless only its use is noted."""

    # Accuracy of the forecasts: measurements, which change nothing, so without an audit entry
    def put_accuracy(self, accuracy: Accuracy) -> None:
        """Insert or replace what is known of this workload, resource, kind, change and end."""

    # Marks: one number under a name, as how far something was read, or when (in epoch seconds) something was done last
    def put_mark(self, name: str, number: int) -> None: ...

    # Audit
    def audit(self, event: AuditEvent) -> AuditEntry:
        """Append to the chain."""


class Store(Protocol):
    """The truth."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commit at the end of the block, roll back if it raises. Raises OutsideError if the database is away."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Read-only and without the writers' lock: whoever looks must not wait for those who write.

        Whoever acts on what it shows looks again in the transaction that does. Raises OutsideError.
        """

    def versions(self, entity: str, policy: str) -> Sequence[PolicyVersion]:
        """Read-only and without the writers' lock: the decision point must answer while others write."""

    def changed_versions(self, since: datetime, until: datetime) -> Sequence[PolicyVersion]:
        """All versions, by policy, of the policies of which one was written since or takes force in (since, until].

        Some that changed shortly before are among them: a writer stamps what it writes before others can read it.
        """

    def key(self, key_id: str) -> ApiKey | None:
        """The API key of that id; read-only and without the writers' lock, as above."""


class Authenticator(Protocol):
    """Tells who sends a request, by the token it carries."""

    def principal(self, token: str) -> Principal:
        """Raises NotAuthenticated, and OutsideError where it cannot be told for now."""
