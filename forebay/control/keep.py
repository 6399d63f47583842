"""Keeping what was set: the answer to another hand that has written over it, by the workload's rule. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from forebay.control.shown import SHOWN_AFTER
from forebay.domain.allocation import Lever, Setting, TargetState, in_words, setting_for
from forebay.domain.change import PolicyChange
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import Intent, Outcome, Pin, Purpose
from forebay.domain.workload import Workload

# So often a value of another is written over, then a person must look: two that insist would go on for ever.
INSISTENCE = 3
AGAIN = (Purpose.INSIST, Purpose.REGAIN)
WITHOUT_STEP = (*AGAIN, Purpose.PIN)


@dataclass(frozen=True)
class Keep:
    """Write `setting`, which belongs to no step."""

    setting: Setting
    purpose: Purpose
    reason: str


@dataclass(frozen=True)
class Adopt:
    """What stands there counts as ours from here on; nothing is written."""

    setting: Setting
    reason: str


@dataclass(frozen=True)
class Clash:
    """Another hand is in the way, and a person must look; or, where it `lapses`, what it took is to come back."""

    reason: str
    lapses: bool = False


@dataclass(frozen=True)
class Later:
    """Something is to be written, not before `at`."""

    at: datetime
    reason: str


def keep(
    workload: Workload,
    target: TargetState,
    intents: Sequence[Intent],
    now: datetime,
    hand: str = "another",
    *,
    cap: int | None,
    held: bool = False,
) -> Keep | Adopt | Clash | Later | None:
    """None where what was set stands, or is on its way back. `intents`: of this change on this workload, oldest first;
    `hand`: who wrote.

    `insist` writes ours again, at most INSISTENCE times and within the soft limits, and never takes a count away;
    `yield` takes the other's value over if it carries what ours did; `hold` (and each of them where it cannot) says
    that a person must look. A count below a floor that stands is another hand's value too: no autoscaler lifts it but
    by scaling out. Only a higher maximum over a floor that stands needs no rule. More than the `cap` of its
    own policy, or of another in force, is never taken over (rule 6). `held`: a person decides how the change goes on,
    maybe from just the value that stands there; so until then nothing else is taken over, and only what was taken from
    ours is written again.
    """
    done = [i for i in intents if i.outcome is Outcome.DONE]
    # On its way back another's value is theirs, whatever the rule: that way ends at it, and tells it (rule 9).
    if not done or gives_back(intents):
        return None
    ours = done[-1].new
    # A size is ours to watch only once the change has made a resize.
    live = target.setting if ours.size else target.setting.unsized
    meant = meant_by(done)
    # Where the plan itself stands above it still, as for a peak ahead of its time, that much is not another's.
    beyond = cap is not None and _most(live) > max(cap, _most(meant))
    below = live == ours and runs_below(workload, target, intents, now)
    if live == ours and not below:
        # A maximum beyond the policy that more units ran under than ours allows was left until they are gone.
        left = ours.units < meant.units or (beyond and target.desired <= _most(meant))
        if done[-1].purpose in AGAIN and left:
            return _again(workload, target, meant, Purpose.REGAIN, intents, now, "what another hand took is regained")
        return None
    text = f"changed by {hand}: {workload.name} stands at {in_words(live)}, we had set {in_words(ours)}"
    if below:
        text = f"changed by {hand}: {workload.name} is to run {target.desired} units, and {in_words(ours)} stands"
    there = target.desired if below else live.units
    if ours.units >= meant.units and only_more_room(live, done) and not beyond:
        return Adopt(live, f"{text}; a higher maximum takes nothing from the floor and is gone on from")
    if beyond:
        text = f"{text}; {cap} units are the most that policies allow"
    resized = (live.size, live.revision) != (ours.size, ours.revision)
    if resized and target.failures:
        text = f"a deployment failed: {'; '.join(target.failures)}; {text}"
    if workload.on_foreign_write == "hold" or live.lever is not ours.lever or resized:
        return Clash(text, lapses=below)
    if held and there >= meant.units:
        return Clash(text)
    if workload.on_foreign_write == "yield":
        if beyond:
            return Clash(text)
        if there >= meant.units:
            return Adopt(live, f"{text}; it carries what the plan needs and is gone on from")
        return Clash(f"{text}; that is less than the {meant.units} units the plan needs", lapses=below)
    if insisted(intents) >= INSISTENCE:
        return Clash(f"{text}; it was written again {INSISTENCE} times already", lapses=below)
    if live.lever is Lever.COUNT and live.units > meant.units:
        return Clash(f"{text}; to write ours again would take capacity away")
    answer = _again(workload, target, meant, Purpose.INSIST, intents, now, text)
    if isinstance(answer, Keep) and answer.setting == live and not below:  # it would count as ours from there on
        return Clash(f"{text}; to write ours again would stop units that run")
    return answer


def cap_on(change: PolicyChange, workload: str, plan: ShapingPlan | None) -> int | None:
    """The most units that the change's own policy will allow, and those of others do; None where none caps them."""
    own = change.entitlement(workload)
    caps = [own.max_units if own else None, plan.bounds.max_units if plan else None]
    return min((cap for cap in caps if cap is not None), default=None)


