"""Look at one workload of one change: everything the controller's decision rests on. Nothing is written."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.app.keep import hand_of
from forebay.app.lookup import pin_on
from forebay.app.observe import measured, observe
from forebay.app.others import in_force_on
from forebay.control.decide import View, is_made, latest_window, verification_window
from forebay.control.keep import in_effect
from forebay.domain.bounds import PolicyBounds
from forebay.domain.lifecycle import StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.workload import Workload


def look(ctx: Context, record: ChangeRecord, plan: ShapingPlan, workload: Workload) -> View:
    """The view of this moment. Raises OutsideError."""
    change, now = record.change, ctx.clock.now()
    with ctx.store.snapshot() as tx:
        steps = tx.steps(change.change, workload.name)
        rules = tx.rules()
        freeze = rules.freeze_at(now, change)
        approved = rules.approved_units(change, plan, tx.approvals(change.change))
        intents = tx.intents(workload.name, change=change.change)
        pin = pin_on(tx, change.change, workload.name)
        acts = any(s.state is StepState.ASKED or (s.state is StepState.PENDING and s.step.due_at <= now) for s in steps)
        # As of now, not as of the plan: others may be in force before their time, and the next version may be deferred.
        standing = in_force_on(tx, workload.name, now) if acts else []
        held_to = PolicyBounds.of(standing, workload.name, [change], 1)
    target = observe(ctx, workload, intents)
    workload = held_to.capped(plan.bounds.on(workload.sized(target.setting.size)))
    active, arrivals = next((s for s in steps if s.state is StepState.ASKED), None), None
    if active and active.serving_at is None and target.serving != active.seen_units:
        arrivals = active.model_copy(update={"seen_units": target.serving})
        steps, active = [arrivals if s is active else s for s in steps], arrivals
    window = verification_window(workload, active, now) if active else None
    pending = [s.step for s in steps if s.state is StepState.PENDING and s.step.due_at <= now]
    due = pending[0] if pending and not active else None
    # What takes capacity away looks first, and what is made already needs no more than a look.
    if due and (due.to_units < due.from_units or is_made(due, target, in_effect(intents))):
        window = latest_window(workload, now)
    known = window is not None and now >= window[2]
    usage = ctx.usage(workload)
    return View(
        now=now,
        change=record,
        workload=workload,
        plan=plan,
        steps=steps,
        target=target,
        intents=intents,
        hand=hand_of(ctx, workload, target, intents),
        pin=pin,
        freezes=(freeze,) if freeze else (),
        approved_units=approved,
        guaranteed=held_to.guaranteed,
        alarms=usage.alarms() if workload.alarms and (known or due) else (),
        usage=measured(usage, window[0], window[1]) if window and known else None,
        arrivals=arrivals,
    )
