"""When a policy version was written and takes force; how far the audit log was told."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    )
    for column in ("changed_at", "in_force_from"):
        op.add_column("policy_versions", sa.Column(column, TIME))
        op.create_index(f"ix_policy_versions_{column}", "policy_versions", [column])
    _fill()


def _fill() -> None:
    table = sa.table(
        "policy_versions",
        sa.column("entity", sa.Text),
        sa.column("policy", sa.Text),
        sa.column("version", sa.Integer),
        sa.column("content", sa.JSON),
        sa.column("changed_at", TIME),
        sa.column("in_force_from", TIME),
    )
    for row in op.get_bind().execute(sa.select(table)).all():
        this = sa.update(table).filter_by(entity=row.entity, policy=row.policy, version=row.version)
        content = json.loads(row.content)  # the connection leaves JSON as text (engine.py)
        op.execute(this.values(changed_at=datetime.now(UTC), in_force_from=_in_force_from(content)))


def _in_force_from(content: dict[str, Any]) -> datetime | None:
    broken, effective, armed, withdrawn = (
        datetime.fromisoformat(content[name]) if content.get(name) else None
        for name in ("glass_broken_at", "effective_at", "armed_at", "withdrawn_at")
    )
    if broken is not None or armed is None or effective is None:
        return broken
    start = max(effective, armed)
    return None if withdrawn is not None and withdrawn <= start else start