def meant_by(done: Sequence[Intent]) -> Setting:
    """What is to stand: writing it again may have brought back only a part so far. `done`: as in `only_more_room`."""
    return next((i.new for i in reversed(done) if i.purpose not in AGAIN), done[-1].new)


def only_more_room(live: Setting, done: Sequence[Intent]) -> bool:
    """Whether an autoscaler's higher maximum is all that differs from what was set last. `done`: what the change has
    set, oldest first. A maximum that it has lowered is its own to hold.
    """
    ours, before = done[-1].new, done[0].old
    if live.ceiling is None or ours.ceiling is None or live.ceiling <= ours.ceiling:
        return False
    lowered = before.ceiling is not None and ours.ceiling < before.ceiling
    return not lowered and live == ours.model_copy(update={"ceiling": live.ceiling})


def runs_below(workload: Workload, target: TargetState, intents: Sequence[Intent], now: datetime) -> bool:
    """Whether fewer units are to run than the floor that was set, and than somebody has gone on from since. A floor
    lifts the count as it is set, so another hand has set that. `intents`: as in `in_effect`.
    """
    last = last_done(intents)
    if last is None or last.new.floor is None or target.desired >= min(last.units, last.new.floor):
        return False
    moved = moved_at(intents)
    return moved is None or now >= moved + max(SHOWN_AFTER, workload.lead_time)


def _most(setting: Setting) -> int:
    """The most units that may run by it."""
    return setting.units if setting.ceiling is None else setting.ceiling


def keep_pin(
    workload: Workload, target: TargetState, intents: Sequence[Intent], pin: Pin | None, now: datetime
) -> Keep | None:
    """The next move up to what a person has pinned; None if it stands, or its dwell or its time is over."""
    live = target.setting
    if pin is None or now >= pin.until or live.units >= pin.units:
        return None
    moved = moved_at(intents)
    if moved is not None and now < moved + workload.limits.soft.dwell:
        return None
    units = min(pin.units, max(target.desired, live.units) + workload.limits.soft.largest_move(target.desired))
    reason = f"pinned at {pin.units} units until {pin.until:%Y-%m-%d %H:%M} UTC by {pin.actor}: {pin.reason}"
    # As any step, it asks for a size only once the change has made a resize.
    return Keep(setting_for(live if any(i.new.size for i in intents) else live.unsized, units), Purpose.PIN, reason)


def insisted(intents: Sequence[Intent]) -> int:
    """How often another's value was written over since a person, or the rule, last went on from one."""
    count = 0
    for intent in intents:
        count = 0 if intent.purpose is Purpose.ADOPTED else count + (intent.purpose is Purpose.INSIST)
    return count


def in_effect(intents: Sequence[Intent]) -> Setting | None:
    """What was written last and seen in effect; None before the first write. `intents`: oldest first."""
    last = last_done(intents)
    return last.new if last else None


def last_done(intents: Sequence[Intent]) -> Intent | None:
    """The last that was seen in effect. `intents`: oldest first."""
    return next((i for i in reversed(intents) if i.outcome is Outcome.DONE), None)


def gives_back(intents: Sequence[Intent]) -> bool:
    """Whether what was raised is on its way back, or back. `intents`: as in `in_effect`."""
    made = [i for i in intents if i.outcome is not Outcome.NOT_DONE]
    return bool(made) and made[-1].purpose is Purpose.GIVE_BACK


def moved_at(intents: Sequence[Intent]) -> datetime | None:
    """When the last write was made, or may have been; None if there was none."""
    written = (i for i in intents if i.purpose is not Purpose.ADOPTED and i.outcome is not Outcome.NOT_DONE)
    return max((i.stored_at for i in written), default=None)


def written_again_at(intents: Sequence[Intent]) -> datetime | None:
    """When the last write that belongs to no step was made; None if there was none."""
    return max((i.stored_at for i in intents if i.purpose in WITHOUT_STEP), default=None)


def _again(
    workload: Workload,
    target: TargetState,
    meant: Setting,
    purpose: Purpose,
    intents: Sequence[Intent],
    now: datetime,
    text: str,
) -> Keep | Later:
    """`meant`, or as much of it as one move may do; a dwell after the last time, or two would race."""
    soft, live = workload.limits.soft, target.desired
    last = written_again_at(intents)
    if last is not None and now < (free_at := last + soft.dwell):
        return Later(free_at, f"{text}; the dwell allows the next write at {free_at:%H:%M:%S}")
    units = min(meant.units, live + soft.largest_move(live))
    if meant.lever is Lever.COUNT:
        setting = meant.model_copy(update={"count": units})
    else:
        # A maximum below what runs would stop units at once.
        runs_above = meant.ceiling is not None and max(live, units) > meant.ceiling
        ceiling = target.setting.ceiling if runs_above else meant.ceiling
        setting = meant.model_copy(update={"floor": units, "ceiling": ceiling})
    return Keep(setting, purpose, f"{text}; written again: {in_words(setting)}")
