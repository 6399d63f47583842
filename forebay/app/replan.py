"""A new plan for what is left of a change, where what was seen says that the old one no longer fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay.app.approvals import gap_of
from forebay.app.context import Context
from forebay.app.demand import above_since
from forebay.app.joint import counted, news
from forebay.app.learn import draw_rest
from forebay.app.lookup import events_of, own_version, pin_on
from forebay.app.others import forecast_beside_others
from forebay.app.outlook import read_history
from forebay.app.people import put_on_hold, shape_again
from forebay.app.plan import Seen, draw_carrying, draw_live
from forebay.app.turn import waits_for
from forebay.app.writing import check_unchanged, release
from forebay.control.keep import moved_at
from forebay.control.renewal import RENEWED_IN, PlanView, Renewal, renewal
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError, all_tried, kept
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.plan import PlanRefusal, ShapingPlan, ShapingStep
from forebay.domain.records import ChangeRecord, Lease, StepRecord
from forebay.domain.verdict import Verdict
from forebay.domain.workload import Workload
from forebay.ports import Snapshot, Transaction

# For this long before and after a step's time its workload is left to its run: a forecast may take as long, and holds
# the lease.
LEFT_ALONE = timedelta(minutes=1)
LOOKS = (Deed.REPLANNED, Deed.REPLAN_REFUSED, Deed.PLAN_KEPT, Deed.APPROVAL_ASKED_AGAIN)


@dataclass(frozen=True)
class _Due:
    """A plan whose rest is to be drawn anew: what was seen of it, and why. `moved`: when the last write was made."""

    view: PlanView
    moved: datetime | None
    riders: Sequence[PolicyChange]
    renewal: Renewal


def review(ctx: Context, record: ChangeRecord, workload: Workload, lease: Lease, verdict: Verdict | None) -> None:
    """Draw the rest of the plan anew if it is due, and make it the current one if it says something else.

    Due once the changes it came after are over; after a `high`, be it one that a correction has settled; after any
    other verdict, or without one, once the plan was left alone for `patience`. Never while a step is under way, nor
    when no two steps could be verified any more before the effective time, nor until then without steps left unless
    demand was `high`. Once the change is in force, what is seen of its impact shapes what is left until it has settled.
    An armed change is planned anew only where demand is seen above what serves it: it goes on as it is unless the new
    plan says something else, and is disarmed with that one.
    A refusal, like history that is missing, keeps the old plan and says so in the audit log; where the plan rests on a
    change that was undone, or on the steps of one that is over, a person must look. A plan that goes beyond what was
    approved changes nothing either: it is asked for, and drawn again as soon as it is approved.
    Raises LostLease, OutsideError, and RuleRefusal if the change has moved on meanwhile.
    """
    if (due := _due(ctx, record, workload, verdict)) is None:
        return
    new: ShapingPlan | str = "it is too late for another plan"
    if not due.renewal.late:
        new = _drawn(ctx, record, workload, due.view.plan, due.moved, due.view.began, due.riders)
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, ctx.clock.now())
        check_unchanged(tx, record)
        tx.drop_proposal(record.change.change, workload.name)
        if isinstance(new, str):
            told = _keep_current(tx, ctx, record, due, new)
        else:
            told = _make_current(tx, ctx, record, due, new)
    for event in told:
        ctx.notifier.notify(event)


def _make_current(tx: Transaction, ctx: Context, record: ChangeRecord, due: _Due, new: ShapingPlan) -> list[AuditEvent]:
    """Within `tx`: what becomes of the `new` plan for the rest. Returns what to tell."""
    plan, why = due.view.plan, due.renewal.why
    left = [step for step in due.view.steps if step.state is StepState.PENDING]

    def event(action: str, words: str, of: ShapingPlan) -> AuditEvent:
        return ctx.event(record.change, action, words, workload=of.workload, plan_hash=of.hash)

    goals_left = [(step.step.due_at, step.step.goal) for step in left]
    same_terms = (new.carries, new.drawn_for, new.bounds) == (plan.carries, plan.drawn_for, plan.bounds)
    if same_terms and [(step.due_at, step.goal) for step in new.steps] == goals_left:
        tx.audit(event(Deed.PLAN_KEPT, "a fresh forecast leads to the same steps", plan))
        return []
    if gap := gap_of(tx, record, [new]):
        asked = event(Deed.APPROVAL_ASKED_AGAIN, f"{why} wants more than is approved: {gap}", new)
        tx.propose_plan(new, asked)
        return [asked]
    for step in left:
        tx.put_step(step.model_copy(update={"state": StepState.DROPPED}))
    was, now_is = _in_words([s.step for s in left], plan), _in_words(new.steps, new)
    told = [event(Deed.REPLANNED, f"{why}: {was} were left, now {now_is}", new)]
    tx.add_plan(new, told[0])
    if record.state is ChangeState.ARMED:
        told.append(shape_again(tx, ctx, record, f"{plan.workload}: {why}, and the plan was drawn anew"))
    return told


def _keep_current(tx: Transaction, ctx: Context, record: ChangeRecord, due: _Due, why: str) -> list[AuditEvent]:
    """Within `tx`: the plan stays. One that rests on a change undone, or on another's steps, is held. What to tell."""
    view, plan = due.view, due.view.plan
    refused = f"{why}; the plan of {plan.created_at:%H:%M} stays"
    tx.audit(ctx.event(record.change, Deed.REPLAN_REFUSED, refused, workload=plan.workload, plan_hash=plan.hash))
    if not view.turn:
        return []
    undone = [name for name in plan.after if (c := tx.change(name)) and c.state is not ChangeState.CLOSED]
    if undone:
        reason = f"{plan.workload}: the plan came after {', '.join(undone)}, now undone; {why}"
    elif plan.carried_by:
        reason = f"{plan.workload}: {plan.carried_by}, which was to carry it, is over; {why}"
    else:
        return []
    held = put_on_hold(tx, ctx, record.change.change, reason)
    return [held] if held else []


