"""Changes remember how they came, so that a ticket closes and edits only what it brought."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("changes", sa.Column("door", sa.Text))
    _fill()


def _fill() -> None:
    """What is there belongs to the first ticket that asked for it, if that came before it was received."""
    changes = sa.table("changes", sa.column("name"), sa.column("received_at", TIME), sa.column("door"))
    plain: list[Any] = [sa.column(name) for name in ("number", "source", "ticket", "body", "run")]
    tickets = sa.table("tickets", *plain, sa.column("received_at", TIME))
    first: dict[str, Any] = {}
    for row in op.get_bind().execute(sa.select(tickets).order_by(tickets.c.number)):
        if row.run not in ("older", "refused"):
            first.setdefault(_asked(row.ticket, row.body), row)
    for change in op.get_bind().execute(sa.select(changes)).all():
        brought = first.get(change.name)
        if brought is not None and brought.received_at <= change.received_at:
            door = f"ticket {brought.source} {brought.ticket}"
            op.execute(sa.update(changes).filter_by(name=change.name).values(door=door))


def _asked(ticket: str, body: str) -> str:
    """The change that a delivery names; nothing where it asks for none."""
    try:
        change = json.loads(body)["change"]
        return change.get("change") or ticket
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
