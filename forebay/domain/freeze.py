"""Freeze windows: when no policy may come into force and no step be made. Once, by cron, or from a calendar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Discriminator, Tag, model_validator

from forebay.domain.change import PolicyChange
from forebay.domain.model import Duration, Model, UtcTime, Zone

if TYPE_CHECKING:
    from recurring_ical_events import CalendarQuery

ANYONE = "*"
# More windows than this in one look are a mistake in a cron expression; what is beyond them is not looked at.
MOST_WINDOWS = 2000
LONGEST_WINDOW = timedelta(days=31)
# A file's first words, which tell its content from its name.
CALENDAR_BEGINS = "BEGIN:VCALENDAR"


def _cron(expression: str) -> str:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"this is no cron expression ({error}): write five fields, such as 0 18 * * 5") from error
    return expression


def _short_enough(duration: timedelta) -> timedelta:
    if duration > LONGEST_WINDOW:
        raise ValueError(f"a window of a cron freeze lasts {LONGEST_WINDOW.days} days at most: give start and end")
    return duration


def _calendar(text: str) -> str:
    try:
        _events(text)
    except ValueError as error:
        raise ValueError(f"this is no iCalendar text: {error}") from error
    return text


class FreezeException(Model):
    """Changes that a freeze window lets through: those that match every selector given, under a name."""

    name: str
    changes: tuple[str, ...] = (ANYONE,)
    kinds: tuple[str, ...] = (ANYONE,)
    entities: tuple[str, ...] = (ANYONE,)

    @model_validator(mode="after")
    def _narrow(self) -> FreezeException:
        if ANYONE in self.changes and ANYONE in self.kinds and ANYONE in self.entities:
            raise ValueError("name the changes, kinds or entities it is for: an exception for all is no freeze")
        return self

    def lets(self, change: PolicyChange) -> bool:
        return (
            matches(self.changes, change.change)
            and matches(self.kinds, change.kind)
            and matches(self.entities, change.entity)
        )


class _Freeze(Model):
    reason: str
    exceptions: tuple[FreezeException, ...] = ()

    def binds(self, change: PolicyChange) -> bool:
        return not any(exception.lets(change) for exception in self.exceptions)


class FreezeWindow(_Freeze):
    """No policy may come into force, and no step may be made, from `start` until `end` (UTC, end excluded)."""

    start: UtcTime
    end: UtcTime

    @model_validator(mode="after")
    def _forward(self) -> FreezeWindow:
        if self.start >= self.end:
            raise ValueError("a freeze window must end after it starts")
        return self

    @property
    def text(self) -> str:
        """Until when, and why; for people."""
        return f"freeze window until {self.end.isoformat()}: {self.reason}"

    def covers(self, at: datetime) -> bool:
        return self.start <= at < self.end

    def windows(self, start: datetime, end: datetime) -> Iterator[FreezeWindow]:
        """Itself, if it overlaps [start, end)."""
        if self.start < end and start < self.end:
            yield self


class CronFreeze(_Freeze):
    """A window of `duration` at every time of the cron expression, on the clocks of `timezone`."""

    cron: Annotated[str, AfterValidator(_cron)]
    duration: Annotated[Duration, AfterValidator(_short_enough)]
    timezone: Zone = "UTC"

    def windows(self, start: datetime, end: datetime) -> Iterator[FreezeWindow]:
        """Those that overlap [start, end), aware UTC, in order."""
        from cronsim import CronSim

        # One second more: the iterator leaves out the time it starts at.
        before = (start - self.duration - timedelta(seconds=1)).astimezone(ZoneInfo(self.timezone))
        for at in islice(CronSim(self.cron, before), MOST_WINDOWS):
            # Arithmetic in UTC: on wall clocks a window across a change of the clocks would be an hour off.
            begin = at.astimezone(UTC)
            if begin >= end:
                return
            yield from FreezeWindow(start=begin, end=begin + self.duration, reason=self.reason).windows(start, end)


class CalendarFreeze(_Freeze):
    """A window for every event of an iCalendar file (RFC 5545), recurring ones included.

    `calendar` is the file's text. Days and times without a zone are those of `timezone`. A cancelled event freezes
    nothing.
    """

    calendar: Annotated[str, AfterValidator(_calendar)]
    timezone: Zone = "UTC"

    def windows(self, start: datetime, end: datetime) -> Iterator[FreezeWindow]:
        """Those that overlap [start, end), aware UTC, in order."""
        zone = ZoneInfo(self.timezone)
        # A day on either side: what has no zone is a different moment for the library than for us.
        around = timedelta(days=1)
        found = []
        for event in _events(self.calendar).between(start - around, end + around):
            begin, finish = _moment(event.start, zone), _moment(event.end, zone)
            if begin < finish and str(event.get("STATUS", "")).upper() != "CANCELLED":
                reason = f"{self.reason}: {event.get('SUMMARY', '')}".removesuffix(": ")
                found.append(FreezeWindow(start=begin, end=finish, reason=reason))
        for window in sorted(found, key=lambda window: window.start):
            yield from window.windows(start, end)


def _kind_of_freeze(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, Model) else {}
    return next((kind for kind in ("cron", "calendar") if kind in keys), "window")


Freeze = Annotated[
    Annotated[FreezeWindow, Tag("window")]
    | Annotated[CronFreeze, Tag("cron")]
    | Annotated[CalendarFreeze, Tag("calendar")],
    Discriminator(_kind_of_freeze),
]


def matches(allowed: Iterable[str], value: str) -> bool:
    """Whether `value` is one of `allowed`, or all are."""
    return any(name in (ANYONE, value) for name in allowed)


def _moment(value: Any, zone: ZoneInfo) -> datetime:
    at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=zone)
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


@lru_cache(maxsize=16)
def _events(text: str) -> CalendarQuery:
    """Rules are read at every tick; their calendars are parsed once."""
    import icalendar
    import recurring_ical_events

    parsed = icalendar.Calendar.from_ical(text)
    if not isinstance(parsed, icalendar.Calendar):
        raise ValueError(f"it must begin with {CALENDAR_BEGINS}")
    return recurring_ical_events.of(parsed, components=["VEVENT"])
