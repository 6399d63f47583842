"""Recurring changes: schedules keep the wall clock over clock changes, each occurrence is a change of its own, and
one that the scheduler made too late, or never, is denied, not forgotten."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.client.schemas.responses import DeploymentResponse
from prefect.logging import disable_run_logger

import tasks.plan
import tasks.recurring
from deployments.runner import served_deployments
from forebay.app.lookup import change_record
from forebay.app.receive import receive
from forebay.app.recurring import GRACE, check_occurrences
from forebay.app.rules import set_rules
from forebay.domain.change import ChangeRequest
from forebay.domain.lifecycle import ChangeState
from forebay.domain.rules import ChangeRule, ChangeRules
from tasks.recurring import check_recurring, occurrences_of
from tests.support.world import NOW, World, a_request

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = {d["name"]: d for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
SALE = DEPLOYMENTS["friday-sale"]


def occurrences(name: str, after: datetime, until: datetime) -> list[datetime]:
    """Of the deployment's schedule, as the reconciler reckons them."""
    given = {key: value for key, value in DEPLOYMENTS[name]["schedules"][0].items() if key != "active"}
    return list(occurrences_of(json.dumps(given))(after, until))


@pytest.mark.parametrize(
    ("start", "hours_utc"),
    [
        (datetime(2026, 3, 27, tzinfo=UTC), [14, 13]),  # summer time begins on 29 March
        (datetime(2026, 10, 23, tzinfo=UTC), [13, 14]),  # and ends on 25 October
    ],
)
def test_the_sale_is_at_three_by_the_clock_on_the_wall(start: datetime, hours_utc: list[int]) -> None:
    found = occurrences("friday-sale", start, start + timedelta(days=13))
    assert [at.hour for at in found] == hours_utc
    assert all(at.strftime("%A %M") == "Friday 00" for at in found)


def test_month_end_is_the_last_weekday_at_eight_by_the_clock_on_the_wall() -> None:
    found = occurrences("month-end", datetime(2026, 9, 30, 6, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC))
    assert [f"{at:%Y-%m-%d %a %H:%M}" for at in found] == [
        "2026-10-30 Fri 07:00",  # the 31st is a Saturday; summer time ended on the 25th
        "2026-11-30 Mon 07:00",
        "2026-12-31 Thu 07:00",
        "2027-01-29 Fri 07:00",
        "2027-02-26 Fri 07:00",
        "2027-03-31 Wed 06:00",
        "2027-04-30 Fri 06:00",
        "2027-05-31 Mon 06:00",
    ]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", [0, 2]), ("2026-10-25", [0, 3])])
def test_a_schedule_of_an_hour_that_a_clock_change_swallows_or_repeats_comes_once(day: str, hours: list[int]) -> None:
    start = datetime.fromisoformat(f"{day}T00:00+00:00") - timedelta(hours=3)
    times = occurrences_of('{"cron": "30 2,4 * * *", "timezone": "Europe/Berlin"}')(start, start + timedelta(hours=9))
    assert [at.hour for at in times] == hours


@pytest.mark.slow
@pytest.mark.parametrize("timing", [{"cron": "*/15 * * * *"}, {"rrule": "FREQ=MINUTELY;INTERVAL=15"}])
def test_no_time_of_a_dense_schedule_is_left_out(timing: dict[str, str]) -> None:
    """Prefect gives a thousand times at most; what is left out would never be missed."""
    times = list(occurrences_of(json.dumps(timing | {"timezone": "UTC"}))(NOW, NOW + timedelta(days=30)))
    assert len(times) == 30 * 24 * 4
    assert {later - at for at, later in pairwise(times)} == {timedelta(minutes=15)}


@pytest.mark.parametrize("name", ["friday-sale", "month-end"])
def test_each_example_is_a_valid_change_and_served_with_its_schedule_switched_off(name: str) -> None:
    assert ChangeRequest.model_validate(DEPLOYMENTS[name]["parameters"]["change"]).change == ""
    (served,) = [d for d in served_deployments(ROOT / "prefect.yaml") if d.name == name]
    assert served.schedules and not served.schedules[0].active
    assert occurrences_of(served.schedules[0].schedule.model_dump_json())(NOW, NOW + timedelta(days=31))


