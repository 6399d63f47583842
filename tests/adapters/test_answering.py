"""Answering tickets over HTTP, against servers that refuse what the real systems would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from forebay.answering import answer_outlets
from forebay.app import answering
from forebay.app.outbox import drain
from forebay.app.plan import store_plans
from forebay.app.tickets import store_ticket, sweep_tickets
from forebay.domain.answer import Answer
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.model import validate
from forebay.domain.outbox import Message
from forebay.domain.source import TicketSource
from tests.support.desks import TOKEN, USER, Desk, GitHub, GitLab, Jira, ServiceNow
from tests.support.samples import NOW
from tests.support.world import World, a_plan
from tests.unit.test_control_tickets import Scheduler, delivery

KINDS: dict[str, tuple[type[Desk], str, str | None, str]] = {
    "jira": (Jira, "OPS-12", USER, "Done"),
    "servicenow": (ServiceNow, "CHG0030012", USER, "3"),
    "github": (GitHub, "policies-7", None, "closed"),
    "gitlab": (GitLab, "gitlab-42-7", None, "close"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def desk(kind: str) -> Iterator[Desk]:
    with KINDS[kind][0]() as desk:
        yield desk


def send(
    desk: Desk, kind: str, action: str = "denied", attempts: int = 1, failure: str | None = None, **other: Any
) -> None:
    _, ticket, user, state = KINDS[kind]
    answer = {"url": desk.url, "user": user, "token": "DESK_TOKEN", "unencrypted": True, "states": {"in force": state}}
    source = TicketSource.model_validate({"name": kind, "kind": kind, "answer": answer | other})
    [(outlet, deliver)] = answer_outlets((source,), {"DESK_TOKEN": TOKEN, "WRONG": "no token"}).items()
    body = Answer(
        ticket=ticket, action=action, text=f'{action}: "größer"\n\nor later [forebay-7]', marker="[forebay-7]"
    )
    deliver(
        Message(
            outlet=outlet,
            lane=ticket,
            key="7",
            body=body.model_dump_json(),
            made_at=NOW,
            due_at=NOW,
            attempts=attempts,
            failure=failure,
        )
    )


def test_a_comment_is_made_and_the_state_left_alone(desk: Desk, kind: str) -> None:
    send(desk, kind)
    [comment] = desk.comments
    assert "forebay-7" in comment
    assert desk.state == "open"


@pytest.mark.parametrize("kind", ["jira", "servicenow"])
def test_a_plan_as_a_ticket_shows_it(desk: Desk, kind: str) -> None:
    """Whoever reads it sees what is about to happen, what that costs and risks, and by which hash to approve it."""
    _, ticket, user, _ = KINDS[kind]
    answer = {"url": desk.url, "user": user, "token": "DESK_TOKEN", "unencrypted": True}
    source = TicketSource.model_validate({"name": kind, "kind": kind, "answer": answer})
    with World() as world:
        object.__setattr__(world.ctx, "outlets", answer_outlets((source,), {"DESK_TOKEN": TOKEN}))
        answering.answer(world.ctx)  # answering begins
        world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob"]}}])
        store_ticket(world.ctx, kind, delivery(ticket))
        sweep_tickets(world.ctx, Scheduler())
        plan = a_plan(change=ticket).model_copy(update={"preflight": ("1 of 4 instances are protected",)})
        store_plans(world.ctx, ticket, [plan])
        answering.answer(world.ctx)
        drain(world.ctx)
    received, planned, waiting = map(text_of, desk.comments)
    assert received.startswith(f"{ticket}: received by ann: no reason given [forebay-")
    assert re.sub(r"\d+]$", "17]", planned) == (
        f"{ticket}: plan stored (web) by forebay: 2 steps, 4 to 8 units, the first at 2026-11-24 09:01 UTC, "
        f"the last at 2026-11-24 09:07 UTC (plan {plan.hash[:12]}). "
        "Until the plan's end it costs 1.23 USD, 1.13 USD more than leaving the allocation as it is; "
        "the risk of being too small at the effective time is 5 % instead of 90 %. "
        "1 of 4 instances are protected [forebay-17]"
    )
    assert f"plan {plan.hash[:12]}, at the latest 2026-11-24T09:01:00+00:00 [forebay-" in waiting


def text_of(comment: str) -> str:
    """What people read of it: of Jira's document, the text in it."""
    if not comment.startswith("{"):
        return comment
    [paragraph] = json.loads(comment)["content"]
    return "".join(node.get("text", "\n") for node in paragraph["content"])


