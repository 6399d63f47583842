"""Whether a user's own scheduled scaling action runs while something is held, and what it would do to that. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from forebay.domain.allocation import Lever, Setting, Span

AHEAD = timedelta(hours=2)
BEHIND = timedelta(minutes=15)

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, start=1)}
_DAY_NUMBERS = {name: number for number, name in enumerate(_DAYS, start=1)}


@dataclass(frozen=True)
class Scheduled:
    """A scheduled action: what it sets (None: it leaves what stands), and whether it may run in (start, end]."""

    name: str
    low: int | None
    high: int | None
    runs: Callable[[datetime, datetime], bool]
    count: int | None = None

    def lowers(self, units: int, lever: Lever) -> bool:
        """Whether it takes away of `units`; a lower minimum takes nothing from a count."""
        own = self.low if lever is Lever.FLOOR else self.count
        return any(value is not None and value < units for value in (own, self.high))

    def others(self, units: int, lever: Lever, ceiling: int | None) -> list[str]:
        """What it sets other than what is held then, in words."""
        if lever is Lever.FLOOR:
            named = [("minimum", self.low, units), ("maximum", self.high, ceiling)]
        else:
            raised = self.low if self.low is not None and self.low > units else None
            named = [("count", self.count, units), ("minimum", raised, units)]
        return [f"the {what} {value}" for what, value, held in named if value not in (None, held)]


def actions_ahead(
    actions: Iterable[Scheduled], ahead: Sequence[Span], lever: Lever, ceiling: int | None
) -> Iterator[str]:
    """What to know of each action that would set other values than those held, for people: that it goes below them, or
    what it sets, and when first. `ceiling`: the maximum that stands now; a floor above it lifts it.
    """
    for action in actions:
        below = next((s for s in ahead if action.lowers(s.units, lever) and action.runs(s.start, s.end)), None)
        if below:
            yield (
                f"the scheduled action {action.name} would go below the {below.units} units that are held "
                f"{_when(below)}: suspend it until the change is through, or raise its bounds"
            )
        else:
            yield from _beside(action, ahead, lever, ceiling)


def _beside(action: Scheduled, ahead: Sequence[Span], lever: Lever, ceiling: int | None) -> Iterator[str]:
    for span in ahead:
        ceiling = None if ceiling is None else max(ceiling, span.units)
        others = action.others(span.units, lever, ceiling)
        if others and action.runs(span.start, span.end):
            yield (
                f"the scheduled action {action.name} would set {' and '.join(others)} while {span.units} units are "
                f"held {_when(span)}: a higher maximum alone is gone on from, for the rest on_foreign_write says what "
                "follows; suspend it until the change is through where that will not do"
            )
            return


def _when(span: Span) -> str:
    return f"from {span.start:%d %b %H:%M} to {span.end:%d %b %H:%M} UTC"


def sets(setting: Setting, low: int | None, high: int | None, count: int | None = None) -> bool:
    """Whether an action of these values leaves a target at `setting`; one that names none sets nothing."""
    if setting.lever is Lever.COUNT:
        return count is not None and count == setting.count
    named = [(low, setting.floor), (high, setting.ceiling)]
    return any(v is not None for v, _ in named) and all(v is None or v == live for v, live in named)


def runs_within(expression: str, zone: str | None, start: datetime, end: datetime) -> bool:
    """Whether an Application Auto Scaling schedule may run in (start, end]: `at(…)`, `rate(…)` or `cron(…)`.

    Aware UTC. In doubt the answer is yes: a `rate` has no phase that can be read, a day given as `L`, `W` or `#`
    counts as every day, and AWS knows names of zones that this machine does not.
    """
    kind, _, body = expression.strip().removesuffix(")").partition("(")
    try:
        tz = ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return True
    if kind == "at":
        return start < datetime.fromisoformat(body).replace(tzinfo=tz) <= end
    fields = body.split()
    if kind != "cron" or len(fields) != 6:
        return True
    return any(_matches(fields, minute.astimezone(tz)) for minute in _minutes(start, end))


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    minute = start.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    while minute <= end:
        yield minute
        minute += timedelta(minutes=1)


def _matches(fields: list[str], at: datetime) -> bool:
    minute, hour, day, month, weekday, year = fields
    return (
        _field(minute, at.minute, 0)
        and _field(hour, at.hour, 0)
        and _field(day, at.day, 1)
        and _field(month, at.month, 1, _MONTH_NUMBERS)
        and _field(weekday, at.isoweekday() % 7 + 1, 1, _DAY_NUMBERS)
        and _field(year, at.year, 1970)
    )


def _field(text: str, value: int, first: int, names: Mapping[str, int] | None = None) -> bool:
    return any(_part(part, value, first, names or {}) for part in text.upper().split(","))


def _part(part: str, value: int, first: int, names: Mapping[str, int]) -> bool:
    for name, number in names.items():
        part = part.replace(name, str(number))
    match = re.fullmatch(r"(?:([*?])|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
    if match is None:
        return True
    every, low, high, step = match.groups()
    if every:
        return step is None or (value - first) % int(step) == 0
    last = int(high) if high else (10**4 if step else int(low))
    return int(low) <= value <= last and (value - int(low)) % int(step or 1) == 0
