"""Several changes on one path: a later one that has no time of its own is carried by the steps of the one ahead.

The carrier stays the only writer on the workload: its steps, its floor, its giving back. It asks for what each change
needs by that change's own effective time; each is armed by its own look at what serves. Nothing is given back under a
change that counts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from forebay.app.turn import CARRYING, Ahead, free_from, same_policy
from forebay.domain.change import PolicyChange
from forebay.domain.lifecycle import AFTER, MOVING, TERMINAL, ChangeState
from forebay.domain.plan import CounterProposal, PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord, Purpose, StepRecord
from forebay.domain.workload import Workload
from forebay.planning.slots import SlotIndex, plan_end
from forebay.ports import Snapshot

# Until a policy that is set back has reached everybody, what carried it stays.
COUNTED_ON = AFTER | {ChangeState.ARMED, ChangeState.ROLLING_BACK}


def carrier(
    ahead: Sequence[Ahead], change: PolicyChange, workload: Workload, floor: int | None, now: datetime
) -> Ahead | str:
    """The change ahead (`ahead` is not empty, earliest first) whose steps can carry `change`; else why none can."""
    first, *others = ahead
    name, last_call = first.change.change, first.change.effective_at - workload.verified_after - workload.step_spacing
    latest = max(ahead, key=lambda a: a.change.effective_at)
    everyone = [*(a.change for a in ahead), change]
    if floor is None:
        return f"{name} cannot carry it: {workload.name} has no autoscaler, and a count does not go back by itself"
    if first.state not in MOVING or first.plan is None or now > last_call:
        return f"{name} ({first.state}) cannot carry it: no step of it lies ahead of its effective time any more"
    if waiting := [a.change.change for a in others if a.plan is None or a.plan.carried_by != name]:
        return f"{name} cannot carry it past {', '.join(waiting)}, which takes its own turn"
    if latest.change.effective_at > change.effective_at:
        return f"{name} cannot carry it: it would overtake {latest.change.change}, in force later"
    if barred := barred_from_one_path(everyone, workload.name):
        return f"{name} cannot carry it: {barred}"
    if first.plan.resize:
        return f"{name} cannot carry it: it changes the size of the units of {workload.name}"
    return first


def barred_from_one_path(changes: Sequence[PolicyChange], workload: str) -> str | None:
    """What in the `changes` themselves, by effective time, keeps the last one off the path of those before it."""
    *ahead, change = changes
    if twin := next((one.change for one in ahead if same_policy(one, change)), None):
        return f"the same policy's version of {twin} must be in force first"
    if any((e := one.entitlement(workload)) and e.max_units is not None for one in changes):
        return f"a policy caps the units of {workload}"
    return None


def after_them(
    ahead: Sequence[Ahead],
    change: PolicyChange,
    workload: Workload,
    index: SlotIndex,
    drawn: Callable[[PolicyChange], ShapingPlan | PlanRefusal],
) -> ShapingPlan | PlanRefusal:
    """The plan of `change` once those `ahead` (not empty) are over, by `drawn`; or why turns leave it no time."""
    names = ", ".join(a.change.change for a in ahead)
    free, over = free_from(ahead, workload), max(a.settled_at for a in ahead)
    assert free is not None, "somebody is ahead"
    if change.effective_at > over:
        in_turn = drawn(change)
        begins = f"it begins once {names} is over, at {free:%d %b %H:%M} UTC"
        return in_turn.because(begins) if isinstance(in_turn, PlanRefusal) else in_turn
    later = change.model_copy(update={"effective_at": index.at(index.first_from(free))})
    plan = drawn(later) if plan_end(later, workload) <= index.end else None
    return PlanRefusal(
        workload=workload.name,
        reason=f"it takes effect before {names} is settled, at {over.isoformat()}, and overlapping changes take turns",
        counter_proposal=_a_later_time(plan),
    )


def _a_later_time(plan: ShapingPlan | PlanRefusal | None) -> CounterProposal:
    """The time of `plan`, or that which it proposes, and what it takes; no limit makes a turn come sooner."""
    if plan is None:
        return CounterProposal(earliest_effective_at=None, relax=())
    if isinstance(plan, PlanRefusal):
        return plan.counter_proposal.model_copy(update={"relax": ()})
    return CounterProposal(
        earliest_effective_at=plan.effective_at,
        earliest_costs=plan.price.more,
        relax=(),
        currency=plan.price.currency,
    )


def one_way(plans: Sequence[ShapingPlan | PlanRefusal]) -> list[ShapingPlan | PlanRefusal]:
    """`plans` of one change, one a workload; refused where another is to carry it here and to be over first there.

    Whoever carries keeps what it raised until the change has settled, and the change would wait for it to be over.
    """
    drawn = [plan for plan in plans if isinstance(plan, ShapingPlan)]
    turns = {name: plan.workload for plan in drawn if not plan.carried_by for name in plan.after}

    def checked(plan: ShapingPlan | PlanRefusal) -> ShapingPlan | PlanRefusal:
        by = plan.carried_by if isinstance(plan, ShapingPlan) else ""
        if not by or by not in turns:
            return plan
        reason = f"{by} would carry it, but it takes its turn after {by} on {turns[by]}, and one waits for the other"
        nothing = CounterProposal(earliest_effective_at=None, relax=())
        return PlanRefusal(workload=plan.workload, reason=reason, counter_proposal=nothing)

    return [checked(plan) for plan in plans]


def on_the_path(path: ShapingPlan, ahead: Sequence[Ahead], change: PolicyChange) -> ShapingPlan:
    """The plan of `change`, which the steps of `path`, the plan of the first `ahead`, carry."""
    names = [a.change.change for a in ahead]
    return path.model_copy(
        update={
            "change": change.change,
            "effective_at": change.effective_at,
            "start_units": path.carries[names[-1]],
            "counted_units": None,
            "aligned_units": path.carries[change.change],
            "steps": (),
            "path": path.steps,
            "carries": {},
            "drawn_for": {},
            "carried_by": names[0],
            "after": tuple(names),
        }
    )


def carried(tx: Snapshot, carrier: str, workload: str) -> list[ChangeRecord]:
    """The changes planned to be carried by `carrier` that are not over, in the order they were accepted."""
    return [
        record
        for record in reversed(tx.changes(frozenset(ChangeState) - TERMINAL))
        if workload in record.change.workloads
        and (plan := tx.plan(record.change.change, workload)) is not None
        and plan.carried_by == carrier
    ]


def counted(tx: Snapshot, carrier: str, workload: str) -> list[ChangeRecord]:
    """Those whose impact is in the carrier's plan: approved, and neither held nor given up."""
    return [record for record in carried(tx, carrier, workload) if record.state in CARRYING]


