"""The tables, and how times and domain models are kept in a column on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from forebay.domain.access import ApiKey
from forebay.domain.accuracy import Accuracy
from forebay.domain.allocation import Setting
from forebay.domain.amendment import RulesProposal
from forebay.domain.approval import Approval
from forebay.domain.audit import AuditEvent
from forebay.domain.change import PolicyChange
from forebay.domain.model import Model, to_utc
from forebay.domain.plan import ShapingPlan
from forebay.domain.policy import PolicyVersion
from forebay.domain.records import Intent, Leftover, Pin, StepRecord
from forebay.domain.rules import ChangeRules

# The newest migration. Revisions are numbered, so that an older schema can be told from a newer one by comparing text.
SCHEMA = "0012"

M = TypeVar("M", bound=Model)
# Read models are remembered, of each column: so many of at most SHORT characters, so many longer ones (plans).
REMEMBERED, REMEMBERED_LONG, SHORT = 1024, 16, 4096


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time to the microsecond. SQLite keeps no zone, so there it is UTC by convention."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError for a time without a zone."""
        return None if value is None else to_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ModelJson(TypeDecorator[M], Generic[M]):
    """A domain model as JSON text.

    PostgreSQL keeps it as `json`, not `jsonb`: plans and audit events are hashed, and `jsonb` rewrites numbers
    (-0.0 becomes 0.0, 1e22 becomes an integer), after which the hash of what is read is not that of what was written.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, model: type[M]) -> None:
        super().__init__()
        self.model = model
        self._read = lru_cache(REMEMBERED)(model.model_validate_json)
        self._read_long = lru_cache(REMEMBERED_LONG)(model.model_validate_json)

    def process_bind_param(self, value: M | None, dialect: Dialect) -> Any:
        return None if value is None else value.model_dump(mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> M | None:
        """`value`: JSON text, since `engine.connect` leaves it as it is.

        What is read at every look, like a change and its steps, is seldom another than at the last; models are frozen.
        """
        if value is None:
            return None
        return self._read(value) if len(value) <= SHORT else self._read_long(value)


class RawJson(TypeDecorator[Any]):
    """What a column of `ModelJson` holds, not as this version's model reads it: a later one may know more fields."""

    impl = JSON
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


# SQLite counts by itself only in an INTEGER primary key; PostgreSQL gets the wide one.
Number = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

changes = Table(
    "changes",
    metadata,
    Column("number", Number, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("change", ModelJson(PolicyChange), nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("note", Text, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("lapses", Boolean, nullable=False, server_default=false()),
    Column("door", Text),
)

revisions = Table(
    "revisions",
    metadata,
    Column("number", Number, primary_key=True),
    Column("change", Text, ForeignKey("changes.name"), nullable=False, index=True),
    Column("content", ModelJson(PolicyChange), nullable=False),
)

plans = Table(
    "plans",
    metadata,
    Column("number", Number, primary_key=True),
    Column("change", Text, ForeignKey("changes.name"), nullable=False),
    Column("workload", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("current", Boolean, nullable=False),
    Column("plan", ModelJson(ShapingPlan), nullable=False),
    Column("proposed", Boolean, nullable=False, server_default=false()),
    Index(
        "one_current_plan",
        "change",
        "workload",
        unique=True,
        sqlite_where=text("current"),
        postgresql_where=text("current"),
    ),
)

steps = Table(
    "steps",
    metadata,
    Column("plan", Number, ForeignKey("plans.number"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("step", ModelJson(StepRecord), nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("number", Number, primary_key=True),
    Column("change", Text, ForeignKey("changes.name"), nullable=False, index=True),
    Column("approval", ModelJson(Approval), nullable=False),
)

used_links = Table(
    "used_links",
    metadata,
    Column("nonce", Text, primary_key=True),
    Column("used_at", UtcDateTime, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("workload", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("fencing", Number, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    CheckConstraint("fencing >= 1", name="fencing_counts_from_one"),
)

intents = Table(
    "intents",
    metadata,
    Column("number", Number, primary_key=True),
    Column("change", Text, ForeignKey("changes.name"), nullable=False),
    Column("workload", Text, nullable=False, index=True),
    Column("open", Boolean, nullable=False),
    Column("intent", ModelJson(Intent), nullable=False),
)

originals = Table(
    "originals",
    metadata,
    Column("change", Text, ForeignKey("changes.name"), primary_key=True),
    Column("workload", Text, primary_key=True),
    Column("setting", ModelJson(Setting), nullable=False),
)

pins = Table(
    "pins",
    metadata,
    Column("change", Text, ForeignKey("changes.name"), primary_key=True),
    Column("workload", Text, primary_key=True),
    Column("pin", ModelJson(Pin), nullable=False),
)

leftovers = Table(
    "leftovers",
    metadata,
    Column("change", Text, ForeignKey("changes.name"), primary_key=True),
    Column("workload", Text, primary_key=True),
    Column("leftover", ModelJson(Leftover), nullable=False),
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("policy", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("content", ModelJson(PolicyVersion), nullable=False),
    # For those who ask what changed since: when it was written last, and when it takes force, as the content says.
    Column("changed_at", UtcDateTime, index=True),
    Column("in_force_from", UtcDateTime, index=True),
)

# How far something was read that is read once, by name.
marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("number", Number, nullable=False),
)

change_rules = Table(
    "change_rules",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("rules", ModelJson(ChangeRules), nullable=False),
    Column("stored_at", UtcDateTime, nullable=False),
)

rules_proposals = Table(
    "rules_proposals",
    metadata,
    Column("number", Number, primary_key=True),
    Column("content", ModelJson(RulesProposal), nullable=False),
)

tickets = Table(
    "tickets",
    metadata,
    Column("number", Number, primary_key=True),
    Column("source", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("run", Text),
    Column("failure", Text),
    Column("failures", Integer, nullable=False),
    UniqueConstraint("source", "ticket", "revision", name="one_delivery"),
    CheckConstraint("failures >= 0", name="failures_count_from_zero"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("number", Number, primary_key=True),
    Column("outlet", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("change", Text),
    Column("made_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("failure", Text),
    UniqueConstraint("outlet", "lane", "key", name="one_message"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("content", ModelJson(ApiKey), nullable=False),
)

accuracy = Table(
    "accuracy",
    metadata,
    Column("workload", Text, primary_key=True),
    Column("resource", Text, primary_key=True),
    Column("judged", Text, primary_key=True),
    Column("change", Text, primary_key=True),
    Column("until", UtcDateTime, primary_key=True),
    Column("content", ModelJson(Accuracy), nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("change", Text, index=True),
    Column("event", ModelJson(AuditEvent), nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
)

# One row: the last link of the chain. A writer locks it first, so that the chain cannot fork; and entries cut off the
# end of the log show against it, which the chain alone cannot tell.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Number, nullable=False),
    Column("hash", Text, nullable=False),
    CheckConstraint("id = 1", name="one_head"),
)
