"""Whether a change may be armed: every step ahead of its policy has its pass, and the capacity is there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.domain.allocation import Setting, TargetState, in_words
from forebay.domain.lifecycle import StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import StepRecord


@dataclass(frozen=True)
class Misalignment:
    """What keeps a change from being armed, in words. `foreign`: another hand did it, so a person must look.

    `capacity`: it is the capacity that is missing, or not verified; else a rule is in the way, whatever is there.
    `unseen`: it may well be there, but nobody could look for the moment. `unjudged`: verdicts on steps are missing.
    """

    text: str
    foreign: bool = False
    capacity: bool = True
    unseen: bool = False
    unjudged: bool = False


def unverified(plan: ShapingPlan, steps: Sequence[StepRecord]) -> Misalignment | None:
    """None if every step before the policy comes into force has its pass; else which have not."""
    left = [s.step.sequence for s in ahead_of_effect(plan, steps)]
    if not left:
        return None
    which = f"step {left[0]} is" if len(left) == 1 else f"steps {', '.join(map(str, left))} are"
    return Misalignment(f"{plan.workload}: {which} not verified", unjudged=True)


def misalignment(plan: ShapingPlan, target: TargetState, ours: Setting | None) -> Misalignment | None:
    """None if the plan's allocation is there; else what is missing. Arming rests on this and `unverified` alone."""
    name, aligned, live = plan.workload, plan.aligned_units, target.setting
    if ours is not None and not ours.stands_in(live):
        stands = f"it stands at {in_words(live)}, we had set {in_words(ours)}"
        return Misalignment(f"{name}: changed by another, {stands}", foreign=True)
    if target.serving < aligned:
        return Misalignment(f"{name}: {target.serving} units serve, {aligned} are needed")
    if live.units < aligned:
        return Misalignment(f"{name}: the floor is {live.units}, {aligned} must be held", foreign=True)
    return None


def ahead_of_effect(plan: ShapingPlan, steps: Sequence[StepRecord]) -> list[StepRecord]:
    """Steps still to be made or verified before the policy may come into force; later ones follow its impact.

    Where the plan carries other changes too, the steps after the one from which on there is enough for this one are
    theirs. A path may fall below that again, for a peak that passes: only the last climb counts.
    """
    ahead = [s for s in steps if s.step.due_at < plan.effective_at]
    if plan.carries:
        short = [number for number, s in enumerate(ahead, start=1) if s.step.to_units < plan.aligned_units]
        ahead = ahead[: max(short, default=0) + 1]
    return [s for s in ahead if s.state in (StepState.PENDING, StepState.ASKED)]
