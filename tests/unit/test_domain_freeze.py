"""Freeze windows: by cron on local clocks, from a calendar, with named exceptions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.freeze import CalendarFreeze, CronFreeze
from forebay.domain.model import validate
from forebay.domain.rules import FROZEN, ChangeRules
from tests.support.world import NOW, a_request

DAY = timedelta(days=1)
CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//shop//ops//EN
BEGIN:VEVENT
UID:1
SUMMARY:Inventory
DTSTART:20261201T220000Z
DTEND:20261202T040000Z
RRULE:FREQ=WEEKLY;COUNT=3
EXDATE:20261208T220000Z
END:VEVENT
BEGIN:VEVENT
UID:2
SUMMARY:Christmas
DTSTART;VALUE=DATE:20261225
DTEND;VALUE=DATE:20261227
END:VEVENT
BEGIN:VEVENT
UID:3
SUMMARY:Called off
STATUS:CANCELLED
DTSTART:20261211T080000Z
DTEND:20261211T090000Z
END:VEVENT
END:VCALENDAR
"""


def rules(*freezes: dict[str, Any]) -> ChangeRules:
    return validate(ChangeRules, {"freezes": list(freezes)}, "rules")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_cron_windows_follow_the_clocks_of_their_zone() -> None:
    freeze = CronFreeze(cron="0 18 * * 5", duration="PT62H", timezone="Europe/Berlin", reason="weekend")
    found = list(freeze.windows(utc("2026-10-16T00:00"), utc("2026-10-27T00:00")))
    assert [(w.start, w.end) for w in found] == [
        (utc("2026-10-16T16:00"), utc("2026-10-19T06:00")),
        (
            utc("2026-10-23T16:00"),
            utc("2026-10-26T06:00"),
        ),  # 62 hours, though the clocks went back
    ]
    later = next(freeze.windows(utc("2026-10-30T00:00"), utc("2026-10-30T17:00:01")))
    assert later.start == utc("2026-10-30T17:00"), "18:00 in winter"


def test_a_window_that_began_before_the_look_is_seen() -> None:
    freeze = CronFreeze(cron="0 18 * * 5", duration="PT62H", reason="weekend")
    monday = utc("2026-11-23T07:59:59")
    assert [w.end for w in freeze.windows(monday, monday + timedelta(seconds=1))] == [utc("2026-11-23T08:00")]
    assert list(freeze.windows(monday + timedelta(seconds=1), monday + DAY)) == []


def test_a_calendar_freezes_its_events_and_not_what_was_called_off() -> None:
    freeze = CalendarFreeze(calendar=CALENDAR, timezone="Europe/Berlin", reason="shop")
    found = [(w.start, w.end, w.reason) for w in freeze.windows(utc("2026-12-01T00:00"), utc("2026-12-31T00:00"))]
    assert found == [
        (utc("2026-12-01T22:00"), utc("2026-12-02T04:00"), "shop: Inventory"),
        (utc("2026-12-15T22:00"), utc("2026-12-16T04:00"), "shop: Inventory"),
        (utc("2026-12-24T23:00"), utc("2026-12-26T23:00"), "shop: Christmas"),
    ]


@given(
    start=st.integers(0, 60 * 24 * 90).map(lambda minute: utc("2026-11-01T00:00") + timedelta(minutes=minute)),
    hours=st.integers(1, 400),
)
def test_a_look_at_a_moment_agrees_with_a_look_at_a_stretch(start: datetime, hours: int) -> None:
    both = rules(
        {"cron": "30 2 * * 0", "duration": "PT5H", "timezone": "America/New_York", "reason": "night"},
        {"calendar": CALENDAR, "reason": "shop"},
    )
    change, at = a_request().accepted(NOW), start + timedelta(hours=hours / 2)
    windows = both.freezes_for(change, start, start + timedelta(hours=hours))
    assert all(w.start < start + timedelta(hours=hours) and w.end > start for w in windows)
    assert (both.freeze_at(at, change) is not None) == any(w.covers(at) for w in windows)


