"""Whether what is left of a plan is due to be drawn anew: a decision from what was seen since it was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay.domain.lifecycle import AFTER, MOVING, ChangeState, StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import StepRecord
from forebay.domain.verdict import Verdict
from forebay.domain.workload import Workload

# The nearer the effective time (from either side), the more often: whatever was seen but `high`, a plan is left alone
# for this share of the time between it and now. Before it never for less than half an hour: a fresh forecast knows the
# next hours better, and brings fresh noise. Once in force the forecast stays, and each quarter of an hour is one more
# look at what the change really does.
SHARE_AHEAD, SHARE_SINCE = 48, 12
FORECAST_ANEW = timedelta(minutes=30)
LOOK_AGAIN = timedelta(minutes=15)
# Whoever was asked to approve a new plan is not asked for yet another one before.
ASK_ANEW = timedelta(hours=6)
# Plans of one change on one workload in a day. Whoever needs more has a change that nobody understands.
BUDGET = 96
DAY = timedelta(days=1)
RENEWED_IN = MOVING | AFTER | {ChangeState.ARMED}


@dataclass(frozen=True)
class PlanView:
    """A change's current plan of a workload, and what has been seen and said of it.

    `looks`: when its rest was drawn anew, or was tried to be, oldest first; `asked`: the last of them is a proposal
    that a person was asked to approve, `answered`: which is approved by now. `in_force_from`: of the change's own
    version, where it is in force. `above`: since when demand is seen above what serves it while it is armed. `turn`:
    the changes it came after are over, and nobody has looked since. `joined`: who goes with it on one path is no longer
    who it was drawn for; `riders`: who that is now. `pinned`: a person keeps the allocation where it is.
    """

    now: datetime
    state: ChangeState
    effective_at: datetime
    plan: ShapingPlan
    steps: Sequence[StepRecord]
    looks: Sequence[datetime]
    asked: bool
    answered: bool
    in_force_from: datetime | None
    above: datetime | None
    turn: bool
    joined: bool
    riders: Sequence[str]
    pinned: bool

    @property
    def looked_at(self) -> datetime:
        return max([self.plan.created_at, *self.looks])

    @property
    def began(self) -> datetime | None:
        """Since when the change is in force; None before."""
        return self.in_force_from if self.state in AFTER else None

    @property
    def shared(self) -> bool:
        """Whether others are armed on the same steps."""
        return bool(self.plan.carried_by or self.plan.carries or self.riders)

    @property
    def pressed(self) -> bool:
        """Whether demand is above what serves, and the last forecast did not know, or may know better by now.

        The first forecasts may not know a rise yet: another is made while it lasts, as long as there is time.
        """
        if self.above is None or self.began:
            return False
        again = self.state is ChangeState.ARMED and self.now >= self.looked_at + max(LOOK_AGAIN, ASK_ANEW * self.asked)
        return self.above > self.looked_at or again

    @property
    def stale(self) -> bool:
        """Whether it was left alone for as long as a plan is, and has steps left or can learn from what is in force."""
        left_alone = max(patience(self.now, self.began or self.effective_at), ASK_ANEW * self.asked)
        has_more = any(s.state in (StepState.PENDING, StepState.ASKED) for s in self.steps)
        return self.now >= self.looked_at + left_alone and bool(self.began or has_more)


@dataclass(frozen=True)
class Renewal:
    """`why`: what leads to it. `late`: no two steps could be verified any more; a person must be told instead."""

    why: str
    late: bool


def renewal(view: PlanView, workload: Workload, verdict: Verdict | None) -> Renewal | None:
    """Why the rest is to be drawn anew now, after a verdict or without one; None: it is left as it is.

    See `app.replan.review` for when that is.
    """
    if view.state not in RENEWED_IN or any(s.state is StepState.ASKED for s in view.steps):
        return None
    if not _can_be_renewed(view, workload):
        return None
    late = not view.began and view.now > view.effective_at - workload.verified_after - workload.step_spacing
    if sum(at > view.now - DAY for at in view.looks) >= BUDGET or (late and not view.turn):
        return None
    if verdict is not Verdict.HIGH and not (view.turn or view.joined or view.answered or view.pressed or view.stale):
        return None
    return Renewal(_why(view, verdict), late)


def _can_be_renewed(view: PlanView, workload: Workload) -> bool:
    if view.state in AFTER:
        seen = view.began and view.now >= view.began + workload.slot + workload.verification.metric_delay
        # drawn for all riders; what is learned of this change's impact alone says nothing of theirs
        return bool(seen) and not view.riders
    if view.state is ChangeState.ARMED:
        # under a pin no step could be made, and the policy would only be late
        return not (view.shared or view.pinned) and (view.pressed or view.answered)
    return True


def _why(view: PlanView, verdict: Verdict | None) -> str:
    if view.joined:
        return f"one path with {', '.join(view.riders) or 'nobody any more'}"
    if view.turn:
        return f"{', '.join(view.plan.after)} over"
    if verdict in (Verdict.HIGH, Verdict.LOW):
        return f"verdict {verdict}"
    if view.pressed:
        return "demand above what serves"
    if view.began:
        return "what was seen since the effective time"
    return f"the forecast of {view.looked_at:%H:%M}"


def patience(now: datetime, effective_at: datetime) -> timedelta:
    """How long a plan is left alone."""
    if now < effective_at:
        return max(FORECAST_ANEW, (effective_at - now) / SHARE_AHEAD)
    return max(LOOK_AGAIN, (now - effective_at) / SHARE_SINCE)