def test_each_occurrence_is_a_change_of_its_own_and_the_same_however_often_it_runs() -> None:
    request = ChangeRequest.model_validate(SALE["parameters"]["change"])
    first, second = datetime(2026, 11, 27, 14, tzinfo=UTC), datetime(2026, 12, 4, 14, tzinfo=UTC)
    assert [request.named(at).change for at in (first, second, first)] == [
        "acme-quota-20261127T140000Z",
        "acme-quota-20261204T140000Z",
        "acme-quota-20261127T140000Z",
    ]
    assert request.named(first).effective_at == first + timedelta(hours=2)


def test_an_occurrence_made_after_its_effective_time_is_denied_and_told() -> None:
    with World() as world:
        request = a_request(change="", effective_at=None, effective_in="PT2H")
        missed = NOW - timedelta(hours=3)  # when it was scheduled; the scheduler was down until now
        record = receive(world.ctx, request.named(missed))
        assert record.state is ChangeState.DENIED
        assert [event.action for event in world.people.events] == ["denied"]
        assert (missed + timedelta(hours=2)).strftime("%H:%M") in record.note


ASKED: dict[str, tuple[timedelta, dict[str, Any], ChangeState]] = {
    "after a moment": (timedelta(seconds=3), {"effective_in": "PT2H"}, ChangeState.RECEIVED),
    "just in time": (GRACE, {"effective_in": "PT2H"}, ChangeState.RECEIVED),
    "late": (GRACE + timedelta(seconds=1), {"effective_in": "PT2H"}, ChangeState.DENIED),
    "ahead": (timedelta(hours=-1), {"effective_at": NOW + timedelta(hours=1)}, ChangeState.RECEIVED),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_minimum_delay_counts_from_the_time_of_the_run_unless_that_is_late(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    late, fields, state = ASKED[name]
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "PT2H"}])
    world.clock.step(late)
    monkeypatch.setattr(tasks.plan, "context", lambda: world.ctx)
    request = a_request(**{"change": "", "effective_at": None} | fields)
    with disable_run_logger():
        assert tasks.plan.receive_change.fn(request.named(NOW), NOW).state is state


DUE = NOW + timedelta(minutes=1)


def weekly(after: datetime, until: datetime) -> list[datetime]:
    """At DUE and every week later."""
    return [at for n in range(9) if after < (at := DUE + timedelta(weeks=n)) <= until]


class Look:
    """A reconciler's look at one schedule, whose changes are in force `effective_in` after their time."""

    def __init__(self, world: World, effective_in: str = "PT2H") -> None:
        self.world = world
        self.request = a_request(change="", effective_at=None, effective_in=effective_in)
        self(on=True)

    def __call__(self, on: bool = True) -> int:
        return check_occurrences(self.world.ctx, "weekly", self.request, weekly if on else None)

    def told(self) -> list[tuple[str, str]]:
        with self.world.sql.transaction() as tx:
            return [(e.event.action, e.event.change) for e in tx.audit_entries() if e.event.actor == "forebay"]


def name_of(at: datetime) -> str:
    return f"acme-quota-{at:%Y%m%dT%H%M%SZ}"


def test_an_occurrence_that_came_is_nothing_to_tell(world: World) -> None:
    look = Look(world)
    world.clock.step(timedelta(minutes=2))
    receive(world.ctx, look.request.named(DUE))
    before = look.told()
    world.clock.step(timedelta(hours=5))
    assert (look(), look.told()) == (0, before)


def test_a_late_one_is_told_once_and_denied_once_it_is_too_late(world: World) -> None:
    look = Look(world)
    world.clock.step(timedelta(minutes=5))
    assert look() == 0, "its run may be about to ask"
    world.clock.step(timedelta(minutes=1))
    assert (look(), look(), look.told()) == (1, 1, [("occurrence late", name_of(DUE))])
    world.clock.step(DUE + timedelta(hours=2) - world.clock.now())
    assert (look(), look()) == (0, 0)
    assert look.told()[1:] == [("received", name_of(DUE)), ("denied", name_of(DUE))]
    record = change_record(world.ctx, name_of(DUE))
    assert record.state is ChangeState.DENIED
    assert "schedule weekly was due" in record.note and "is not in the future" in record.note
    assert [event.action for event in world.people.events] == ["occurrence late", "denied"]
    assert receive(world.ctx, look.request.named(DUE)).state is ChangeState.DENIED, "a run that comes now is too late"


