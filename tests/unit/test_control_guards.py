"""Guards against what two doors, two hands and two clocks can do to a change."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from forebay.app import people
from forebay.app.plan import plan_change
from forebay.app.policies import import_policy, policy_at
from forebay.app.receive import receive
from forebay.app.status import change_status
from forebay.app.tickets import store_ticket, submit, sweep_tickets
from forebay.domain.allocation import Lever
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.resources import Resource
from tests.support.world import EFFECTIVE, MINUTE, World, a_request, a_workload, count, floor, minutes
from tests.unit.test_control_tickets import Scheduler, delivery


def test_a_submitted_delay_is_fixed_once_though_the_clock_ticks_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between receiving the change and storing its ticket time passes: both must mean the same effective time."""
    still = type(world.clock).now

    def ticking(clock: object) -> datetime:
        world.clock.sleep(timedelta(microseconds=7))
        return still(world.clock)

    monkeypatch.setattr(type(world.clock), "now", ticking)
    record = submit(world.ctx, a_request(effective_at=None, effective_in="PT1H"))
    scheduler = Scheduler()
    assert sweep_tickets(world.ctx, scheduler) == 1
    assert list(scheduler.runs) == ["ticket:cli:CHG-1:1"]
    assert world.record().change.effective_at == record.change.effective_at


def test_an_edited_ticket_needs_a_new_revision(world: World) -> None:
    store_ticket(world.ctx, "jira", delivery())
    with pytest.raises(InputError, match="send the edited ticket under a new revision"):
        store_ticket(world.ctx, "jira", delivery(requested_by="bob"))
    reordered = json.dumps(dict(reversed(json.loads(delivery()).items())))
    assert store_ticket(world.ctx, "jira", reordered)[1] is None, "the same content is the same delivery"


def test_of_one_policy_a_later_version_comes_after_the_earlier_is_settled() -> None:
    """On different workloads too: an older version, deferred, would come into force after a newer one."""
    with World(a_workload("web"), a_workload("api")) as world:
        world.submit()
        second = world.submit(a_request("api", change="CHG-2"))
        assert second.state is ChangeState.DENIED
        assert "overlapping changes take turns" in second.note


def test_a_change_builds_on_the_version_in_force_and_not_on_a_withdrawn_one(world: World) -> None:
    world.submit()
    people.cancel(world.ctx, "CHG-1", "ann", "not needed")
    world.reconcile()
    assert world.state is ChangeState.ROLLED_BACK
    assert world.submit(a_request(change="CHG-2", base_version=1)).state is ChangeState.DENIED
    assert change_status(world.ctx, "CHG-2").builds_on is None
    assert world.submit(a_request(change="CHG-3", base_version=0)).state is ChangeState.SCHEDULED


def test_what_names_no_base_is_on_record_with_the_one_it_was_accepted_on_top_of(world: World) -> None:
    import_policy(world.ctx, "acme", "quota", "quota", {"requests_per_minute": 6000}, "ann", "as sold")
    world.submit()
    with world.sql.transaction() as tx:
        received = tx.audit_entries("CHG-1")[0].event
    assert (received.action, received.old, received.new) == ("received", "version 1", "version 2")
    later = a_request(change="CHG-2", effective_at=minutes(90))
    receive(world.ctx, later)
    built = [change_status(world.ctx, name).builds_on for name in ("CHG-1", "CHG-2")]
    assert built == ["version 1", "version 2"], "the one that comes before it"
    people.cancel(world.ctx, "CHG-1", "ann", "not needed")
    assert change_status(world.ctx, "CHG-2").builds_on == "version 2", "as it was accepted"
    receive(world.ctx, later.model_copy(update={"reason": "all the more"}))
    assert change_status(world.ctx, "CHG-2").builds_on == "version 1", "an edit is accepted anew"


def test_a_denied_change_has_no_version_of_its_own(world: World) -> None:
    """The next change gets the number it would have had: that one's activation must not be shown as its own."""
    world.put_rules(rules=[{"name": "not yet", "entities": ["nobody"]}, {"name": "wait", "minimum_delay": "P1D"}])
    assert world.submit().state is ChangeState.DENIED
    world.put_rules(rules=[{"name": "default"}])
    world.submit(a_request(change="CHG-2"))
    world.run_until(EFFECTIVE + MINUTE)
    assert world.state is ChangeState.DENIED
    assert change_status(world.ctx, "CHG-1").in_force_from is None
    assert change_status(world.ctx, "CHG-2").in_force_from == EFFECTIVE


