"""One tick's decision for one workload of one change: at most one step forward, and a no-op is a decision too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from forebay.control.keep import (
    Adopt,
    Clash,
    Keep,
    Later,
    cap_on,
    gives_back,
    in_effect,
    keep,
    keep_pin,
    last_done,
    moved_at,
    written_again_at,
)
from forebay.control.verify import judge, unserved
from forebay.domain.allocation import Lever, Setting, TargetState, in_words, setting_for
from forebay.domain.freeze import FreezeWindow
from forebay.domain.lifecycle import AFTER, MOVING, STEPPING, ChangeState, StepState
from forebay.domain.plan import ShapingPlan, ShapingStep
from forebay.domain.records import ChangeRecord, Intent, Outcome, Pin, Purpose, StepRecord
from forebay.domain.resources import Resource
from forebay.domain.verdict import Judgement, Verdict
from forebay.domain.workload import Workload

# For what may take hours no run stays: another is woken for the step (app/reconcile.py).
A_WHILE = timedelta(minutes=1)


@dataclass(frozen=True)
class View:
    """Everything a decision rests on, observed once. `intents`: what this change wrote on the workload, oldest first;
    `hand`: who wrote over it, as far as the cloud tells; `arrivals`: the step under way, where another number of units
    serves than by the last look; `alarms`: those in ALARM; `approved_units`: the most that were
    approved for the workload, None where nobody had to approve; `guaranteed`: what policies in force ask for at least.
    """

    now: datetime
    change: ChangeRecord
    workload: Workload
    plan: ShapingPlan
    steps: Sequence[StepRecord]
    target: TargetState
    intents: Sequence[Intent] = ()
    hand: str = "another"
    pin: Pin | None = None
    alarms: Sequence[str] = ()
    freezes: Sequence[FreezeWindow] = ()
    approved_units: int | None = None
    guaranteed: int = 0
    usage: Mapping[Resource, float] | None = None
    arrivals: StepRecord | None = None

    @property
    def ours(self) -> Setting | None:
        """What this change wrote last and saw in effect."""
        return in_effect(self.intents)


@dataclass(frozen=True)
class Stop:
    """Nothing to do in this run: the change is not moving, or every step has passed."""

    reason: str
    done: bool = False


@dataclass(frozen=True)
class Wait:
    """Look again at `until`. `asked` tells a step under way from one that is not due yet."""

    until: datetime
    reason: str
    asked: bool = False


@dataclass(frozen=True)
class Ask:
    """Write `setting`, which asks for `units`, for `step`."""

    step: StepRecord
    units: int
    setting: Setting
    reason: str
    correction: bool = False
    judgement: Judgement | None = None


@dataclass(frozen=True)
class Serving:
    """The capacity asked for by `step` serves now: its verification window begins."""

    step: StepRecord
    reason: str


@dataclass(frozen=True)
class Verified:
    """`step` has its pass. `complete` is false where limits let it ask for less than planned: it goes on."""

    step: StepRecord
    judgement: Judgement
    complete: bool
    reason: str


@dataclass(frozen=True)
class Hold:
    """The change is held with this reason, nothing is written. `judgement` is that of `step`. A person must look; one
    that `lapses` goes on by itself once what was waited for in vain is there after all.
    """

    reason: str
    judgement: Judgement | None = None
    step: StepRecord | None = None
    lapses: bool = False


Decision = Stop | Wait | Ask | Serving | Verified | Hold | Keep | Adopt


def verification_window(
    workload: Workload, step: StepRecord, now: datetime
) -> tuple[datetime, datetime, datetime] | None:
    """(start, end, known_at) of the window that judges `step` at `now`; None while its capacity does not serve yet.

    The first window begins as it serves. A later look takes the latest one that is known: metrics that were lost for a
    while then end in a verdict on those that came after, and a late runner judges the load as it is.
    """
    if step.state is not StepState.ASKED or step.serving_at is None:
        return None
    verification = workload.verification
    first = step.serving_at + verification.window
    end = max(first, now - verification.metric_delay)
    return end - verification.window, end, first + verification.metric_delay


def latest_window(workload: Workload, now: datetime) -> tuple[datetime, datetime, datetime]:
    """(start, end, known_at) of the latest window whose metrics are known at `now`, where no step is under way."""
    end = now - workload.verification.metric_delay
    return end - workload.verification.window, end, now


def decide(view: View, poll: timedelta) -> Decision:
    """The one decision for what was observed. `poll`: how soon to look again while the outside is at work."""
    step = next((s for s in view.steps if s.state in (StepState.PENDING, StepState.ASKED)), None)
    if view.change.state not in (STEPPING if step else MOVING):
        return Stop(f"change is {view.change.state}: {view.change.note}")
    if step is None:
        return Stop("every step has passed", done=True)
    if gives_back(view.intents):
        return Stop("it has settled, and what was raised goes back")
    if failed := failed_resize(view, step):
        return failed
    cap = cap_on(view.change.change, view.workload.name, view.plan)
    match answer := keep(view.workload, view.target, view.intents, view.now, view.hand, cap=cap):
        case Clash(reason=reason, lapses=lapses):
            return Hold(reason, lapses=lapses)
        case Later(at=at, reason=reason):
            return Wait(at, reason, asked=True)
        case Keep() | Adopt():
            return answer
    if step.state is StepState.PENDING:
        return _next_step(view, step, poll)
    return _under_way(view, step, poll)


def recovered(view: View, poll: timedelta) -> str | Hold:
    """Why a change whose hold lapses may go on now, in words; or what it would be held for.

    It may where it would not be held even with no patience left: what it waited for is there, and nobody else has
    changed anything.
    """
    last = view.intents[-1] if view.intents else None
    if last and last.outcome is Outcome.FOREIGN and last.settled_at and last.settled_at >= view.change.updated_at:
        return Hold(f"changed by another while a write of {in_words(last.new)} was open")
    if view.target.problems:  # before alarms, pins and freezes, which are waited for
        return Hold("; ".join(view.target.problems), lapses=True)
    impatient = view.workload.verification.model_copy(update={"patience": timedelta(0)})
    workload = view.workload.model_copy(update={"verification": impatient})
    change = view.change.model_copy(update={"state": ChangeState.SHAPING})
    decision = decide(replace(view, change=change, workload=workload), poll)
    if isinstance(decision, Ask):
        return f"step {decision.step.step.sequence} may be made"
    return decision if isinstance(decision, Hold) else decision.reason


def _next_step(view: View, step: StepRecord, poll: timedelta) -> Decision:
    if view.pin and view.now < view.pin.until:
        frozen = any(f.covers(view.now) for f in view.freezes)
        move = None if frozen else keep_pin(view.workload, view.target, view.intents, view.pin, view.now)
        return move or Wait(view.pin.until, f"pinned at {view.pin.units} units by {view.pin.actor}: {view.pin.reason}")
    made = is_made(step.step, view.target, view.ours)
    may_go_at = step.step.due_at if made else free_at(view.workload, view.intents, step)
    if view.now < may_go_at:
        return Wait(may_go_at, f"step {step.step.sequence} is due at {may_go_at:%H:%M:%S}")
    if made and not (view.target.refusals or view.alarms):
        return _made_already(view, step, poll)
    if freeze := next((f for f in view.freezes if f.covers(view.now)), None):
        return Wait(freeze.end, f"freeze window until {freeze.end:%Y-%m-%d %H:%M}: {freeze.reason}")
    if view.target.refusals:
        return Hold("; ".join(view.target.refusals))
    if view.alarms:
        text = f"step {step.step.sequence} waits: {_in_alarm(view.alarms)}"
        # Ahead of the effective time it is said where that delays the policy; after it nobody else would say it.
        return _patiently(view, may_go_at, text, poll) if view.change.state in AFTER else Wait(view.now + poll, text)
    if view.target.problems:
        return _patiently(view, may_go_at, "; ".join(view.target.problems), poll)
    if _switched_off(view):
        text = f"{view.workload.name} is scaled to zero: it is not started for a change, start it or cancel"
        return _patiently(view, may_go_at, text, poll)
    if step.step.size is not None:
        # Its revision is made ready right before the write.
        setting = view.target.setting.model_copy(update={"size": step.step.size, "revision": None})
        return Ask(step, setting.units, setting, step.step.reason.text)
    falls, lower = step.step.to_units < step.step.from_units, _takes_away(view, step)
    if not lower and falls and view.target.setting.lever is Lever.COUNT:
        # A lower floor leaves the rest to the autoscaler; a lower count would shrink on a forecast alone (rule 7).
        return Hold(f"step {step.step.sequence} was planned for a floor, and no autoscaler is attached any more")
    units, limit = bounded(view, step.step.to_units, falls=falls, lower=lower)
    if falls and units < min(view.guaranteed, view.target.setting.units):
        text = f"step {step.step.sequence} to {units} units waits: policies in force guarantee {view.guaranteed}"
        return Wait(view.now + A_WHILE, text)
    if not lower and units < step.step.to_units and units == _ceiling(view):
        return Hold(f"step {step.step.sequence} to {step.step.to_units} units cannot be made: {limit} is in its way")
    if lower and (needed := _not_to_spare(view, step, units)):
        return _patiently(view, may_go_at, needed, poll)
    setting = setting_for(_held(view), units, lower=lower)
    short = "" if units == step.step.to_units else f"; {units} for now, by {limit}"
    return Ask(step, units, setting, f"{step.step.reason.text}{short}")


def _patiently(view: View, since: datetime, text: str, poll: timedelta) -> Hold | Wait:
    """What keeps a step from being made and may pass by itself is waited for, counted from `since`."""
    patience_ends = max(since, view.change.updated_at) + view.workload.verification.patience
    return Hold(text, lapses=True) if view.now >= patience_ends else Wait(view.now + poll, text)


def _switched_off(view: View) -> bool:
    """Whether somebody has stopped what ran when the plan was drawn, before the change has moved anything itself: an
    autoscaler does not go below its minimum, and a count is nobody else's to set.
    """
    setting = view.target.setting
    before = view.plan.start_units if setting.lever is Lever.COUNT else setting.units
    return view.ours is None and view.target.desired == 0 < before


def _not_to_spare(view: View, step: StepRecord, units: int) -> str | None:
    """Why a lowering step must not leave `units` yet, in words: nothing was measured (rule 7), or, as long as the
    entitlement does not count, the demand seen would be `high` on them.
    """
    left = min(units, view.target.serving)
    judgement = _judged(view, step, latest_window(view.workload, view.now), serving=left, asked=0)
    high = judgement.verdict is Verdict.HIGH and left < judgement.required_units
    if judgement.verdict is Verdict.NO_DATA or (high and view.now < view.change.change.effective_at):
        return f"step {step.step.sequence} would leave {left} units: {judgement.verdict}: {judgement.evidence.text}"
    return None


def free_at(workload: Workload, intents: Sequence[Intent], step: StepRecord) -> datetime:
    """When `step` may be made or corrected: at its time, and a dwell after the last move, whatever that was for."""
    moved = moved_at(intents)
    return step.step.due_at if moved is None else max(step.step.due_at, moved + workload.limits.soft.dwell)


def bounded(view: View, wanted: int, *, falls: bool = False, lower: bool = False) -> tuple[int, str]:
    """`wanted` units cut to what one move may do from the live allocation, and the limit that cut it (rule 6).

    Only a `lower`ing step takes capacity away (rule 7): a floor raised to less than what an autoscaler runs takes
    nothing, and what another hand has set above the step stays there, unless the plan itself `falls` here.
    """
    live, limits = view.target.desired, view.workload.limits
    largest = limits.soft.largest_move(live)
    soft = f"the soft limit of {largest} units from {live}"
    wanted = max(wanted, limits.min_units)
    ceiling, standing = _ceiling(view), view.target.setting
    if lower and wanted < live - largest:
        return live - largest, soft
    if lower:
        # What is below the step already stays there; a ceiling above what runs leaves the autoscaler its room.
        most = live if standing.lever is Lever.COUNT else max(ceiling, live - largest)
        return min(wanted, most), "the plan"
    kept = 0 if falls else standing.units
    if (last := last_done(view.intents)) and last.purpose is Purpose.ADOPTED:
        kept = min(kept, last.units)  # from a count below its floor somebody goes on within the soft limits too
    if min(wanted, live + largest) > ceiling:
        return max(ceiling, kept), f"the ceiling of {ceiling} units"
    if wanted > live + largest:
        return max(live + largest, kept), soft
    return (kept, f"the {standing.lever} that stands") if kept > wanted else (wanted, "the plan")


def _ceiling(view: View) -> int:
    """The most units that limits, approval and entitlement allow now.

    An entitlement's ceiling counts from the effective time on: a plan may have to go above it first, for a peak, and
    what a step took away ahead of it may come back.
    """
    entitlement = view.change.change.entitlement(view.workload.name)
    most, approved = view.workload.limits.max_units, view.approved_units
    most = most if approved is None else min(most, approved)
    if entitlement is None or entitlement.max_units is None:
        return most
    planned = [s.step.to_units for s in view.steps if s.state in (StepState.PENDING, StepState.ASKED)]
    ahead = view.now < view.change.change.effective_at
    taken = ahead and any(s.state is StepState.ASKED and _takes_away(view, s) for s in view.steps)
    original = [view.intents[0].old.ceiling or view.intents[0].old.units] if taken and view.intents else []
    return min(most, max([entitlement.max_units, *planned, *original]))


def _under_way(view: View, step: StepRecord, poll: timedelta) -> Decision:
    asked = step.asked_units
    assert asked is not None and step.asked_at is not None, "an asked step says what and when"
    verification = view.workload.verification
    # Patience starts anew when a person resumed the change, else a resumed change would be held again at once; and
    # when our setting had to be written again.
    anew = max(view.change.updated_at, written_again_at(view.intents) or view.change.updated_at)
    since = max(step.asked_at + _arrives_after(view.workload, step, asked), anew)
    window = verification_window(view.workload, step, view.now)
    if window is None:
        if _serves(view, step, asked):
            return Serving(step, f"{view.target.serving} units serve, {asked} asked")
        missing, at_work = _not_there(view, step, asked)
        causes = "; ".join(view.target.causes)
        if view.now >= since + verification.patience:
            text = f"{missing} since {step.asked_at:%H:%M:%S}: {causes or 'the cloud names no cause'}"
            return Hold(text, lapses=True)
        return Wait(view.now + poll, f"{missing}: {causes or at_work}", asked=True)
    known_at = window[2]
    if view.now < known_at:
        return Wait(known_at, f"verification of step {step.step.sequence} is due at {known_at:%H:%M:%S}", asked=True)
    expected = 0 if _takes_away(view, step) else asked
    judgement = _judged(view, step, window, serving=view.target.serving, asked=expected)
    if view.alarms:  # whatever the usage says: the operator named what must not happen
        text = f"{_in_alarm(view.alarms)}; {judgement.evidence.text}"
        evidence = judgement.evidence.model_copy(update={"text": text})
        failed = judgement.model_copy(update={"verdict": Verdict.ERROR, "evidence": evidence})
        return Hold(f"{failed.verdict}: {text}", failed)
    text = judgement.evidence.text
    match judgement.verdict:
        case Verdict.NO_DATA | Verdict.ERROR:
            if view.now >= max(known_at, anew) + verification.patience:
                return Hold(f"{judgement.verdict}: {text}", judgement, lapses=True)
            return Wait(view.now + poll, f"{judgement.verdict}: {text}", asked=True)
        case Verdict.HIGH:
            return _correct(view, step, asked, judgement)
        case Verdict.PASS | Verdict.LOW:
            return _verified(step, asked, judgement)


def _judged(
    view: View, step: StepRecord, window: tuple[datetime, datetime, datetime], *, serving: int, asked: int
) -> Judgement:
    start, end, _ = window
    return judge(
        view.workload,
        view.plan,
        start=start,
        end=end,
        usage=view.usage or {},
        serving_units=serving,
        asked_units=asked,
        planned_units=step.step.to_units,
    )


def _in_alarm(alarms: Sequence[str]) -> str:
    return f"{'alarm' if len(alarms) == 1 else 'alarms'} {', '.join(alarms)} in ALARM"


def _correct(view: View, step: StepRecord, asked: int, judgement: Judgement) -> Decision:
    """`high`: raise at once within the soft limits; a budget keeps repeated corrections from flapping."""
    text = judgement.evidence.text
    units, limit = bounded(view, max(judgement.required_units, asked, _climb_put_off(view)))
    if view.target.serving >= judgement.required_units:
        return _verified(step, asked, judgement)  # an autoscaler above the floor carries it already
    if units <= asked:
        return Hold(f"high, and {limit} is in the way of a correction: {text}", judgement)
    if step.corrections >= view.workload.verification.corrections:
        return Hold(f"still high after {step.corrections} corrections: {text}", judgement)
    may_go_at = free_at(view.workload, view.intents, step)
    if view.now < may_go_at:
        return Wait(may_go_at, f"high: {text}; the dwell allows a correction at {may_go_at:%H:%M:%S}", asked=True)
    reason = f"correction: {text}; {asked} to {units} units within {limit}"
    return Ask(step, units, setting_for(_held(view), units), reason, correction=True, judgement=judgement)


def _climb_put_off(view: View) -> int:
    """Where the steps lead that a correction made now would put off; 0 without one.

    A tight climb has no time to spare: the correction goes as far as they would, or the policy would be late by one.
    It takes nothing along that a pin or a freeze window keeps from being made.
    """
    goal, until = 0, view.now + view.workload.step_spacing
    if (view.pin and view.now < view.pin.until) or any(f.covers(view.now) for f in view.freezes):
        return goal
    for step in (s.step for s in view.steps if s.state is StepState.PENDING):
        if step.due_at >= until or not step.climbs:
            break
        goal = step.to_units
    return goal


def is_made(step: ShapingStep, target: TargetState, ours: Setting | None) -> bool:
    """Whether what `step` asks for stands by our own hand, and serves: a correction may have gone as far."""
    stands = 0 if ours is None else min(ours.units, target.setting.units)
    return step.climbs and min(stands, target.serving) >= step.to_units


def _made_already(view: View, step: StepRecord, poll: timedelta) -> Decision:
    """The verdict on a step that needs no write: one would change nothing, and keep the next step waiting for a dwell.

    It is judged at its own time, on what was seen last: a verdict from before would let a step pass unseen.
    """
    asked = step.step.to_units
    judgement = _judged(view, step, latest_window(view.workload, view.now), serving=view.target.serving, asked=asked)
    match judgement.verdict:
        case Verdict.NO_DATA | Verdict.ERROR:
            return _patiently(view, step.step.due_at, f"{judgement.verdict}: {judgement.evidence.text}", poll)
        case Verdict.HIGH:
            return _correct(view, step, view.target.setting.units, judgement)
        case Verdict.PASS | Verdict.LOW:
            return _verified(step, asked, judgement)


def _verified(step: StepRecord, asked: int, judgement: Judgement) -> Verified:
    planned = step.step
    complete = asked >= planned.to_units if planned.to_units >= planned.from_units else asked <= planned.to_units
    return Verified(step, judgement, complete, f"{judgement.verdict}: {judgement.evidence.text}")


def _arrives_after(workload: Workload, step: StepRecord, asked: int) -> timedelta:
    """How long what was asked for may take to serve."""
    deployment = workload.deployed_after(asked) if step.step.size is not None else None
    return deployment or workload.lead_time


def _serves(view: View, step: StepRecord, asked: int) -> bool:
    target = view.target
    if step.step.size is not None:
        return target.stable and target.serving >= asked and target.setting.size == step.step.size
    if _takes_away(view, step):
        return target.stable and target.serving <= asked
    # What else goes on must not delay a verdict on ours: an autoscaler above our floor that launches units of its own,
    # a unit that takes its time to stop. Those on their way out are not among what serves.
    return target.serving >= asked and target.desired >= asked


def _not_there(view: View, step: StepRecord, asked: int) -> tuple[str, str]:
    """What a step that does not serve yet still lacks, and what the cloud is doing about it, in words."""
    target, size = view.target, step.step.size
    at_work = "launching" if size is None else "deploying"
    if target.serving < asked:
        return f"{target.serving} of {asked} units serve", at_work
    if size is not None:
        return f"the deployment of {size} goes on", at_work
    if _takes_away(view, step):
        return f"not every unit above {asked} has stopped", "stopping"
    return f"the cloud works towards {target.desired} of {asked} units", at_work


def _held(view: View) -> Setting:
    """What stands, as far as it is ours to hold: its size and revision only once this change has set them."""
    ours = view.ours
    return view.target.setting if ours and ours.revision else view.target.setting.unsized


def failed_resize(view: View, step: StepRecord) -> Hold | None:
    """The verdict `error` on a resize under way whose deployment failed, whether ECS has rolled it back or not."""
    target, size = view.target, step.step.size
    if step.state is not StepState.ASKED or size is None or not target.failures:
        return None
    undone = view.ours is not None and view.ours.revision != target.setting.revision
    if not (target.failed or undone):
        return None
    after = f", and ECS has gone back to {target.setting.size}" if undone else ""
    text = f"the deployment of {size} failed{after}: {'; '.join(target.failures)}"
    judgement = unserved(step.asked_at or view.now, view.now, target.serving, step.asked_units or 0, text)
    return Hold(f"{judgement.verdict}: {text}", judgement, step)


def _takes_away(view: View, step: StepRecord) -> bool:
    """Whether `step` shrinks what runs: it comes down from above a ceiling. Any other floor leaves it to demand."""
    entitlement = view.change.change.entitlement(view.workload.name)
    if step.step.to_units >= step.step.from_units or entitlement is None or entitlement.max_units is None:
        return False
    return step.step.from_units > entitlement.max_units