@pytest.mark.parametrize(
    ("exception", "bound"),
    [
        ({"name": "security", "changes": ["CHG-1"]}, False),
        ({"name": "acme's launch", "entities": ["acme"], "kinds": ["quota", "tier"]}, False),
        ({"name": "tiers", "kinds": ["tier"]}, True),
        ({"name": "others", "entities": ["globex"]}, True),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_a_named_exception_lets_its_changes_through(exception: dict[str, Any], bound: bool) -> None:
    window = {"start": NOW, "end": NOW + DAY, "reason": "fair", "exceptions": [exception]}
    assert (rules(window).freeze_at(NOW, a_request().accepted(NOW)) is not None) == bound


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        ({"cron": "61 * * * *", "duration": "PT1H"}, "this is no cron expression"),
        ({"cron": "0 1 * * *", "duration": "PT1H", "timezone": "Europe/Berln"}, "there is no such time zone"),
        ({"cron": "0 1 * * *", "duration": "P40D"}, "lasts 31 days at most"),
        ({"cron": "0 1 * * *"}, "freezes.0.duration: Field required"),
        ({"calendar": "holidays.ics"}, "this is no iCalendar text"),
        ({"start": NOW, "end": NOW}, "must end after it starts"),
        ({"start": NOW, "end": NOW + DAY, "exceptions": [{"name": "all"}]}, "an exception for all is no freeze"),
    ],
    ids=["cron", "zone", "too long", "no duration", "calendar", "backwards", "exception for all"],
)
def test_a_freeze_that_means_nothing_is_refused(freeze: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        rules({"reason": "x"} | freeze)


def test_where_a_year_is_frozen_no_time_is_promised() -> None:
    always = rules({"cron": "0 * * * *", "duration": "PT1H", "reason": "always"})
    assert always.earliest_legal(a_request().accepted(NOW), NOW) is None


DAILY = {"cron": "0 0 * * *", "duration": "PT24H", "reason": "always"}
FROM_NINE = {"start": NOW, "end": NOW + 3 * DAY, "reason": "sale"}


@pytest.mark.parametrize(
    ("freezes", "now", "would_pass"),
    [
        pytest.param(
            [FROM_NINE],
            NOW - DAY,
            f"effective_at after {(NOW - DAY).isoformat()} and before {NOW.isoformat()}, or {{after}} or later",
            id="both",
        ),
        pytest.param(
            [FROM_NINE, FROM_NINE | {"start": NOW - DAY, "end": NOW - DAY / 2}],
            NOW - 2 * DAY,
            f"effective_at after {(NOW - DAY / 2).isoformat()} and before {NOW.isoformat()}, or {{after}} or later",
            id="another one before the gap",
        ),
        pytest.param([FROM_NINE], NOW + DAY / 2, "effective_at {after} or later", id="begun already"),
        pytest.param(
            [FROM_NINE, FROM_NINE | {"start": NOW - 2 * DAY, "end": NOW}],
            NOW - DAY,
            "effective_at {after} or later",
            id="begun already, with another one",
        ),
        pytest.param([DAILY], NOW, FROZEN, id="one after the other"),
    ],
)
def test_no_time_is_proposed_that_is_over_or_frozen_too(
    freezes: list[dict[str, Any]], now: datetime, would_pass: str
) -> None:
    change = a_request(effective_at=NOW + DAY).accepted(now)
    with pytest.raises(RuleRefusal) as refused:
        rules(*freezes).check_request(change, now)
    assert refused.value.would_pass == would_pass.format(start=NOW.isoformat(), after=(NOW + 3 * DAY).isoformat())


def test_a_time_ahead_of_a_freeze_is_proposed_as_the_minimum_delay_leaves_it() -> None:
    change = a_request(effective_at=NOW + DAY).accepted(NOW - DAY)
    slow = ChangeRules.model_validate({"rules": [{"name": "slow", "minimum_delay": "PT20H"}], "freezes": [FROM_NINE]})
    with pytest.raises(RuleRefusal) as refused:
        slow.check_request(change, NOW - DAY)
    first = (NOW - timedelta(hours=4)).isoformat()
    assert f"effective_at after {first} and before {NOW.isoformat()}, or" in refused.value.would_pass
