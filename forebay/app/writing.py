"""The only place that writes to a target: intent before, outcome after; and the settling of what a crash left open."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from forebay.app.context import Context
from forebay.app.joint import counts_on
from forebay.app.observe import observe
from forebay.control.decide import Ask, View
from forebay.control.keep import in_effect, meant_by, only_more_room, runs_below
from forebay.domain.allocation import Lever, Setting, TargetState, in_words
from forebay.domain.audit import Deed, DeedOn
from forebay.domain.errors import LostLease, OutsideError, RuleRefusal
from forebay.domain.lifecycle import AFTER, ChangeState, StepState
from forebay.domain.plan import ShapingStep
from forebay.domain.records import ChangeRecord, Intent, Lease, Outcome, Purpose
from forebay.domain.workload import Workload
from forebay.ports import Snapshot, Transaction


def last_setting(ctx: Context, change: str, workload: str) -> Setting | None:
    """What this change wrote last and saw in effect; None before its first write."""
    with ctx.store.snapshot() as tx:
        return in_effect(tx.intents(workload, change=change))


def write(ctx: Context, lease: Lease, view: View, ask: Ask) -> None:
    """Ask the target for what was decided. The state is read again in the transaction that announces the write.

    Raises LostLease, or RuleRefusal if the change has moved on since it was looked at, or OutsideError: then
    the intent stays open, and the next tick settles it by reading the target.
    """
    ask = _with_revision(ctx, lease, view, ask)
    change, workload, now = view.change.change, view.workload, ctx.clock.now()
    old, new = view.target.setting, ask.setting
    values = {"old": in_words(old), "new": in_words(new), "workload": workload.name, "plan_hash": ask.step.plan_hash}
    with ctx.store.transaction() as tx:
        keep_lease(ctx, tx, lease)
        check_unchanged(tx, view.change)
        _remember_original(tx, ctx, view.change, workload.name, old)
        subject = f"{'correction' if ask.correction else 'step'} {ask.step.step.sequence}"
        event = ctx.event(change, DeedOn.ASKED.of(subject), ask.reason, **values)
        intent = tx.add_intent(
            Intent(
                number=0,
                change=change.change,
                workload=workload.name,
                sequence=ask.step.step.sequence,
                plan_hash=ask.step.plan_hash,
                units=ask.units,
                old=old,
                new=new,
                why=ask.reason,
                fencing=lease.fencing,
                stored_at=now,
                before=ask.step,
            ),
            event,
        )
        step = ask.step.model_copy(
            update={
                "state": StepState.ASKED,
                "asked_units": ask.units,
                "asked_at": now,
                "serving_at": None,
                "serving_before": view.target.serving,
                "seen_units": view.target.serving,
                "corrections": ask.step.corrections + ask.correction,
                "judgement": ask.judgement or ask.step.judgement,
            }
        )
        tx.put_step(step)
        if view.change.state is ChangeState.SCHEDULED:
            tx.move(change.change, ChangeState.SHAPING, ctx.event(change, Deed.SHAPING, "the first step is asked"))
        announced = tx.change(change.change)
    _make(ctx, lease, announced, workload, intent)


def write_setting(
    ctx: Context,
    lease: Lease,
    record: ChangeRecord,
    workload: Workload,
    old: Setting,
    new: Setting,
    why: str,
    purpose: Purpose,
) -> None:
    """A write that belongs to no step; else as `write`. Also raises RuleRefusal where it would give back what another
    change has come to count on, or a person has pinned, since the look.
    """
    change = record.change
    with ctx.store.transaction() as tx:
        keep_lease(ctx, tx, lease)
        check_unchanged(tx, record)
        if purpose is Purpose.GIVE_BACK:
            _check_given_back(tx, ctx, record, workload.name)
        _remember_original(tx, ctx, record, workload.name, old)
        intent = tx.add_intent(
            Intent(
                number=0,
                change=change.change,
                workload=workload.name,
                sequence=None,
                plan_hash=None,
                units=new.units,
                old=old,
                new=new,
                why=why,
                fencing=lease.fencing,
                stored_at=ctx.clock.now(),
                purpose=purpose,
            ),
            ctx.event(
                change, DeedOn.ASKED.of(purpose), why, workload=workload.name, old=in_words(old), new=in_words(new)
            ),
        )
        if record.state is ChangeState.SCHEDULED:
            shaping = ctx.event(change, Deed.SHAPING, f"the first {purpose} is asked")
            tx.move(change.change, ChangeState.SHAPING, shaping)
        announced = tx.change(change.change)
    _make(ctx, lease, announced, workload, intent)


def _check_given_back(tx: Snapshot, ctx: Context, record: ChangeRecord, workload: str) -> None:
    """Raises RuleRefusal where what `record` has raised may not be given back, or not yet."""
    if counted_on := counts_on(tx, record, [workload], ctx.clock.now()):
        raise RuleRefusal("nothing is given back under a policy", counted_on, "looking again")
    if kept := pinned(tx, ctx, record):
        raise RuleRefusal("nothing is given back under a pin", kept, "looking again")


def pinned(tx: Snapshot, ctx: Context, record: ChangeRecord) -> str | None:
    """In words, what a pin keeps of a change that settles; None if its time has come. What is taken back keeps none."""
    if record.state is not ChangeState.SETTLING:
        return None
    for pin in tx.pins(record.change.change):
        if ctx.clock.now() < pin.until:
            return f"{pin.workload} is pinned at {pin.units} units until {pin.until.isoformat()} by {pin.actor}"
    return None


def _remember_original(tx: Transaction, ctx: Context, record: ChangeRecord, workload: str, live: Setting) -> None:
    """What stands before the first write that takes effect: what stood before one that did not may be long gone.

    A value that stands there although our write of it was not made is another hand's.
    """
    change = record.change.change
    made = [i for i in tx.intents(workload, change=change) if i.outcome is not Outcome.NOT_DONE]
    moved = any(i.outcome is Outcome.DONE or i.new.stands_in(live) for i in made)
    if not moved and tx.original(change, workload) != live:
        words = Deed.ORIGINAL_RECORDED, "to be restored"
        tx.put_original(change, workload, live, ctx.event(record.change, *words, workload=workload, old=in_words(live)))


def _with_revision(ctx: Context, lease: Lease, view: View, ask: Ask) -> Ask:
    """For a resize: have what brings the new size made ready, under the plan's hash, before the write is announced.

    That deploys nothing. Where a crash loses its name, the same plan asks again and is given the same one.
    """
    size = ask.setting.size
    if size is None or ask.setting.revision is not None:
        return ask
    change, workload, plan_hash = view.change.change, view.workload, ask.step.plan_hash
    with ctx.store.transaction() as tx:
        keep_lease(ctx, tx, lease)
        check_unchanged(tx, view.change)
        why = f"units of {size} for step {ask.step.step.sequence}"
        tx.audit(ctx.event(change, Deed.REVISION_ASKED, why, workload=workload.name, plan_hash=plan_hash))
    revision = ctx.target(workload).revision(size, plan_hash)
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, ctx.clock.now())
        tx.audit(ctx.event(change, Deed.REVISION_READY, revision, workload=workload.name, plan_hash=plan_hash))
    return replace(ask, setting=ask.setting.model_copy(update={"revision": revision}))


def _make(ctx: Context, lease: Lease, announced: ChangeRecord | None, workload: Workload, intent: Intent) -> None:
    """The write that `intent` announced, unless the last look before it says no: then it is on record as not done."""
    assert announced is not None, "it was there in the transaction that announced the write"
    try:
        _look_once_more(ctx, lease, announced, workload, intent)
    except (RuleRefusal, OutsideError) as error:
        settle(ctx, lease, announced, workload, intent, Outcome.NOT_DONE, f"called off before it was made: {error}")
        raise
    try:
        ctx.target(workload).apply(intent.new)
    except OutsideError:
        # Where this cannot be stored, it counts as under way until the lease ends.
        with suppress(OutsideError, LostLease), ctx.store.transaction() as tx:
            tx.check_lease(lease, ctx.clock.now())
            tx.leave_unanswered(intent.number, ctx.clock.now())
        raise
    settle(ctx, lease, announced, workload, intent, Outcome.DONE, "accepted")


def _look_once_more(ctx: Context, lease: Lease, announced: ChangeRecord, workload: Workload, intent: Intent) -> None:
    """The last look before a write, at the target and then at the store. Raises RuleRefusal where the write is off.

    What another hand has set since the look that led here is not written over: much lies between the two (metrics,
    quotas, revisions). What was cancelled or held since it was announced is not made, and what was pinned not given
    back. And the write is given the whole of the lease, so that whoever cancels after this look waits for its outcome
    (the writer holds the lease until then) instead of reading the target while the write is on its way. Raises
    OutsideError where the target cannot be read, also by a copy that is older than the write before this one.
    """
    with ctx.store.snapshot() as tx:
        earlier = [i for i in tx.intents(workload.name, change=intent.change) if i.number != intent.number]
    live = observe(ctx, workload, earlier).setting
    if not intent.stood_before(live):
        found = f"{workload.name} stands at {in_words(live)} now, and no longer at {in_words(intent.old)}"
        raise RuleRefusal("no value of another is written over unseen", found, "looking again")
    with ctx.store.transaction() as tx:
        keep_lease(ctx, tx, lease)
        check_unchanged(tx, announced)
        if intent.purpose is Purpose.GIVE_BACK:
            _check_given_back(tx, ctx, announced, workload.name)


def keep_lease(ctx: Context, tx: Transaction, lease: Lease) -> None:
    """The whole of the lease again for what comes next, a slow call outside maybe. Raises LostLease."""
    now = ctx.clock.now()
    tx.check_lease(lease, now)
    tx.acquire_lease(lease.workload, lease.holder, now, ctx.lease)


def check_unchanged(tx: Snapshot, seen: ChangeRecord) -> None:
    """Raises RuleRefusal if the change has moved on since it was looked at: cancel wins (rule 8), and so does a hold.

    Held and resumed counts as well: a person may have decided to go on from another value.
    """
    record = tx.change(seen.change.change)
    if record != seen:
        state = record.state if record else "gone"
        raise RuleRefusal("cancel wins", f"change {seen.change.change} has moved on and is {state}", "looking again")


def settle(
    ctx: Context,
    lease: Lease,
    record: ChangeRecord,
    workload: Workload,
    intent: Intent,
    outcome: Outcome,
    how: str,
) -> None:
    """Store how a write ended. Raises LostLease: then it is the new holder's to settle, by reading."""
    event = ctx.event(
        record.change,
        Deed(f"write {outcome}"),
        how,
        workload=workload.name,
        old=in_words(intent.old),
        new=in_words(intent.new),
    )
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, ctx.clock.now())
        tx.settle_intent(intent.number, outcome, event)
        if outcome is not Outcome.DONE:
            _put_back(tx, intent)


