"""A ticket closes, edits and asks anew for what it brought: whoever holds its source's secret may name any change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.logging import disable_run_logger

import tasks.plan
from flows.policy_change import policy_change
from forebay.app.receive import receive
from forebay.app.tickets import store_ticket, submit, sweep_tickets
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.impact import Entitlement
from forebay.domain.lifecycle import ChangeState
from forebay.domain.ticket import parse_delivery
from tests.support.world import MINUTE, World
from tests.unit.test_control_tickets import Scheduler, closing, delivered, delivery

Come = Callable[[World], object]
# As the one with the secret can know it: the changes are open to read.
NAMED = {"change": "CHG-1", "effective_in": None, "effective_at": "2026-11-24T09:30:00Z"}


def asked() -> ChangeRequest:
    request = parse_delivery(delivery(**NAMED)).request
    assert request is not None
    return request


def swept(world: World, source: str, *bodies: str) -> None:
    for body in bodies:
        store_ticket(world.ctx, source, body)
    sweep_tickets(world.ctx, Scheduler())


DOORS: dict[str, Come] = {
    "cli": lambda world: submit(world.ctx, asked()),
    "api": lambda world: submit(world.ctx, asked(), "api", only_own=True),
    "prefect": lambda world: receive(world.ctx, asked(), door="prefect"),
    "ticket other T-1": lambda world: swept(world, "other", delivery(**NAMED)),
    "ticket jira T-9": lambda world: swept(world, "jira", delivery("T-9", **NAMED)),
    "another door": lambda world: receive(world.ctx, asked()),  # as an older version stored it
}


@pytest.mark.parametrize("door", DOORS)
def test_a_ticket_neither_closes_nor_edits_what_came_by_another_door(world: World, door: str) -> None:
    DOORS[door](world)
    before = world.record()
    swept(world, "jira", delivery(**NAMED))
    swept(world, "jira", delivery(revision="2", **NAMED, reason="as mallory likes it"))
    swept(world, "jira", closing("3"))
    assert world.record() == before
    started, edited, closed = delivered(world)
    assert started[0] == "run of ticket:jira:T-1:1", "the same twice is one change, by whatever doors"
    assert edited[0] == "refused" and f"came by {door}, not by this ticket" in str(edited[1])
    assert closed[0] == "closed" and f"came by {door}, not by this ticket" in str(closed[1])
    assert world.actions()[-1] == "ticket closed, nothing changed", "who looks at the change sees the attempt"


def test_nor_where_an_event_of_the_change_was_faster_than_the_tickets_sweep(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery(**NAMED))
    world.clock.sleep(MINUTE)
    receive(world.ctx, asked(), door="prefect")
    swept(world, "jira", closing())
    assert world.record().state is ChangeState.RECEIVED


def by_event(world: World, monkeypatch: pytest.MonkeyPatch, ticket: str) -> None:
    """The run that an event of the change started."""
    monkeypatch.setattr(tasks.plan, "context", lambda: world.ctx)
    with disable_run_logger():
        tasks.plan.receive_change.fn(asked(), world.clock.now(), ticket)


@pytest.mark.parametrize("event_first", [True, False])
def test_what_an_event_and_its_ticket_both_bring_is_the_tickets_whichever_is_first(
    world: World, monkeypatch: pytest.MonkeyPatch, event_first: bool
) -> None:
    if event_first:
        by_event(world, monkeypatch, "jira T-1")
    swept(world, "jira", delivery(**NAMED))
    if not event_first:
        by_event(world, monkeypatch, "jira T-1")
    swept(world, "jira", delivery(revision="2", **NAMED, reason="as agreed"))
    assert world.record().change.reason == "as agreed"
    swept(world, "jira", closing("3"))
    assert world.record().state is ChangeState.ROLLED_BACK


@pytest.mark.parametrize("named", ["", "jira T-9", "other T-1"])
def test_and_no_other_tickets(world: World, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    by_event(world, monkeypatch, named)
    before = world.record()
    swept(world, "jira", delivery(**NAMED), delivery(revision="2", **NAMED, reason="as mallory likes it"))
    swept(world, "jira", closing("3"))
    assert world.record() == before


def test_an_event_makes_no_tickets_of_what_is_stored_already(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(world.ctx, asked())
    by_event(world, monkeypatch, "jira T-1")
    assert world.record().door == "cli"


@pytest.mark.parametrize("ticket", ["OPS-12", "jira  OPS-12", "jira OPS-12 ", "a b c", "jira\nOPS-12", "jira ../x"])
def test_an_event_names_source_and_ticket_or_starts_nothing(ticket: str) -> None:
    change = asked().model_dump(mode="json", exclude_none=True)
    assert policy_change.validate_parameters({"change": change, "ticket": "jira OPS-12"})["ticket"] == "jira OPS-12"
    with pytest.raises(ParameterTypeError, match="ticket"):
        policy_change.validate_parameters({"change": change, "ticket": ticket})


def test_what_a_ticket_brought_is_its_own_whatever_other_doors_edit(world: World) -> None:
    swept(world, "jira", delivery(**NAMED))
    submit(world.ctx, asked().model_copy(update={"reason": "by hand"}))
    swept(world, "jira", delivery(revision="2", **NAMED, reason="as agreed"))
    assert world.record().change.reason == "as agreed"
    swept(world, "jira", closing("3"))
    assert world.record().state is ChangeState.ROLLED_BACK


def test_a_ticket_does_not_ask_anew_for_what_another_door_was_denied(world: World) -> None:
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "PT1H"}])
    submit(world.ctx, asked())
    world.put_rules(rules=[{"name": "fast"}])
    swept(world, "jira", delivery(**NAMED))
    assert world.record().state is ChangeState.DENIED
    assert submit(world.ctx, asked()).state is ChangeState.RECEIVED


def test_a_ticket_takes_the_place_only_of_what_its_source_brought(world: World) -> None:
    submit(world.ctx, asked())
    swept(world, "jira", delivery(supersedes="CHG-1"))
    assert "did not come by a ticket of jira" in str(delivered(world)[0][1])
    assert world.record().state is ChangeState.RECEIVED

    swept(world, "jira", delivery("T-2", policy="tier"), delivery("T-3", policy="tier", supersedes="T-2"))
    assert world.record("T-2").state is ChangeState.SUPERSEDED


def stored_before_a_bound_was_asked_for(world: World, revision: str) -> None:
    """T-1 asks for an entitlement without a bound, which an older version took, and started its run."""
    body = delivery(revision=revision, entitlements=[{"workload": "web"}])
    bounded = parse_delivery(delivery(entitlements=[{"workload": "web", "min_units": 1}])).request
    assert bounded is not None
    receive(
        world.ctx, bounded.model_copy(update={"entitlements": (Entitlement(workload="web"),)}), door="ticket jira T-1"
    )
    with world.sql.transaction() as tx:
        ticket = tx.add_ticket("jira", "T-1", revision, body, world.clock.now())
        assert ticket is not None
        tx.put_ticket(ticket.model_copy(update={"run": "an older version's"}))


def test_a_ticket_closes_what_it_brought_by_an_older_version(world: World) -> None:
    stored_before_a_bound_was_asked_for(world, "1")
    swept(world, "jira", closing())
    assert (delivered(world)[1], world.record("T-1").state) == (("closed", None), ChangeState.ROLLED_BACK)


def test_and_goes_back_from_it_to_what_it_said_before(world: World) -> None:
    swept(world, "jira", delivery())
    stored_before_a_bound_was_asked_for(world, "2")
    swept(world, "jira", delivery(revision="3"))
    assert delivered(world)[2] == ("run of ticket:jira:T-1:3", None)
    assert world.record("T-1").change.entitlements == ()


def test_the_log_says_which_ticket_brought_a_change(world: World) -> None:
    swept(world, "jira", delivery())
    assert world.record("T-1").door == "ticket jira T-1"
    with world.sql.transaction() as tx:
        first = tx.audit_entries("T-1")[0].event
    assert (first.action, first.new) == ("received", "version 1, by ticket jira T-1")


def test_an_edit_by_a_ticket_that_only_names_the_change_says_where_to_edit_it(world: World) -> None:
    submit(world.ctx, asked())
    other = asked().model_copy(update={"reason": "another"})
    with pytest.raises(InputError, match="'CHG-1' came by cli, not by this ticket: edit it there"):
        receive(world.ctx, other, door="ticket jira T-1")
