"""What to give back next, after a cancel or after settling: one move down, or nothing, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forebay.domain.allocation import Lever, Setting, TargetState, in_words
from forebay.domain.workload import Workload


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
    """Done: restored, nothing to restore, or no longer ours to touch."""

    reason: str


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
) -> Restore:
    """The next move towards `original`. `ours`: what we wrote last; `required_units`: what the demand seen needs.

    Lowering a floor takes no capacity away (the autoscaler above it does, as its own demand confirms), so it goes
    back at once. A count goes down within the soft limits, a dwell apart, never below the demand seen and never
    without data. `keep_count`: after an enforced change the count is the new normal and stays.
    """
    if original is None or ours is None:
        return Leave("nothing was moved")
    live = target.setting
    if live != ours:
        return Leave(f"changed by another: left at {in_words(live)}, we had set {in_words(ours)}")
    if live == original:
        return Leave(f"restored to {in_words(original)}")
    if live.lever is Lever.FLOOR:
        # The maximum comes down only where nothing runs above it: RegisterScalableTarget would cut it at once.
        ceiling = original.ceiling
        if ceiling is not None and target.desired > ceiling:
            ceiling = live.ceiling
        wanted = original.model_copy(update={"ceiling": ceiling})
        if wanted == live:
            return Leave(f"floor restored; ceiling stays at {live.ceiling} while {target.desired} units run")
        return GiveBack(
            wanted, f"floor back from {live.floor} to {wanted.floor}; the autoscaler keeps what demand needs"
        )
    if keep_count:
        return Leave(f"{in_words(live)} is what the new policy needs; no autoscaler is attached to lower it")
    return _count_down(workload, live, original, last_write_at, required_units, now, target.stable)


def _count_down(
    workload: Workload,
    live: Setting,
    original: Setting,
    last_write_at: datetime | None,
    required_units: int | None,
    now: datetime,
    stable: bool,
) -> Restore:
    soft = workload.limits.soft
    if original.units > live.units:
        units = min(original.units, live.units + soft.largest_move(live.units))
    else:
        if required_units is None:
            return LookAgain("no usage data: nothing shrinks")
        units = max(original.units, live.units - soft.largest_move(live.units), required_units)
    if not stable:
        return LookAgain("the last move is still under way")
    if last_write_at is not None and now < last_write_at + soft.dwell:
        return LookAgain(f"the dwell allows the next move at {last_write_at + soft.dwell:%H:%M:%S}")
    if units >= live.units > original.units:
        return LookAgain(f"the demand seen needs {required_units} units: {live.units} stay for now")
    return GiveBack(live.model_copy(update={"count": units}), f"count back from {live.units} to {units}")
