"""How right forecasts were: scores of one model, what a backtest of one series found, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from forebay.domain.model import Model, UtcTime, to_utc
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource


class Score(Model):
    """One model's forecasts of one series against what came. A figure is None where nothing could be judged.

    `relative_loss`: its mean quantile loss over seasonal naive's, below 1 is better; `mase`: the median's absolute
    error over the history's own one-season-ago error; `coverage`: share of slots within the 5 to 95 % band, 0.9 if
    calibrated; `above`: share above the 95 % quantile, at most 0.05 if calibrated; `seconds`: a forecast.
    """

    model: str
    relative_loss: float | None
    mase: float | None
    coverage: float | None
    above: float | None
    seconds: float


class BandSlot(Model):
    """What was forecast for a slot (5, 50 and 95 % quantile) and what came, None where it is not known."""

    at: UtcTime
    low: float
    median: float
    high: float
    actual: float | None


class SeriesBacktest(Model):
    """Every model on one series from the same rolling origins, best first, and the default's forecasts as they were."""

    workload: str
    resource: str
    entity: str
    horizon: timedelta
    origins: tuple[UtcTime, ...]
    scores: tuple[Score, ...]
    champion: str
    reasons: tuple[str, ...]
    shown: tuple[BandSlot, ...]

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.workload, self.resource, self.entity)))


class Judged(StrEnum):
    """What was judged: forecasts tried from past moments, or the bands of a plan that was stored before."""

    BACKTEST = "backtest"
    PLAN = "plan"


LEAST_COVERAGE = 0.75
MOST_ABOVE = 0.15
LEAST_SLOTS = 48
"""What is judged on fewer has been lucky or not."""


class Accuracy(Model):
    """How right the forecasts of one resource were for the slots in [since, until), as recorded each day.

    `change`: of a plan; `slots`: how many were judged; `coverage`, `above`, `relative_loss`: see Score, the last only
    of a backtest; `note`: in words, what did best and why.
    """

    workload: str
    resource: Resource
    judged: Judged
    change: str = ""
    since: UtcTime
    until: UtcTime
    slots: int
    coverage: float
    above: float
    relative_loss: float | None = None
    note: str = ""

    @property
    def decay(self) -> str | None:
        """What is no longer right with the forecasts, in words; None where nothing is, or where too little was seen."""
        if self.slots < LEAST_SLOTS:
            return None
        faults = []
        if self.relative_loss is not None and self.relative_loss > 1:
            faults.append(f"the quantile loss is {self.relative_loss:.2f} of seasonal naive's")
        if self.coverage < LEAST_COVERAGE:
            faults.append(f"the 90 % band held {self.coverage:.0%} of the slots")
        if self.above > MOST_ABOVE:
            faults.append(f"{self.above:.0%} of the slots were above the 95 % quantile")
        return "; ".join(faults) or None

    def same_series(self, other: Accuracy) -> bool:
        """Whether both judge the same forecasts, at whatever times."""
        return (self.workload, self.resource, self.judged, self.change) == (
            other.workload,
            other.resource,
            other.judged,
            other.change,
        )


def plan_accuracy(
    plan: ShapingPlan,
    resource: Resource,
    usage: Sequence[tuple[datetime, float]],
    since: datetime,
    until: datetime,
    in_force: bool,
) -> Accuracy | None:
    """A stored plan's band against the usage (slot start, mean) that came in [since, until); None if none did.

    The band has the change's impact in it from the effective time on, so that what came while the policy was not
    `in_force` says nothing about it.
    """
    end = until if in_force else min(until, plan.effective_at)
    came = {to_utc(at): value for at, value in usage}
    pairs = [
        (came[slot.at], slot.demand[resource])
        for slot in plan.slots
        if resource in slot.demand and since <= slot.at < end and slot.at in came and plan.created_at <= slot.at
    ]
    if not pairs:
        return None
    return Accuracy(
        workload=plan.workload,
        resource=resource,
        judged=Judged.PLAN,
        change=plan.change,
        since=since,
        until=until,
        slots=len(pairs),
        coverage=sum(band.low <= value <= band.high for value, band in pairs) / len(pairs),
        above=sum(value > band.high for value, band in pairs) / len(pairs),
        note=f"plan {plan.hash[:12]}, drawn {plan.created_at:%Y-%m-%d %H:%M} UTC",
    )
