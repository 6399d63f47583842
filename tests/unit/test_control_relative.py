"""A relative effective time that is asked for again: the same means the time it was given, another one edits it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay.app.people import deny
from forebay.app.receive import receive
from forebay.app.tickets import store_ticket, sweep_tickets
from forebay.cli import common
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.lifecycle import ChangeState
from forebay.domain.model import canonical_json, digest
from tests.support.api import calling
from tests.support.samples import a_change
from tests.support.world import MINUTE, NOW, World, a_request
from tests.unit.test_cli import CHANGE, files, forebay  # noqa: F401
from tests.unit.test_control_tickets import Scheduler, delivery

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)


def asked(effective_in: str | None, **fields: Any) -> ChangeRequest:
    return a_request(**{"effective_at": None, "effective_in": effective_in} | fields)


def test_the_same_relative_time_again_means_the_time_it_was_given_whatever_else_is_edited(world: World) -> None:
    receive(world.ctx, asked("PT2H"))
    world.clock.sleep(7 * MINUTE)
    edited = receive(world.ctx, asked("PT2H", document={"limit": 2}))
    assert (edited.change.effective_at, edited.change.document) == (NOW + 2 * HOUR, {"limit": 2})
    assert edited.note.startswith("document changed: ")
    again = receive(world.ctx, asked("PT2H", document={"limit": 2}))
    assert again == edited, "a repeat"


def test_another_relative_time_is_an_edit_and_an_earlier_one_that_comes_late_is_not(world: World) -> None:
    receive(world.ctx, asked("PT2H"))
    world.clock.sleep(7 * MINUTE)
    edited = receive(world.ctx, asked("PT3H"))
    assert edited.change.effective_at == NOW + 7 * MINUTE + 3 * HOUR
    assert edited.note.startswith("effective_at, effective_in changed: ")
    assert receive(world.ctx, asked("PT2H")) == edited
    by_the_clock = receive(world.ctx, asked(None, effective_at=NOW + 5 * HOUR))
    assert by_the_clock.change.effective_at == NOW + 5 * HOUR
    relative = receive(world.ctx, asked("PT5H"))
    assert relative.change.effective_at == NOW + 7 * MINUTE + 5 * HOUR, "after a time, too, a delay is an edit"


def test_asking_anew_for_a_denied_change_counts_anew(world: World) -> None:
    receive(world.ctx, asked("PT2H"))
    deny(world.ctx, "CHG-1", "no plan")
    world.clock.sleep(7 * MINUTE)
    edited = receive(world.ctx, asked("PT2H", document={"limit": 2}))
    assert edited.change.effective_at == NOW + 7 * MINUTE + 2 * HOUR


def test_what_a_ticket_asked_for_is_known_by_every_door(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery(effective_in="PT2H"))
    sweep_tickets(world.ctx, Scheduler())
    world.clock.sleep(7 * MINUTE)
    by_hand = asked("PT2H", change="T-1", document={"limit": 2})
    assert receive(world.ctx, by_hand).change.effective_at == NOW + 2 * HOUR
    store_ticket(world.ctx, "jira", delivery(revision="2", effective_in="PT2H", document={"limit": 3}))
    sweep_tickets(world.ctx, Scheduler())
    third = receive(world.ctx, asked("PT2H", change="T-1", document={"limit": 4}))
    assert third.change.effective_at == NOW + 2 * HOUR
    receive(world.ctx, asked(None, change="T-1", effective_at=NOW + 6 * HOUR))
    store_ticket(world.ctx, "jira", delivery(revision="3", effective_in="PT2H", document={"limit": 5}))
    sweep_tickets(world.ctx, Scheduler())
    change = world.record("T-1").change
    assert (change.effective_at, change.document) == (NOW + 6 * HOUR, {"limit": 5}), "its sender left the time alone"


def test_by_the_api(world: World) -> None:
    client = calling(world, "zoe", "requester")
    body = {"change": "CHG-2", "entity": "acme", "policy": "quota", "impacts": [{"workload": "web", "factor": 2}]}
    times, statuses = [], []
    for effective_in, limit in (("P2D", 1), ("P1D", 1), ("P1D", 2)):
        answer = client.post("/v1/changes", json=body | {"effective_in": effective_in, "document": {"limit": limit}})
        times.append(world.record("CHG-2").change.effective_at)
        statuses.append(answer.status_code)
        world.clock.sleep(7 * MINUTE)
    assert statuses == [201, 200, 200]
    assert times == [NOW + 48 * HOUR, *[NOW + 7 * MINUTE + 24 * HOUR] * 2]


def test_by_the_command_line(files: Path, forebay) -> None:  # noqa: F811
    def submit(old: str, new: str) -> tuple[PolicyChange, str]:
        (files / "change.yaml").write_text(CHANGE.replace(old, new))
        code, said, _ = forebay("submit", "change.yaml")
        assert code == 0
        with common.context().store.snapshot() as tx:
            record = tx.change("CHG-1")
        assert record is not None and record.state is ChangeState.RECEIVED
        return record.change, said

    first, _ = submit("", "")
    again, said = submit("factor: 2,", "factor: 2.1,")
    assert (again.effective_at, "impacts changed" in said) == (first.effective_at, True)
    later, said = submit("PT3H", "PT9H")
    assert later.effective_at - first.effective_at >= 6 * HOUR and "effective_at, impacts, effective_in changed" in said


def test_what_was_stored_before_its_relative_time_was_kept_is_known_again(world: World) -> None:
    """An upgrade voids neither the approvals of a change nor makes edits of its repeated deliveries."""
    stored = a_change().model_dump(mode="json", exclude={"supersedes", "effective_in"})
    assert PolicyChange.model_validate(stored).fingerprint == digest(stored)
    assert a_change().model_copy(update={"effective_in": HOUR}).fingerprint == digest(stored)
    receive(world.ctx, asked("PT2H"))
    older = world.record().change.model_dump(mode="json", exclude={"effective_in"})
    with world.sql.transaction() as tx:
        tx._connection.exec_driver_sql("UPDATE changes SET change = ?", (canonical_json(older),))
    world.clock.sleep(7 * MINUTE)
    assert receive(world.ctx, asked("PT2H")).change.effective_at == NOW + 2 * HOUR
    assert world.actions().count("edited") == 0
