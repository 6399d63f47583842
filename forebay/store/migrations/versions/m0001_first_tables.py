"""The first tables, and the triggers that keep the audit log append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("change", sa.JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False, index=True),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("policy_version", sa.Integer, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )
    op.create_table(
        "plans",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("change", sa.Text, sa.ForeignKey("changes.name"), nullable=False),
        sa.Column("workload", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("current", sa.Boolean, nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
    )
    current = sa.text("current")
    op.create_index(
        "one_current_plan",
        "plans",
        ["change", "workload"],
        unique=True,
        sqlite_where=current,
        postgresql_where=current,
    )
    op.create_table(
        "steps",
        sa.Column("plan", NUMBER, sa.ForeignKey("plans.number"), primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True),
        sa.Column("step", sa.JSON, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("workload", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("fencing", NUMBER, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.CheckConstraint("fencing >= 1", name="fencing_counts_from_one"),
    )
    op.create_table(
        "intents",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("change", sa.Text, sa.ForeignKey("changes.name"), nullable=False),
        sa.Column("workload", sa.Text, nullable=False, index=True),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("intent", sa.JSON, nullable=False),
    )
    op.create_table(
        "originals",
        sa.Column("change", sa.Text, sa.ForeignKey("changes.name"), primary_key=True),
        sa.Column("workload", sa.Text, primary_key=True),
        sa.Column("setting", sa.JSON, nullable=False),
    )
    op.create_table(
        "policy_versions",
        sa.Column("entity", sa.Text, primary_key=True),
        sa.Column("policy", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.JSON, nullable=False),
    )
    op.create_table(
        "change_rules",
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("stored_at", TIME, nullable=False),
    )
    op.create_table(
        "tickets",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("run", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.UniqueConstraint("source", "ticket", "revision", name="one_delivery"),
        sa.CheckConstraint("failures >= 0", name="failures_count_from_zero"),
    )
    _create_audit()


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("change", sa.Text, index=True),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="one_head"),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "hash": "0" * 64}])
    for statement in SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else POSTGRESQL_TRIGGERS:
        op.execute(statement)


SQLITE_TRIGGERS = (
    "CREATE TRIGGER audit_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "CREATE TRIGGER audit_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    # INSERT OR REPLACE deletes without asking the trigger above.
    "CREATE TRIGGER audit_replace BEFORE INSERT ON audit"
    " WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number OR hash = NEW.hash)"
    " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
)
POSTGRESQL_TRIGGERS = (
    "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "CREATE TRIGGER audit_update_delete BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
)
