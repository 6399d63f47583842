"""The `forebay` command as people call it: what it prints, its exit codes, and that bad input changes nothing."""

from __future__ import annotations

import json
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forebay import cli
from tests.support.stores import sqlite_url

START = datetime(2026, 3, 2, tzinfo=UTC)
WORKLOADS = """
workloads:
  - name: checkout
    target: {type: ecs, cluster: prod, service: checkout}
    unit: {cpu_cores: 1, memory_gib: 2, network_mbps: 100}
    objectives: {cpu: 0.6}
    limits: {min_units: 2, max_units: 60, soft: {units: 4, percent: 50, dwell: PT10M}}
    lead_time: PT4M
    price: {per_unit_hour: "0.05"}
    shares: {acme: 0.5}
"""
CHANGE = """
change: CHG-1
entity: acme
policy: quota
effective_in: PT3H
requested_by: jane
impacts: [{workload: checkout, factor: 2, low: 1.8, high: 2.3}]
"""
PLAN_JSON = ("plan", "change.yaml", "--workloads", "workloads.yaml", "--history", "history.csv", "--format", "json")
HEADER = "timestamp,workload,entity,resource,value,unit\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a change, the workloads and two days of a plain daily history; the settings point into it."""
    rows = [
        f"{(START + timedelta(minutes=5 * i)).isoformat()},checkout,,cpu,{4 + (i % 288) / 96:.3f},cores\n"
        for i in range(2 * 288)
    ]
    (tmp_path / "history.csv").write_text(HEADER + "".join(rows))
    (tmp_path / "workloads.yaml").write_text(WORKLOADS)
    (tmp_path / "change.yaml").write_text(CHANGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREBAY_DATABASE_URL", sqlite_url(tmp_path))
    return tmp_path


@pytest.fixture
def forebay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command: words in, (exit code, standard output, standard error) out."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["forebay", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


PLAN = ("plan", "change.yaml", "--workloads", "workloads.yaml", "--units", "8", "--history", "history.csv")


def test_a_plan_is_drawn_from_files_in_three_formats(files: Path, forebay) -> None:
    code, table, _ = forebay(*PLAN)
    assert code == 0
    assert "plan " in table and "CHG-1" in table and "unit-hours" in table

    code, text, _ = forebay(*PLAN, "--format", "json")
    (plan,) = json.loads(text)["workloads"]
    assert code == 0
    assert datetime.fromisoformat(plan["effective_at"]) == START + timedelta(days=2, hours=3)
    assert plan["hash"][:12] in table
    steps = plan["steps"]
    assert [s["from_units"] for s in steps[1:]] == [s["to_units"] for s in steps[:-1]]
    assert steps[-1]["to_units"] >= plan["aligned_units"]

    code, _, _ = forebay(*PLAN, "--format", "html", "--out", "plan.html")
    page = (files / "plan.html").read_text()
    assert code == 0
    assert "<svg" in page and "CHG-1" in page and "src=" not in page


def test_a_what_if_stands_beside_the_plan(files: Path, forebay) -> None:
    words = (*PLAN, "--impact-scale", "2", "--confidence", "0.99", "--effective-at", "2026-03-04T06:00:00+01:00")
    code, text, _ = forebay(*words, "--format", "json")
    shown = json.loads(text)
    (asked,), (other,) = shown["workloads"], shown["what_if"]
    assert code == 0
    assert (asked["confidence"], other["confidence"]) == (0.95, 0.99)
    assert datetime.fromisoformat(other["effective_at"]) == datetime(2026, 3, 4, 5, tzinfo=UTC)
    assert other["aligned_units"] > asked["aligned_units"]
    code, table, _ = forebay(*words, "--explain")
    assert code == 0
    both, what_if = table.split("\n\nwhat if: impact x 2, confidence 99 %, in force at 2026-03-04 05:00 UTC\n\n")
    assert both.startswith("as asked\n\n")
    assert all("Step 1, 2026-03-04" in part and "because" in part for part in (both, what_if))
    assert f"units that must serve then       {asked['aligned_units']}" in table


def test_what_else_is_under_way_is_planned_on_one_path(files: Path, forebay) -> None:
    other = CHANGE.replace("CHG-1", "CHG-0").replace("PT3H", "PT2H").replace("entity: acme", "entity: bolt")
    (files / "other.yaml").write_text(other)
    (files / "workloads.yaml").write_text(WORKLOADS.replace("{acme: 0.5}", "{acme: 0.5, bolt: 0.25}"))
    json_words = (*PLAN, "--format", "json", "--units", "6")
    _, alone, _ = forebay(*json_words)
    code, both, _ = forebay(*json_words, "--with", "other.yaml")
    (one,), (two,) = json.loads(alone)["workloads"], json.loads(both)["workloads"]
    assert code == 0 and not one["carries"]
    assert one["aligned_units"] < two["aligned_units"] == two["carries"]["CHG-1"]
    by_then = [s["to_units"] for s in two["steps"] if s["verified_by"] <= "2026-03-04T02:00:00"]
    assert by_then[-1] >= two["carries"]["CHG-0"]
    _, words, _ = forebay(*PLAN, "--units", "6", "--with", "other.yaml", "--explain")
    assert f"it also brings what CHG-0 ({two['carries']['CHG-0']} units) needs by then" in words
    code, _, error = forebay(*PLAN_JSON, "--with", "other.yaml", "--effective-at", "2026-03-04T01:00:00Z")
    assert code == 2 and "plan CHG-0, with CHG-1 as the one that is under way" in error


def test_an_impossible_what_if_is_refused(files: Path, forebay) -> None:
    assert forebay(*PLAN, "--confidence", "1.5")[::2] == (
        2,
        "forebay: --confidence 1.5: Input should be less than 1\n",
    )


@pytest.mark.parametrize("asked", ["0.996", "0.998", "0.99999"])
def test_a_confidence_beyond_what_the_paths_can_tell_is_refused(asked: str, files: Path, forebay) -> None:
    beyond = f"a confidence of {asked} is more than 500 sample paths can tell: ask for at most 0.995"
    code, out, error = forebay(*PLAN, "--confidence", asked)
    assert (code, out) == (2, "") and f"--confidence {asked}: {beyond}" in error
    (files / "workloads.yaml").write_text(WORKLOADS + f"    risk: {{confidence: {asked}}}\n")
    code, out, error = forebay(*PLAN)
    assert (code, out) == (2, "") and "workloads.yaml" in error and beyond in error


def test_the_most_that_the_paths_can_tell_is_planned(files: Path, forebay) -> None:
    code, text, error = forebay(*PLAN, "--confidence", "0.995", "--format", "json")
    assert code == 0, error
    assert json.loads(text)["what_if"][0]["confidence"] == 0.995


def test_a_plan_that_cannot_be_is_refused_with_a_counter_proposal(files: Path, forebay) -> None:
    (files / "change.yaml").write_text(
        CHANGE.replace("PT3H", "PT15M").replace("factor: 2, low: 1.8, high: 2.3", "factor: 9")
    )
    code, _, error = forebay(*PLAN)
    assert code == 3
    assert "What would do: effective_at 2026-03-04T" in error


def test_a_forecast_is_printed_as_csv_and_json(files: Path, forebay) -> None:
    code, text, _ = forebay("forecast", "history.csv", "--horizon", "6h")
    lines = text.splitlines()
    assert (code, len(lines)) == (0, 1 + 72)
    assert lines[0].startswith("timestamp,workload,resource,entity,unit,0.")
    assert lines[1].startswith("2026-03-04 00:00:00+00:00,checkout,cpu,,cores,")
    code, text, _ = forebay("forecast", "history.csv", "--horizon", "6h", "--format", "json")
    (series,) = json.loads(text)
    assert code == 0
    assert len(series["timestamps"]) == 72 and series["reasons"]


HISTORIES = {
    "empty": (HEADER, "history"),
    "duplicated": (HEADER + "2026-03-02T00:00:00Z,checkout,,cpu,1,cores\n" * 2, "2026-03-02T00:00:00"),
    "naive time": (HEADER + "2026-03-02T00:00:00,checkout,,cpu,1,cores\n", "offset"),
    "wrong unit": (HEADER + "2026-03-02T00:00:00Z,checkout,,cpu,1,GiB\n", "cores"),
    "a time of another century": (
        HEADER
        + "2026-03-02T00:00:00Z,checkout,,cpu,1,cores\n2026-03-02T00:05:00Z,checkout,,cpu,1,cores\n"
        + "2226-03-02T00:10:00Z,checkout,,cpu,1,cores\n",
        "line 4, column timestamp: '2226-03-02T00:10:00Z': it stands alone, 73048 days from all the others",
    ),
    "negative": (HEADER + "2026-03-02T00:00:00Z,checkout,,cpu,-1,cores\n", "-1"),
    # the change asks for checkout, the history holds another
    "no such workload": (
        HEADER + "2026-03-02T00:00:00Z,cart,,cpu,1,cores\n2026-03-02T01:00:00Z,cart,,cpu,1,cores\n",
        "checkout",
    ),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_a_bad_history_is_refused_with_its_mend(files: Path, forebay, case: str) -> None:
    text, words = HISTORIES[case]
    (files / "history.csv").write_text(text)
    code, out, error = forebay(*PLAN)
    assert (code, out) == (2, "")
    assert words in error


def test_another_zone_and_gaps_in_the_history_are_read_for_what_they_are(files: Path, forebay) -> None:
    """The same instants with another offset, and an hour missing: the plan stands, and says what was filled."""
    lines = (files / "history.csv").read_text().splitlines(keepends=True)
    shifted = [
        line.replace(
            line.split(",")[0],
            (datetime.fromisoformat(line.split(",")[0]) + timedelta(hours=5)).isoformat()[:19] + "+05:00",
        )
        for line in lines[1:]
    ]
    (files / "history.csv").write_text(lines[0] + "".join(shifted[:300] + shifted[306:]))
    code, text, _ = forebay(*PLAN, "--format", "json")
    (plan,) = json.loads(text)["workloads"]
    assert code == 0
    assert datetime.fromisoformat(plan["effective_at"]) == START + timedelta(days=2, hours=3)
    assert any("filled" in note for note in plan["forecast"]["cpu"])


REPLAY = (
    "replay",
    "change.yaml",
    "--workloads",
    "workloads.yaml",
    "--history",
    "history.csv",
    "--actual",
    "history.csv",
)
WHO = ("--by", "sam", "--reason", "as it was")
WRONG = {
    "no such file": (("plan", "nothing.yaml", *PLAN[2:]), "nothing.yaml"),
    "no such history": ((*PLAN[:-1], "nothing.csv"), "cannot read nothing.csv: No such file or directory"),
    "naive now": ((*PLAN, "--now", "2026-03-04T00:00:00"), "has no zone"),
    "now is no time": ((*PLAN, "--now", "soon"), "--now 'soon' is not a time with a zone"),
    "now is a year": ((*PLAN, "--now", "2019"), "write it as 2026-11-26T09:00:00Z"),
    "a time before time began": ((*PLAN, "--now", "0001-01-01T00:00:00+14:00"), "write it as 2026-11-26T09:00:00Z"),
    "an effective time of words": ((*PLAN, "--effective-at", "tomorrow"), "--effective-at 'tomorrow' is"),
    "less than no impact": ((*PLAN, "--impact-scale", "-1"), "--impact-scale"),
    "horizon is no duration": (("forecast", "history.csv", "--horizon", "soon"), "48h"),
    "horizon without a unit": (("backtest", "history.csv", "--horizon", "48"), "48h"),
    "horizon of nothing": (("forecast", "history.csv", "--horizon", "0h"), "longer than zero"),
    "horizon beyond a quarter": (("forecast", "history.csv", "--horizon", "93d"), "at most 92 days"),
    "unknown change": (("hold", "CHG-9", "--by", "jane", "--reason", "why"), "forebay status"),
    "units below none": ((*PLAN, "--units", "-1"), "--units"),
    "replay of units below none": (("replay", *PLAN[1:4], "--units", "-1", "--history", "history.csv"), "--units"),
    "no folder to write in": ((*PLAN, "--out", "nodir/plan.html"), "there is no folder nodir"),
    "a folder to write over": ((*PLAN, "--out", "."), "is a directory"),
    "no folder for a backtest": (("backtest", "history.csv", "--out", "nodir/x"), "there is no folder nodir"),
    "a file for a folder": ((*REPLAY, "--out", "change.yaml"), "is a file"),
    "a folder that cannot be made": ((*REPLAY, "--out", "/proc/x"), "cannot write /proc/x"),
    "a port beyond the last": (("serve", "--port", "99999"), "65535"),
    "a policy's name of two lines": (("policy", "import", "acme", "a\nb", *WHO), "policy: a name is made of"),
    "a path as the entity": (("policy", "import", "../../etc", "quota", *WHO), "entity: a name is made of"),
    "a kind with a space": (("policy", "import", "acme", "quota", "--kind", "gl obex", *WHO), "kind: a name"),
    "a policy of no JSON": (("policy", "import", "acme", "quota", "--document", "odd.yaml", *WHO), "is no JSON number"),
    "a policy imported by nobody": (("policy", "import", "acme", "quota", "--by", " ", "--reason", "x"), "your name"),
    "no reason": (("cancel", "CHG-9", "--by", "jane", "--reason", " "), "give your name and a reason"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_are_refused_with_their_mend(files: Path, forebay, case: str) -> None:
    (files / "odd.yaml").write_text("limit: .nan")
    words, mend = WRONG[case]
    code, out, error = forebay(*words)
    assert (code, out) == (2, "")
    assert mend in error


def test_a_change_is_submitted_held_resumed_and_cancelled(files: Path, forebay) -> None:
    assert forebay("submit", "change.yaml")[:2] == (0, "CHG-1: received: no reason given\n")
    assert forebay("submit", "change.yaml")[0] == 0, "the same change again is the same change"
    code, out, _ = forebay("hold", "CHG-1", "--by", "jane", "--reason", "audit day")
    assert (code, out) == (0, "CHG-1: held: audit day\n")
    assert "held" in forebay("status")[1]
    code, out, _ = forebay("resume", "CHG-1", "--by", "jane", "--reason", "audit done")
    assert (code, out) == (0, "CHG-1: received: audit done\n")
    assert forebay("cancel", "CHG-1", "--by", "jane", "--reason", "not needed")[0] == 0
    code, out, _ = forebay("status", "CHG-1")
    assert code == 0
    assert "rolled back. cancelled before anything had moved: not needed" in out
    assert forebay("cancel", "CHG-1", "--by", "jane", "--reason", "again")[0] == 3
    code, out, _ = forebay("audit", "verify")
    assert code == 0
    assert "the audit chain holds" in out
    events = [json.loads(line)["event"] for line in forebay("audit", "show", "CHG-1")[1].splitlines()]
    assert [(e["actor"], e["action"]) for e in events if e["actor"] == "jane"][-1] == ("jane", "cancelled")


def test_a_denied_change_names_its_rule_and_the_earliest_legal_time(files: Path, forebay) -> None:
    (files / "rules.yaml").write_text("rules: [{name: quotas wait a day, minimum_delay: P1D}]")
    assert forebay("rules", "set", "rules.yaml", "--by", "sam", "--reason", "policy board")[0] == 0
    code, out, _ = forebay("submit", "change.yaml")
    assert code == 3
    assert "quotas wait a day" in out and "What would pass: effective_at" in out


def test_a_policy_in_force_is_imported_once_and_answered(files: Path, forebay) -> None:
    (files / "v1.yaml").write_text("requests_per_minute: 6000")
    words = ("policy", "import", "acme", "quota", "--document", "v1.yaml", "--by", "sam", "--reason", "as it was")
    assert forebay(*words)[0] == 0
    assert forebay(*words)[0] == 3, "a known policy is changed, not imported"
    answer = json.loads(forebay("policy", "show", "acme", "quota")[1])
    at, began = answer.pop("at"), answer.pop("in_force_from")
    assert at > began
    assert answer == {
        "entity": "acme",
        "policy": "quota",
        "kind": "quota",
        "version": 1,
        "document": {"requests_per_minute": 6000},
        "change": None,
        "next_switch_at": None,
    }


def test_where_no_policy_is_in_force_that_is_said_and_nothing_is_shown(files: Path, forebay) -> None:
    asked = ("policy", "show", "acme", "quota", "--at", "2026-11-24T09:00:00Z")
    words = "no version of policy 'quota' of 'acme' is in force at 2026-11-24T09:00:00+00:00, and none is armed"
    assert forebay(*asked) == (2, "", f"forebay: {words}\n")


def test_a_port_that_is_taken_is_the_outside_failing(files: Path, forebay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, error = forebay("serve", "--port", str(port))
    assert code == 4
    assert f"forebay: starting on http://127.0.0.1:{port}" in error
    assert f"forebay: cannot serve on http://127.0.0.1:{port}: is the port taken?" in error


def test_a_database_that_is_away_is_the_outside_failing(files: Path, forebay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_DATABASE_URL", "postgresql://jane:hunter2@127.0.0.1:1/forebay")
    code, _, error = forebay("status")
    assert code == 4
    assert "127.0.0.1:1" in error and "hunter2" not in error


def test_a_database_without_tables_says_what_mends_it(files: Path, forebay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_DATABASE_URL", f"sqlite:///{files / 'new.db'}")
    code, _, error = forebay("status")
    assert code in (2, 4)
    assert "forebay migrate" in error
    assert forebay("migrate")[0] == 0
    assert forebay("status")[0] == 0


def test_a_backtest_is_printed_in_three_formats(files: Path, forebay) -> None:
    rows = [
        f"{(START + timedelta(hours=i)).isoformat()},checkout,,cpu,{4 + (i % 24) / 8 + (i * 7 % 5) / 9:.3f},cores\n"
        for i in range(6 * 24)
    ]
    (files / "history.csv").write_text(HEADER + "".join(rows))
    words = ("backtest", "history.csv", "--origins", "2", "--model", "theta", "--budget", "0")
    code, table, _ = forebay(*words)
    assert code == 0
    assert "checkout/cpu: 2 origins" in table and "theta" in table and "default" in table
    code, text, _ = forebay(*words, "--format", "json", "--workloads", "workloads.yaml")
    (found,) = json.loads(text)["series"]
    assert (code, found["workload"]) == (0, "checkout")
    code, _, _ = forebay(*words, "--format", "html", "--out", "page.html")
    assert code == 0 and "<svg" in (files / "page.html").read_text()
    code, _, error = forebay("backtest", "history.csv", "--model", "lstn")
    assert code == 2 and "there is no model 'lstn'" in error
    (files / "workloads.yaml").write_text(WORKLOADS.replace("name: checkout", "name: cart"))
    code, _, error = forebay(*words, "--workloads", "workloads.yaml")
    assert code == 2 and "holds none of the workloads" in error


def test_a_backtest_of_a_workload_knows_its_calendar(files: Path, forebay) -> None:
    hours = [START + timedelta(hours=i) for i in range(9 * 24)]
    rows = [f"{at.isoformat()},checkout,,cpu,{4 + at.hour / 8},cores\n" for at in hours]
    (files / "history.csv").write_text(HEADER + "".join(rows))
    last = hours[-1].date()
    free = f"name: checkout\n    holidays: [{last}]"
    (files / "workloads.yaml").write_text(WORKLOADS.replace("name: checkout", free))
    words = ("backtest", "history.csv", "--workloads", "workloads.yaml", "--origins", "1", "--model", "theta")
    code, text, _ = forebay(*words, "--budget", "0", "--format", "json")
    (found,) = json.loads(text)["series"]
    assert code == 0 and any(f"holiday on {last:%d %b}" in reason for reason in found["reasons"])


def test_a_forecast_by_a_model_asked_for(files: Path, forebay) -> None:
    code, text, _ = forebay("forecast", "history.csv", "--model", "seasonal-naive", "--format", "json")
    assert code == 0 and "seasonal naive" in json.loads(text)[0]["model"]
    code, _, error = forebay("forecast", "history.csv", "--horizon", "soon")
    assert code == 2 and "--horizon 'soon': this is no duration" in error


def by_entity(acme: float) -> str:
    """Two days of 8 cores, so much of it acme's, the rest of two others."""
    times = [(START + timedelta(minutes=5 * i)).isoformat() for i in range(2 * 288)]
    parts = {"acme": acme, "bolt": 5 - acme, "cora": 3.0}
    rows = [
        f"{time},checkout,{who},cpu,{cores * (1 + i % 2 / 50)},cores\n"
        for i, time in enumerate(times)
        for who, cores in parts.items()
    ]
    return HEADER + "".join(rows)


@pytest.mark.parametrize("acme", [1.0, 4.0])
def test_the_impact_acts_on_what_was_measured_of_the_entity(files: Path, forebay, acme: float) -> None:
    (files / "history.csv").write_text(by_entity(acme))
    code, out, _ = forebay(*PLAN_JSON)
    assert code == 0
    (plan,) = json.loads(out)["workloads"]
    expected = (8 + acme) / 0.6  # units of a core, at 60 %
    assert expected - 1 < plan["aligned_units"] < expected * 1.25
    assert any("acme, measured:" in note for note in plan["forecast"]["cpu"])


def test_where_only_totals_are_known_the_share_is_called_assumed(files: Path, forebay) -> None:
    code, out, _ = forebay(*PLAN_JSON)
    assert code == 0
    (plan,) = json.loads(out)["workloads"]
    assert "acme: assumed share 50%, not measured" in plan["forecast"]["cpu"]
