"""How the pages put times, spans and a change's next step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from forebay.domain.change import PolicyChange
from forebay.domain.impact import Impact
from forebay.domain.lifecycle import MOVING, ChangeState, StepState
from forebay.domain.records import ChangeRecord, StepRecord

NEXT: dict[ChangeState, str] = {
    ChangeState.RECEIVED: "its plan is drawn",
    ChangeState.PLANNED: "it is scheduled",
    ChangeState.AWAITING_APPROVAL: "a person approves it",
    ChangeState.ARMED: "it comes into force by itself",
    ChangeState.HELD: "a person resumes or cancels it",
    ChangeState.IN_FORCE: "it is pushed to the enforcers",
    ChangeState.SETTLING: "raised capacity is handed back",
    ChangeState.ROLLING_BACK: "the allocation goes back, move by move",
    ChangeState.CANCELLED: "the allocation goes back",
}


def span(duration: timedelta) -> str:
    """Its two largest units: `2 h 3 min`, `45 s`. The sign is dropped, as is what is below a second."""
    seconds = int(abs(duration).total_seconds())
    units = {"d": seconds // 86400, "h": seconds // 3600 % 24, "min": seconds // 60 % 60, "s": seconds % 60}
    names = [name for name, amount in units.items() if amount]
    if not names:
        return "0 s"
    largest = list(units).index(names[0])
    return " ".join(f"{units[name]} {name}" for name in list(units)[largest : largest + 2] if units[name])


def from_now(at: datetime, now: datetime) -> str:
    """`in 2 h 3 min`, `45 s ago`, `now`."""
    if abs(at - now) < timedelta(seconds=1):
        return "now"
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def clock(at: datetime) -> str:
    """A time in UTC (the pages say so in their headings): `2026-11-24 11:30:00`."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def next_step(record: ChangeRecord, steps: Sequence[StepRecord]) -> tuple[str, datetime | None]:
    """What happens next to a change, and when it is due if that is known. Final states have nothing next."""
    if record.state in MOVING:
        waiting = [s for s in steps if s.state in (StepState.PENDING, StepState.ASKED)]
        if not waiting:
            return "it is armed once every workload is aligned", None
        step = min(waiting, key=lambda s: (s.step.due_at, s.workload))
        of = sum(1 for s in steps if s.workload == step.workload)
        move = f"step {step.step.sequence}/{of}: {step.workload} {step.step.from_units} → {step.step.goal}"
        if step.state is StepState.ASKED:
            return f"{move}, to be verified", step.step.verified_by
        return move, step.step.due_at
    at = record.change.effective_at if record.state is ChangeState.ARMED else None
    if record.lapses:
        return "it goes on by itself once what it waits for is there, or a person resumes or cancels it", None
    return NEXT.get(record.state, "nothing"), at


def demands(change: PolicyChange) -> list[str]:
    """The change's impacts and entitlements, one sentence each."""
    bounds = [
        f"{e.workload}: " + ", ".join(_bound(word, units) for word, units in _bounds(e.min_units, e.max_units))
        for e in change.entitlements
    ]
    return [_impact(impact) for impact in change.impacts] + bounds


def _impact(impact: Impact) -> str:
    parts = []
    if impact.factor != 1 or not impact.add:
        parts.append(f"times {impact.factor:g}{_between(impact.low, impact.factor, impact.high)}")
    if impact.add:
        parts.append(f"{impact.add:+g} {impact.unit}{_between(impact.add_low, impact.add, impact.add_high)}")
    whose = "of the whole workload" if impact.scope == "workload" else "of the entity's share"
    pace = f" within {span(impact.adoption.over)}" if impact.adoption.shape == "ramp" else ""
    resource = "demand" if impact.resource == "all" else f"{impact.resource} demand"
    return f"{impact.workload}: {resource} {whose} {', '.join(parts)}{pace}"


def _between(low: float | None, expected: float, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f" ({expected if low is None else low:g} to {expected if high is None else high:g})"


def _bounds(low: int | None, high: int | None) -> list[tuple[str, int]]:
    return [(word, units) for word, units in (("at least", low), ("at most", high)) if units is not None]


def _bound(word: str, units: int) -> str:
    return f"{word} {units} units"
