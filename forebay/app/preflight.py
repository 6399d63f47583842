"""Looking ahead over the whole time a change holds something: bounds, quotas, others' scheduled actions."""

from __future__ import annotations

from datetime import datetime

from forebay.app.context import Context
from forebay.app.lookup import events_of
from forebay.control.decide import View
from forebay.domain.allocation import Foreseen, Span
from forebay.domain.audit import Deed
from forebay.domain.change import PolicyChange
from forebay.domain.errors import OutsideError
from forebay.domain.plan import ShapingPlan
from forebay.domain.workload import Workload

UNSEEN = "quotas and scheduled actions could not be looked at"


def spans(plan: ShapingPlan, change: PolicyChange, workload: Workload, now: datetime) -> tuple[Span, ...]:
    """What the plan holds from `now` on, step by step, until it is handed back after settling. Pure."""
    handed_back = change.settled_at() + workload.verified_after
    ends = [*(step.due_at for step in plan.steps[1:]), handed_back][: len(plan.steps)]
    return tuple(
        Span(start=max(step.due_at, now), end=end, units=step.to_units, resized=step.size is not None)
        for step, end in zip(plan.steps, ends, strict=True)
        if end > max(step.due_at, now)
    )


def look_ahead(ctx: Context, workload: Workload, change: PolicyChange, plan: ShapingPlan, running: int) -> Foreseen:
    """What is in the way of the plan, as far as can be seen; that it could not be seen is a warning.

    `running`: units of the workload that run now.
    """
    ahead = spans(plan, change, workload, ctx.clock.now())
    if not ahead:
        return Foreseen()
    size = plan.resize.size if plan.resize else None
    try:
        return ctx.target(workload).foresee(ahead, workload.sized(size).unit.cpu_cores, running)
    except OutsideError as error:
        return Foreseen(warnings=(f"{UNSEEN}: {error}",))


def tell_ahead(ctx: Context, view: View) -> None:
    """Before a step: what was not there when the plan was drawn is recorded and told, each thing once."""
    change = view.change.change
    found = look_ahead(ctx, view.workload, change, view.plan, view.target.desired)
    with ctx.store.transaction() as tx:
        said = {event.reason for event in events_of(tx, change.change) if event.action == Deed.FORESEEN}
        known = {*said, *view.plan.preflight}
        seen = [text for text in (*found.refusals, *found.warnings) if not text.startswith(UNSEEN)]
        new = [text for text in seen if text not in known]
        events = [
            ctx.event(change, Deed.FORESEEN, text, workload=view.workload.name, plan_hash=view.plan.hash)
            for text in new
        ]
        for event in events:
            tx.audit(event)
    for event in events:
        ctx.notifier.notify(event)