def test_an_event_may_move_the_ticket(desk: Desk, kind: str) -> None:
    send(desk, kind, "in force")
    assert (len(desk.comments), desk.state) == (1, KINDS[kind][3])


def test_a_comment_that_nobody_confirmed_is_found_again(desk: Desk, kind: str) -> None:
    desk.comments += ["{}"] * 120
    desk.deaf_to_next_write = True
    with pytest.raises(OutsideError, match="was not answered") as away:
        send(desk, kind, "in force")
    assert away.value.retryable
    for attempt in (2, 3):
        send(desk, kind, "in force", attempts=attempt)
    assert (len(desk.comments), desk.state) == (121, KINDS[kind][3]), "one comment, and what was to follow it"


def test_one_that_a_person_sends_once_more_is_looked_for_first(desk: Desk, kind: str) -> None:
    send(desk, kind)
    send(desk, kind, failure="no transition 'Done' now")
    assert len(desk.comments) == 1


def test_the_comment_of_another_event_is_not_taken_for_it(desk: Desk, kind: str) -> None:
    desk.comments.append('"armed [forebay-71]"')
    send(desk, kind, attempts=2)
    assert len(desk.comments) == 2


def test_a_desk_that_is_away_is_tried_again(desk: Desk, kind: str) -> None:
    desk.away = True
    with pytest.raises(OutsideError, match="answered 503") as away:
        send(desk, kind)
    assert away.value.retryable


def test_a_wrong_token_is_not_tried_again_nor_told(desk: Desk, kind: str) -> None:
    with pytest.raises(OutsideError, match="answered 401") as refused:
        send(desk, kind, token="WRONG")
    assert (refused.value.retryable, desk.comments) == (False, [])
    assert "no token" not in str(refused.value)


def test_what_somebody_wrote_as_a_reason_is_no_command_of_gitlab() -> None:
    with GitLab() as desk:
        send(desk, "gitlab", "denied\n/close\n  /close")
        assert desk.state == "open"
        assert "\n\\/close\n  \\/close" in desk.comments[0]


def test_a_transition_that_is_not_there_says_which_are() -> None:
    with Jira() as desk, pytest.raises(OutsideError, match="no transition 'Gone' now, only: Finish") as refused:
        send(desk, "jira", "in force", states={"in force": "Gone"})
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"url": "http://there.example.com"}, "use https"),
        ({"url": "https://user:word@there.example.com"}, "without name, password and query"),
        ({"states": {"in froce": "Done"}}, "nothing is called in froce"),
        ({"token": "s3cret-itself"}, "never the token"),
    ],
)
def test_a_wrong_answer_is_refused_when_it_is_read(answer: dict[str, Any], words: str) -> None:
    whole = {"url": "https://there.example.com", "token": "DESK_TOKEN"} | answer
    with pytest.raises(InputError, match=words) as refused:
        validate(TicketSource, {"name": "jira", "kind": "jira", "answer": whole}, "sources.yaml")
    assert re.search("s3cret|word@", str(refused.value)) is None


def test_a_token_that_is_not_set_is_told_at_the_start() -> None:
    answer = {"url": "https://there.example.com", "token": "DESK_TOKEN"}
    source = TicketSource.model_validate({"name": "jira", "kind": "jira", "answer": answer})
    with pytest.raises(InputError, match=r"answer\.token names a variable that is not set"):
        answer_outlets((source,), {})
