"""What decides by itself is sealed by the audit log from here on: what was stored before, as it stands now."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from forebay.domain.audit import AuditEvent, Seal, chained
from forebay.store.seals import stored_rows

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    connection = op.get_bind()
    audit = sa.table("audit", *map(sa.column, ("number", "previous_hash", "hash")), sa.column("event", sa.JSON))
    head = sa.table("audit_head", *map(sa.column, ("id", "number", "hash")))
    now = datetime.now(UTC)
    for row, digest in dict(stored_rows(connection)).items():
        number, last = connection.execute(sa.select(head.c.number, head.c.hash)).one()
        said = f"{row} as it stands: it was stored by a version that did not seal"
        event = AuditEvent(at=now, actor="forebay", action="sealed", reason=said, seal=Seal(row=row, digest=digest))
        entry = chained(number + 1, event, last)
        fields = {"number": entry.number, "previous_hash": last, "hash": entry.hash}
        op.execute(sa.insert(audit).values(event=event.model_dump(mode="json"), **fields))
        op.execute(sa.update(head).values(number=entry.number, hash=entry.hash))
