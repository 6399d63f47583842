"""From an accepted change and its outlook to a stored plan: demand with the impact, the optimum, its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forebay.app.approvals import admit, request_of
from forebay.app.context import CONTROLLER, Context
from forebay.app.joint import after_them, carrier, on_the_path, one_way
from forebay.app.lead import FIRST_STEP_LEAD, FOR_APPROVERS, TIME_TO_APPROVE, first_step_lead
from forebay.app.lookup import change_record
from forebay.app.others import ahead_on, bounds_on, forecast_beside_others, to_come
from forebay.app.outlook import Outlook, luck_of, read_history, recently_needed
from forebay.app.people import deny, turn_down
from forebay.app.plan_failure import tell_unplanned, why_unplanned
from forebay.app.preflight import look_ahead
from forebay.app.turn import ahead_of, free_from
from forebay.domain.allocation import TargetState
from forebay.domain.audit import Deed
from forebay.domain.bounds import NO_BOUNDS, PolicyBounds
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.resources import Resource
from forebay.domain.unplanned import not_planned_for
from forebay.domain.workload import Workload
from forebay.planning.counter import earliest_for_all
from forebay.planning.demand import Paths, demand_paths
from forebay.planning.draft import Draft, Start
from forebay.planning.learning import corrected
from forebay.planning.plan import draw_plan
from forebay.planning.problem import Clock
from forebay.planning.slots import plan_end
from forebay.planning.stacked import promised, stacked_demand
from forebay.ports import Snapshot
from forebay.report.words import in_brief

if TYPE_CHECKING:
    import pandas as pd

PLANNABLE = frozenset({ChangeState.RECEIVED, ChangeState.PLANNED, ChangeState.AWAITING_APPROVAL})


@dataclass(frozen=True)
class Seen:
    """What one workload's plan is drawn from; `now` is the time that the outlook was made for."""

    workload: Workload
    history: Mapping[Resource, pd.Series]
    outlook: Outlook
    now: datetime

    @property
    def recently_needed(self) -> npt.NDArray[np.int64] | None:
        return recently_needed(self.workload, self.history, self.outlook.rest.start)


def draw(
    workload: Workload,
    change: PolicyChange,
    outlook: Outlook,
    start: Start,
    clock: Clock,
    *,
    ahead: Sequence[PolicyChange] = (),
    joint: bool = False,
    bounds: PolicyBounds = NO_BOUNDS,
) -> ShapingPlan | PlanRefusal:
    """The optimal plan of one workload for its outlook. Deterministic: see `luck_of`.

    `ahead`: earlier changes that will be in force by then; the demand has their impacts too, on top of what is in force
    already, corrected by what was seen of it: `change` and those ahead may be, by break glass. `joint`: the plan is one
    path for all of those ahead, and says in `carries` what it brings for each. `bounds`: of policies in force.

    Under an autoscaler, which stands above any floor, units above what demand needs are not counted on: it may scale
    in again before the first step.
    """

    luck = luck_of(workload, (*outlook.in_force, *ahead, change))

    def base(earlier: Sequence[PolicyChange], of: PolicyChange) -> tuple[Paths, Paths]:
        under = [*outlook.in_force, *earlier]
        total, own = stacked_demand(workload, under, of, outlook.paths, outlook.entity, outlook.index, luck)
        return corrected(total, own, outlook.seen, outlook.paths, outlook.index)

    unplanned = [note for one in ((*ahead, change) if joint else (change,)) for note in not_planned_for(one, workload)]
    drawn_for = {one.change: one.fingerprint for one in (*ahead, change)} if joint else {}
    felt = {one.change for one in outlook.in_force}
    *ahead, change = (_to_be_added(one, felt) for one in (*ahead, change))
    total, own = base(ahead, change)
    demand = demand_paths(workload, change, total, outlook.rest, luck(change), own)
    promises = promised(bounds.on(workload), ahead, base, outlook.rest, luck) if joint else []
    if start.floor is not None:
        medians = {r: float(np.median(demand.without_change[r][:, 0])) for r in workload.resources}
        kept = max(start.floor, workload.whole_units_for(medians))
        start = replace(start, counted=min(start.units, kept), autoscaled=True)
    draft = Draft(change, workload, demand, start, clock, promises=promises, bounds=bounds)
    plan = draw_plan(draft, outlook.notes)
    if isinstance(plan, PlanRefusal):
        return plan
    if unplanned:
        plan = plan.model_copy(update={"preflight": (*unplanned, *plan.preflight)})
    if not joint:
        return plan
    brings = {promise.change: promise.units for promise in promises} | {change.change: plan.aligned_units}
    return plan.model_copy(update={"carries": brings, "drawn_for": drawn_for})


