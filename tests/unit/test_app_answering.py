"""What tickets are told: once each, whatever dies in between, and nothing but what they asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from forebay.app.answering import answer
from forebay.app.break_glass import break_glass
from forebay.app.outbox import drain
from forebay.app.people import cancel
from forebay.app.tickets import store_ticket, submit, sweep_tickets
from forebay.domain.answer import Answer
from forebay.domain.errors import OutsideError
from forebay.domain.outbox import CLAIM, Message
from tests.support.world import World, a_request
from tests.unit.test_control_tickets import Scheduler, closing, delivery


class Tickets:
    """Keeps the comments that it is told; `away`, or killed after `dies_after` comments."""

    def __init__(self, world: World, *sources: str) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.away = self.killed = False
        outlets = {f"answer {s}": lambda message, s=s: self.send(s, message) for s in sources}
        object.__setattr__(world.ctx, "outlets", outlets)
        answer(world.ctx)  # answering begins

    def send(self, source: str, message: Message) -> None:
        if self.away:
            raise OutsideError("no way there", retryable=True)
        said = Answer.model_validate_json(message.body)
        self.told.append((source, said.ticket, said.action))
        if self.killed:
            raise KeyboardInterrupt


def test_a_ticket_is_told_what_becomes_of_its_change(world: World) -> None:
    tickets = Tickets(world, "jira", "other")
    store_ticket(world.ctx, "jira", delivery())
    sweep_tickets(world.ctx, Scheduler())
    cancel(world.ctx, "T-1", "ann", "not now")
    assert [answer(world.ctx), answer(world.ctx)] == [3, 0]
    drain(world.ctx)
    assert tickets.told == [("jira", "T-1", "received"), ("jira", "T-1", "cancelled"), ("jira", "T-1", "rolled back")]


def test_a_refused_ticket_is_told_why(world: World) -> None:
    tickets = Tickets(world, "jira")
    with world.sql.transaction() as tx:
        tx.add_ticket("jira", "T-1", "1", json.dumps({"ticket": "T-1"}), world.clock.now())
    sweep_tickets(world.ctx, Scheduler())
    answer(world.ctx)
    drain(world.ctx)
    assert tickets.told == [("jira", "T-1", "ticket refused")]


class Loop:
    """A ticketing system to which each answer is a new revision of the ticket, delivered as it stands (ServiceNow)."""

    def __init__(self, world: World) -> None:
        self.world, self.tickets, self.revision = world, Tickets(world, "jira"), 0

    def says(self, revision: Callable[[str], str]) -> list[str]:
        """What the ticket is told within ten passes of the reconciler."""
        before, heard = len(self.tickets.told), -1
        for _ in range(10):
            if len(self.tickets.told) > heard:
                self.revision += 1
                store_ticket(self.world.ctx, "jira", revision(str(self.revision)))
            heard = len(self.tickets.told)
            sweep_tickets(self.world.ctx, Scheduler())
            answer(self.world.ctx)
            drain(self.world.ctx)
            self.world.clock.sleep(timedelta(minutes=1))
        return [action for _, _, action in self.tickets.told[before:]]


def test_an_answer_that_comes_back_as_a_revision_is_not_answered_again(world: World) -> None:
    world.put_rules(rules=[{"name": "ours", "minimum_delay": "PT20M", "break_glass": ["ann"], "cancellers": ["ann"]}])
    loop, end = Loop(world), world.clock.now() + timedelta(minutes=40)
    at = {"effective_in": None, "effective_at": end.isoformat()}
    assert loop.says(lambda r: delivery(revision=r, **at)) == ["received"]
    soon = at | {"effective_at": (end - timedelta(minutes=20)).isoformat()}
    assert loop.says(lambda r: delivery(revision=r, **soon)) == ["ticket refused"]
    assert loop.says(lambda r: closing(r, by="eve")) == ["ticket refused"]
    break_glass(world.ctx, "T-1", "ann", "now")
    told = loop.says(lambda r: closing(r, by="eve"))
    assert told.count("ticket closed, nothing changed") == 1
    assert len(told) == 2, "and that it is in force"
    assert world.actions("T-1").count("ticket closed, nothing changed") == 1


def test_a_delivery_that_nobody_can_read_any_more_is_in_nobodys_way(world: World) -> None:
    tickets = Tickets(world, "jira")
    with world.sql.transaction() as tx:
        tx.add_ticket("jira", "T-1", "0", "{", world.clock.now())
    store_ticket(world.ctx, "jira", delivery())
    store_ticket(world.ctx, "jira", closing())
    sweep_tickets(world.ctx, Scheduler())
    answer(world.ctx)
    drain(world.ctx)
    assert [action for _, _, action in tickets.told] == ["ticket refused", "received", "cancelled", "rolled back"]


def test_a_change_that_no_ticket_asked_for_is_told_to_none(world: World) -> None:
    tickets = Tickets(world, "jira")
    submit(world.ctx, a_request())
    store_ticket(world.ctx, "jira", delivery("CHG-1", change="ANOTHER"))
    sweep_tickets(world.ctx, Scheduler())
    answer(world.ctx)
    drain(world.ctx)
    assert tickets.told == []


def test_a_system_that_is_away_hears_it_later_in_order(world: World) -> None:
    tickets = Tickets(world, "jira")
    tickets.away = True
    store_ticket(world.ctx, "jira", delivery())
    sweep_tickets(world.ctx, Scheduler())
    answer(world.ctx)
    drain(world.ctx)
    cancel(world.ctx, "T-1", "ann", "not now")
    answer(world.ctx)
    tickets.away = False
    world.clock.sleep(timedelta(minutes=1))
    drain(world.ctx)
    assert [action for _, _, action in tickets.told] == ["received", "cancelled", "rolled back"]


def test_who_dies_between_sending_and_saying_so_sends_again_as_a_second_attempt(world: World) -> None:
    tickets = Tickets(world, "jira")
    tickets.killed = True
    store_ticket(world.ctx, "jira", delivery())
    sweep_tickets(world.ctx, Scheduler())
    answer(world.ctx)
    with pytest.raises(KeyboardInterrupt):
        drain(world.ctx)
    attempts: list[int] = []
    object.__setattr__(world.ctx, "outlets", {"answer jira": lambda message: attempts.append(message.attempts)})
    assert drain(world.ctx) == 0, "it is claimed still"
    world.clock.sleep(CLAIM)
    drain(world.ctx)
    assert attempts == [2], "by which the desk looks for the comment first (tests/adapters/test_answering.py)"