def settle_open_intents(ctx: Context, record: ChangeRecord, workload: Workload, lease: Lease) -> str | None:
    """After a crash or a lost answer: read the target and store how each open write ended, never guessing.

    A write that did not take place leaves its step as it was before. Returns what another hand has changed, in words.
    Raises OutsideError, also while a write that does not show may have been made.
    """
    foreign = None
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, ctx.clock.now())
        still_open = tx.intents(workload.name, change=record.change.change, only_open=True)
    if not still_open:
        return None
    live = observe(ctx, workload, still_open).setting
    for intent in still_open:
        if intent.new.stands_in(live) or _but_for_the_ceiling(intent, live):
            outcome, how = Outcome.DONE, f"found in effect: {in_words(live)}"
        elif intent.stood_before(live):
            outcome, how = Outcome.NOT_DONE, f"not in effect: still {in_words(live)}"
        else:
            outcome, how = Outcome.FOREIGN, f"changed by another: {in_words(live)}"
            foreign = (
                f"changed by another: {workload.name} stands at {in_words(live)} while a write of "
                f"{in_words(intent.new)} was open"
            )
        settle(ctx, lease, record, workload, intent, outcome, how)
    return foreign


def _but_for_the_ceiling(intent: Intent, live: Setting) -> bool:
    """Whether the floor that was written stands, only the ceiling is another hand's: the floor is ours to give back."""
    new, old = intent.new, intent.old
    moved = new.floor is not None and new.floor != old.floor
    return moved and new.model_copy(update={"ceiling": live.ceiling}).stands_in(live)


