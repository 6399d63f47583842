"""How right the forecasts were, day by day."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "accuracy",
        sa.Column("workload", sa.Text, primary_key=True),
        sa.Column("resource", sa.Text, primary_key=True),
        sa.Column("judged", sa.Text, primary_key=True),
        sa.Column("change", sa.Text, primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("content", sa.JSON, nullable=False),
    )
