"""Approvals, the plans proposed for one, and the one-time links that were used."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("plans", sa.Column("proposed", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "approvals",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("change", sa.Text, sa.ForeignKey("changes.name"), nullable=False, index=True),
        sa.Column("approval", sa.JSON, nullable=False),
    )
    op.create_table(
        "used_links",
        sa.Column("nonce", sa.Text, primary_key=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
    )
