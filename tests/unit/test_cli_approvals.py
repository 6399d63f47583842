"""Rules and approvals as people call them: a calendar beside the rules file, approving, links, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forebay.app.plan import store_plans
from forebay.cli import common
from forebay.domain.lifecycle import ChangeState
from tests.support.world import a_plan
from tests.unit.test_cli import CHANGE, files, forebay  # noqa: F401
from tests.unit.test_domain_freeze import CALENDAR

WHO = ("--by", "jane", "--reason", "because")
RULES = """
amenders: [jane]
rules: [{name: careful, approval: {approvers: [bob]}, break_glass: [eve]}]
freezes: [{calendar: shop.ics, reason: shop}]
"""


@pytest.fixture
def waiting(files: Path, forebay) -> Path:  # noqa: F811
    """Rules with a calendar, and a change that waits for bob."""
    (files / "rules.yaml").write_text(RULES)
    # Far ahead: the change is asked for by the clock on the wall.
    (files / "shop.ics").write_text(CALENDAR.replace("2026", "2099"))
    assert forebay("rules", "set", "rules.yaml", *WHO)[::2] == (0, "")
    assert forebay("submit", "change.yaml")[0] == 0
    plan = a_plan((), workload="checkout")
    with common.context().store.transaction() as tx:
        record = tx.change("CHG-1")
    assert record is not None
    known = {"effective_at": record.change.effective_at, "preflight": ("max_units is 60",)}
    store_plans(common.context(), "CHG-1", [plan.model_copy(update=known)])
    return files


def test_a_calendar_beside_the_rules_is_stored_with_them(waiting: Path, forebay) -> None:  # noqa: F811
    (waiting / "shop.ics").unlink()
    assert "BEGIN:VCALENDAR" in forebay("rules", "show")[1]
    code, _, error = forebay("rules", "set", "rules.yaml", *WHO)
    assert code == 2 and "cannot read" in error and "shop.ics" in error
    code, _, error = forebay("rules", "set", "rules.yaml", "--by", "bob", "--reason", "mine")
    (waiting / "shop.ics").write_text("BEGIN:NOTHING")
    assert forebay("rules", "set", "rules.yaml", *WHO)[0] == 2
    (waiting / "shop.ics").write_text(CALENDAR)
    code, _, error = forebay("rules", "set", "rules.yaml", "--by", "bob", "--reason", "mine")
    assert code == 3 and "'bob' may not set the change rules" in error


def test_rules_that_take_two_amenders(files: Path, forebay) -> None:  # noqa: F811
    strict = "amenders: [jane, bob]\namendment: {quorum: 2}\nrules: [{name: all}]\n"
    (files / "rules.yaml").write_text(strict)
    assert forebay("rules", "set", "rules.yaml", *WHO)[1].startswith("change rules: version 1\n")
    (files / "rules.yaml").write_text("rules: [{name: loose}]")
    bob = ("--by", "bob", "--reason", "because")
    said = forebay("rules", "set", "rules.yaml", *WHO)[1].splitlines(keepends=True)[0]
    assert said == "proposal 1 is open: 1 of 2 amenders have agreed (jane)\n"
    assert forebay("rules", "show", "--proposed")[1].startswith(said)
    assert forebay("rules", "agree", "1", "--by", "eve", "--reason", "x")[0] == 3
    assert forebay("rules", "agree", "1", *bob)[1] == "proposal 1 is in force\n"
    assert '"loose"' in forebay("rules", "show")[1]
    code, _, error = forebay("rules", "withdraw", "1", *bob)
    assert code == 2 and "it is in force" in error


def test_new_rules_say_what_they_change_and_what_they_leave_open(files: Path, forebay) -> None:  # noqa: F811
    first = "{name: large, entities: [acme], minimum_delay: P1D, approval: {quorum: 1}}"
    (files / "rules.yaml").write_text(f"rules: [{first}, {{name: rest, requesters: [eve]}}]")
    assert forebay("rules", "set", "rules.yaml", *WHO)[1].splitlines() == [
        "change rules: version 1",
        "  rule 'default' is gone",
        "  rule 'large' is new",
        "  rule 'rest' is new",
    ]
    assert forebay("rules", "set", "rules.yaml", *WHO)[1] == "change rules: version 2\n"
    (files / "rules.yaml").write_text("rules: [{name: rest}, {name: large, minimum_delay: P1D}]\namenders: [jane]")
    assert forebay("rules", "set", "rules.yaml", *WHO)[1].splitlines() == [
        "change rules: version 3",
        "  rule 'rest': requesters changed",
        "  rule 'large': entities, approval changed",
        "  the rules' order changed: the first that matches governs",
        "  amenders changed",
        "  rule 'rest': everyone may ask, at once and unapproved",
    ]


NOT_MEANT = {
    "{}": "rules: there are none, so everyone might do everything at once",
    "freezes: []": "rules: there are none",
    "rules: []": "rules: ",
    "rules: [{name: a}, {name: b}, {name: a}]": "rules: two are called a",
}


@pytest.mark.parametrize("written", NOT_MEANT)
def test_rules_that_nobody_can_have_meant_are_not_set(files: Path, forebay, written: str) -> None:  # noqa: F811
    (files / "rules.yaml").write_text(written)
    code, _, error = forebay("rules", "set", "rules.yaml", *WHO)
    assert (code, NOT_MEANT[written] in error) == (2, True)
    assert '"default"' in forebay("rules", "show")[1]


def shown_plan(forebay) -> str:  # noqa: F811
    """The hash that a person reads in `forebay status`."""
    found = re.search(r"asked for: plan ([0-9a-f]+), at the latest", forebay("status", "CHG-1")[1])
    assert found is not None
    return found[1]


def test_what_is_approved_is_seen_before_it_is(waiting: Path, forebay) -> None:  # noqa: F811
    (waiting / "other.yaml").write_text(CHANGE.replace("CHG-1", "CHG-2").replace("quota", "tier"))
    forebay("submit", "other.yaml")
    code, out, _ = forebay("status", "CHG-1")
    assert code == 0
    words = " ".join(out.split())
    for shown in (
        "brings version 1 on top of no version",
        "approval: 0 of 1 approvals; bob may approve; needed: every change does",
        "checkout: 4 -> 4 units. Until the plan's end it costs 1.23 USD, 1.13 USD more than leaving the allocation as "
        "it is; the risk of being too small at the effective time is 5 % instead of 90 %.",
        "An approval holds up to 5 units, moves of 0 and 1.35 USD.",
        "also under way policy in force at state CHG-2 tier",
    ):
        assert shown in words, shown
    assert words.count("note: max_units is 60") == 1


def test_approving_on_the_command_line(waiting: Path, forebay) -> None:  # noqa: F811
    plan = ("--plan", shown_plan(forebay))
    code, _, error = forebay("approve", "CHG-1", *WHO, *plan)
    assert code == 3 and "one of bob" in error
    code, _, error = forebay("approve", "CHG-1", "--by", "bob", "--reason", "fine", "--plan", "01234567")
    assert code == 3 and "a look at plan" in error
    code, out, _ = forebay("approve", "CHG-1", "--by", "bob", "--reason", "fine", *plan)
    assert (code, out.startswith("CHG-1: scheduled: approved: 1 of 1 approvals (bob)")) == (0, True)
    shown = forebay("status", "CHG-1")[1]
    assert "approval:" not in shown, "nothing is asked for any more"
    assert "checkout: note: max_units is 60" in shown


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_nobody_answers_to_a_plan_they_do_not_name(waiting: Path, forebay, answer: str) -> None:  # noqa: F811
    code, _, error = forebay(answer, "CHG-1", "--by", "bob", "--reason", "unseen")
    assert code == 2 and "--plan" in error
    assert "awaiting approval" in forebay("status", "CHG-1")[1]


def test_rejecting_and_breaking_the_glass(waiting: Path, forebay) -> None:  # noqa: F811
    assert forebay("break-glass", "CHG-1", *WHO)[0] == 3
    assert forebay("break-glass", "CHG-1", "--resume", "--by", "eve", "--reason", "now")[0] == 3, "it is not held"
    code, out, _ = forebay("reject", "CHG-1", "--by", "bob", "--reason", "no", "--plan", shown_plan(forebay))
    assert (code, out) == (0, "CHG-1: denied: no (by cli)\n")


def test_a_link_is_printed_for_who_may_approve(
    waiting: Path,
    forebay,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("approval-link", "CHG-1", "--for", "bob", "--by", "jane")
    code, _, error = forebay(*words)
    assert code == 2 and "FOREBAY_LINK_SECRETS" in error
    monkeypatch.setenv("FOREBAY_LINK_SECRETS", '["short"]')
    assert "shorter than 16 characters" in forebay(*words)[2]
    monkeypatch.setenv("FOREBAY_LINK_SECRETS", '["a secret that is long enough"]')
    monkeypatch.setenv("FOREBAY_WEB_URL", "https://forebay.example.com/")
    code, out, _ = forebay(*words)
    assert code == 0 and out.startswith("https://forebay.example.com/approvals/")
    assert forebay(*words, "--valid", "a day")[0] == 2
    assert forebay("approval-link", "CHG-1", "--for", "eve", "--by", "jane")[0] == 3
    with common.context().store.transaction() as tx:
        assert tx.audit_entries("CHG-1")[-1].event.action == "approval link made"
        record = tx.change("CHG-1")
    assert record is not None and record.state is ChangeState.AWAITING_APPROVAL