def test_a_freeze_set_after_arming_keeps_the_policy_out(world: World) -> None:
    world.submit()
    world.run_until(minutes(20))
    assert world.state is ChangeState.ARMED
    world.put_rules(freezes=[{"start": minutes(25).isoformat(), "end": minutes(50).isoformat(), "reason": "sale"}])
    world.run_until(minutes(49))
    assert policy_at(world.ctx, "acme", "quota").version is None
    world.run_until(minutes(55))
    assert policy_at(world.ctx, "acme", "quota").version is not None


def test_nothing_is_given_back_inside_a_freeze() -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(8))
        assert world.cloud.services["web"].setting == floor(8)
        world.put_rules(freezes=[{"start": minutes(8).isoformat(), "end": minutes(20).isoformat(), "reason": "sale"}])
        people.cancel(world.ctx, "CHG-1", "ann", "not needed")
        world.run_until(minutes(19))
        assert (world.state, world.cloud.services["web"].setting) == (ChangeState.CANCELLED, floor(8))
        world.run_until(minutes(25))
        assert (world.state, world.cloud.services["web"].setting) == (ChangeState.ROLLED_BACK, floor(1))


def test_a_cancel_between_the_announcement_and_the_write_wins(world: World) -> None:
    """Nothing reaches the cloud once the cancel was accepted (rule 8)."""
    world.submit()
    world.clock.sleep(minutes(1) - world.clock.now())

    def cancel_at_once(name: str) -> None:
        if name == "after a transaction" and any(i.outcome is None for i in world.intents()):
            world.store.effect = lambda name: None
            people.cancel(world.ctx, "CHG-1", "ann", "stop")

    world.store.effect = cancel_at_once
    world.drive()
    assert world.state is ChangeState.CANCELLED
    assert world.cloud.ours("web") == []
    world.reconcile()
    assert world.state is ChangeState.ROLLED_BACK


class NoHistory:
    """A usage source that has nothing."""

    def entity_history(self, entity: str, start: datetime, end: datetime, step: timedelta) -> dict[Resource, Any]:
        return {}

    def history(self, start: datetime, end: datetime, step: timedelta) -> dict[Resource, Any]:
        return {}

    def measure(self, start: datetime, end: datetime) -> dict[Resource, float]:
        return {}


def test_what_cannot_be_planned_is_denied_with_the_reason(world: World) -> None:
    """It must not stand in the way of others until its effective time."""
    ctx = replace(world.ctx, usage=lambda workload: NoHistory())
    receive(ctx, a_request())
    record = plan_change(ctx, "CHG-1")
    assert record.state is ChangeState.DENIED
    assert "no cpu usage in the last" in record.note
    assert world.submit(a_request(change="CHG-2")).state is ChangeState.SCHEDULED


def test_a_foreign_write_between_two_steps_is_found_by_the_watch(world: World) -> None:
    world.submit()
    world.run_until(minutes(5))
    assert [s.state for s in world.steps()] == ["passed", "pending"]
    world.cloud.set("web", count(3), foreign=True)
    world.reconcile()
    assert world.state is ChangeState.HELD
    assert "changed by another" in world.record().note


def test_a_foreign_write_while_settling_is_reported_once(world: World) -> None:
    world.submit()
    world.run_until(EFFECTIVE + MINUTE)
    assert world.state is ChangeState.SETTLING
    world.cloud.set("web", count(9), foreign=True)
    world.run_until(EFFECTIVE + 5 * MINUTE)
    assert world.actions().count("changed by another") == 1
    assert world.state is ChangeState.SETTLING


def test_a_hold_of_an_armed_change_names_who_disarmed_it(world: World) -> None:
    world.submit()
    world.run_until(minutes(20))
    people.hold(world.ctx, "CHG-1", "ann", "look first")
    with world.sql.transaction() as tx:
        told = [(e.event.actor, e.event.action) for e in tx.audit_entries("CHG-1")]
    assert ("ann", "disarmed") in told


def test_a_nameless_deed_is_refused(world: World) -> None:
    world.submit()
    with pytest.raises(InputError):
        people.hold(world.ctx, "CHG-1", " ", "why")
    with pytest.raises(RuleRefusal):
        people.resume(world.ctx, "CHG-1", "ann", "not held")
