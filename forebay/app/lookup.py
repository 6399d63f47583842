"""Finding a change by name."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.domain.errors import InputError
from forebay.domain.model import quoted
from forebay.domain.records import ChangeRecord


def change_record(ctx: Context, name: str) -> ChangeRecord:
    """Raises InputError if there is no change of that name."""
    with ctx.store.snapshot() as tx:
        record = tx.change(name)
    if record is None:
        raise InputError(f"there is no change {quoted(name)}: `forebay status` lists them")
    return record
