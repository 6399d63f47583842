"""When scheduled actions are due: `at(...)`, `rate(...)` and `cron(...)` of Application Auto Scaling, and the
five-field cron of Auto Scaling groups. Pure; times are aware."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_DAYS = {name: i for i, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_MONTHS = {
    name: i
    for i, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}
_RATE_S = {"minute": 60, "minutes": 60, "hour": 3600, "hours": 3600, "day": 86400, "days": 86400}


class ScheduleError(ValueError):
    """An expression that is none of at(), rate(), cron()."""


def due(expression: str, zone: str, created: datetime, after: datetime, until: datetime) -> bool:
    """Whether `expression` has an instant in (after, until]. Raises ScheduleError if it cannot be read."""
    kind, body = _split(expression)
    tz = ZoneInfo(zone or "UTC")
    if kind == "at":
        return after < datetime.fromisoformat(body).replace(tzinfo=tz) <= until
    if kind == "rate":
        count, unit = body.split()
        step = int(count) * _RATE_S[unit]
        return (until - created).total_seconds() // step > max(0.0, (after - created).total_seconds() // step)
    return any(_cron_matches(body.split(), minute.astimezone(tz)) for minute in _minutes(after, until))


def unix_cron_due(expression: str, zone: str | None, after: datetime, until: datetime) -> bool:
    """The same for the five fields of an Auto Scaling group's Recurrence (Sunday is 0 or 7)."""
    fields = expression.split()
    if len(fields) != 5:
        raise ScheduleError(f"recurrence {expression!r} needs five fields: minute hour day month weekday")
    tz = ZoneInfo(zone or "UTC")
    # Into the six-field form: weekdays count from 1 = Sunday there, and a year follows.
    weekday = re.sub(r"(?<!/)\d", lambda m: str(int(m.group()) % 7 + 1), fields[4])
    six = [*fields[:4], weekday, "*"]
    return any(_cron_matches(six, minute.astimezone(tz)) for minute in _minutes(after, until))


def check(expression: str, zone: str = "UTC") -> None:
    """Raises ScheduleError if `expression` cannot be read."""
    now = datetime.now(UTC)
    try:
        due(expression, zone, now, now, now + timedelta(minutes=1))
    except (ValueError, KeyError) as exc:
        raise ScheduleError(
            f"{expression!r} is not a schedule: use at(yyyy-mm-ddThh:mm:ss), rate(value unit) or cron(six fields)"
        ) from exc


def _split(expression: str) -> tuple[str, str]:
    match = re.fullmatch(r"(at|rate|cron)\((.+)\)", expression.strip())
    if not match or (match.group(1) == "cron" and len(match.group(2).split()) != 6):
        raise ScheduleError(f"{expression!r} is none of at(...), rate(...), cron(six fields)")
    return match.group(1), match.group(2)


def _minutes(after: datetime, until: datetime) -> Iterator[datetime]:
    minute = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while minute <= until:
        yield minute
        minute += timedelta(minutes=1)


def _cron_matches(fields: list[str], at: datetime) -> bool:
    minute, hour, day, month, weekday, year = fields
    return (
        _field(minute, at.minute, 0)
        and _field(hour, at.hour, 0)
        and _field(day, at.day, 1)
        and _field(month, at.month, 1, _MONTHS)
        and _field(weekday, at.isoweekday() % 7 + 1, 1, {d: i + 1 for d, i in _DAYS.items()})
        and _field(year, at.year, 1970)
    )


def _field(text: str, value: int, first: int, names: dict[str, int] | None = None) -> bool:
    for part in text.upper().split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        if low in ("*", "?"):
            start, end = first, 9999
        else:
            start = (names or {}).get(low) or int(low)
            end = ((names or {}).get(high) or int(high)) if high else (9999 if step else start)
        if start <= value <= end and (value - start) % int(step or 1) == 0:
            return True
    return False
