"""Approvals as arithmetic: what needs one, what one lets through, who has been counted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.domain.approval import Approval, Envelope, asked_hash, latest_approval
from forebay.domain.errors import RuleRefusal
from forebay.domain.plan import ShapingPlan
from forebay.domain.rules import ChangeRules
from forebay.domain.size import TaskSize
from tests.support.world import EFFECTIVE, NOW, a_plan, a_request, minutes

CHANGE = a_request().accepted(NOW)
UP = a_plan()  # 4 to 6 to 8 units, 1.23 USD


def rules(**approval: Any) -> ChangeRules:
    return ChangeRules.model_validate({"rules": [{"name": "r", "approval": approval}]})


def approval(person: str, *plans: ShapingPlan, tolerance: float = 0, **fields: Any) -> Approval:
    shown = plans or (UP,)
    given_fields: dict[str, Any] = {
        "change": "CHG-1",
        "person": person,
        "reason": "fine",
        "door": "cli",
        "at": NOW,
        "fingerprint": CHANGE.fingerprint,
        "asked": asked_hash({plan.workload: plan for plan in shown}),
        "envelopes": tuple(Envelope.around(plan, tolerance) for plan in shown),
    }
    return Approval(**given_fields | fields)


def priced(plan: ShapingPlan, money: str) -> ShapingPlan:
    shaped = plan.price.shaped.model_copy(update={"money": Decimal(money)})
    return plan.model_copy(update={"price": plan.price.model_copy(update={"shaped": shaped})})


FREE: dict[str, tuple[dict[str, Any], str | None]] = {
    "no limits": ({}, "every change does"),
    "factor at its limit": ({"free": {"factor": 2}}, None),
    "factor over it": ({"free": {"factor": 1.9}}, "demand up to times 2, over 1.9"),
    "units at their limit": ({"free": {"units": 4}}, None),
    "units over it": ({"free": {"units": 3}}, "4 units added, over 3"),
    "money at its limit": ({"free": {"money": "1.13"}}, None),
    "money over it": ({"free": {"money": "1.12"}}, "1.13 USD more than without it, over 1.12"),
    "one of several": ({"free": {"units": 9, "money": "1"}}, "1.13 USD more than without it, over 1"),
}


@pytest.mark.parametrize("name", FREE)
def test_what_needs_an_approval(name: str) -> None:
    fields, needed = FREE[name]
    assert rules(**fields).standing(CHANGE, [UP], []).needed == needed


def test_the_high_estimate_counts_and_all_workloads_do() -> None:
    wide = a_request(impacts=[{"workload": "web", "factor": 1.2, "low": 1, "high": 3}]).accepted(NOW)
    assert rules(free={"factor": 2}).standing(wide, [UP], []).needed == "demand up to times 3, over 2"
    two = [UP, a_plan(workload="api")]
    assert rules(free={"units": 7}).standing(CHANGE, two, []).needed == "8 units added, over 7"


MORE = {"impacts": [{"workload": "web", "resource": "cpu", "factor": 1.2, "add": 500, "unit": "cores"}]}
MAYBE = {"impacts": [{"workload": "web", "resource": "memory", "add": -1, "add_high": 2, "unit": "GiB"}]}
LESS = {"impacts": [{"workload": "web", "resource": "cpu", "add": -2, "add_high": 0, "unit": "cores"}]}
AT_LEAST = {"impacts": [], "entitlements": [{"workload": "web", "min_units": 500}]}
AT_MOST = {"impacts": [], "entitlements": [{"workload": "web", "min_units": 0, "max_units": 3}]}
BY_FACTOR_ALONE: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "an addition": (MORE, {}, "web: an addition of up to 500 cores, and only a factor up to 1.5 is free"),
    "one that may be": (MAYBE, {}, "web: an addition of up to 2 GiB, and only a factor up to 1.5 is free"),
    "less, or as much": (LESS, {}, None),
    "a minimum": (AT_LEAST, {}, "web: min_units 500, and only a factor up to 1.5 is free"),
    "a ceiling": (AT_MOST, {}, None),
    "an addition whose units are limited": (MORE, {"units": 4}, None),
    "a minimum whose units are too many": (AT_LEAST, {"units": 3}, "4 units added, over 3"),
    "a minimum whose money is limited": (AT_LEAST, {"money": "1.13"}, None),
}


@pytest.mark.parametrize("name", BY_FACTOR_ALONE)
def test_a_factor_alone_lets_nothing_through_that_it_does_not_measure(name: str) -> None:
    fields, beside, needed = BY_FACTOR_ALONE[name]
    change = a_request(**fields).accepted(NOW)
    assert rules(free={"factor": 1.5, **beside}).standing(change, [UP], []).needed == needed


RESIZED = UP.model_copy(
    update={
        "steps": tuple(
            step.model_copy(update={"size": TaskSize(cpu_units=2048, memory_mib=4096)}) for step in UP.steps[:1]
        )
    }
)
ENVELOPES: dict[str, tuple[ShapingPlan, float, str | None]] = {
    "the plan itself": (UP, 0, None),
    "drawn anew, the same units": (a_plan([(2, 4, 6), (9, 6, 8)]), 0, None),
    "smaller": (a_plan([(1, 4, 6)]), 0, None),
    "a unit more": (a_plan([(1, 4, 6), (7, 6, 8), (13, 8, 9)]), 0, "web: 9 units, 8 are approved"),
    "a unit more, within 10 %": (a_plan([(1, 4, 6), (7, 6, 8), (13, 8, 9)]), 10, None),
    "two more": (a_plan([(1, 4, 6), (7, 6, 8), (13, 8, 10)]), 10, "web: 10 units, 9 are approved"),
    "a larger move": (a_plan([(1, 4, 7), (7, 7, 8)]), 0, "web: a move of 3 units, 2 are approved"),
    "with a resize": (RESIZED, 50, "web: a resize to 2 vCPU, 4 GiB, none is approved"),
    "dearer": (priced(a_plan([(2, 4, 6)]), "1.24"), 0, "web: 1.24 USD, 1.23 are approved"),
    "dearer, within 1 %": (priced(a_plan([(2, 4, 6)]), "1.24"), 1, None),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_plan_is_inside_its_envelope_or_says_how_not(name: str) -> None:
    plan, tolerance, gap = ENVELOPES[name]
    assert Envelope.around(UP, tolerance).exceeded_by(plan) == gap


@given(st.lists(st.integers(-3, 3), max_size=6), st.lists(st.integers(-3, 3), max_size=6), st.floats(0, 100))
def test_whatever_is_inside_never_goes_beyond_the_approved_peak(a: list[int], b: list[int], tolerance: float) -> None:
    def plan(moves: list[int]) -> ShapingPlan:
        units = [20]
        for move in moves:
            units.append(units[-1] + move)
        return a_plan([(5 * i, units[i], units[i + 1]) for i in range(len(moves))], start=20)

    approved, other = plan(a), plan(b)
    envelope = Envelope.around(approved, tolerance)
    peak = max([20, *(s.to_units for s in approved.steps)])
    assert envelope.exceeded_by(approved) is None
    if envelope.exceeded_by(other) is None and other.hash != approved.hash:
        assert max([20, *(s.to_units for s in other.steps)]) <= peak * (1 + tolerance / 100) + 1


COUNTED: dict[str, tuple[dict[str, Any], list[Approval], tuple[str, ...], bool]] = {
    "nobody": ({}, [], (), False),
    "one of one": ({}, [approval("bob")], ("bob",), True),
    "who asked is not counted": ({}, [approval("ann")], (), False),
    "one of two": ({"quorum": 2}, [approval("bob")], ("bob",), False),
    "one twice is one": ({"quorum": 2}, [approval("bob"), approval("bob")], ("bob",), False),
    "two of two": ({"quorum": 2}, [approval("bob"), approval("eve")], ("bob", "eve"), True),
    "not an approver": ({"approvers": ["eve"]}, [approval("bob")], (), False),
    "of an edited change": ({}, [approval("bob", fingerprint="other")], (), False),
    "of a smaller plan": ({}, [approval("bob", a_plan([(1, 4, 6)]))], (), False),
    "of a smaller plan, then anew": ({}, [approval("bob", a_plan([(1, 4, 6)])), approval("bob")], ("bob",), True),
    "without a workload": ({}, [approval("bob", a_plan(workload="api"))], (), False),
}


@pytest.mark.parametrize("name", COUNTED)
def test_who_is_counted(name: str) -> None:
    fields, approvals, by, approved = COUNTED[name]
    found = rules(**fields).standing(CHANGE, [UP], approvals)
    assert (found.by, found.approved) == (by, approved)


# Ann asks. Whether her request may pass at all, and who is said to may approve it.
ASKERS: dict[str, tuple[dict[str, Any], bool, tuple[str, ...]]] = {
    "two of two, one of whom asks": ({"quorum": 2, "approvers": ["ann", "bob"]}, False, ("bob",)),
    "two of three": ({"quorum": 2, "approvers": ["ann", "bob", "eve"]}, True, ("bob", "eve")),
    "nobody else": ({"approvers": ["ann"]}, False, ()),
    "the group that asks": ({"quorum": 2, "approvers": ["group:leads"]}, False, ("group:leads",)),
    "the group and one more": ({"quorum": 2, "approvers": ["group:leads", "eve"]}, True, ("group:leads", "eve")),
    "twice the same": ({"quorum": 2, "approvers": ["group:leads", "bob"]}, False, ("group:leads", "bob")),
    "a group of one": ({"quorum": 1, "approvers": ["group:alone", "bob"]}, True, ("bob",)),
    "anyone": ({"quorum": 2}, True, ("*",)),
    "where the plan may need none": ({"approvers": ["ann"], "free": {"units": 4}}, True, ()),
}


@pytest.mark.parametrize("name", ASKERS)
def test_who_asks_is_told_where_too_few_others_may_approve(name: str) -> None:
    fields, passes, approvers = ASKERS[name]
    groups = {"leads": ["ann", "bob"], "alone": ["ann"]}
    found = ChangeRules.model_validate({"rules": [{"name": "careful", "approval": fields}], "groups": groups})
    assert found.standing(CHANGE, [a_plan([(1, 4, 12)])], []).approvers == approvers
    if passes:
        found.check_request(CHANGE, NOW)
        return
    with pytest.raises(RuleRefusal, match="'ann', who asks, is not counted") as refused:
        found.check_request(CHANGE, NOW)
    assert refused.value.would_pass == "a request by somebody who is none of them"


def test_what_needed_none_keeps_to_what_was_drawn_first() -> None:
    free = approval("forebay", door="rule", tolerance=10)
    limits = rules(free={"units": 4})
    rest = a_plan([(13, 8, 10)], start=8)  # two more: within the free limit of four by itself, six in all
    found = limits.standing(CHANGE, [rest], [free])
    assert (found.approved, found.needed) == (False, "web: 10 units, 9 are approved")
    assert limits.standing(CHANGE, [rest], [free, approval("bob", rest)]).approved


UNITS: dict[str, tuple[int, list[Approval], int]] = {
    "nobody said anything: the plan's own": (1, [], 8),
    "one person": (1, [approval("bob")], 8),
    "the rule itself": (2, [approval("forebay", door="rule", tolerance=10)], 9),
    "the second of two": (2, [approval("bob", tolerance=50), approval("eve")], 8),
    "one of two: the plan's own": (2, [approval("bob", tolerance=50)], 8),
    "one who may not any more": (1, [approval("ann", tolerance=50)], 8),
    "one who went higher later": (1, [approval("bob"), approval("bob", a_plan([(1, 4, 12)]))], 12),
}


@pytest.mark.parametrize("name", UNITS)
def test_how_many_units_were_approved(name: str) -> None:
    quorum, approvals, units = UNITS[name]
    assert rules(quorum=quorum).approved_units(CHANGE, UP, approvals) == units
    assert ChangeRules.model_validate({"rules": [{"name": "r"}]}).approved_units(CHANGE, UP, approvals) is None


def test_a_change_no_rule_covers_any_more_waits_for_nobody_in_particular() -> None:
    narrow = ChangeRules.model_validate({"rules": [{"name": "tiers", "kinds": ["tier"]}]})
    found = narrow.standing(CHANGE, [UP], [approval("bob")])
    assert not found.approved and "nobody may approve" in found.text
    assert narrow.approved_units(CHANGE, UP, [approval("bob", tolerance=50)]) == 8


def test_the_request_is_named_by_its_plans_and_ends_with_their_first_step() -> None:
    api = a_plan([(3, 4, 6)], workload="api")
    assert asked_hash({"web": UP}) == UP.hash
    assert asked_hash({"web": UP, "api": api}) == asked_hash({"api": api, "web": UP}) not in (UP.hash, api.hash)
    assert latest_approval(CHANGE, [*api.steps, *UP.steps]) == minutes(1)
    assert latest_approval(CHANGE, []) == EFFECTIVE
