"""Giving back: after a cancel the allocation goes down in steps; after settling a raised floor is handed back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from forebay.app.context import Context
from forebay.app.demand import verify_settled
from forebay.app.joint import counts_on
from forebay.app.left import stood_before
from forebay.app.lookup import events_of
from forebay.app.observe import judged, measured, observe
from forebay.app.others import in_force_on
from forebay.app.outbox import post_version, push_version
from forebay.app.raises import goes_back
from forebay.app.turn import next_is_due, waits_for
from forebay.app.unnamed import list_unnamed
from forebay.app.writing import last_setting, pinned, release, settle_open_intents, write_setting
from forebay.control.decide import latest_window
from forebay.control.keep import in_effect
from forebay.control.restore import GiveBack, Leave, LookAgain, after_failures, next_restore, window_after
from forebay.domain.allocation import Lever, Setting, TargetState, in_words
from forebay.domain.audit import Deed
from forebay.domain.bounds import PolicyBounds
from forebay.domain.errors import LostLease, NotShownYet, RuleRefusal, TriedLater
from forebay.domain.lifecycle import ChangeState
from forebay.domain.policy import in_force
from forebay.domain.records import ChangeRecord, Intent, Lease, Leftover, Outcome, Purpose
from forebay.domain.resources import Resource
from forebay.domain.verdict import Verdict
from forebay.domain.workload import Workload
from forebay.ports import Snapshot


def restore_change(ctx: Context, record: ChangeRecord, holder: str) -> str:
    """One restoring tick on every workload of a cancelled or settled change; closes it once all are done.

    What earlier versions of a settled one's policy have left where it says nothing any more is listed for a person.
    Returns what happened, in words. What is in the way on one workload is in the way of no other, and is told where it
    stays. Raises the first OutsideError or InputError then; the next tick goes on from what is there.
    """
    change = record.change
    if record.state is ChangeState.ROLLING_BACK and not _push_back(ctx, record):
        return "the former policy is being pushed"
    with ctx.store.snapshot() as tx:
        if waiting := counts_on(tx, record, change.workloads, ctx.clock.now()):
            return waiting
    outcomes: dict[str, tuple[bool, str]] = {}
    errors: dict[str, Exception] = {}
    for name in change.workloads:
        try:
            outcomes[name] = _take_turn(ctx, record, name, holder)
        except (LostLease, RuleRefusal) as refusal:
            outcomes[name] = False, str(refusal)
        except Exception as error:  # foreseen or not, it keeps no other workload raised; the first is raised below
            outcomes[name] = False, str(error)
            errors[name] = error
    pending = {name: text for name, (done, text) in outcomes.items() if not done}
    if pending:
        for name, text in pending.items():
            if not isinstance(errors.get(name), NotShownYet | TriedLater):  # no news: the next look, or try, tells
                _tell_if_it_stays(ctx, record, name, text)
        if errors:
            raise next(iter(errors.values()))
        return "; ".join(f"{name}: {text}" for name, text in pending.items())
    return _end(ctx, record, "; ".join(f"{name}: {text}" for name, (_, text) in outcomes.items()))


def _end(ctx: Context, record: ChangeRecord, text: str) -> str:
    """The change is over, unless something has come between since it was looked at. Returns what happened, in words."""
    change = record.change
    after = ChangeState.CLOSED if record.state is ChangeState.SETTLING else ChangeState.ROLLED_BACK
    with ctx.store.transaction() as tx:
        current = tx.change(change.change)
        if current is None or current.state is not record.state:
            return f"nothing to do: change is {current.state if current else 'gone'}"
        if kept := pinned(tx, ctx, current):  # since the look that led here
            return kept
        told = [event := ctx.event(change, Deed(after), text)]
        tx.move(change.change, after, event)
        if after is ChangeState.CLOSED:
            told += list_unnamed(tx, ctx, current)
    for event in told:
        ctx.notifier.notify(event)
    return f"{after}: {text}"


def _take_turn(ctx: Context, record: ChangeRecord, name: str, holder: str) -> tuple[bool, str]:
    """Whether the workload is done with, and what happened or is waited for."""
    with ctx.store.transaction() as tx:
        lease = tx.acquire_lease(name, holder, ctx.clock.now(), ctx.lease)
    if lease is None:
        return False, "another run holds the workload"
    try:
        return _restore_workload(ctx, record, ctx.workload(name), lease)
    finally:
        release(ctx, lease)


def _tell_if_it_stays(ctx: Context, record: ChangeRecord, name: str, text: str) -> None:
    """Tell people what the way back waits for, once nothing has moved for a verified move's time and the patience."""
    change, known = record.change, ctx.known(name)
    with ctx.store.transaction() as tx:
        moved = [i.stored_at for i in tx.intents(name, change=change.change) if i.outcome is Outcome.DONE]
        since = max([goes_back(tx, record) or record.updated_at, *moved])
        if known:
            usual = known.verified_after + known.limits.soft.dwell + known.verification.patience
            if ctx.clock.now() < since + usual:
                return
        # What follows the first number is another text each minute, and no news.
        kind = re.split(r"\d", text, maxsplit=1)[0]
        said = (event for event in events_of(tx, change.change) if event.at >= since)
        if any((e.action, e.workload) == (Deed.NOT_GIVEN_BACK, name) and e.reason.startswith(kind) for e in said):
            return
        mend = f"`forebay settle {change.change}` lets what stands be"
        event = ctx.event(change, Deed.NOT_GIVEN_BACK, f"{text}; {mend}", workload=name)
        tx.audit(event)
    ctx.notifier.notify(event)


