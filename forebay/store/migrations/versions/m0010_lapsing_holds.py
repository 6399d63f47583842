"""Holds that end by themselves once what they wait for is there."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("changes", sa.Column("lapses", sa.Boolean, nullable=False, server_default=sa.false()))
