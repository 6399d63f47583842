"""Everything raised and not given back yet: whose it is, why, until when, and what it goes back to."""

from __future__ import annotations

from datetime import datetime

from forebay.app.context import Context
from forebay.app.joint import counted, counts_on
from forebay.app.left import stood_before
from forebay.app.lookup import own_version
from forebay.app.others import in_force_on
from forebay.app.people import permitted
from forebay.app.writing import check_unchanged, settled_target
from forebay.domain.allocation import Setting, in_words
from forebay.domain.audit import Deed
from forebay.domain.bounds import PolicyBounds
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import FOR_A_PERSON, TERMINAL, ChangeState
from forebay.domain.model import Model, UtcTime
from forebay.domain.records import ChangeRecord, Outcome
from forebay.ports import Snapshot

BACK = frozenset({ChangeState.CANCELLED, ChangeState.ROLLING_BACK})


class Raise(Model):
    """One workload that a change has moved. `until`: when it goes back, None where that waits for a person.

    `unread`: nobody knows yet how the last write ended, so that it may stand at `now`, or not.
    `restore`: what it goes back to; None for a count of a policy in force, which is the new normal and stays.
    """

    workload: str
    was: Setting
    now: Setting
    change: str
    reason: str
    until: UtcTime | None
    restore: Setting | None
    waits_for: str
    unread: bool = False

    @property
    def row(self) -> tuple[str, str, str, str, str, str]:
        """For tables: workload, from and to, owner, until when, restore value, reason."""
        until = f"{self.until:%Y-%m-%d %H:%M} UTC" if self.until else self.waits_for
        back = in_words(self.restore) if self.restore else "stays"
        stands = f"may stand at {in_words(self.now)}, not read yet" if self.unread else in_words(self.now)
        return self.workload, f"{in_words(self.was)} -> {stands}", self.change, until, back, self.reason


def open_raises(ctx: Context) -> list[Raise]:
    """By change, oldest first, then what changes that are over have left to a person."""
    now = ctx.clock.now()
    with ctx.store.snapshot() as tx:
        found = [r for record in reversed(tx.changes(frozenset(ChangeState) - TERMINAL)) for r in _of(tx, record, now)]
        left = [
            Raise(
                workload=o.workload,
                was=o.restore,
                now=o.live,
                change=o.change,
                reason=o.reason,
                until=None,
                restore=o.restore,
                waits_for=f"a person: `forebay settle {o.change}`",
            )
            for o in tx.leftovers()
        ]
    return found + left


def settle(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """A person says that what a change has left stands right as it is; one that is giving back is over with that.

    Where something was left on one workload while others still go back, that holds for the one alone.
    Raises InputError, RuleRefusal, and OutsideError where how a write ended cannot be read.
    """
    with ctx.store.snapshot() as tx:
        record = permitted(tx, change, "hold", actor, reason)
        unread = _unread(tx, record)
    for name in unread:
        settled_target(ctx, record, ctx.workload(name), f"settled by {actor}")
    with ctx.store.transaction() as tx:
        check_unchanged(tx, record)
        now = ctx.clock.now()
        ends = _ends_as(tx, record, now)
        left = {o.workload: o.live for o in tx.leftovers() if o.change == change}
        if ends is None and not left:
            raise RuleRefusal("settle what was left", f"change {change} has left nothing", "`forebay status`")
        event = ctx.event(record.change, Deed.SETTLED_BY_A_PERSON, reason, actor)
        for name, live in left.items():
            tx.audit(ctx.event(record.change, Deed.LEFT_AS_IT_IS, reason, actor, workload=name, new=in_words(live)))
        tx.drop_leftovers(change, event)
        still = [r.workload for r in _of(tx, record, now) if r.workload not in left]
        # What was named is what another hand is in the way of: the other workloads go on with their way back.
        if ends is not None and not (left and still):
            if waiting := counts_on(tx, record, record.change.workloads, now):
                raise RuleRefusal("nothing is given back under a policy", waiting, "the same once that is over")
            if _unread(tx, record):
                raise RuleRefusal("one writer per workload", "a write is still under way", "the same in a minute")
            left_so = _of(tx, record, now)
            stays = [f"{r.workload} was set to {in_words(r.now)}, before to {in_words(r.was)}" for r in left_so]
            for r in left_so:
                told = ctx.event(
                    record.change, Deed.LEFT_AS_IT_IS, reason, actor, workload=r.workload, new=in_words(r.now)
                )
                tx.audit(told)
            words = "; ".join(["a person says that what is not given back stands right", *stays])
            record = tx.move(change, ends, ctx.event(record.change, Deed(ends), words, actor))
    ctx.notifier.notify(event)
    return record


def _unread(tx: Snapshot, record: ChangeRecord) -> list[str]:
    """The workloads on which nobody knows yet how a write of the change ended."""
    change = record.change
    return [name for name in change.workloads if tx.intents(name, change=change.change, only_open=True)]


def _ends_as(tx: Snapshot, record: ChangeRecord, now: datetime) -> ChangeState | None:
    """What a change becomes that is giving back; None if it is not."""
    if record.state in BACK:
        return ChangeState.ROLLED_BACK
    ends = goes_back(tx, record) if record.state is ChangeState.SETTLING else None
    return ChangeState.CLOSED if ends is not None and now >= ends else None


def _of(tx: Snapshot, record: ChangeRecord, now: datetime) -> list[Raise]:
    found = []
    for name in record.change.workloads:
        original = tx.original(record.change.change, name)
        if original is None:
            continue
        intents = tx.intents(name, change=record.change.change)
        unread = [i for i in intents[-1:] if i.outcome is None]
        done = [i for i in intents if i.outcome is Outcome.DONE][-1:]
        # A write back to the original whose outcome is open may not have been made: what was raised may still stand.
        raised = next((i for i in unread + done if not i.new.stands_in(original)), None)
        if raised is None:
            continue
        enforced = record.state in (ChangeState.IN_FORCE, ChangeState.SETTLING)
        stays = enforced and raised.new.floor is None
        back = stood_before(tx, record.change.change, name, original)
        back = back.within(PolicyBounds.of(in_force_on(tx, name, now), name))
        until = goes_back(tx, record)
        over = until is not None and until <= now
        found.append(
            Raise(
                workload=name,
                was=original,
                now=raised.new,
                change=record.change.change,
                reason=raised.why,
                until=None if over else until,
                restore=None if stays else back,
                waits_for=_waits_for(record, over),
                unread=bool(unread),
            )
        )
    return found


def _waits_for(record: ChangeRecord, over: bool) -> str:
    if record.state in BACK or (over and record.state is ChangeState.SETTLING):
        return "its way back, move by move"
    if record.state is ChangeState.HELD:
        return "what it is held for, or a person: cancel" if record.lapses else "a person: resume or cancel"
    if record.state is ChangeState.AWAITING_APPROVAL:
        return "an approval, or a person: cancel"
    return "the end of settling"


def goes_back(tx: Snapshot, record: ChangeRecord) -> datetime | None:
    """When the change, and whoever it carries, is through with what it raised; None where that has no set time."""
    if record.state in BACK | FOR_A_PERSON:
        return None
    version = own_version(tx, record)
    ends = record.change.settled_at(version.in_force_from if version else None)
    carried = [rider.change for name in record.change.workloads for rider in counted(tx, record.change.change, name)]
    ends = max([ends, *(rider.settled_at() for rider in carried)])
    return max([ends, *(p.until for p in tx.pins(record.change.change))])