def _to_be_added(change: PolicyChange, felt: Collection[str]) -> PolicyChange:
    """`change` with the impacts that demand does not have yet: none of one that is `felt` before its time."""
    return change.model_copy(update={"impacts": ()}) if change.change in felt else change


def store_plans(
    ctx: Context, name: str, plans: Sequence[ShapingPlan | PlanRefusal], drawn_for: str | None = None
) -> ChangeRecord:
    """All plans of a change and its transition, in one transaction: to `scheduled` or `awaiting approval`, or, if one
    was refused, it is turned down. `drawn_for`: fingerprint of the change they were drawn for; plans of a change that
    was edited meanwhile are let go, as are those of one that comes after a change without a plan yet.
    """
    with ctx.store.transaction() as tx:
        record = tx.change(name)
        assert record is not None
        if record.state not in PLANNABLE or drawn_for not in (None, record.change.fingerprint):
            return record
        if _comes_too_early(tx, record):
            return record
        change = record.change
        refusals = [plan for plan in plans if isinstance(plan, PlanRefusal)]
        if refusals:
            text = PlanRefusal.texts(refusals)
            record, event = turn_down(tx, ctx, record, CONTROLLER, text)
        else:
            for plan in plans:
                assert isinstance(plan, ShapingPlan)
                words = " ".join([in_brief(plan), "; ".join(plan.preflight)]).rstrip()
                more = {"workload": plan.workload, "plan_hash": plan.hash}
                tx.add_plan(plan, ctx.event(change, Deed.PLAN_STORED, words, **more))
            if record.state is ChangeState.RECEIVED:
                event = ctx.event(change, Deed.PLANNED, "every workload has its plan")
                record = tx.move(name, ChangeState.PLANNED, event)
            record, event = admit(tx, ctx, record)
    ctx.notifier.notify(event)
    return record


def plan_change(ctx: Context, name: str, lead: timedelta = timedelta(0), why: str = "") -> ChangeRecord:
    """The whole of this module for a stored change. `lead`: how far ahead of now the first step must be; `why` that
    is so, for whom it costs the effective time.
    """
    record = change_record(ctx, name)
    if record.state not in PLANNABLE:
        return record
    with ctx.store.snapshot() as tx:
        if _comes_too_early(tx, record):
            return record
    plans, seen = [], []
    try:
        for workload_name in record.change.workloads:
            workload = ctx.workload(workload_name)
            now = ctx.clock.now()
            history = read_history(ctx, workload)
            outlook = forecast_beside_others(ctx, workload, record.change, history, now, ctx.forecast_budget)
            seen.append(Seen(workload, history, outlook, now))
            plans.append(draw_live(ctx, seen[-1], record.change, lead))
        plans = agree_live(ctx, record.change, seen, plans, lead)
        plans = [plan.because(why) if why and isinstance(plan, PlanRefusal) else plan for plan in plans]
    except InputError as error:
        return deny(ctx, name, str(error))
    return store_plans(ctx, name, plans, record.change.fingerprint)


def agree(
    change: PolicyChange,
    seen: Sequence[Seen],
    plans: Sequence[ShapingPlan | PlanRefusal],
    drawn: Callable[[Seen, PolicyChange], ShapingPlan | PlanRefusal],
) -> list[ShapingPlan | PlanRefusal]:
    """`plans`, one for each of `seen`; where some are refused these say the earliest time that would do for all,
    and what it takes.
    """
    plans = one_way(plans)
    refusals = [plan for plan in plans if isinstance(plan, PlanRefusal)]
    if not refusals or len(plans) < 2:
        return plans

    def at(one: Seen, when: datetime) -> ShapingPlan | PlanRefusal | None:
        later = change.model_copy(update={"effective_at": when})
        return drawn(one, later) if plan_end(later, one.workload) <= one.outlook.index.end else None

    then = earliest_for_all([partial(at, one) for one in seen], refusals)
    return [plan.together(then) if isinstance(plan, PlanRefusal) else plan for plan in plans]


