"""What a change said before it was edited."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "revisions",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("change", sa.Text, sa.ForeignKey("changes.name"), nullable=False, index=True),
        sa.Column("content", sa.JSON, nullable=False),
    )