@pytest.mark.parametrize(("late", "told"), [(6, "occurrence late"), (180, "denied")])
def test_it_is_told_once_it_is_kept(world: World, late: int, told: str) -> None:
    look = Look(world)
    world.clock.step(timedelta(minutes=late))
    seen: list[str] = []
    world.store.effect = seen.append
    world.people.told = lambda event: seen.append(event.action)
    look()
    assert seen == ["before a transaction", "after a transaction", told]


def test_it_is_too_late_once_less_than_the_minimum_delay_is_left(world: World) -> None:
    strict = ChangeRules(rules=(ChangeRule(name="all", minimum_delay=timedelta(hours=1)),))
    set_rules(world.ctx, strict, "root", "a test")
    look = Look(world)
    world.clock.step(DUE + timedelta(minutes=59) - world.clock.now())
    assert look() == 1
    world.clock.step(timedelta(minutes=2))
    assert look() == 0
    assert "under the minimum delay of 1:00:00" in change_record(world.ctx, name_of(DUE)).note


def test_a_late_run_that_is_still_in_time_asks_as_if_nothing_had_been(world: World) -> None:
    look = Look(world)
    world.clock.step(timedelta(minutes=30))
    assert look() == 1
    assert receive(world.ctx, look.request.named(DUE)).state is ChangeState.RECEIVED
    assert look() == 0


def test_an_outage_of_weeks_is_looked_back_at_and_an_older_one_is_history(world: World) -> None:
    look = Look(world)
    world.clock.step(timedelta(weeks=3))
    assert look() == 0
    missed = [name_of(DUE + timedelta(weeks=n)) for n in range(3)]
    assert [change for action, change in look.told() if action == "denied"] == missed
    world.clock.step(timedelta(weeks=6))
    look()
    assert len([1 for action, _ in look.told() if action == "denied"]) == 3 + 4


def test_while_a_schedule_is_off_nothing_is_missed(world: World) -> None:
    look = Look(world)
    look(on=False)
    world.clock.step(timedelta(weeks=1, hours=3))
    look(on=False)
    assert (look(), look.told()) == (0, [])
    world.clock.step(timedelta(weeks=1))
    look()
    assert ("denied", name_of(DUE + timedelta(weeks=2))) in look.told()


@pytest.mark.parametrize("other_on", [True, False], ids=["both are on", "the other is off"])
def test_schedules_of_the_same_times_are_looked_at_each_for_itself(
    world: World, monkeypatch: pytest.MonkeyPatch, other_on: bool
) -> None:
    """They differ in what they ask for alone."""
    quota, tier = (a_request(change="", policy=p, effective_at=None, effective_in="PT2H") for p in ("quota", "tier"))

    def asks(request: ChangeRequest, on: bool = True) -> dict[str, Any]:
        parameters = {"change": request.model_dump(mode="json", exclude_defaults=True)}
        return {"schedule": {"cron": "0 * * * *", "timezone": "UTC"}, "parameters": parameters, "active": on}

    given = {"id": uuid4(), "flow_id": uuid4(), "name": "sales", "schedules": [asks(quota, other_on), asks(tier)]}
    found = DeploymentResponse.model_validate(given)
    monkeypatch.setattr(tasks.recurring, "client", lambda: SimpleNamespace(read_deployments=lambda **_: [found]))
    monkeypatch.setattr(tasks.recurring, "context", lambda: world.ctx)
    assert check_recurring() == 0, "looking begins"
    if other_on:
        receive(world.ctx, quota.named(NOW + timedelta(hours=1)))
    world.clock.step(timedelta(hours=1, minutes=6))
    assert check_recurring() == 1
    assert [event.change for event in world.people.events] == ["acme-tier-20261124T100000Z"]
