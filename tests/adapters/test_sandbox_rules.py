"""The sandbox's pure rules: target tracking and schedules."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.schedules import ScheduleError, check, due, unix_cron_due
from sandbox.tracking import Proposal, Wish, combine, propose

POINTS = st.lists(st.one_of(st.none(), st.floats(0, 200)), min_size=1, max_size=20)


def wish(points, serving=4, desired=4, scale_in=True):
    return propose(points, 50, serving, desired, out_points=3, in_points=5, scale_in=scale_in)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([90, 90, 90], Proposal(Wish.OUT, 8)),
        ([90, 90], Proposal(Wish.HOLD, 4)),
        ([90, None, 90], Proposal(Wish.HOLD, 4)),
        ([40, 90, 90, 90], Proposal(Wish.OUT, 8)),
        ([50, 50, 50], Proposal(Wish.HOLD, 4)),
        ([20] * 5, Proposal(Wish.IN, 2)),
        ([20] * 4, Proposal(Wish.HOLD, 4)),
        ([20, 20, None, 20, 20], Proposal(Wish.HOLD, 4)),
        ([46] * 5, Proposal(Wish.HOLD, 4)),
        ([90, 90, None], Proposal(Wish.HOLD, 4)),
    ],
)
def test_what_datapoints_ask_for(points, expected):
    assert wish(points) == expected


def test_disabled_scale_in_holds():
    assert wish([20] * 5, scale_in=False).wish is Wish.HOLD


@given(POINTS, st.integers(0, 50), st.integers(0, 50))
def test_missing_data_never_scales_in(points, serving, desired):
    got = wish([*points, None, *points[:2]], serving, desired)
    assert got.wish is not Wish.IN


@given(POINTS, st.integers(0, 50), st.integers(0, 50))
def test_a_wish_has_its_direction(points, serving, desired):
    got = wish(points, serving, desired)
    assert (got.capacity > desired, got.capacity < desired) == (got.wish is Wish.OUT, got.wish is Wish.IN)


OUT_8, OUT_6, IN_2, IN_3, HOLD = (
    Proposal(Wish.OUT, 8),
    Proposal(Wish.OUT, 6),
    Proposal(Wish.IN, 2),
    Proposal(Wish.IN, 3),
    Proposal(Wish.HOLD, 4),
)


@pytest.mark.parametrize(
    ("proposals", "expected"),
    [([OUT_6, OUT_8, IN_2], OUT_8), ([IN_2, IN_3], IN_3), ([IN_2, HOLD], HOLD), ([], HOLD)],
)
def test_the_largest_capacity_wins(proposals, expected):
    assert combine(proposals, 4) == expected


NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("expression", "zone", "expected"),
    [
        ("at(2026-03-02T12:00:00)", "UTC", True),
        ("at(2026-03-02T12:00:01)", "UTC", False),
        ("at(2026-03-02T13:00:00)", "Europe/Berlin", True),
        ("rate(5 minutes)", "UTC", True),
        ("rate(7 minutes)", "UTC", False),
        ("cron(0 12 * * ? *)", "UTC", True),
        ("cron(0 12 ? * MON *)", "UTC", True),
        ("cron(0 12 ? * 2 *)", "UTC", True),
        ("cron(0 12 ? * TUE-FRI *)", "UTC", False),
        ("cron(0/15 9-17 1,2 MAR ? 2026)", "UTC", True),
        ("cron(30 12 * * ? *)", "UTC", False),
    ],
)
def test_when_an_expression_is_due(expression, zone, expected):
    created = NOON - timedelta(minutes=20)
    assert due(expression, zone, created, NOON - MINUTE, NOON) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("0 12 * * *", True), ("0 12 * * 1", True), ("0 12 * * 0", False), ("*/5 * * * 1-5", True), ("1 12 * * *", False)],
)
def test_unix_cron(expression, expected):
    assert unix_cron_due(expression, None, NOON - MINUTE, NOON) is expected


@pytest.mark.parametrize(
    "expression", ["tomorrow", "cron(1 2 3)", "rate(five minutes)", "at(noon)", "cron(x * * * ? *)"]
)
def test_expressions_that_cannot_be_read(expression):
    with pytest.raises(ScheduleError, match="is not a schedule"):
        check(expression)
