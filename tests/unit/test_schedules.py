"""Recurring changes: `friday-sale` keeps the wall clock over clock changes, each occurrence is a change of its own, and
one that the scheduler made too late is denied, not forgotten."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prefect.server.schemas.schedules import CronSchedule

from forebay.app.receive import receive
from forebay.domain.change import ChangeRequest
from forebay.domain.lifecycle import ChangeState
from tests.support.world import NOW, World, a_request

ROOT = Path(__file__).resolve().parents[2]
(SALE,) = [d for d in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"] if d["name"] == "friday-sale"]


async def occurrences(start: datetime, count: int) -> list[datetime]:
    given = SALE["schedules"][0]
    schedule = CronSchedule(cron=given["cron"], timezone=given["timezone"])
    return [at.astimezone(UTC) for at in await schedule.get_dates(count, start)]


@pytest.mark.parametrize(
    ("start", "hours_utc"),
    [
        (datetime(2026, 3, 27, tzinfo=UTC), [14, 13]),  # summer time begins on 29 March
        (datetime(2026, 10, 23, tzinfo=UTC), [13, 14]),  # and ends on 25 October
    ],
)
def test_the_sale_is_at_three_by_the_clock_on_the_wall(start: datetime, hours_utc: list[int]) -> None:

    found = asyncio.run(occurrences(start, 2))
    assert [at.hour for at in found] == hours_utc
    assert all(at.strftime("%A %M") == "Friday 00" for at in found)


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
