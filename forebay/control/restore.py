"""What to give back next, after a cancel or after settling: one move down, or nothing, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from forebay.domain.allocation import Lever, Setting, TargetState, in_words, setting_for
from forebay.domain.records import Intent, Outcome
from forebay.domain.workload import SoftLimit, Workload

PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(minutes=10)


@dataclass(frozen=True)
class GiveBack:
    """Write `setting`."""

    setting: Setting
    reason: str


@dataclass(frozen=True)
class LookAgain:
    """Not yet: look again at the next tick."""

    reason: str


@dataclass(frozen=True)
class Leave:
    """Done: restored, nothing to restore, or not to be restored by us (`blocked`: a person must look)."""

    reason: str
    blocked: bool = False


Restore = GiveBack | LookAgain | Leave


def next_restore(
    *,
    workload: Workload,
    target: TargetState,
    original: Setting | None,
    ours: Setting | None,
    last_write_at: datetime | None,
    required_units: int | None,
    keep_count: bool,
    now: datetime,
    required_before: int | None = None,
    peak: int = 0,
    next_waits: bool = False,
    verified: str = "",
) -> Restore:
    """The next move towards `original`. `ours`: what we wrote last; `required_units`: what the demand seen needs, and
    `required_before` the same in units of the original size.

    Lowering a floor takes no capacity away (the autoscaler above it does, as its own demand confirms), so it goes
    down at once; one that was lowered goes up as a step does. A count goes down within the soft limits, a dwell apart,
    never below the demand seen and never without data; if demand has risen meanwhile it goes up again, to no more than
    the `peak` the change had. A size goes back before both, once the units held carry the demand seen in the original
    size too. `keep_count`: after an enforced change the count is the new normal and stays, and so is the size;
    `verified`: what was seen under that policy, in words.
    `next_waits`: another change is about to begin, and what would take an autoscaler's time is left.
    """
    if original is None or ours is None:
        return Leave("nothing was moved")
    live = target.setting
    if not ours.stands_in(live):
        if (original if ours.revision else original.unsized).stands_in(live):
            return Leave(f"another hand has set it back to {in_words(live)} already")
        return Leave(f"changed by another: left at {in_words(live)}, we had set {in_words(ours)}", blocked=True)
    if ours.revision is None:  # the size is not ours to give back
        live, original = live.unsized, original.unsized
    elif keep_count:
        original = original.model_copy(update={"size": live.size, "revision": live.revision})
    elif not target.stable:
        return LookAgain("the deployment is still under way")
    elif live.revision != original.revision:
        return _size_back(workload, target, original, last_write_at, required_before, now)
    if live == original:
        return Leave(f"restored to {in_words(original)}")
    if live.lever is Lever.FLOOR:
        return _floor_back(workload, target, live, original, last_write_at, now, next_waits)
    if keep_count:
        return Leave(f"{in_words(live)} stays: {verified}; no autoscaler is attached to lower it")
    return _count_down(workload, live, original, last_write_at, required_units, now, target.stable, peak)


def _floor_back(
    workload: Workload,
    target: TargetState,
    live: Setting,
    original: Setting,
    last_write_at: datetime | None,
    now: datetime,
    next_waits: bool,
) -> Restore:
    """Down at once; up to a floor above what runs as any step goes up: within the soft limits, one after the other.

    A ceiling that was raised comes down once the autoscaler has left no more running than it allows.
    """
    soft, running = workload.limits.soft, target.desired
    assert original.floor is not None and live.floor is not None, "a floor lever"
    wanted = min(original.floor, max(live.floor, running + soft.largest_move(running)))
    # The maximum comes down only where nothing runs above it: RegisterScalableTarget would cut it at once.
    ceiling = original.ceiling
    if ceiling is not None and running > ceiling:
        ceiling = live.ceiling
    setting = original.model_copy(update={"floor": wanted, "ceiling": ceiling})
    if setting == live and wanted == original.floor:
        text = f"floor restored; ceiling stays at {live.ceiling}, not {original.ceiling}, while {running} units run"
        return Leave(f"{text}, and another change begins", blocked=True) if next_waits else LookAgain(text)
    if wanted == live.floor == original.floor:
        return GiveBack(setting, f"ceiling back from {live.ceiling} to {ceiling}")
    if wanted > live.floor:
        if target.serving < live.floor:
            return LookAgain(f"the last move is still under way: {target.serving} of {live.floor} units serve")
        if dwells := _dwells(soft, last_write_at, now):
            return dwells
        return GiveBack(setting, f"floor back from {live.floor} to {wanted}")
    return GiveBack(setting, f"floor back from {live.floor} to {wanted}; the autoscaler keeps what demand needs")


def _size_back(
    workload: Workload,
    target: TargetState,
    original: Setting,
    last_write_at: datetime | None,
    required: int | None,
    now: datetime,
) -> Restore:
    """Back to the revision that was there before, keeping the number of units.

    `required`: units of the original size that the demand seen needs. Where fewer are held, they are raised first.
    """
    live, soft = target.setting, workload.limits.soft
    if required is None:
        return LookAgain("no usage data: nothing shrinks")
    if dwells := _dwells(soft, last_write_at, now):
        return dwells
    if live.units >= required:
        back = live.model_copy(update={"size": original.size, "revision": original.revision})
        return GiveBack(back, f"size back from {live.size} to {original.size}; {live.units} units stay")
    running = max(live.units, target.desired)
    units = min(required, running + soft.largest_move(running), workload.limits.max_units)
    need = f"the demand seen needs {required} units of {original.size}"
    if units <= live.units:
        return LookAgain(f"{need}, and {live.units} are held: {live.size} stays for now")
    return GiveBack(setting_for(live, units), f"{need}: from {live.units} to {units} units first")


def _count_down(
    workload: Workload,
    live: Setting,
    original: Setting,
    last_write_at: datetime | None,
    required_units: int | None,
    now: datetime,
    stable: bool,
    peak: int,
) -> Restore:
    soft = workload.limits.soft
    if original.units > live.units:
        units = min(original.units, live.units + soft.largest_move(live.units))
    else:
        if required_units is None:
            return LookAgain("no usage data: nothing shrinks")
        units = max(original.units, live.units - soft.largest_move(live.units), required_units)
    # Units that were asked for and never come would keep the raised count for ever.
    patience = workload.lead_time + workload.verification.patience
    if not stable and (last_write_at is None or now < last_write_at + patience):
        return LookAgain("the last move is still under way")
    if dwells := _dwells(soft, last_write_at, now):
        return dwells
    if required_units is not None and min(required_units, peak) > live.units:
        units = min(required_units, peak, live.units + soft.largest_move(live.units))
        text = f"the demand seen needs {required_units} units: count up again from {live.units} to {units}"
        return GiveBack(live.model_copy(update={"count": units}), text)
    if units >= live.units > original.units:
        return LookAgain(f"the demand seen needs {required_units} units: {live.units} stay for now")
    return GiveBack(live.model_copy(update={"count": units}), f"count back from {live.units} to {units}")


def _dwells(soft: SoftLimit, last_write_at: datetime | None, now: datetime) -> LookAgain | None:
    if last_write_at is None or now >= last_write_at + soft.dwell:
        return None
    return LookAgain(f"the dwell allows the next move at {last_write_at + soft.dwell:%H:%M:%S}")


def after_failures(intents: Sequence[Intent], now: datetime) -> str | None:
    """Why no write is made yet, in words: the last ones had no effect, and the more there were, the longer is waited.

    A right may be missing for days. `intents`: of this change on this workload, oldest first.
    """
    failed = list(takewhile(lambda i: i.outcome is Outcome.NOT_DONE, reversed(intents)))
    if not failed:
        return None
    at = failed[0].stored_at + min(len(failed) * PAUSE, LONGEST_PAUSE)
    return f"written back {len(failed)} times without effect: the next time at {at:%H:%M:%S}" if now < at else None


def window_after(workload: Workload, move: Intent) -> tuple[datetime, datetime, datetime]:
    """(start, end, known_at) of the window that judges a move which gave something back."""
    start = move.settled_at or move.stored_at
    end = start + workload.verification.window
    return start, end, end + workload.verification.metric_delay
