"""A new plan for what is left of a change, where what was seen says that the old one no longer fits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from forebay.app.approvals import gap_of
from forebay.app.context import Context
from forebay.app.people import hold_by_controller
from forebay.app.plan import draw_live, forecast_live, read_history
from forebay.app.turn import waits_for
from forebay.app.writing import check_unchanged, release
from forebay.domain.audit import AuditEvent
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import MOVING, ChangeState, StepState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord, Lease, StepRecord
from forebay.domain.verdict import Verdict
from forebay.domain.workload import Workload
from forebay.ports import Transaction

# A plan is left alone so long, whatever was seen but `high`: a forecast made anew every few minutes is noise.
SETTLED = timedelta(hours=6)
# Plans of one change on one workload. Whoever needs more has a change that nobody understands: the last one stays.
BUDGET = 24
OPEN = (StepState.PENDING, StepState.ASKED)
REPLANNED, REFUSED, KEPT, ASKED = "replanned", "replan refused", "plan kept", "approval asked again"


def review(ctx: Context, record: ChangeRecord, workload: Workload, lease: Lease, verdict: Verdict | None) -> None:
    """Draw the rest of the plan anew if it is due, and make it the current one if it says something else.

    Due once the changes it came after are over; after a `high`; after any other verdict, or without one, once the plan
    was left alone for `SETTLED`. Never while a step is under way, nor when no two steps could be verified any more
    before the effective time, nor without steps left unless demand was `high`. A refusal, like history that is missing,
    keeps the old plan and says so in the audit log (where the plan rests on a change that was undone, a person must
    look); so does a plan that goes beyond what was approved, which is then asked for and drawn again as soon as it is
    approved. Raises LostLease, OutsideError, and RuleRefusal if the change has moved on meanwhile.
    """
    name, now = record.change.change, ctx.clock.now()
    last_call = record.change.effective_at - workload.verified_after - workload.step_spacing
    if record.state not in MOVING:
        return
    with ctx.store.transaction() as tx:
        plan, steps = tx.plan(name, workload.name), tx.steps(name, workload.name)
        drawn = [
            e.event
            for e in tx.audit_entries(name)
            if e.event.workload == workload.name and e.event.action in (REPLANNED, REFUSED, KEPT, ASKED)
        ]
        answered = _answered(tx, record, workload.name)
        waiting, turn = waits_for(tx, record.change, workload.name), plan is not None and _its_turn(tx, record, plan)
    if waiting or plan is None or any(s.state is StepState.ASKED for s in steps) or len(drawn) >= BUDGET:
        return
    if now > last_call and not turn:
        return
    looked_at = max([plan.created_at, *(event.at for event in drawn)])
    due = turn or answered or (now >= looked_at + SETTLED and any(s.state in OPEN for s in steps))
    if verdict is not Verdict.HIGH and not due:
        return
    why = f"verdict {verdict}" if verdict in (Verdict.HIGH, Verdict.LOW) else f"the forecast of {looked_at:%H:%M}"
    why = f"{', '.join(plan.after)} over" if turn else why
    new = _drawn(ctx, record, workload, steps) if now <= last_call else "it is too late for another plan"
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, ctx.clock.now())
        check_unchanged(tx, record)

        def event(action: str, words: str, plan_hash: str) -> AuditEvent:
            return ctx.event(record.change, action, words, workload=workload.name, plan_hash=plan_hash)

        tx.drop_proposal(name, workload.name)
        left = [step for step in steps if step.state is StepState.PENDING]
        if isinstance(new, str):
            tx.audit(event(REFUSED, f"{new}; the plan of {plan.created_at:%H:%M} stays", plan.hash))
        elif [(s.due_at, s.goal) for s in new.steps] == [(s.step.due_at, s.step.goal) for s in left]:
            tx.audit(event(KEPT, "a fresh forecast leads to the same steps", plan.hash))
        elif gap := gap_of(tx, record, [new]):
            tx.propose_plan(new, told := event(ASKED, f"{why} wants more than is approved: {gap}", new.hash))
            ctx.notifier.notify(told)
        else:
            for step in left:
                tx.put_step(step.model_copy(update={"state": StepState.DROPPED}))
            was = f"{len(left)} steps to {plan.aligned_units} units"
            now_is = f"{len(new.steps)} steps to {new.aligned_units} units"
            tx.add_plan(new, told := event(REPLANNED, f"{why}: {was} were left, now {now_is}", new.hash))
            ctx.notifier.notify(told)
        undone = [n for n in plan.after if (c := tx.change(n)) and c.state is not ChangeState.CLOSED] if turn else []
    if undone and isinstance(new, str):
        hold_by_controller(ctx, name, f"{workload.name}: the plan came after {', '.join(undone)}, now undone; {new}")


def refresh(ctx: Context, record: ChangeRecord, holder: str) -> None:
    """`review` for a change between two steps, where no run is at work that would do it."""
    for name in record.change.workloads:
        with ctx.store.transaction() as tx:
            if waits_for(tx, record.change, name):
                continue  # its lease is that of the change ahead
            plan = tx.plan(record.change.change, name)
            stale = plan is not None and ctx.clock.now() >= plan.created_at + SETTLED
            stale = stale or _answered(tx, record, name) or (plan is not None and _its_turn(tx, record, plan))
            lease = tx.acquire_lease(name, holder, ctx.clock.now(), ctx.lease) if stale else None
        if lease is not None:
            try:
                review(ctx, record, ctx.workload(name), lease, None)
            finally:
                release(ctx, lease)


def _its_turn(tx: Transaction, record: ChangeRecord, plan: ShapingPlan) -> bool:
    """Whether the changes that the plan was drawn after are over, however they ended, and nobody looked since."""
    if not plan.after or waits_for(tx, record.change, plan.workload):
        return False
    ended = max(entry.number for name in plan.after for entry in tx.audit_entries(name))
    looked = (REPLANNED, REFUSED, KEPT, ASKED)
    return not any(
        entry.number > ended and entry.event.workload == plan.workload and entry.event.action in looked
        for entry in tx.audit_entries(plan.change)
    )


def _answered(tx: Transaction, record: ChangeRecord, workload: str) -> bool:
    """Whether a plan that was proposed has its approval by now."""
    proposed = tx.proposed_plan(record.change.change, workload)
    return proposed is not None and gap_of(tx, record, [proposed]) is None


def _drawn(ctx: Context, record: ChangeRecord, workload: Workload, steps: Sequence[StepRecord]) -> ShapingPlan | str:
    """The plan for the rest, from a fresh forecast and the live allocation; or why there is none."""
    now = ctx.clock.now()
    asked = [s.asked_at for s in steps if s.asked_at is not None]
    wait = max([timedelta(0), *(at + workload.limits.soft.dwell - now for at in asked)])
    # The lease must outlive the forecast, or another run would start on the same work.
    budget = min(ctx.forecast_budget, ctx.lease / 2)
    try:
        outlook = forecast_live(ctx, workload, record.change, read_history(ctx, workload), now, budget)
        new = draw_live(ctx, workload, record.change, outlook, now, wait)
    except InputError as error:
        return str(error)
    return new.text if isinstance(new, PlanRefusal) else new
