"""Advance one workload of one change: settle what a crash left open, observe, decide, check again, act, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from forebay.app.arm import enforce, try_to_arm
from forebay.app.context import Context
from forebay.app.keep import carry_out, tell_hand
from forebay.app.look import look
from forebay.app.lookup import events_of
from forebay.app.once import TOLD_FOR
from forebay.app.people import hold_by_controller
from forebay.app.preflight import tell_ahead
from forebay.app.replan import review
from forebay.app.turn import waits_for
from forebay.app.writing import check_unchanged, keep_lease, release, settle_open_intents, write
from forebay.control.decide import Ask, Decision, Hold, Serving, Stop, Verified, View, Wait, decide
from forebay.control.keep import Adopt, Keep
from forebay.domain.audit import AuditEvent, Deed, DeedOn
from forebay.domain.errors import InputError, LostLease, OutsideError, RuleRefusal
from forebay.domain.lifecycle import AFTER, STEPPING, StepState
from forebay.domain.records import Lease, StepRecord
from forebay.domain.verdict import Verdict

# A sleeping controller looks up this often: to renew its lease, and to notice a cancel or a hold.
NAP = timedelta(seconds=10)


@dataclass(frozen=True)
class Tick:
    """What one tick decided. `again_at`: when to look again; None if this run has nothing more to do."""

    decision: Decision
    again_at: datetime | None


def drive(
    ctx: Context,
    change: str,
    workload: str,
    holder: str,
    report: Callable[[Decision], None],
    linger: timedelta = timedelta(seconds=30),
) -> str:
    """Tick until nothing is left to do for this run; returns why it ended.

    A run stays for the step it works on, and for one that is due within `linger`; later ones have their own
    wake-ups. Whoever does not get the workload's lease leaves at once: another run is at it.
    """
    # A run that is retried while its first process lives on is two writers, whatever they call themselves.
    holder = f"{holder} {uuid4().hex[:8]}"
    with ctx.store.transaction() as tx:
        lease = tx.acquire_lease(workload, holder, ctx.clock.now(), ctx.lease)
    if lease is None:
        return "nothing to do: another run holds the workload"
    try:
        return _drive(ctx, change, workload, lease, report, linger)
    except LostLease:
        return "nothing to do: another run took the workload over"
    finally:
        release(ctx, lease)


def _drive(
    ctx: Context,
    change: str,
    workload: str,
    lease: Lease,
    report: Callable[[Decision], None],
    linger: timedelta,
) -> str:
    last: Decision | None = None
    failing_since: datetime | None = None
    while True:
        try:
            result = tick(ctx, change, workload, lease)
            failing_since = None
        except OutsideError as error:
            now = ctx.clock.now()
            failing_since = failing_since or now
            result = _outside_failed(ctx, change, workload, error, failing_since)
        except InputError as error:  # the workloads file was changed under a change that is under way
            _hold(ctx, change, workload, str(error))
            result = Tick(Hold(str(error)), None)
        if result.decision != last:
            report(result.decision)
            last = result.decision
        if result.again_at is None:
            return result.decision.reason
        idle = isinstance(result.decision, Wait) and not result.decision.asked
        if idle and result.again_at > ctx.clock.now() + linger:
            return f"nothing to do now: {result.decision.reason}"
        _sleep_until(ctx, change, result.again_at, lease)


def _sleep_until(ctx: Context, change: str, until: datetime, lease: Lease) -> None:
    """Sleep in naps, keeping the lease; wake early if the change stopped moving. Raises LostLease."""
    while (left := until - ctx.clock.now()) > timedelta(0):
        ctx.clock.sleep(min(NAP, left))
        try:
            with ctx.store.transaction() as tx:
                keep_lease(ctx, tx, lease)
                record = tx.change(change)
        except OutsideError:
            continue  # the store is away for a moment; whether the lease is still ours is asked before each write
        if record is None or record.state not in STEPPING:
            return


def tick(ctx: Context, change: str, workload_name: str, lease: Lease) -> Tick:
    """One look and at most one step forward. Raises LostLease if another writer took over, and OutsideError."""
    workload = ctx.workload(workload_name)
    with ctx.store.transaction() as tx:
        keep_lease(ctx, tx, lease)
        record = tx.change(change)
        plan = tx.plan(change, workload_name)
        waiting = waits_for(tx, record.change, workload_name) if record else None
    if waiting:
        return Tick(Stop(waiting), None)
    if record is None or plan is None or record.state not in STEPPING:
        return Tick(Stop(f"change is {record.state}: {record.note}" if record else f"no change {change}"), None)
    if foreign := settle_open_intents(ctx, record, workload, lease):
        raise OutsideError(foreign, retryable=False)
    view = look(ctx, record, plan, workload)
    if view.arrivals:  # for whoever asks when the rest will serve: see control/arrival.py
        with ctx.store.transaction() as tx:
            tx.check_lease(lease, ctx.clock.now())
            check_unchanged(tx, record)
            tx.put_step(view.arrivals)
    return _act(ctx, lease, view, decide(view, ctx.poll))


def _act(ctx: Context, lease: Lease, view: View, decision: Decision) -> Tick:
    try:
        return _done(ctx, lease, view, decision)
    except RuleRefusal as refusal:
        again_at = ctx.clock.now() + ctx.poll / 4
        return Tick(Wait(again_at, str(refusal), asked=True), again_at)


def _done(ctx: Context, lease: Lease, view: View, decision: Decision) -> Tick:
    """Do what was decided. Raises RuleRefusal, having done nothing, if the change has moved on since the look at it."""
    now, change = ctx.clock.now(), view.change.change
    match decision:
        case Wait(until=until):
            return Tick(decision, until)
        case Stop(done=True):
            return _all_passed(ctx, view, decision)
        case Stop():
            return Tick(decision, None)
        case Hold(reason=reason, judgement=judgement, step=judged):
            if judgement and judged:
                event = _step_event(ctx, view, judged, DeedOn.FAILED, reason)
                _record(ctx, lease, view, judged.model_copy(update={"judgement": judgement}), event)
            _hold(ctx, change.change, view.workload.name, reason, lapses=decision.lapses)
            return Tick(decision, None)
        case Serving(step=step, reason=reason):
            event = _step_event(ctx, view, step, DeedOn.SERVING, reason)
            _record(ctx, lease, view, step.model_copy(update={"serving_at": now}), event)
        case Verified(step=step, judgement=judgement, complete=complete):
            state = StepState.PASSED if complete else StepState.PENDING
            update = {"state": state, "passed_at": now if complete else None, "judgement": judgement}
            update |= {"serving_at": step.serving_at or now}  # of one that needed no write nobody had said so
            event = _step_event(ctx, view, step, DeedOn.VERIFIED, decision.reason)
            _record(ctx, lease, view, step.model_copy(update=update), event)
            if complete:
                # A correction that did has settled this step; the rest was drawn for the same lower demand.
                seen = Verdict.HIGH if step.corrections else judgement.verdict
                review(ctx, view.change, view.workload, lease, seen)
                if any(s.state is StepState.PENDING for s in view.steps):
                    try_to_arm(ctx, change.change)  # the steps that are left may all follow the impact
        case Keep() | Adopt():
            carry_out(ctx, lease, view.change, view.workload, view.target, decision)
            tell_hand(ctx, view.change, view.workload.name, decision)
        case Ask():
            tell_ahead(ctx, view)
            write(ctx, lease, view, decision)
    return Tick(decision, ctx.clock.now())


def _hold(ctx: Context, change: str, workload: str, reason: str, *, lapses: bool = False) -> None:
    """Hold the change. Once its policy is in force there is nothing to hold any more: then people are told instead."""
    hold_by_controller(ctx, change, reason, lapses=lapses)
    now = ctx.clock.now()
    with ctx.store.transaction() as tx:
        record = tx.change(change)
        if record is None or record.state not in AFTER:
            return
        said = [event for event in events_of(tx, change) if event.workload == workload]
        # The words of one trouble change with what is measured.
        if any(e.reason == reason or (e.action == Deed.IN_TROUBLE and now < e.at + TOLD_FOR) for e in said):
            return
        event = ctx.event(record.change, Deed.IN_TROUBLE, reason, workload=workload)
        tx.audit(event)
    ctx.notifier.notify(event)


def _all_passed(ctx: Context, view: View, decision: Stop) -> Tick:
    """Arm, now that this workload is through; what other workloads still lack is theirs to do."""
    change = view.change.change
    missing = try_to_arm(ctx, change.change)
    if missing is None and ctx.clock.now() >= change.effective_at:
        enforce(ctx, change.change)  # deferred until now: its own wake-up has long gone by
    return Tick(decision if missing is None else Stop(missing.text), None)


def _step_event(ctx: Context, view: View, step: StepRecord, done: DeedOn, reason: str) -> AuditEvent:
    action = done.of(f"step {step.step.sequence}")
    return ctx.event(view.change.change, action, reason, workload=view.workload.name, plan_hash=step.plan_hash)


def _record(ctx: Context, lease: Lease, view: View, step: StepRecord, event: AuditEvent) -> None:
    with ctx.store.transaction() as tx:
        tx.check_lease(lease, ctx.clock.now())
        check_unchanged(tx, view.change)
        tx.put_step(step, event)


def _outside_failed(ctx: Context, change: str, workload: str, error: OutsideError, failing_since: datetime) -> Tick:
    """Retry what can heal, with growing pauses, within the workload's patience; else hold with the cause."""
    now = ctx.clock.now()
    if not error.retryable or now >= failing_since + ctx.workload(workload).verification.patience:
        _hold(ctx, change, workload, str(error), lapses=error.lapses)
        return Tick(Hold(str(error), lapses=error.lapses), None)
    pause = max(ctx.poll / 4, min(now - failing_since, ctx.poll * 2))
    return Tick(Wait(now + pause, f"trying again: {error}", asked=True), now + pause)
