"""Holding what was set: another hand's value is found, named, and answered by the workload's rule."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from forebay.app.context import CONTROLLER, Context
from forebay.app.lookup import events_of, pin_on
from forebay.app.observe import observe
from forebay.app.once import tell_once
from forebay.app.people import BY_ITSELF
from forebay.app.turn import waits_for
from forebay.app.writing import adopt, check_unchanged, keep_lease, release, settle_open_intents, write_setting
from forebay.control.keep import Adopt, Clash, Keep, Later, cap_on, in_effect, keep, keep_pin
from forebay.domain.allocation import TargetState
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.errors import LostLease, OutsideError, RuleRefusal
from forebay.domain.lifecycle import FOR_A_PERSON, ChangeState
from forebay.domain.records import ChangeRecord, Intent, Lease, Purpose
from forebay.domain.workload import Workload
from forebay.ports import Snapshot, Transaction


@dataclass(frozen=True)
class Unseen:
    """Not looked at: a run is at work on the workload, and looks for itself."""


Answer = Keep | Adopt | Clash | Later | Unseen | None


def hand_of(ctx: Context, workload: Workload, target: TargetState, intents: Sequence[Intent]) -> str:
    """Who wrote over our setting, as far as the cloud tells; `another` where it does not."""
    ours = in_effect(intents)
    if ours is None or ours.stands_in(target.setting):
        return "another"
    with suppress(OutsideError):  # a name is a courtesy: without it the write is answered all the same
        return ctx.target(workload).who(target.setting) or "another"
    return "another"


def carry_out(
    ctx: Context, lease: Lease, record: ChangeRecord, workload: Workload, target: TargetState, answer: Keep | Adopt
) -> None:
    """Do what was decided on what `target` showed. Raises LostLease, RuleRefusal and OutsideError, as any write."""
    if isinstance(answer, Keep):
        write_setting(ctx, lease, record, workload, target.setting, answer.setting, answer.reason, answer.purpose)
        return
    with ctx.store.transaction() as tx:
        keep_lease(ctx, tx, lease)
        check_unchanged(tx, record)
        adopt(tx, ctx, record, workload.name, target, CONTROLLER, answer.reason)


def tell_hand(ctx: Context, record: ChangeRecord, workload: str, answer: Keep | Adopt | Clash) -> None:
    """Tell people of another hand, and how it was answered, once. A person's pin is none: it was told when it came."""
    if isinstance(answer, Keep) and answer.purpose is Purpose.PIN:
        return
    change, foreign = record.change, answer.reason

    def untold(tx: Snapshot) -> list[AuditEvent]:
        said = [e.reason for e in events_of(tx, change.change) if e.action in (Deed.CHANGED_BY_ANOTHER, Deed.HELD)]
        if {foreign, f"{foreign}{BY_ITSELF}"} & set(said):
            return []
        return [ctx.event(change, Deed.CHANGED_BY_ANOTHER, foreign, workload=workload)]

    tell_once(ctx, untold)


def keep_workload(ctx: Context, record: ChangeRecord, workload: Workload) -> Answer:
    """Look once where no run is at work, and do what the rule says; returns it. Raises OutsideError.

    None where what was set stands, or nothing was. What a lost answer left open is settled first.
    """
    with ctx.store.snapshot() as tx:
        held = tx.lease(workload.name)
        intents = tx.intents(workload.name, change=record.change.change)
        pin = pin_on(tx, record.change.change, workload.name)
        plan = tx.plan(record.change.change, workload.name)
        frozen = tx.rules().freeze_at(ctx.clock.now(), record.change) is not None
    if held is not None and held.expires_at > ctx.clock.now():
        return Unseen()
    if any(i.outcome is None for i in intents):
        return _settled_first(ctx, record, workload)
    if not intents and pin is None:
        return None
    target = observe(ctx, workload, intents)
    now = ctx.clock.now()
    hand = hand_of(ctx, workload, target, intents)
    cap, held_now = cap_on(record.change, workload.name, plan), record.state in FOR_A_PERSON
    answer = keep(workload, target, intents, now, hand, cap=cap, held=held_now)
    # What was approved is what a pin may move to: a change that waits for that moves nothing new.
    if answer is None and not frozen and record.state is not ChangeState.AWAITING_APPROVAL:
        answer = keep_pin(workload, target, intents, pin, now)
    if not isinstance(answer, Keep | Adopt):
        return answer
    with ctx.store.transaction() as tx:
        if waits_for(tx, record.change, workload.name):
            return None  # what stands there is that of the change ahead
        lease = _acquire(ctx, tx, workload)
        unseen = len(tx.intents(workload.name, change=record.change.change)) > len(intents)
    if lease is None:
        return None
    try:
        if not unseen:
            carry_out(ctx, lease, record, workload, target, answer)
            return answer
    except (LostLease, RuleRefusal):
        return None  # somebody else was first: the next look starts over
    finally:
        release(ctx, lease)
    return None


def _settled_first(ctx: Context, record: ChangeRecord, workload: Workload) -> Answer:
    """Settle what is open, then look. No step of it may be due for hours, nor any step: nobody else would.

    Another hand's value under an open write is for a person, as it is where a step finds it.
    """
    with ctx.store.transaction() as tx:
        if waits_for(tx, record.change, workload.name):
            return None  # what stands there is that of the change ahead
        lease = _acquire(ctx, tx, workload)
    if lease is None:
        return Unseen()
    try:
        foreign = settle_open_intents(ctx, record, workload, lease)
    except LostLease:
        return Unseen()
    finally:
        release(ctx, lease)
    return Clash(foreign) if foreign else keep_workload(ctx, record, workload)


def _acquire(ctx: Context, tx: Transaction, workload: Workload) -> Lease | None:
    return tx.acquire_lease(workload.name, f"watch {uuid4().hex[:8]}", ctx.clock.now(), ctx.lease)
