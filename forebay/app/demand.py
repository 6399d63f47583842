"""Demand against what serves where no step is under way: while a change is armed, and as it has settled."""

from __future__ import annotations

from datetime import datetime, timedelta

from forebay.app.context import Context
from forebay.app.joint import shaped
from forebay.app.lookup import events_of, own_version
from forebay.app.observe import judged, observe
from forebay.app.once import TOLD_FOR
from forebay.control.decide import latest_window
from forebay.control.verify import judge
from forebay.domain.allocation import TargetState, in_words
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.errors import InputError, OutsideError, all_tried, kept
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.verdict import Judgement, Verdict
from forebay.domain.workload import Workload
from forebay.ports import Snapshot

# The audit log remembers what was said: a process that is started anew says nothing twice.
OF_ARMED = (Deed.DEMAND_ABOVE, Deed.DEMAND_WITHIN)
OF_SETTLED = (Deed.SETTLING_VERIFIED, Deed.SETTLED_IN_DOUBT)
# This close to the effective time no step can be made any more, and nothing may delay the policy.
LEFT_ALONE = timedelta(minutes=1)


def watch_demand(ctx: Context, record: ChangeRecord) -> None:
    """Tell people once demand is above what serves an armed change; again only if it was within that in between.

    Alignment counts units alone, and the last step may have been verified days ahead. Data that is missing says neither
    that demand is above nor that it is within. Raises the first error, once all workloads were looked at; it is no
    failed look at the allocation, and disarms nothing.
    """
    if record.state is not ChangeState.ARMED or ctx.clock.now() >= record.change.effective_at - LEFT_ALONE:
        return
    with all_tried() as failed:
        for name in record.change.workloads:
            with kept(failed):
                _watch_workload(ctx, record, ctx.workload(name))


def above_since(tx: Snapshot, record: ChangeRecord, workload: str) -> datetime | None:
    """Since when demand is known to be above what serves the armed change; None where it is not, as far as was seen.

    What was said before it was armed was said of fewer units.
    """
    last = next(reversed(_said_since_armed(tx, record, workload)), None)
    return last.at if last and last.action == Deed.DEMAND_ABOVE else None


def _watch_workload(ctx: Context, record: ChangeRecord, workload: Workload) -> None:
    change = record.change
    with ctx.store.snapshot() as tx:
        by, plan, _ = shaped(tx, change, workload.name)
        intents = tx.intents(workload.name, change=by)
    if plan is None:
        return
    target = observe(ctx, workload, intents)
    try:
        judgement = _judged(ctx, workload, plan, target)
    except InputError:  # another hand runs a size that is not listed, which the watch of the allocation tells
        return
    # What an autoscaler has asked for already is on its way.
    coming = max(target.serving, target.desired)
    if judgement.verdict is Verdict.HIGH and judgement.required_units > coming:
        action = Deed.DEMAND_ABOVE
        text = f"{_in_words(judgement)}; if no new plan can be made in time it takes force so: see its page"
    elif judgement.verdict in (Verdict.PASS, Verdict.LOW):
        action, text = Deed.DEMAND_WITHIN, _in_words(judgement)
    else:
        return
    with ctx.store.snapshot() as seen:
        if not _is_news(seen, ctx, record, workload, action):
            return
    with ctx.store.transaction() as tx:
        if not _is_news(tx, ctx, record, workload, action):
            return
        event = ctx.event(change, action, text, workload=workload.name, plan_hash=plan.hash)
        tx.audit(event)
    if action == Deed.DEMAND_ABOVE:
        ctx.notifier.notify(event)


def _is_news(tx: Snapshot, ctx: Context, record: ChangeRecord, workload: Workload, action: str) -> bool:
    if tx.change(record.change.change) != record:
        return False
    said = _said_since_armed(tx, record, workload.name)
    if not said:
        return action == Deed.DEMAND_ABOVE  # that all is well is news only after it was not
    if said[-1].action == action:
        return False
    last = max(e.at for e in said if e.action == Deed.DEMAND_ABOVE)
    return action == Deed.DEMAND_WITHIN or ctx.clock.now() >= last + TOLD_FOR


def verify_settled(ctx: Context, record: ChangeRecord, workload: Workload, target: TargetState) -> tuple[bool, str]:
    """The verdict under the policy in force, once, before what was raised goes back: whether there is one, in words.

    One that is `high`, or rests on nothing, is told. Data that does not come is waited for with the workload's
    patience, and no longer: the change must end some time.
    """
    change, now = record.change, ctx.clock.now()
    with ctx.store.snapshot() as tx:
        if said := _said(tx, change.change, workload.name, OF_SETTLED):
            return True, said[-1].reason
        _, plan, _ = shaped(tx, change, workload.name)
        version = own_version(tx, record)
    began = version.in_force_from if version else None
    assert began is not None, "its policy is in force"
    verification = workload.verification
    due = max(change.settled_at(began), began + verification.known_after)
    if now < due:
        return False, f"what is seen under the new policy is known at {due:%H:%M:%S}"
    lost = ""
    try:
        judgement = _judged(ctx, workload, plan, target)
    except (OutsideError, InputError) as error:  # no metrics; or units of a size that is not listed
        start, end, _ = latest_window(workload, now)
        judgement = judge(workload, plan, start=start, end=end, usage={}, serving_units=target.serving, asked_units=0)
        lost = f": {error}"
    text = f"{_in_words(judgement)}{lost}"
    if judgement.verdict is Verdict.NO_DATA and now < due + verification.patience:
        return False, text
    doubted = judgement.verdict in (Verdict.HIGH, Verdict.NO_DATA)
    event = ctx.event(
        change,
        Deed.SETTLED_IN_DOUBT if doubted else Deed.SETTLING_VERIFIED,
        text,
        workload=workload.name,
        new=in_words(target.setting),
        **({"plan_hash": plan.hash} if plan else {}),
    )
    with ctx.store.transaction() as tx:
        if said := _said(tx, change.change, workload.name, OF_SETTLED):
            return True, said[-1].reason
        tx.audit(event)
    if doubted:
        ctx.notifier.notify(event)
    return True, text


def _judged(ctx: Context, workload: Workload, plan: ShapingPlan | None, target: TargetState) -> Judgement:
    """Of what was seen last. Raises OutsideError, and InputError for units of a size that is not listed."""
    start, end, _ = latest_window(workload, ctx.clock.now())
    return judged(ctx, workload.sized(target.setting.size), plan, target, start, end)


def _in_words(judgement: Judgement) -> str:
    text = f"{judgement.verdict}: {judgement.evidence.text}"
    if judgement.verdict is not Verdict.HIGH:
        return text
    return f"{text}; {judgement.evidence.serving_units} units serve, {judgement.required_units} are needed"


def _said_since_armed(tx: Snapshot, record: ChangeRecord, workload: str) -> list[AuditEvent]:
    version = own_version(tx, record)
    armed_at = version.armed_at if version else None
    said = _said(tx, record.change.change, workload, OF_ARMED)
    return [event for event in said if armed_at is None or event.at > armed_at]


def _said(tx: Snapshot, change: str, workload: str, actions: tuple[Deed, ...]) -> list[AuditEvent]:
    return [event for event in events_of(tx, change) if event.workload == workload and event.action in actions]