def agree_live(
    ctx: Context,
    change: PolicyChange,
    seen: Sequence[Seen],
    plans: Sequence[ShapingPlan | PlanRefusal],
    lead: timedelta,
) -> list[ShapingPlan | PlanRefusal]:
    """`agree` with what `draw_live` draws. Raises as it does."""

    def drawn(one: Seen, later: PolicyChange) -> ShapingPlan | PlanRefusal:
        return draw_live(ctx, one, later, lead)

    return agree(change, seen, plans, drawn)


def standing(
    ctx: Context, name: str, plans: Sequence[ShapingPlan | PlanRefusal]
) -> Sequence[ShapingPlan | PlanRefusal]:
    """Those of `plans` that are the change's current ones, and the refusals that it was turned down for: what
    `store_plans` let go, or a later one has replaced, nobody can approve.
    """
    with ctx.store.snapshot() as tx:
        record = tx.change(name)
        assert record is not None
        found = [tx.plan(name, workload) for workload in record.change.workloads]
    current = {plan.hash for plan in found if plan is not None}
    refusals = [plan for plan in plans if isinstance(plan, PlanRefusal)]
    refused = PlanRefusal.texts(refusals) in record.note
    return [p for p in plans if (refused if isinstance(p, PlanRefusal) else p.hash in current)]


def _comes_too_early(tx: Snapshot, record: ChangeRecord) -> bool:
    """What comes first is planned first; the reconciler asks again."""
    return any(earlier.state is ChangeState.RECEIVED for earlier in ahead_of(tx, record.change))


def plan_anew_if_overdue(ctx: Context, record: ChangeRecord) -> None:
    """A waiting change whose plan can no longer start gets a new one, or, where none would do, is denied.

    Approvals stay with it as far as the new plan lies within them. Raises OutsideError.
    """
    if record.state is not ChangeState.AWAITING_APPROVAL:
        return
    with ctx.store.snapshot() as tx:
        request = request_of(tx, record)
    now = ctx.clock.now()
    if request is None or now < request.latest:
        return
    if now >= record.change.effective_at:
        failed = f"; no other plan could be drawn: {why}" if (why := why_unplanned(ctx, record.change.change)) else ""
        deny(ctx, record.change.change, f"not approved before its effective time: {request.standing.text}{failed}")
        return
    try:
        plan_change(ctx, record.change.change, TIME_TO_APPROVE, FOR_APPROVERS)
    except Exception as error:
        tell_unplanned(ctx, record.change, error)
        raise


def draw_in_time(ctx: Context, seen: Seen, change: PolicyChange, scheduled_at: datetime) -> ShapingPlan | PlanRefusal:
    """`draw_live` by a run due at `scheduled_at`, its first step as far ahead as the queue makes it wait.

    Where that would cost it the effective time, the first step is planned as if there was no queue: so are the times
    proposed for all workloads together.
    """
    plan = draw_live(ctx, seen, change, first_step_lead(scheduled_at, ctx.clock.now()))
    return draw_live(ctx, seen, change, FIRST_STEP_LEAD) if isinstance(plan, PlanRefusal) else plan