def _due(ctx: Context, record: ChangeRecord, workload: Workload, verdict: Verdict | None) -> _Due | None:
    """Whether `review` has to draw the rest anew; from the store alone, and without a lease."""
    name, now = record.change.change, ctx.clock.now()
    if record.state not in RENEWED_IN:
        return None
    with ctx.store.snapshot() as tx:
        plan = tx.plan(name, workload.name)
        if plan is None or waits_for(tx, record.change, workload.name):
            return None
        looks = [event for event in events_of(tx, name) if event.workload == workload.name and event.action in LOOKS]
        moved = moved_at(tx.intents(workload.name, change=name))
        version = own_version(tx, record)
        riders = [rider.change for rider in counted(tx, name, workload.name)]
        view = PlanView(
            now=now,
            state=record.state,
            effective_at=record.change.effective_at,
            plan=plan,
            steps=tx.steps(name, workload.name),
            looks=[event.at for event in looks],
            asked=bool(looks) and looks[-1].action == Deed.APPROVAL_ASKED_AGAIN,
            answered=_answered(tx, record, workload.name),
            in_force_from=version.in_force_from if version else None,
            above=above_since(tx, record, workload.name),
            turn=_its_turn(tx, record, plan),
            joined=news(tx, plan, [event.at for event in looks]),
            riders=[rider.change for rider in riders],
            pinned=(pin := pin_on(tx, name, workload.name)) is not None and now < pin.until,
        )
    why = renewal(view, workload, verdict)
    return _Due(view, moved, riders, why) if why else None


def refresh(ctx: Context, record: ChangeRecord, holder: str) -> None:
    """`review` for a change between two steps, where no run is at work that would do it.

    Raises what one of its workloads failed with, once all had their turn.
    """
    with all_tried() as failed:
        for name in record.change.workloads:
            with kept(failed):
                _refresh_workload(ctx, record, name, holder)


