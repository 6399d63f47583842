"""How a stretch of time becomes CloudWatch queries."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.usage.periods import DAY, HOUR, MOST_PERIODS, period_for, windows

NOW = 1_772_409_600.0


@pytest.mark.parametrize(
    ("step", "age", "period"),
    [
        (300, DAY, 300),
        (60, DAY, 60),
        (20, HOUR, 20),
        (15, HOUR, 5),
        (7.5, HOUR, 1),
        (20, DAY, 60),
        (90, DAY, 120),
        (60, 20 * DAY, 300),
        (300, 62 * DAY, 300),
        (300, 70 * DAY, 3600),
        (7200, 70 * DAY, 7200),
    ],
)
def test_the_coarsest_period_that_is_kept(step, age, period):
    assert period_for(step, age) == period


@given(
    st.floats(0, 400 * DAY),
    st.floats(0, 60 * DAY),
    st.sampled_from([1, 5, 20, 60, 90, 300, 600, 3600]),
)
def test_windows_are_allowed_aligned_in_order_and_leave_out_less_than_a_period_at_the_ends(age, length, step):
    start, end = NOW - age, min(NOW, NOW - age + length)
    if step < 60:
        start = max(start, end - DAY)  # millions of queries else
    found = list(windows(start, end, step, NOW))
    for window in found:
        assert window.start % window.period == window.end % window.period == 0
        assert 1 <= window.periods <= MOST_PERIODS
        oldest = NOW - window.start
        kept = 1 if oldest <= 3 * HOUR else 60 if oldest <= 15 * DAY else 300 if oldest <= 63 * DAY else 3600
        assert window.period % kept == 0
    for left, right in pairwise(found):
        assert 0 <= right.start - left.end < max(left.period, right.period)
    if found:
        assert start <= found[0].start < start + found[0].period
        assert end - found[-1].period < found[-1].end <= end
    else:
        assert end - start < 2 * period_for(step, NOW - start)
