"""When a user's own scheduled scaling action runs: named rows, and the simulated cloud's own reading of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.domain.allocation import Lever
from forebay.targets.causes import newest_first, tells_trouble
from forebay.targets.schedules import Scheduled, runs_within
from sandbox import schedules

MONDAY = datetime(2026, 3, 2, 21, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "expected"),
    [
        pytest.param("at(2026-03-02T22:00:00)", None, True, id="once, inside"),
        pytest.param("at(2026-03-02T21:00:00)", None, False, id="once, this very moment is past"),
        pytest.param("at(2026-03-02T23:00:00)", None, True, id="once, the end counts"),
        pytest.param("at(2026-03-02T23:00:00)", "Europe/Berlin", True, id="once, 22:00 UTC"),
        pytest.param("at(2026-03-02T22:00:00)", "America/New_York", False, id="once, tomorrow in UTC"),
        pytest.param("cron(0 22 * * ? *)", None, True, id="every day at 22"),
        pytest.param("cron(0 20 * * ? *)", None, False, id="every day at 20"),
        pytest.param("cron(0 22 ? * MON-FRI *)", None, True, id="on weekdays"),
        pytest.param("cron(0 22 ? * SAT,SUN *)", None, False, id="at weekends"),
        pytest.param("cron(0/30 8-21 * MAR ? 2026)", None, True, id="steps, ranges, names, year"),
        pytest.param("cron(0 22 1 * ? *)", None, False, id="on the first of the month"),
        pytest.param("cron(0 22 L * ? *)", None, True, id="a day that is not worked out counts as every day"),
        pytest.param("rate(1 day)", None, True, id="a rate has no phase"),
        pytest.param("cron(0 20 * * ? *)", "US/Pacific-New", True, id="a zone that AWS alone knows"),
    ],
)
def test_runs_within_two_hours(expression, zone, expected):
    assert runs_within(expression, zone, MONDAY, MONDAY + timedelta(hours=2)) is expected


def field(low, high):
    number = st.integers(low, high).map(str)
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)
    return st.one_of(
        st.just("*"),
        number,
        pair.map(lambda p: f"{p[0]}-{p[1]}"),
        st.lists(number, min_size=1, max_size=3).map(",".join),
        st.tuples(number, st.integers(1, 12)).map(lambda p: f"{p[0]}/{p[1]}"),
        st.integers(1, 12).map(lambda step: f"*/{step}"),
    )


CRON = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12)).map(" ".join)


@given(CRON, st.integers(0, 364 * 24 * 60), st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_reads_a_cron_expression_as_the_simulated_cloud_runs_it(fields, minute, zone):
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    end = start + timedelta(hours=2)
    expression = f"cron({fields} ? *)"
    assert runs_within(expression, zone, start, end) == schedules.due(expression, zone, start, start, end)


@pytest.mark.parametrize(
    ("lever", "low", "high", "count", "lowers", "others"),
    [
        pytest.param(Lever.FLOOR, None, 3, None, True, ["the maximum 3"], id="a maximum below the floor"),
        pytest.param(Lever.FLOOR, 4, 20, 9, False, [], id="what stands; a count is the autoscaler's matter"),
        pytest.param(Lever.FLOOR, None, None, None, False, [], id="nothing"),
        pytest.param(Lever.FLOOR, 3, None, None, True, ["the minimum 3"], id="a lower minimum"),
        pytest.param(Lever.FLOOR, 9, 30, None, False, ["the minimum 9", "the maximum 30"], id="both higher"),
        pytest.param(Lever.COUNT, 1, 40, None, False, [], id="bounds that leave a count where it is"),
        pytest.param(Lever.COUNT, 9, None, None, False, ["the minimum 9"], id="a minimum that lifts a count"),
        pytest.param(Lever.COUNT, None, 3, None, True, [], id="a maximum that cuts a count"),
        pytest.param(Lever.COUNT, None, None, 3, True, ["the count 3"], id="a lower count"),
        pytest.param(Lever.COUNT, None, None, 9, False, ["the count 9"], id="a higher count"),
    ],
)
def test_what_an_action_does_to_four_units_under_a_maximum_of_twenty(lever, low, high, count, lowers, others):
    action = Scheduled("nightly", low, high, lambda start, end: True, count)
    assert (action.lowers(4, lever), action.others(4, lever, 20)) == (lowers, others)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("(service web) was unable to place a task because no container instance met all of its requirements.", True),
        ("(service web) (task 1) failed container health checks.", True),
        ("(service error-page) has reached a steady state.", False),
        ("(service web) has started 2 tasks: (task 1) (task 2).", False),
    ],
)
def test_which_events_tell_trouble(message, expected):
    assert tells_trouble(message) is expected


def test_causes_are_few_recent_and_each_told_once():
    messages = [(MONDAY - timedelta(minutes=m), f"cause {m % 7}") for m in range(30)]
    assert newest_first(messages, MONDAY) == ("cause 0", "cause 1", "cause 2", "cause 3", "cause 4")
