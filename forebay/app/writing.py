"""The only place that writes to a target: intent before, outcome after; and the settling of what a crash left open."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.control.decide import Ask, View, in_words
from forebay.domain.allocation import Setting
from forebay.domain.errors import OutsideError, RuleRefusal
from forebay.domain.lifecycle import MOVING, ChangeState, StepState
from forebay.domain.records import ChangeRecord, Intent, Lease, Outcome
from forebay.domain.workload import Workload
from forebay.ports import Transaction


def last_setting(ctx: Context, change: str, workload: str) -> Setting | None:
    """What this change wrote last and saw in effect; None before its first write."""
    with ctx.store.transaction() as tx:
        intents = tx.intents(workload, change=change)
    return next((i.new for i in reversed(intents) if i.outcome is Outcome.DONE), None)


def write(ctx: Context, lease: Lease, view: View, ask: Ask) -> None:
    """Ask the target for what was decided. The state is read again in the transaction that announces the write.

    Raises LostLease, or RuleRefusal if the change stopped moving since it was looked at, or OutsideError: then
    the intent stays open, and the next tick settles it by reading the target.
    """
    change, workload, now = view.change.change, view.workload, ctx.clock.now()
    old, new = view.target.setting, ask.setting
    values = {"old": in_words(old), "new": in_words(new), "workload": workload.name, "plan_hash": ask.step.plan_hash}
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, now)
        check_moving(tx, change.change)
        tx.remember_original(
            change.change,
            workload.name,
            old,
            ctx.event(change, "original recorded", "to be restored", workload=workload.name, old=in_words(old)),
        )
        action = "correction" if ask.correction else "step"
        event = ctx.event(change, f"{action} {ask.step.step.sequence} asked", ask.reason, **values)
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
            ),
            event,
        )
        step = ask.step.model_copy(
            update={
                "state": StepState.ASKED,
                "asked_units": ask.units,
                "asked_at": now,
                "serving_at": None,
                "corrections": ask.step.corrections + ask.correction,
                "judgement": ask.judgement or ask.step.judgement,
            }
        )
        tx.put_step(step)
        if view.change.state is ChangeState.SCHEDULED:
            tx.move(change.change, ChangeState.SHAPING, ctx.event(change, "shaping", "the first step is asked"))
    ctx.target(workload).apply(new)
    settle(ctx, view.change, workload, intent, Outcome.DONE, "accepted")


def check_moving(tx: Transaction, change: str) -> None:
    """Raises RuleRefusal unless steps of the change may be made at this moment: cancel wins (rule 8)."""
    record = tx.change(change)
    if record is None or record.state not in MOVING:
        state = record.state if record else "gone"
        raise RuleRefusal("cancel wins", f"change {change} is {state}: no step is made", "resuming the change first")


def settle(ctx: Context, record: ChangeRecord, workload: Workload, intent: Intent, outcome: Outcome, how: str) -> None:
    """Store how a write ended."""
    event = ctx.event(
        record.change,
        f"write {outcome}",
        how,
        workload=workload.name,
        old=in_words(intent.old),
        new=in_words(intent.new),
    )
    with ctx.store.transaction() as tx:
        tx.settle_intent(intent.number, outcome, event)


def settle_open_intents(ctx: Context, record: ChangeRecord, workload: Workload, lease: Lease) -> None:
    """After a crash or a lost answer: read the target and store how each open write ended, never guessing.

    A write that did not take place leaves its step as it was before: pending, to be asked again.
    """
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, ctx.clock.now())
        still_open = tx.intents(workload.name, change=record.change.change, only_open=True)
    if not still_open:
        return
    live = ctx.target(workload).observe().setting
    for intent in still_open:
        if live == intent.new:
            settle(ctx, record, workload, intent, Outcome.DONE, f"found in effect: {in_words(live)}")
        elif live == intent.old:
            settle(ctx, record, workload, intent, Outcome.NOT_DONE, f"not in effect: still {in_words(live)}")
            _unask(ctx, record, intent)
        else:
            settle(ctx, record, workload, intent, Outcome.FOREIGN, f"changed by another: {in_words(live)}")
            raise OutsideError(
                f"changed by another: {workload.name} stands at {in_words(live)} while a write of "
                f"{in_words(intent.new)} was open",
                retryable=False,
            )


def _unask(ctx: Context, record: ChangeRecord, intent: Intent) -> None:
    """The step goes back to the last of its writes that took place; without one it is pending as before."""
    with ctx.store.transaction() as tx:
        earlier = [
            i
            for i in tx.intents(intent.workload, change=intent.change)
            if i.sequence == intent.sequence and i.plan_hash == intent.plan_hash and i.outcome is Outcome.DONE
        ]
        before = earlier[-1] if earlier else None
        for step in tx.steps(record.change.change, intent.workload):
            if step.step.sequence == intent.sequence and step.state is StepState.ASKED:
                update = {
                    "state": StepState.ASKED if before else StepState.PENDING,
                    "asked_units": before.units if before else None,
                    "asked_at": before.stored_at if before else None,
                }
                tx.put_step(step.model_copy(update=update))


def adopt_live_value(ctx: Context, record: ChangeRecord, workload: Workload, why: str) -> None:
    """A person decided to go on from what stands there now: it counts as ours from here on.

    Steps that had asked for something else are pending again, and will ask anew within the soft limits.
    """
    change = record.change.change
    ours = last_setting(ctx, change, workload.name)
    live = ctx.target(workload).observe().setting
    if ours is None or ours == live:
        return
    with ctx.store.transaction() as tx:
        plan = tx.plan(change, workload.name)
        values = {"old": in_words(ours), "new": in_words(live), "workload": workload.name}
        intent = tx.add_intent(
            Intent(
                number=0,
                change=change,
                workload=workload.name,
                sequence=None,
                plan_hash=plan.hash if plan else None,
                units=live.units,
                old=ours,
                new=live,
                why=why,
                fencing=0,
                stored_at=ctx.clock.now(),
            ),
            ctx.event(record.change, "value of another adopted", why, **values),
        )
        tx.settle_intent(intent.number, Outcome.DONE, ctx.event(record.change, "write done", "it stands", **values))
        for step in tx.steps(change, workload.name):
            if step.state is StepState.ASKED:
                tx.put_step(step.model_copy(update={"state": StepState.PENDING, "serving_at": None}))
