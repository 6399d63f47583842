"""A change takes the place of another of its policy: both at once or neither, and only while nothing has moved."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from forebay.app.approvals import approve
from forebay.app.people import hold
from forebay.app.pins import pin
from forebay.app.receive import receive
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.model import canonical_json
from tests.support import samples
from tests.support.world import EFFECTIVE, MINUTE, World, a_plan, a_request, minutes

pytestmark = pytest.mark.slow

S = ChangeState
LATER = EFFECTIVE + 30 * MINUTE


def instead(**fields: Any) -> ChangeRequest:
    given = {"change": "CHG-2", "supersedes": "CHG-1", "effective_at": LATER, "requested_by": "ben"}
    return a_request(**given | fields)


def its_plan() -> Any:
    return a_plan([(31, 4, 6), (37, 6, 8)], change="CHG-2", effective_at=LATER)


@pytest.mark.parametrize("state", [S.RECEIVED, S.AWAITING_APPROVAL, S.SCHEDULED])
def test_it_takes_the_place_of_one_for_which_nothing_has_moved(world: World, state: ChangeState) -> None:
    if state is S.AWAITING_APPROVAL:
        world.put_rules(rules=[{"name": "careful", "approval": {}}])
    if state is S.RECEIVED:
        receive(world.ctx, a_request())
    else:
        world.submit()
    world.reconcile()
    assert world.state is state
    world.put_rules()
    world.submit(instead(reason="half as much"), its_plan())
    first = world.record("CHG-1")
    assert (first.state, first.note) == (S.SUPERSEDED, "by CHG-2: half as much")
    assert [(e.change, e.actor) for e in world.people.events if e.action == "superseded"] == [("CHG-1", "ben")]
    world.run_until(LATER + 30 * MINUTE)
    assert world.record("CHG-1").state is S.SUPERSEDED
    assert world.record("CHG-2").state is S.CLOSED
    assert world.asked()[:2] == [6, 8] and world.cloud.ours()[0].at >= minutes(31)
    assert (world.version_at(EFFECTIVE), world.version_at(LATER)) == (None, 2)
    assert receive(world.ctx, a_request()).state is S.SUPERSEDED, "a late delivery of the first wakes nothing"


def test_an_approval_of_the_other_is_none_of_this(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "approval": {}}])
    world.submit()
    approve(world.ctx, "CHG-1", "eve", "good")
    world.submit(instead(), its_plan())
    assert world.record("CHG-2").state is S.AWAITING_APPROVAL


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "there is none": ({"supersedes": "CHG-9"}, "there is no change 'CHG-9'"),
    "of another policy": ({"policy": "tier"}, "there is no change 'CHG-1' of acme tier"),
    "itself": ({"supersedes": "CHG-2"}, "there is no change 'CHG-2'"),
    "denied by a rule": ({"base_version": 7}, "builds on version 7"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_it_leaves_the_other_as_it_was_and_is_not_stored(world: World, case: str) -> None:
    fields, told = REFUSED[case]
    before = world.submit()
    log = world.actions(None)
    with pytest.raises((InputError, RuleRefusal), match=told):
        receive(world.ctx, instead(**fields))
    with world.sql.transaction() as tx:
        assert tx.change("CHG-2") is None
    assert (world.record("CHG-1"), world.actions(None)) == (before, log)


def test_by_a_door_that_only_claims_who_asks_it_takes_the_place_of_its_own_alone(world: World) -> None:
    world.submit()
    with pytest.raises(RuleRefusal, match="asked for by ann, not by ben"):
        receive(world.ctx, instead(), only_own=True)
    assert receive(world.ctx, instead(requested_by="ann"), only_own=True).state is S.RECEIVED


def test_what_was_stored_before_there_was_superseding_keeps_its_fingerprint() -> None:
    """Approvals and shared paths rest on it: an upgrade must not void them. The number is that of the code before."""
    stored = samples.a_change().model_dump(mode="json", exclude={"supersedes", "effective_in"})
    before = hashlib.sha256(canonical_json(stored).encode()).hexdigest()
    assert PolicyChange.model_validate(stored).fingerprint == before
    assert PolicyChange.model_validate(stored | {"supersedes": "CHG-0"}).fingerprint != before


def test_who_may_not_cancel_the_other_takes_nobodys_place(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "cancellers": ["ann"]}])
    world.submit()
    with pytest.raises(RuleRefusal, match="ben"):
        receive(world.ctx, instead())
    assert receive(world.ctx, instead(requested_by="ann")).state is S.RECEIVED


@pytest.mark.parametrize("state", [S.SHAPING, S.ARMED, S.HELD, S.SETTLING, S.CLOSED])
def test_where_capacity_has_moved_it_is_too_late(world: World, state: ChangeState) -> None:
    world.submit()
    world.run_until({S.SHAPING: minutes(3), S.HELD: minutes(3), S.ARMED: minutes(20)}.get(state, EFFECTIVE + MINUTE))
    if state is S.HELD:
        hold(world.ctx, "CHG-1", "bob", "wait")
    if state is S.CLOSED:
        world.run_until(EFFECTIVE + 30 * MINUTE)
    assert world.state is state
    with pytest.raises(RuleRefusal, match="supersede only before the first step"):
        receive(world.ctx, instead(effective_at=LATER + 60 * MINUTE))
    assert world.state is state


def test_what_a_pin_has_moved_is_not_superseded(world: World) -> None:
    world.submit()
    pin(world.ctx, "CHG-1", 6, minutes(20), "bob", "a broadcast")
    world.run_until(minutes(2))
    assert world.asked() == [6]
    with pytest.raises(RuleRefusal, match="capacity has moved for it"):
        receive(world.ctx, instead())


def test_a_change_that_another_comes_after_is_not_superseded(world: World) -> None:
    world.submit()
    third = a_request(change="CHG-3", entity="bolt", effective_at=LATER + 60 * MINUTE)
    receive(world.ctx, third)
    with pytest.raises(RuleRefusal, match="CHG-3"):
        receive(world.ctx, instead())


def test_whose_place_it_takes_is_settled_once(world: World) -> None:
    world.submit()
    receive(world.ctx, instead())
    assert receive(world.ctx, instead()).state is S.RECEIVED, "the same again"
    with pytest.raises(InputError, match="an edit cannot change it"):
        receive(world.ctx, instead(supersedes=""))
    assert receive(world.ctx, instead(document={"limit": 3})).note.startswith("document changed")
