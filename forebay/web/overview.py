"""Everything under way at one moment: what the list of changes and the metrics are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from forebay.app.approvals import as_it_stands
from forebay.app.context import Context
from forebay.app.pulse import last_beat
from forebay.app.raises import Raise, open_raises
from forebay.app.status import in_force_times
from forebay.domain.lifecycle import BEFORE_IN_FORCE, TERMINAL
from forebay.domain.outbox import MessageState
from forebay.domain.records import ChangeRecord, StepRecord, Ticket


@dataclass(frozen=True)
class ChangeLine:
    """A change with its steps, which are left out once it is over, and from when it is in force, or else the time that
    it was asked for.
    """

    record: ChangeRecord
    steps: Sequence[StepRecord]
    at: datetime


@dataclass(frozen=True)
class Overview:
    """All changes, newest first; stored tickets whose run was not started; external writes of unknown outcome; when
    the reconciler last made a pass, None before its first.
    """

    now: datetime
    changes: Sequence[ChangeLine]
    waiting_tickets: Sequence[Ticket]
    open_intents: int
    raises: Sequence[Raise]
    unsent: Mapping[MessageState, int]
    reconciled_at: datetime | None

    @property
    def next_effective_at(self) -> datetime | None:
        """The earliest effective time of a change that is not in force yet; in the past where one is overdue."""
        times = [line.record.change.effective_at for line in self.changes if line.record.state in BEFORE_IN_FORCE]
        return min(times, default=None)


def overview(ctx: Context) -> Overview:
    """The changes are read in one transaction, so that the numbers belong together. Raises OutsideError."""
    raises = open_raises(ctx)
    with ctx.store.snapshot() as tx:
        records = tx.changes()
        began = in_force_times(tx, [r for r in records if r.state not in TERMINAL])
        touched = {name for record in records for name in record.change.workloads}
        return Overview(
            now=ctx.clock.now(),
            changes=[
                ChangeLine(
                    record=as_it_stands(tx, r),
                    steps=() if r.state in TERMINAL else tx.steps(r.change.change),
                    at=began.get(r.change.change, r.change.effective_at),
                )
                for r in records
            ],
            waiting_tickets=tx.tickets_without_run(),
            open_intents=sum(len(tx.intents(name, only_open=True)) for name in touched),
            raises=raises,
            unsent={s: len(tx.messages(s)) for s in (MessageState.WAITING, MessageState.DEAD)},
            reconciled_at=last_beat(tx),
        )
