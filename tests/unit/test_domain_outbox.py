"""The outbox's rules: what is due, in which order, and when a message is given up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.domain.outbox import CLAIM, LONGEST_PAUSE, MOST_ATTEMPTS, Message, MessageState, due, pause
from tests.support.samples import NOW

SECOND = timedelta(seconds=1)


def a_message(number: int = 1, lane: str = "acme/quota", outlet: str = "push to ssm", due_in: int = 0) -> Message:
    at = NOW + due_in * SECOND
    return Message(number=number, outlet=outlet, lane=lane, key=str(number), body="{}", made_at=NOW, due_at=at)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["ssm", "http"]), st.integers(-5, 5)), max_size=12),
    st.randoms(),
)
def test_of_each_lane_the_oldest_goes_first_and_no_other_lane_waits_for_it(made, shuffled) -> None:
    waiting = [a_message(n, lane, outlet, due_in) for n, (lane, outlet, due_in) in enumerate(made, 1)]
    mixed = list(waiting)
    shuffled.shuffle(mixed)
    found = due(mixed, NOW)
    lanes = {(m.outlet, m.lane) for m in waiting}
    heads = [min((m for m in waiting if (m.outlet, m.lane) == lane), key=lambda m: m.number) for lane in lanes]
    assert sorted(m.number for m in found) == sorted(m.number for m in heads if m.due_at <= NOW)
    assert [m.number for m in found] == sorted(m.number for m in found)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (MOST_ATTEMPTS, 900)])
def test_pauses_double_up_to_a_quarter_of_an_hour(attempts: int, seconds: int) -> None:
    assert pause(attempts) == seconds * SECOND <= LONGEST_PAUSE


def test_a_message_is_tried_so_often_and_then_given_up() -> None:
    message, now = a_message(), NOW
    for _ in range(MOST_ATTEMPTS):
        assert due([message], now) == [message]
        message = message.claimed(now)
        assert due([message], now + CLAIM - SECOND) == [], "somebody is at it"
        message = message.failed("away", now, retryable=True)
        now = message.due_at
    assert (message.state, message.failure) == (MessageState.DEAD, "away")
    assert now - NOW > timedelta(hours=3)


def test_what_was_claimed_and_never_heard_of_is_due_again() -> None:
    claimed = a_message().claimed(NOW)
    assert due([claimed], NOW + CLAIM) == [claimed]


def test_what_cannot_be_helped_is_given_up_at_once_and_revived_by_a_person() -> None:
    dead = a_message().claimed(NOW).failed("no such topic", NOW, retryable=False)
    assert dead.state is MessageState.DEAD
    alive = dead.revived(NOW + SECOND)
    assert (alive.state, alive.attempts, alive.due_at) == (MessageState.WAITING, 0, NOW + SECOND)
