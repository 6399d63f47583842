"""Whether a user's own scheduled scaling action runs soon, and would take away what a step has put there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from forebay.domain.allocation import Lever, Setting, Span

AHEAD = timedelta(hours=2)
BEHIND = timedelta(minutes=15)

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, start=1)}
_DAY_NUMBERS = {name: number for number, name in enumerate(_DAYS, start=1)}


def lowers(units: int, *wanted: int | None) -> bool:
    """Whether an action that sets one of the `wanted` values (a minimum, a maximum, a count) goes below `units`."""
    return any(value is not None and value < units for value in wanted)


def ahead_in_words(action: str, span: Span) -> str:
    """For people: what to do about an action that is found before it runs."""
    return (
        f"the scheduled action {action} would go below the {span.units} units that are held from "
        f"{span.start:%d %b %H:%M} to {span.end:%d %b %H:%M} UTC: suspend it until the change is through, or raise its "
        "bounds"
    )


def sets(setting: Setting, low: int | None, high: int | None, count: int | None = None) -> bool:
    """Whether an action of these values leaves a target at `setting`; one that names none sets nothing."""
    if setting.lever is Lever.COUNT:
        return count is not None and count == setting.count
    named = [(low, setting.floor), (high, setting.ceiling)]
    return any(v is not None for v, _ in named) and all(v is None or v == live for v, live in named)


def runs_within(expression: str, zone: str | None, start: datetime, end: datetime) -> bool:
    """Whether an Application Auto Scaling schedule may run in (start, end]: `at(…)`, `rate(…)` or `cron(…)`.

    Aware UTC. In doubt the answer is yes: a `rate` has no phase that can be read, and a day given as `L`, `W` or
    `#` counts as every day.
    """
    kind, _, body = expression.strip().removesuffix(")").partition("(")
    tz = ZoneInfo(zone or "UTC")
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
