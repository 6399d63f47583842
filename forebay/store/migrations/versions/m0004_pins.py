"""What people pin, and what a change that is over has left raised."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for name, column in (("pins", "pin"), ("leftovers", "leftover")):
        op.create_table(
            name,
            sa.Column("change", sa.Text, sa.ForeignKey("changes.name"), primary_key=True),
            sa.Column("workload", sa.Text, primary_key=True),
            sa.Column(column, sa.JSON, nullable=False),
        )
