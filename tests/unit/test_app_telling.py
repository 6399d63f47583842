"""Telling people from the audit log through the outbox: nothing lost, nothing twice, and no change held up by it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.app.outbox import unsent
from forebay.app.people import hold
from forebay.app.telling import tell, try_out
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.outbox import Message
from forebay.domain.telling import Notice, Telling
from tests.support.world import World, minutes

WINDOW = timedelta(seconds=30)


class Room:
    """Where people are told."""

    def __init__(self, world: World, name: str = "notify room", **telling: object) -> None:
        self.heard: list[Notice] = []
        self.away = False
        object.__setattr__(world.ctx, "telling", Telling.model_validate({"outlets": (name,), **telling}))
        object.__setattr__(world.ctx, "outlets", {name: self.send})
        tell(world.ctx)  # telling begins

    def send(self, message: Message) -> None:
        if self.away:
            raise OutsideError("the room is closed", retryable=True)
        self.heard.append(Notice.model_validate_json(message.body))


def test_a_life_is_told_in_a_few_notices(world: World) -> None:
    room = Room(world)
    world.submit()
    world.run_until(minutes(62))
    assert world.state is ChangeState.CLOSED
    assert [notice.title for notice in room.heard] == [
        "CHG-1: received",
        "CHG-1: armed",
        "CHG-1: in force",
        "CHG-1: closed",
    ]


def test_within_a_window_one_notice_and_never_twice(world: World) -> None:
    room = Room(world)
    world.submit()
    hold(world.ctx, "CHG-1", "ann", "wait")
    assert tell(world.ctx) == 0, "the window is open"
    world.clock.sleep(WINDOW)
    assert tell(world.ctx) == 2
    assert tell(world.ctx) == 0
    world.reconcile()
    (notice,) = room.heard
    assert notice.title == "CHG-1: held"
    assert len(notice.text.splitlines()) == 2


def test_a_room_that_is_closed_hears_it_later_and_stops_no_change(world: World) -> None:
    room = Room(world)
    room.away = True
    world.submit()
    world.run_until(minutes(62))
    assert (world.state, room.heard) == (ChangeState.CLOSED, [])
    room.away = False
    world.run_until(minutes(90))
    assert sorted(n.title for n in room.heard) == [
        "CHG-1: armed",
        "CHG-1: closed",
        "CHG-1: in force",
        "CHG-1: received",
    ]


def test_what_happened_before_anybody_was_told_is_not_told(world: World) -> None:
    world.submit()
    room = Room(world, topics=["held"])
    hold(world.ctx, "CHG-1", "ann", "wait")
    world.clock.sleep(WINDOW)
    world.reconcile()
    assert [n.text.count("\n") for n in room.heard] == [0]
    assert "held by ann: wait" in room.heard[0].text


def test_a_try_says_what_fails(world: World) -> None:
    with pytest.raises(InputError, match="FOREBAY_NOTIFY"):
        try_out(world.ctx)
    room = Room(world)
    try_out(world.ctx)
    assert [notice.title for notice in room.heard] == ["Forebay: a try"]
    room.away = True
    with pytest.raises(OutsideError, match="the room is closed"):
        try_out(world.ctx)
    assert unsent(world.ctx) == [], "nobody waits for a try"


def test_a_try_goes_to_everybody_though_an_address_is_none(world: World) -> None:
    def none_such(message: Message) -> None:
        raise InputError(f"{message.outlet} is none that is known")

    room = Room(world)
    outlets = {"notify foo": none_such, "notify room": room.send}
    object.__setattr__(world.ctx, "telling", Telling(outlets=tuple(outlets)))
    object.__setattr__(world.ctx, "outlets", outlets)
    with pytest.raises(InputError, match="notify foo is none"):
        try_out(world.ctx)
    assert len(room.heard) == 1 and unsent(world.ctx) == []
