"""What people do on the command line when something is wrong: with the files around it, or with what they ask for."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from forebay.app.plan import store_plans
from forebay.app.pulse import MARK, beat
from forebay.cli import common
from tests.support.samples import a_plan
from tests.unit.test_cli import CHANGE, files, forebay  # noqa: F401

BY = ("--by", "jane", "--reason", "incident")


@pytest.mark.parametrize("broken", ["not there", "not valid"])
def test_nothing_done_in_an_emergency_needs_the_workloads_file(
    files: Path,  # noqa: F811
    forebay,  # noqa: F811
    broken: str,
) -> None:
    (files / "rules.yaml").write_text("rules: [{name: all, break_glass: [jane]}]")
    assert forebay("rules", "set", "rules.yaml", *BY)[0] == 0
    for name in ("CHG-1", "CHG-2"):
        (files / "change.yaml").write_text(CHANGE.replace("CHG-1", name).replace("quota", name.lower()))
        assert forebay("submit", "change.yaml")[0] == 0
    store_plans(common.context(), "CHG-1", [a_plan(change="CHG-1", workload="checkout")])
    if broken == "not there":
        (files / "workloads.yaml").unlink()
    else:
        (files / "workloads.yaml").write_text("workloads: [{name: checkout}]")

    code, shown, _ = forebay("status", "CHG-1")
    assert (code, "scheduled" in shown) == (0, True)
    assert "expected: not known: " in shown and "workloads.yaml" in shown, "what cannot be told says why"
    assert forebay("status")[0] == 0
    assert forebay("hold", "CHG-1", *BY) == (0, "CHG-1: held: incident\n", "")
    assert forebay("cancel", "CHG-1", *BY)[0] == 0
    assert forebay("break-glass", "CHG-2", *BY)[0] == 0
    assert forebay("policy", "show", "acme", "chg-2")[0] == 0
    assert " s ago), asked for " in forebay("status", "CHG-2")[1]
    (row,) = [line for line in forebay("status")[1].splitlines() if line.startswith("CHG-2")]
    assert " s ago" in row, "not when it was asked for"
    code, _, error = forebay("resume", "CHG-2", *BY)
    assert (code, "life of a change" in error) == (3, True)


def test_a_server_does_not_start_without_its_workloads_file(files: Path, forebay) -> None:  # noqa: F811
    (files / "workloads.yaml").unlink()
    code, _, error = forebay("serve")
    assert (code, "there is no workloads file workloads.yaml" in error) == (2, True)


def test_what_was_cancelled_is_neither_asked_for_nor_cancelled_again(files: Path, forebay) -> None:  # noqa: F811
    assert forebay("submit", "change.yaml")[0] == 0
    code, out, _ = forebay("cancel", "CHG-1", *BY)
    assert (code, out) == (0, "CHG-1: rolled back: cancelled before anything had moved: incident\n")
    code, _, error = forebay("submit", "change.yaml")
    assert code == 3
    assert "CHG-1 is rolled back: nothing comes of asking for it again" in error
    assert "What would pass: the same under another name" in error
    for again in ("cancel", "rollback"):
        code, out, error = forebay(again, "CHG-1", *BY)
        assert (code, out) == (3, "")
        assert "change CHG-1 is rolled back already" in error
        assert "What would pass: nothing" in error


def test_the_list_of_changes_is_chosen_from(files: Path, forebay) -> None:  # noqa: F811
    for name, entity in (("CHG-1", "acme"), ("CHG-2", "bolt")):
        (files / "change.yaml").write_text(CHANGE.replace("CHG-1", name).replace("entity: acme", f"entity: {entity}"))
        assert forebay("submit", "change.yaml")[0] == 0
    forebay("cancel", "CHG-1", *BY)
    for words, shown in (
        ((), ["CHG-2", "CHG-1"]),
        (("--open",), ["CHG-2"]),
        (("--entity", "acme"), ["CHG-1"]),
        (("--state", "rolled back"), ["CHG-1"]),
        (("--open", "--entity", "acme"), []),
    ):
        code, out, _ = forebay("status", *words)
        assert (code, [line.split()[0] for line in out.splitlines() if line.startswith("CHG")]) == (0, shown)
    code, _, error = forebay("status", "CHG-1", "--open")
    assert (code, "choose from the list" in error) == (2, True)


def test_a_policy_that_was_never_in_force_may_still_be_imported(files: Path, forebay) -> None:  # noqa: F811
    words = ("policy", "import", "acme", "quota", *BY)
    assert forebay("submit", "change.yaml")[0] == 0
    assert forebay(*words)[0] == 3, "a version of it is on its way"
    assert forebay("cancel", "CHG-1", *BY)[0] == 0
    assert forebay(*words) == (0, "acme quota: version 2 is in force\n", "")
    assert forebay(*words)[0] == 3


def test_where_there_is_nothing_it_is_said(files: Path, forebay) -> None:  # noqa: F811
    code, out, error = forebay("audit", "show", "NOPE")
    assert (code, out, error) == (2, "", "forebay: there is no change 'NOPE': `forebay status` lists them\n")
    assert forebay("audit", "show") == (0, "", "")
    assert forebay("key", "list") == (0, "there is no key: `forebay key create` makes one\n", "")
    assert forebay("rules", "show", "--proposed") == (0, "no rules are proposed\n", "")
    code, out, error = forebay("ticket", "show", "generic", "nofile.json")
    assert (code, error) == (2, "forebay: cannot read nofile.json: No such file or directory\n")


def test_a_payload_with_a_field_twice_is_shown_as_it_is_answered(files: Path, forebay) -> None:  # noqa: F811
    (files / "twice.json").write_text('{"ticket": "T-1", "ticket": "T-2"}')
    code, _, error = forebay("ticket", "show", "generic", "twice.json")
    assert (code, error) == (2, "forebay: twice.json: 'ticket' is there twice in one object: keep one\n")


def test_where_no_approval_is_needed_it_is_said(files: Path, forebay) -> None:  # noqa: F811
    assert forebay("submit", "change.yaml")[0] == 0
    code, _, error = forebay("approve", "CHG-1", *BY, "--plan", "01234567")
    assert (code, error) == (
        3,
        "forebay: changes of 'acme' need no approval by this rule (rule: default). What would pass: nothing has to: "
        "it goes on by itself\n",
    )


def test_a_change_that_reaches_too_far_says_for_how_long_it_is_watched(files: Path, forebay) -> None:  # noqa: F811
    (files / "change.yaml").write_text(CHANGE.replace("PT3H", "P92D"))
    assert "watched for 30 min, it reaches further" in forebay("submit", "change.yaml")[2]


def test_the_version_is_told(files: Path, forebay) -> None:  # noqa: F811
    assert forebay("--version") == (0, f"forebay {version('forebay')}\n", "")
    assert "Exit codes" in forebay("--help")[1]


def test_a_reason_of_several_lines_is_said_on_one(files: Path, forebay) -> None:  # noqa: F811
    (files / "change.yaml").write_text(CHANGE + 'reason: "more\\nCHG-2: armed: all is well"\n')
    said = "CHG-1: received: more CHG-2: armed: all is well\n"
    assert forebay("submit", "change.yaml")[:2] == (0, said)
    assert forebay("status", "CHG-1")[1].startswith("CHG-1 (acme quota): received. more CHG-2: armed: all is well\n")
    two = ("--by", "jane", "--reason", "wait\nCHG-2: armed: all is well")
    assert forebay("hold", "CHG-1", *two)[1].count("\n") == 1


def test_an_error_steers_no_terminal_and_keeps_its_lines(files: Path, forebay) -> None:  # noqa: F811
    (files / "change.yaml").write_text(CHANGE + "on_misalignment: maybe\ncolour: red\n")
    code, _, error = forebay("submit", "change.yaml")
    assert code == 2 and len(error.splitlines()) > 1 and error.splitlines()[1].startswith("  ")
    code, _, error = forebay("submit", "change\x1b[2J\x9b.yaml")
    assert code == 2 and "\x1b" not in error and "\x9b" not in error


def test_that_no_reconciler_is_at_work_is_said_beside_what_is_to_go_on(files: Path, forebay) -> None:  # noqa: F811
    assert forebay("migrate")[0] == 0
    assert forebay("status")[2] == "", "there is nothing to see to"
    assert forebay("submit", "change.yaml")[0] == 0
    for words in ((), ("CHG-1",), ("--json",)):
        _, out, err = forebay("status", *words)
        assert err.startswith("forebay: no reconciler has ever been at work here: no change goes on until one is")
        assert "reconciler" not in out
    beat(common.context())
    assert forebay("status")[2] == ""
    ctx = common.context()
    with ctx.store.transaction() as tx:
        tx.put_mark(MARK, int((ctx.clock.now() - timedelta(minutes=9)).timestamp()))
    assert "no reconciler was at work for 9 min: " in forebay("status")[2]
    assert forebay("cancel", "CHG-1", *BY)[0] == 0
    assert forebay("status")[2] == ""