def _put_back(tx: Transaction, intent: Intent) -> None:
    """The step is again as it was before the write that did not take place; only its attempts go on counting."""
    for step in tx.steps(intent.change, intent.workload):
        if intent.before and (step.plan_hash, step.step) == (intent.before.plan_hash, intent.before.step):
            tx.put_step(intent.before.model_copy(update={"attempt": step.attempt}))


def settled_target(ctx: Context, record: ChangeRecord, workload: Workload, holder: str) -> TargetState:
    """What the target of a held change shows, with no write left open. Raises RuleRefusal while one is under way, and
    OutsideError, also while the last one may not show yet.
    """
    with ctx.store.transaction() as tx:
        still_open = tx.intents(workload.name, change=record.change.change, only_open=True)
        lease = tx.acquire_lease(workload.name, holder, ctx.clock.now(), ctx.lease) if still_open else None
    if lease is not None:
        try:
            settle_open_intents(ctx, record, workload, lease)
        finally:
            release(ctx, lease)
    elif still_open:
        raise RuleRefusal(
            "one writer per workload", f"a write to {workload.name} is still under way", "the same in a minute"
        )
    with ctx.store.snapshot() as tx:
        intents = tx.intents(workload.name, change=record.change.change)
    return observe(ctx, workload, intents)


