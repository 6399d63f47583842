"""Change rules: whom a rule lets in, which rule governs, and that rules are changed under their own rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from forebay.app.people import cancel, deny
from forebay.app.policies import import_policy
from forebay.app.receive import receive
from forebay.app.rules import agree_to_rules, list_proposals, set_rules, withdraw_rules
from forebay.domain.amendment import RulesProposal
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.model import validate
from forebay.domain.rules import SAID, ChangeRules
from tests.support.world import EFFECTIVE, NOW, World, a_request

LEADS = {"groups": {"leads": ["eve", "lea"]}}


def rules(**fields: Any) -> ChangeRules:
    return validate(ChangeRules, fields, "rules")


DIRECTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "doubled": ({"impacts": [{"workload": "web", "factor": 2}]}, "increase"),
    "halved": ({"impacts": [{"workload": "web", "factor": 0.5}]}, "decrease"),
    "unchanged": ({"impacts": [{"workload": "web", "factor": 1}]}, "increase"),
    "one up, one down": (
        {"impacts": [{"workload": "web", "factor": 2}, {"workload": "api", "factor": 0.5}]},
        "increase",
    ),
    "a ceiling": ({"impacts": [], "entitlements": [{"workload": "web", "max_units": 3}]}, "decrease"),
    "a floor": ({"impacts": [], "entitlements": [{"workload": "web", "min_units": 3}]}, "increase"),
    "a floor and a ceiling": (
        {"impacts": [], "entitlements": [{"workload": "web", "min_units": 3, "max_units": 9}]},
        "increase",
    ),
    "less, by an amount": (
        {"impacts": [{"workload": "web", "resource": "cpu", "add": -1, "unit": "cores"}]},
        "decrease",
    ),
    "less, however wide the estimate": (
        {"impacts": [{"workload": "web", "factor": 0.5, "low": 0.2, "high": 1}]},
        "decrease",
    ),
    "a little less, or a hundredfold": (
        {"impacts": [{"workload": "web", "factor": 0.99, "low": 0.99, "high": 100}]},
        "increase",
    ),
    "a core less, or many more": (
        {"impacts": [{"workload": "web", "resource": "cpu", "add": -1, "add_high": 500, "unit": "cores"}]},
        "increase",
    ),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_direction_of_a_change(name: str) -> None:
    fields, direction = DIRECTIONS[name]
    assert a_request(**fields).accepted(NOW).direction == direction


def test_the_first_rule_for_kind_entity_and_direction_governs() -> None:
    found = rules(
        rules=[
            {"name": "down", "directions": ["decrease"]},
            {"name": "acme", "entities": ["acme"], "kinds": ["quota"]},
            {"name": "rest"},
        ]
    )
    halved = a_request(impacts=[{"workload": "web", "factor": 0.5}])
    assert found.governing(halved.accepted(NOW)).name == "down"
    assert found.governing(a_request().accepted(NOW)).name == "acme"
    assert found.governing(a_request(kind="tier").accepted(NOW)).name == "rest"


def test_nobody_passes_by_a_rule_for_increases_with_an_estimate_that_may_be_one() -> None:
    found = rules(
        rules=[
            {"name": "up", "directions": ["increase"], "minimum_delay": "P1D"},
            {"name": "down", "directions": ["decrease"]},
        ]
    )
    lenient = a_request(impacts=[{"workload": "web", "factor": 0.99, "low": 0.99, "high": 100}]).accepted(NOW)
    with pytest.raises(RuleRefusal, match="under the minimum delay"):
        found.check_request(lenient, NOW)


@pytest.mark.parametrize("action", ["request", "approve", "cancel", "revoke", "hold", "break-glass"])
def test_each_right_is_a_right_of_its_own(action: Any) -> None:
    name = {"hold": "holders", "approve": "approvers", "break-glass": "break_glass"}.get(action, f"{action}ers")
    name = {"requesters": "requesters", "cancelers": "cancellers", "revokeers": "revokers"}.get(name, name)
    given = ["group:leads", "ann"]
    others: dict[str, Any] = {
        field: ["nobody"] for field in ("requesters", "cancellers", "revokers", "holders", "break_glass")
    }
    rule = others | {"name": "r", "approval": {"approvers": ["nobody"]}}
    rule |= {"approval": {"approvers": given}} if name == "approvers" else {name: given}
    found = rules(rules=[rule], **LEADS)
    change = a_request().accepted(NOW)
    assert all(found.may(action, change, person) for person in ("ann", "eve", "lea"))
    assert not found.may(action, change, "bob") and not found.may(action, change, "group:leads")
    for other in {"request", "approve", "cancel", "revoke", "hold", "break-glass"} - {action}:
        assert not found.may(other, change, "eve")
    with pytest.raises(RuleRefusal, match=f"'bob' may not {SAID[action][0]} changes .*one of group:leads, ann"):
        found.check_permitted(action, change, "bob")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rules": [{"name": "r", "cancellers": ["group:ops"]}]}, "group:ops is not among the groups: leads"),
        ({"amenders": ["group:ops"]}, "group:ops is not among the groups"),
        ({"amenders": ["eve"], "amendment": {"quorum": 2}}, "quorum of 2 cannot be met by 1 amenders"),
        ({"groups": {"leads": ["group:leads"]}}, "a group lists people"),
        (
            {"rules": [{"name": "r", "approval": {"quorum": 3, "approvers": ["group:leads"]}}]},
            "a quorum of 3 cannot be met by 2 approvers",
        ),
        ({"rules": [{"name": "r", "approval": {"free": {}}}]}, "give at least one of factor, units and money"),
    ],
    ids=["unknown group", "unknown amenders", "quorum of amenders", "group of groups", "quorum", "no limit"],
)
def test_rules_that_cannot_be_kept_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        rules(**LEADS | fields)


@pytest.mark.parametrize(
    ("rule", "asked", "words"),
    [
        ({}, "defer", None),
        ({}, "reject", None),
        ({}, "enforce", r"breaks the glass in their name .*What would pass: on_misalignment defer$"),
        ({"break_glass": ["ann"]}, "enforce", None),
        ({"break_glass": ["ann"], "on_misalignment": ["reject"]}, "enforce", "on_misalignment reject"),
        ({"on_misalignment": ["reject"]}, "defer", "on_misalignment reject"),
    ],
)
def test_what_a_change_may_ask_for_on_misalignment(rule: dict[str, Any], asked: str, words: str | None) -> None:
    found = rules(rules=[{"name": "r"} | rule])
    change = a_request(on_misalignment=asked).accepted(NOW)
    if words is None:
        found.check_request(change, NOW)
    else:
        with pytest.raises(RuleRefusal, match=words):
            found.check_request(change, NOW)


def test_rules_are_set_under_the_rules_in_force() -> None:
    with World() as world:
        set_rules(world.ctx, rules(amenders=["eve"]), "bob", "from now on eve does it")
        with pytest.raises(RuleRefusal, match=r"'bob' may not set the change rules .*one of eve"):
            set_rules(world.ctx, rules(), "bob", "open again")
        with pytest.raises(InputError, match="give your name and a reason: "):
            set_rules(world.ctx, rules(), "eve", " ")
        assert set_rules(world.ctx, rules(amenders=["eve", "bob"]), "eve", "bob as well") == 2
        assert [e.action for e in world.people.events] == ["change rules set", "change rules set"]


AMENDED = {"amenders": ["eve", "lea", "ann"], "amendment": {"quorum": 2, "delay": "PT1H"}}


def version(world: World) -> tuple[str, ...]:
    """The amenders in force."""
    with world.sql.transaction() as tx:
        return tx.rules().amenders


@pytest.fixture
def amended() -> Iterator[World]:
    with World() as world:
        world.put_rules(**AMENDED)
        yield world


def test_new_rules_take_force_once_enough_amenders_agree_and_the_delay_is_over(amended: World) -> None:
    ctx, before = amended.ctx, version(amended)
    proposal = set_rules(ctx, rules(amenders=["zoe"]), "eve", "from now on zoe does it")
    assert isinstance(proposal, RulesProposal)
    assert proposal.standing(rules(**AMENDED), NOW) == "1 of 2 amenders have agreed (eve)"
    with pytest.raises(RuleRefusal, match="'bob' may not set the change rules"):
        agree_to_rules(ctx, proposal.number, "bob", "me too")
    assert agree_to_rules(ctx, proposal.number, "eve", "twice is once").agreed == ("eve",)
    amended.clock.step(timedelta(minutes=30))
    assert agree_to_rules(ctx, proposal.number, "lea", "fine").state == "open"
    amended.clock.step(timedelta(minutes=29, seconds=59))
    amended.reconcile()
    assert version(amended) == before
    amended.clock.step(timedelta(seconds=1))
    amended.reconcile()
    assert version(amended) == ("zoe",)
    amended.reconcile()
    assert [e.action for e in amended.people.events if e.action.startswith("change rules")] == [
        "change rules proposed",
        "change rules agreed",
        "change rules set",
    ]
    with pytest.raises(InputError, match="it is in force"):
        withdraw_rules(ctx, proposal.number, "zoe", "too late")


def test_with_the_delay_over_the_last_who_agrees_puts_them_in_force_at_once(amended: World) -> None:
    proposal = set_rules(amended.ctx, rules(), "eve", "open")
    assert isinstance(proposal, RulesProposal)
    amended.clock.step(timedelta(hours=2))
    assert agree_to_rules(amended.ctx, proposal.number, "ann", "fine").state == "in force"
    assert version(amended) == ("*",)


@pytest.mark.parametrize("who", [("eve\nbob", "fine"), ("e" * 201, "fine"), ("lea", "a\u202eb")])
def test_a_name_or_reason_that_the_log_cannot_show_is_refused_and_kept_nowhere(
    amended: World, who: tuple[str, str]
) -> None:
    """Kept in a proposal, it could not be read again: no rules would ever be settled."""
    ctx = amended.ctx
    set_rules(ctx, rules(amendment={"delay": "PT1H"}), "eve", "open")
    with pytest.raises(InputError, match="who and why"):
        set_rules(ctx, rules(amendment={"quorum": 2}), *who)
    with pytest.raises(InputError, match="who and why"):
        agree_to_rules(ctx, 1, *who)
    with pytest.raises(InputError, match="who and why"):
        withdraw_rules(ctx, 1, *who)
    assert [(proposal.agreed, proposal.state) for proposal in list_proposals(ctx)] == [(("eve",), "open")]


def test_any_amender_stops_a_proposal_and_other_new_rules_overtake_it(amended: World) -> None:
    ctx, before = amended.ctx, version(amended)
    stopped, overtaken, winning = (set_rules(ctx, rules(amenders=[name]), "eve", "x") for name in ("a", "b", "c"))
    assert isinstance(stopped, RulesProposal) and isinstance(overtaken, RulesProposal)
    assert isinstance(winning, RulesProposal)
    assert [stopped.number, overtaken.number, winning.number] == [1, 2, 3]
    withdraw_rules(ctx, 1, "ann", "no")
    for number in (2, 3):
        agree_to_rules(ctx, number, "lea", "fine")
    with pytest.raises(InputError, match="proposal 1 is not open: it is withdrawn"):
        agree_to_rules(ctx, 1, "lea", "fine")
    with pytest.raises(InputError, match="there is none"):
        agree_to_rules(ctx, 4, "lea", "fine")
    assert version(amended) == before
    amended.clock.step(timedelta(hours=1))
    amended.reconcile()
    assert version(amended) == ("b",)
    assert [proposal.state for proposal in list_proposals(ctx)] == ["withdrawn", "in force", "overtaken"]


def test_who_is_no_amender_any_more_does_not_count() -> None:
    proposal = RulesProposal(rules=rules(), base="", proposed_at=NOW, agreed=("eve", "lea"))
    assert proposal.standing(rules(**AMENDED), NOW + timedelta(hours=1)) is None
    left = rules(amenders=["eve", "ann"], amendment={"quorum": 2})
    assert proposal.standing(left, NOW) == "1 of 2 amenders have agreed (eve)"


@pytest.mark.parametrize(
    ("known", "state"),
    [("imported", "denied"), ("under way", "denied"), ("cancelled", "received"), ("denied", "received")],
)
def test_a_policy_keeps_its_kind_so_that_who_asks_does_not_choose_the_rule(known: str, state: str) -> None:
    with World() as world:
        world.put_rules(rules=[{"name": "quotas", "kinds": ["quota"], "approval": {}}, {"name": "everything else"}])
        if known == "imported":
            import_policy(world.ctx, "acme", "quota", "quota", {}, "ann", "as sold")
        else:
            world.submit()
        if known == "cancelled":
            cancel(world.ctx, "CHG-1", "ann", "not now")
        if known == "denied":
            deny(world.ctx, "CHG-1", "no plan")
        later = a_request(change="CHG-2", kind="tier", effective_at=EFFECTIVE + timedelta(hours=1))
        record = receive(world.ctx, later)
        assert record.state == state
        if state == "denied":
            assert "acme quota is of kind 'quota', and the change says 'tier'" in record.note
            assert "What would pass: kind: quota, or a policy of another name" in record.note
            assert receive(world.ctx, later.model_copy(update={"kind": "quota"})).state == "received"


def test_a_kind_that_was_imported_wrong_is_mended_until_a_change_has_come() -> None:
    with World() as world:
        import_policy(world.ctx, "acme", "quota", "quota", {"rpm": 1}, "ann", "as sold")
        for document, kind in (({"rpm": 2}, "tier"), ({"rpm": 1}, "quota")):
            with pytest.raises(RuleRefusal, match="a policy change, or the same document under another kind"):
                import_policy(world.ctx, "acme", "quota", kind, document, "ann", "as sold")
        mended = import_policy(world.ctx, "acme", "quota", "tier", {"rpm": 1}, "ann", "a tier")
        assert (mended.version, world.version_at(world.clock.now())) == (2, 2)
        assert receive(world.ctx, a_request(kind="tier")).state == "received"
        with pytest.raises(RuleRefusal, match=r"What would pass: a policy change$"):
            import_policy(world.ctx, "acme", "quota", "quota", {"rpm": 1}, "ann", "a quota")


@pytest.mark.parametrize(
    ("second_change", "policy", "state"),
    [("stack", "quota", "received"), ("refuse", "quota", "denied"), ("refuse", "tier", "received")],
)
def test_a_second_change_of_a_policy_is_stacked_or_refused_by_rule(second_change: str, policy: str, state: str) -> None:
    with World() as world:
        world.put_rules(rules=[{"name": "one by one", "second_change": second_change}])
        world.submit()
        later = a_request(change="CHG-2", policy=policy, effective_at=EFFECTIVE + timedelta(hours=1))
        record = receive(world.ctx, later)
        assert record.state == state
        if state == "denied":
            assert "CHG-1 (scheduled) of acme quota is under way (rule: one by one)" in record.note
            assert "this change once CHG-1 is over" in record.note