def _restore_workload(ctx: Context, record: ChangeRecord, workload: Workload, lease: Lease) -> tuple[bool, str]:
    settle_open_intents(ctx, record, workload, lease)
    change, now = record.change.change, ctx.clock.now()
    with ctx.store.snapshot() as tx:
        original = tx.original(change, workload.name)
        intents = tx.intents(workload.name, change=change)
        freeze = tx.rules().freeze_at(now, record.change)
        next_waits = next_is_due(tx, record.change, now)
        held_to = PolicyBounds.of(in_force_on(tx, workload.name, now), workload.name)
    target, ours = observe(ctx, workload, intents), last_setting(ctx, change, workload.name)
    resized = ours is not None and ours.revision is not None and ours.stands_in(target.setting)
    if resized:
        workload = workload.sized(target.setting.size)
    if waiting := _verify_last(ctx, record, workload, intents, target):
        return False, waiting
    settling, verified = record.state is ChangeState.SETTLING, ""
    if settling:
        known, verified = verify_settled(ctx, record, workload, target)
        if not known:
            return False, verified
    # Only a count and a size take capacity away: a floor goes back whether or not usage can be measured.
    takes_away = resized or target.setting.lever is Lever.COUNT
    usage = _seen(ctx, workload, now) if takes_away else None
    before = workload.sized(original.size) if resized and original else workload
    with ctx.store.snapshot() as tx:
        original, ours = _back_from(tx, record, workload.name, original, ours, target.setting)
    if original is not None:  # what others guarantee by now was maybe not there yet when the change began
        original = original.within(held_to)
    decision = next_restore(
        workload=workload,
        target=target,
        original=original,
        ours=ours,
        last_write_at=max((i.stored_at for i in intents), default=None),
        required_units=_required(workload, usage),
        required_before=_required(before, usage),
        keep_count=settling,
        now=now,
        # Units of another size do not compare; on the way back to one they are raised by need.
        peak=0 if resized else max((i.units for i in intents if i.outcome is Outcome.DONE), default=0),
        next_waits=next_waits,
        verified=verified,
    )
    match decision:
        case Leave(reason=reason, blocked=blocked):
            # A count that an enforced change leaves is the new normal: another's value in its place is no leftover.
            settled_count = settling and target.setting.lever is Lever.COUNT
            if blocked and original is not None and intents and not settled_count:
                _remember_leftover(ctx, record, workload, target.setting, original, intents, reason)
            return True, reason
        case LookAgain(reason=reason):
            return False, reason
        case GiveBack(reason=reason) if freeze:
            return False, freeze.text
        case GiveBack() if waits := after_failures(intents, now):
            raise TriedLater(f"{workload.name}: {waits}")
        case GiveBack(setting=setting, reason=reason):
            write_setting(ctx, lease, record, workload, target.setting, setting, reason, Purpose.GIVE_BACK)
            return False, reason