def adopt(
    tx: Transaction, ctx: Context, record: ChangeRecord, workload: str, target: TargetState, actor: str, why: str
) -> None:
    """A person, or the workload's rule, goes on from what stands there now: it counts as ours from here on.

    Steps that had asked for something else are pending again, and will ask anew within the soft limits. So is the last
    one ahead of the effective time where it has its pass and asked for more: no other would bring that back.
    """
    change, live = record.change.change, target.setting
    intents = tx.intents(workload, change=change)
    done = [i for i in intents if i.outcome is Outcome.DONE]
    below = runs_below(ctx.workload(workload), target, intents, ctx.clock.now())
    if not done or (done[-1].new.stands_in(live) and not below):
        return
    ours, plan = done[-1].new, tx.plan(change, workload)
    live = live if ours.revision else live.unsized
    # Below its own floor the count is what another has set, and what is gone on from.
    units = min(live.units, target.desired) if live.lever is Lever.FLOOR else live.units
    values = {"old": in_words(ours), "new": in_words(live), "workload": workload}
    intent = tx.add_intent(
        Intent(
            number=0,
            change=change,
            workload=workload,
            sequence=None,
            plan_hash=plan.hash if plan else None,
            units=units,
            old=ours,
            new=live,
            why=why,
            fencing=0,  # nothing is written, so no lease is held
            stored_at=ctx.clock.now(),
            purpose=Purpose.ADOPTED,
        ),
        ctx.event(record.change, Deed.VALUE_ADOPTED, why, actor, **values),
    )
    tx.settle_intent(intent.number, Outcome.DONE, ctx.event(record.change, Deed.WRITE_DONE, "it stands", **values))
    if only_more_room(live, done):
        _leave_room(tx, ctx, record, workload, live)
        if live.units >= meant_by(done).units:
            return  # what the steps have asked for stands, and nothing of it was still to be regained
    _ask_anew(tx, record, workload, units)


def _ask_anew(tx: Transaction, record: ChangeRecord, workload: str, units: int) -> None:
    """Steps that `units` take from are pending again: those under way, and the last one ahead of the effective time."""
    steps = [step for step in tx.steps(record.change.change, workload) if step.state is not StepState.DROPPED]
    ahead = [s for s in steps if s.step.due_at < record.change.effective_at]
    for step in steps:
        reached_last = step in ahead[-1:] and step.state is StepState.PASSED and record.state not in AFTER
        undone = reached_last and _raised_above(step.step, units)
        if step.state is StepState.ASKED or undone:
            tx.put_step(step.model_copy(update={"state": StepState.PENDING, "serving_at": None, "passed_at": None}))


def _leave_room(tx: Transaction, ctx: Context, record: ChangeRecord, workload: str, live: Setting) -> None:
    """A maximum that another hand has raised is theirs: it stays when the rest is given back."""
    original = tx.original(record.change.change, workload)
    if original is None or original.ceiling is None:
        return
    wider = original.model_copy(update={"ceiling": live.ceiling})
    words = Deed.ORIGINAL_RECORDED, "to be restored, but for the maximum that another has raised"
    event = ctx.event(record.change, *words, workload=workload, old=in_words(wider))
    tx.put_original(record.change.change, workload, wider, event)


def _raised_above(step: ShapingStep, units: int) -> bool:
    return step.size is None and step.to_units >= step.from_units and units < step.to_units


def release(ctx: Context, lease: Lease) -> None:
    """Give the lease back. Where the store is away it expires by itself, and what was done before stays done."""
    with suppress(OutsideError), ctx.store.transaction() as tx:
        tx.release_lease(lease, ctx.clock.now())