def _refresh_workload(ctx: Context, record: ChangeRecord, name: str, holder: str) -> None:
    workload = ctx.workload(name)
    # Only where there is something to do: a lease taken at every look would turn away the run of a step. So would one
    # that is held through a forecast while a step falls due; the run of that step reviews the plan after it.
    due = _due(ctx, record, workload, None)
    if due is None or (not due.view.turn and _falls_due(due.view.steps, ctx.clock.now())):
        return
    with ctx.store.transaction() as tx:
        lease = tx.acquire_lease(name, holder, ctx.clock.now(), ctx.lease)
    if lease is not None:
        try:
            review(ctx, record, workload, lease, None)
        finally:
            release(ctx, lease)


def _falls_due(steps: Sequence[StepRecord], now: datetime) -> bool:
    """Whether a step's run is about to come, or has just come."""
    return any(abs(s.step.due_at - now) <= LEFT_ALONE for s in steps if s.state is StepState.PENDING)


def _its_turn(tx: Snapshot, record: ChangeRecord, plan: ShapingPlan) -> bool:
    """Whether the changes that the plan was drawn after are over, however they ended, and nobody looked since."""
    if not plan.after or waits_for(tx, record.change, plan.workload):
        return False
    own = tx.audit_entries(plan.change)
    ended = max(entry.number for name in plan.after for entry in tx.audit_entries(name))
    # A person may go on with a plan as it is, but not with one whose steps were another's: that is looked at again.
    resumed = [entry.number for entry in own if entry.event.action == Deed.RESUMED and plan.carried_by]
    since = max([ended, *resumed])
    return not any(
        entry.number > since and entry.event.workload == plan.workload and entry.event.action in LOOKS for entry in own
    )


def _answered(tx: Snapshot, record: ChangeRecord, workload: str) -> bool:
    """Whether a plan that was proposed has its approval by now."""
    proposed = tx.proposed_plan(record.change.change, workload)
    return proposed is not None and gap_of(tx, record, [proposed]) is None


def _in_words(steps: Sequence[ShapingStep], plan: ShapingPlan) -> str:
    """`4 steps to 13 units`: what must serve at the effective time; after it, where the last step leads."""
    if plan.created_at < plan.effective_at:
        return f"{len(steps)} steps to {plan.aligned_units} units"
    return f"{len(steps)} steps" + (f" to {steps[-1].to_units} units" if steps else "")


def _drawn(
    ctx: Context,
    record: ChangeRecord,
    workload: Workload,
    plan: ShapingPlan,
    moved: datetime | None,
    began: datetime | None,
    riders: Sequence[PolicyChange],
) -> ShapingPlan | str:
    """The plan for the rest, from a fresh forecast and the live allocation; or why there is none.

    `moved`: when the last write was made, by whichever plan.
    Where no path carries all `riders`, it is one for those that `plan` carries already: whoever would join them waits.
    """
    now = ctx.clock.now()
    wait = timedelta(0) if moved is None else max(timedelta(0), moved + workload.limits.soft.dwell - now)
    # The lease must outlive the forecast, or another run would start on the same work.
    budget = min(ctx.forecast_budget, ctx.lease / 2)

    def drawn(together: Sequence[PolicyChange]) -> ShapingPlan | PlanRefusal:
        if began:
            return draw_rest(ctx, workload, record.change, began, budget, wait)
        history = read_history(ctx, workload)
        last = [record.change, *together][-1]
        outlook = forecast_beside_others(ctx, workload, last, history, now, budget)
        seen = Seen(workload, history, outlook, now)
        if together:
            return draw_carrying(ctx, seen, [record.change, *together], wait)
        return draw_live(ctx, seen, record.change, wait)

    already = [rider for rider in riders if plan.drawn_for.get(rider.change) == rider.fingerprint]
    try:
        new = drawn(riders)
        if isinstance(new, PlanRefusal) and already != list(riders):
            new = drawn(already)
    except InputError as error:
        return str(error)
    return new.text if isinstance(new, PlanRefusal) else new