def _back_from(
    tx: Snapshot, record: ChangeRecord, workload: str, original: Setting | None, ours: Setting | None, live: Setting
) -> tuple[Setting | None, Setting | None]:
    """What `workload` goes back to and what counts as ours there: also what was left by changes that are over.

    A change that has moved nothing gives that back too, unless it is another change's turn there.
    """
    if original and ours:
        return stood_before(tx, record.change.change, workload, original), ours
    if waits_for(tx, record.change, workload):
        return original, ours
    found = live.unsized
    stood = stood_before(tx, record.change.change, workload, found)
    return (original, ours) if stood == found else (stood, found)


def _push_back(ctx: Context, record: ChangeRecord) -> bool:
    """The version that set the policy back goes to the enforcers before any capacity goes. Raises OutsideError."""
    with ctx.store.transaction() as tx:
        back = in_force(tx.versions(record.change.entity, record.change.policy), ctx.clock.now())
        if back is not None:
            post_version(tx, ctx, record.change.change, back)
    return back is None or push_version(ctx, record.change.change, back)


def _verify_last(
    ctx: Context, record: ChangeRecord, workload: Workload, intents: Sequence[Intent], target: TargetState
) -> str | None:
    """Record the verdict of the last move back, as of a step; returns what is waited for, None if nothing is.

    Data that does not come is waited for with the workload's patience: nothing is left to protect from it but the
    next move, which looks for itself.
    """
    given = [i for i in intents if i.purpose is Purpose.GIVE_BACK and i.outcome is Outcome.DONE]
    if not given or given[-1].judgement is not None or not given[-1].new.stands_in(target.setting):
        return None
    move, now = given[-1], ctx.clock.now()
    if move.new.revision and not target.stable:
        return "the deployment is still under way"
    start, end, known_at = window_after(workload, move)
    if now < known_at:
        return f"verification of {in_words(move.new)} is due at {known_at:%H:%M:%S}"
    verdict = judged(ctx, workload, None, target, start, end)
    if verdict.verdict is Verdict.NO_DATA and now < known_at + workload.verification.patience:
        return f"{verdict.verdict}: {verdict.evidence.text}"
    text = f"{verdict.verdict}: {verdict.evidence.text}"
    high = verdict.verdict is Verdict.HIGH
    action = Deed.HIGH_AFTER if high else Deed.GIVE_BACK_VERIFIED
    event = ctx.event(record.change, action, text, workload=workload.name, new=in_words(move.new))
    with ctx.store.transaction() as tx:
        tx.judge_intent(move.number, verdict, event)
    if high:
        ctx.notifier.notify(event)
    return None


def _remember_leftover(
    ctx: Context,
    record: ChangeRecord,
    workload: Workload,
    live: Setting,
    original: Setting,
    intents: Sequence[Intent],
    why: str,
) -> None:
    """Listed until a person settles it: what was raised is never forgotten."""
    ours = in_effect(intents)
    assert ours is not None, "what was never set is not left"
    leftover = Leftover(
        change=record.change.change,
        workload=workload.name,
        live=live,
        ours=ours,
        restore=original,
        reason=record.note,
        since=ctx.clock.now(),
    )
    text = f"not back at {in_words(original)}: {why}: a person must look"
    with ctx.store.transaction() as tx:
        if any((o.change, o.workload, o.live) == (leftover.change, workload.name, live) for o in tx.leftovers()):
            return
        settled = (Deed.LEFT_AS_IT_IS, workload.name, in_words(live))
        if any((event.action, event.workload, event.new) == settled for event in events_of(tx, leftover.change)):
            return
        tx.put_leftover(leftover, ctx.event(record.change, Deed.LEFT_RAISED, text, workload=workload.name))


def _seen(ctx: Context, workload: Workload, now: datetime) -> Mapping[Resource, float] | None:
    """The usage seen last; None without data of each resource, which never lets anything shrink (rule 7)."""
    start, end, _ = latest_window(workload, now)
    usage = measured(ctx.usage(workload), start, end)
    return None if any(resource not in usage for resource in workload.resources) else usage


def _required(workload: Workload, usage: Mapping[Resource, float] | None) -> int | None:
    return None if usage is None else workload.whole_units_for(usage)