def draw_live(ctx: Context, seen: Seen, change: PolicyChange, lead: timedelta) -> ShapingPlan | PlanRefusal:
    """`draw` from what the target stands at, for what was `seen`. `lead`: how far from now the first step is at least.

    A change makes one resize at most, whatever is planned anew. Where earlier changes are ahead on the workload, the
    plan begins once they are over, from what they leave, and says whom it comes after; where that leaves it no time,
    one of them carries it, if one path serves all. Raises OutsideError, and InputError for a size that the workload
    does not list, or a target that cannot be shaped.
    """
    state, seen = _observed(ctx, seen)
    workload, outlook, now = seen.workload, seen.outlook, seen.now
    with ctx.store.snapshot() as tx:
        freezes = tx.rules().freezes_for(change, now, outlook.index.end)
        resized = any(i.new.revision for i in tx.intents(workload.name, change=change.change))
        ahead = ahead_on(tx, change, workload.name, state.setting.unsized, now)
        under = to_come(tx, change, workload.name, now)
        bounds = bounds_on(tx, [change], workload.name, now)
    units, floor, free = state.desired, state.setting.floor, free_from(ahead, workload)
    if ahead and floor is None:
        units = max(units, *(a.units_left for a in ahead))
    elif ahead and floor is not None:
        floor = min((a.floor for a in ahead if a.floor is not None), default=floor)

    resizable = state.setting.size is not None and not resized and not ahead
    start = Start(units, floor, needed=seen.recently_needed, resizable=resizable)

    def drawn(change: PolicyChange) -> ShapingPlan | PlanRefusal:
        clock = Clock(now, max(ctx.clock.now() + lead, free or now), freezes)
        return draw(workload, change, outlook, start, clock, ahead=under, bounds=bounds)

    in_turn = after_them(ahead, change, workload, outlook.index, drawn) if ahead else drawn(change)
    if ahead and isinstance(in_turn, PlanRefusal):
        carried_by = carrier(ahead, change, workload, state.setting.floor, now)
        if isinstance(carried_by, str):
            return in_turn.because(carried_by)
        changes = [a.change for a in ahead] + [change]
        path = draw_carrying(ctx, seen, changes, lead)
        if isinstance(path, PlanRefusal):
            return path.because(f"on one path with {carried_by.change.change}; or else: {in_turn.reason}", in_turn)
        return on_the_path(path, ahead, change)
    if isinstance(in_turn, PlanRefusal):
        return in_turn
    plan = _with_preflight(ctx, workload, change, in_turn, state)
    return plan.model_copy(update={"after": tuple(a.change.change for a in ahead)})


def draw_carrying(
    ctx: Context, seen: Seen, changes: Sequence[PolicyChange], lead: timedelta
) -> ShapingPlan | PlanRefusal:
    """The plan of the first of `changes`, which carries the others (by effective time; what is `seen` is for the last).

    No step within a dwell of the last one, nor before its verdict. Raises as `draw_live`.
    """
    state, seen = _observed(ctx, seen)
    workload, outlook, now = seen.workload, seen.outlook, seen.now
    first, last = changes[0], changes[-1]
    with ctx.store.snapshot() as tx:
        freezes = [f for one in changes for f in tx.rules().freezes_for(one, now, outlook.index.end)]
        written = [i.stored_at for i in tx.intents(workload.name, change=first.change)]
        bounds = bounds_on(tx, changes, workload.name, now)
    start = Start(state.desired, state.setting.floor, needed=seen.recently_needed, resizable=False)
    earliest = max([ctx.clock.now() + lead, *(at + workload.step_spacing for at in written[-1:])])
    clock = Clock(now, earliest, freezes)
    plan = draw(workload, last, outlook, start, clock, ahead=changes[:-1], joint=True, bounds=bounds)
    if isinstance(plan, PlanRefusal):
        return plan
    own = {"change": first.change, "effective_at": first.effective_at, "aligned_units": plan.carries[first.change]}
    path = _with_preflight(ctx, workload, last, plan, state)
    return path.model_copy(update=own)


def _observed(ctx: Context, seen: Seen) -> tuple[TargetState, Seen]:
    """What the target stands at, and what was seen of the workload with the size that it has there."""
    state = ctx.target(seen.workload).observe()
    if state.refusals:
        raise InputError(f"{seen.workload.name} cannot be shaped: {'; '.join(state.refusals)}")
    return state, replace(seen, workload=seen.workload.sized(state.setting.size))


def _with_preflight(
    ctx: Context, workload: Workload, change: PolicyChange, plan: ShapingPlan, state: TargetState
) -> ShapingPlan:
    """What is foreseen until `change` has settled. Raises InputError for what would stop the plan."""
    foreseen = look_ahead(ctx, workload, change, plan, state.desired)
    if foreseen.refusals:
        raise InputError(f"{workload.name} cannot be shaped as planned: {'; '.join(foreseen.refusals)}")
    waits = [f"a step would wait now: {problem}" for problem in state.problems]
    return plan.model_copy(update={"preflight": (*plan.preflight, *waits, *state.warnings, *foreseen.warnings)})