def shaped(tx: Snapshot, change: PolicyChange, workload: str) -> tuple[str, ShapingPlan | None, Sequence[StepRecord]]:
    """Who shapes `workload` for `change`, by which plan and steps: its own, or those of whoever carries it.

    The carrier's plan is shown as of this change's effective time and units; None where it does not hold them, or holds
    what the change needed before it was edited.
    """
    plan = tx.plan(change.change, workload)
    by = plan.carried_by if plan else ""
    if not by:
        return change.change, plan, tx.steps(change.change, workload)
    path = tx.plan(by, workload)
    if path is None or path.drawn_for.get(change.change) != change.fingerprint:
        return by, None, ()
    needs = {"effective_at": change.effective_at, "aligned_units": path.carries[change.change]}
    return by, path.model_copy(update=needs), tx.steps(by, workload)


def news(tx: Snapshot, plan: ShapingPlan, looked_at: Iterable[datetime]) -> bool:
    """Whether the changes to be carried, or their content, are no longer those that the carrier's `plan` was drawn for,
    and nobody has drawn it anew since.
    """
    before = {(name, drawn_for) for name, drawn_for in plan.drawn_for.items() if name != plan.change}
    after = {(rider.change.change, rider.change.fingerprint) for rider in counted(tx, plan.change, plan.workload)}
    if before == after:
        return False
    moved = [record.updated_at for name, _ in before ^ after if (record := tx.change(name))]
    return not any(at > max(moved) for at in looked_at)


def counts_on(tx: Snapshot, record: ChangeRecord, workloads: Iterable[str], now: datetime) -> str | None:
    """In words, who still counts on what `record` has raised; None if it may be given back.

    Who is armed does until it is disarmed, which follows a cancel of its carrier at once. Who is not yet waits for no
    more than its own settling: then it is its turn.
    """
    settling = record.state is ChangeState.SETTLING
    names = [
        f"{other.change.change} ({other.state})"
        for workload in workloads
        for other in carried(tx, record.change.change, workload)
        if other.state in COUNTED_ON or (settling and other.state in MOVING and now < other.change.settled_at())
    ]
    return f"{', '.join(dict.fromkeys(names))} counts on it" if names else None


def giving_back(tx: Snapshot, change: PolicyChange) -> str | None:
    """In words, who carries `change` and has begun to give back, which a look at the target may not show yet."""
    for name in change.workloads:
        by, _, _ = shaped(tx, change, name)
        last = tx.intents(name, change=by)[-1:] if by != change.change else ()
        if any(intent.purpose is Purpose.GIVE_BACK for intent in last):
            return f"{by}, which carries it, gives {name} back"
    return None
