"""What people are told: which events, together, and never a flood."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.domain.audit import GENESIS, AuditEntry, chained
from forebay.domain.telling import MOST_AT_ONCE, MOST_LINES, TOPICS, notices, topic_of, worth_telling
from tests.support.samples import an_event


def entries(*told: tuple[str, str]) -> list[AuditEntry]:
    return [chained(n, an_event(action, change=change), GENESIS) for n, (change, action) in enumerate(told, 1)]


def test_every_action_belongs_to_one_topic() -> None:
    actions = [action for known in TOPICS.values() for action in known]
    assert len(actions) == len(set(actions))
    assert topic_of(an_event("held")) == "held"
    assert topic_of(an_event("step 1 serving")) is None


def test_what_could_not_be_sent_is_told_unless_it_was_itself_a_notice() -> None:
    assert topic_of(an_event("push to ssm given up")) == "trouble"
    assert topic_of(an_event("notify slack 12ab given up")) is None


def test_only_chosen_topics_are_told() -> None:
    found = worth_telling(entries(("A", "received"), ("A", "held"), ("A", "plan stored")), {"held"})
    assert [e.event.action for e in found] == ["held"]


def test_all_about_one_change_is_one_notice() -> None:
    first, second = notices(entries(("A", "received"), ("B", "received"), ("A", "denied")))
    assert (first.title, first.change, first.key) == ("A: denied", "A", "1-3")
    assert [line.split("  ")[1] for line in first.text.splitlines()] == [
        "received by ann: because",
        "denied by ann: because",
    ]
    assert second.title == "B: received"


def test_a_reason_of_several_lines_writes_no_line_that_looks_like_another_event() -> None:
    forged = an_event("held", change="A", reason="wait\n24 Nov 09:30:00 UTC  armed by forebay: aligned")
    (notice,) = notices([chained(1, forged, GENESIS)])
    assert len(notice.text.splitlines()) == 1


@given(
    st.lists(st.tuples(st.sampled_from("ABCDEFGHIJ"), st.sampled_from(["held", "received"])), min_size=1, max_size=80)
)
def test_never_more_notices_than_that_and_nothing_left_out(told: list[tuple[str, str]]) -> None:
    found = notices(entries(*told))
    assert len(found) <= MOST_AT_ONCE
    assert len({notice.key for notice in found}) == len(found)
    lines = [line for notice in found for line in notice.text.splitlines()]
    if len(told) <= MOST_LINES:
        assert len(lines) == len(told)
    if len({change for change, _ in told}) > MOST_AT_ONCE:
        assert found[0].title == f"{len(told)} events on {len({c for c, _ in told})} subjects"
        assert len(lines) <= MOST_LINES + 1
