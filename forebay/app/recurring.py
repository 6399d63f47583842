"""Changes that a schedule asks for: an occurrence of which no change came is told, and once it is too late, denied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from forebay.app.context import Context
from forebay.app.lookup import events_of
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.policy import next_number
from forebay.ports import Transaction

# So long a run may take from its time to its change: Prefect starts late ones when it is back.
GRACE = timedelta(minutes=5)
# After a longer silence, what lies further back is history.
LOOKED_BACK = timedelta(days=31)
# How far the look has come is noted this seldom where nothing was due: each note is a write.
NOTED_EVERY = timedelta(hours=1)
OFF = 0
Occurrences = Callable[[datetime, datetime], Iterable[datetime]]


def asked_at(scheduled_at: datetime, now: datetime) -> datetime | None:
    """From when the minimum delay of a run's change counts: the time of the run, as a relative effective time does.

    None (from now on) for a run that comes later than GRACE, or ahead of its time: waiting must not evade the delay.
    """
    return scheduled_at if timedelta(0) <= now - scheduled_at <= GRACE else None


def check_occurrences(ctx: Context, schedule: str, request: ChangeRequest, occurrences: Occurrences | None) -> int:
    """Compare what `schedule` had to bring with the changes there are; returns how many are missing.

    `occurrences(after, until)`: its times in that span, `until` included, aware; None while it is switched off. Where
    it was never looked at, or off, looking begins now. `schedule` names it for good: the look goes on where it ended,
    however long nothing ran.
    """
    now, mark = ctx.clock.now(), f"occurrences {schedule}"
    told: list[AuditEvent] = []
    with ctx.store.transaction() as tx:
        seconds = tx.mark(mark)
        if occurrences is None or not seconds:
            begin = OFF if occurrences is None else int(now.timestamp())
            if seconds != begin:
                tx.put_mark(mark, begin)
            return 0
        since, until = max(datetime.fromtimestamp(seconds, UTC), now - LOOKED_BACK), now - GRACE
        missing = 0
        for at in sorted(occurrences(since, until)) if since < until else ():
            change = request.named(at).accepted(at)
            if tx.change(change.change) is None and not _missed(ctx, tx, schedule, change, at, now, told):
                missing += 1
            elif not missing:
                since = at
        if not missing and until - since > NOTED_EVERY:
            since = until
        if int(since.timestamp()) > seconds:
            tx.put_mark(mark, int(since.timestamp()))
    for event in told:
        ctx.notifier.notify(event)
    return missing


def _missed(
    ctx: Context,
    tx: Transaction,
    schedule: str,
    change: PolicyChange,
    at: datetime,
    now: datetime,
    told: list[AuditEvent],
) -> bool:
    """Add once to `told`; True once it is over with: the rules would no longer take the change, and it is denied."""
    story = f"schedule {schedule} was due {at:%d %b %H:%M} UTC, and no run has asked for it"
    try:
        tx.rules().check_request(change, now)
    except RuleRefusal as refusal:
        number = next_number(tx.versions(change.entity, change.policy))
        tx.add_change(change, number, ctx.event(change, Deed.RECEIVED, story))
        event = ctx.event(change, Deed.DENIED, f"{story}; now it is too late: {refusal}")
        tx.move(change.change, ChangeState.DENIED, event)
        told.append(event)
        return True
    if not any(event.action == Deed.OCCURRENCE_LATE for event in events_of(tx, change.change)):
        text = f"{story}: see its runs in Prefect, or ask for it by hand under this name"
        event = ctx.event(change, Deed.OCCURRENCE_LATE, text)
        tx.audit(event)
        told.append(event)
    return False
