"""`forebay plan` and `forebay replay`: on what they plan, and what they say where they will not."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.test_cli import CHANGE, HEADER, PLAN, PLAN_JSON, START, WORKLOADS, by_entity, files, forebay  # noqa: F401

END = START + timedelta(days=2)


def test_a_history_that_ends_long_before_now_is_said_to_and_then_refused(files: Path, forebay) -> None:  # noqa: F811
    code, fresh, _ = forebay(*PLAN, "--now", (END + timedelta(hours=1)).isoformat())
    assert (code, "before now" in fresh) == (0, False)
    code, older, _ = forebay(*PLAN, "--now", (END + timedelta(hours=5)).isoformat())
    assert (code, "cpu: the usage ends 5 h before now" in older) == (0, True)
    code, out, error = forebay(*PLAN, "--now", (END + timedelta(days=150)).isoformat())
    assert (code, out) == (2, "")
    assert "checkout: its cpu usage ends 150 days before now, at 2026-03-03 23:55 UTC" in error


def test_what_is_allocated_now_is_judged_by_what_was_known_now(files: Path, forebay) -> None:  # noqa: F811
    now = (END - timedelta(hours=12)).isoformat()
    whole = json.loads(forebay(*PLAN_JSON, "--now", now)[1])
    before = [line for line in (files / "history.csv").read_text().splitlines()[1:] if line < now]
    (files / "history.csv").write_text(HEADER + "\n".join(before))
    known = json.loads(forebay(*PLAN_JSON, "--now", now)[1])
    assert whole["workloads"][0]["start_units"] == known["workloads"][0]["start_units"]


def test_a_change_is_not_under_way_beside_itself(files: Path, forebay) -> None:  # noqa: F811
    code, out, error = forebay(*PLAN, "--with", "change.yaml")
    assert (code, out, error) == (2, "", "forebay: CHG-1 is to be planned twice: give each change once\n")


def test_the_plan_says_whether_an_autoscaler_was_assumed(files: Path, forebay) -> None:  # noqa: F811
    _, floor, _ = forebay(*PLAN)
    _, count, _ = forebay(*PLAN, "--lever", "count", "--explain")
    assert "note: an autoscaler is assumed, its minimum at min_units 2" in floor
    assert "Note: no autoscaler is assumed." in count
    (files / "change.yaml").write_text(CHANGE.replace("PT3H", "PT5M"))
    assert "an autoscaler is assumed" in forebay(*PLAN)[2]


def test_units_that_may_scale_in_are_shown_and_not_counted(files: Path, forebay) -> None:  # noqa: F811
    plain, many = (json.loads(forebay(*PLAN_JSON, *more)[1])["workloads"][0] for more in ((), ("--units", "50")))
    counted = many["counted_units"]
    assert many["start_units"] == 50 and counted == plain["counted_units"] < plain["start_units"]
    assert many["steps"] == plain["steps"] and many["hash"] != plain["hash"]
    text = forebay(*PLAN, "--units", "50")[1]
    assert "50 units now" in text
    assert f"note: {50 - counted} of 50 units may scale in before the first step: not counted" in text


def test_without_an_autoscaler_there_is_no_path_for_two(files: Path, forebay) -> None:  # noqa: F811
    (files / "other.yaml").write_text(CHANGE.replace("CHG-1", "CHG-0"))
    code, out, error = forebay(*PLAN, "--lever", "count", "--with", "other.yaml")
    assert (code, out) == (2, "")
    assert "take turns" in error


def test_change_rules_are_kept_to(files: Path, forebay) -> None:  # noqa: F811
    rules = "rules: [{name: all, minimum_delay: PT2H}]\nfreezes: [{start: %s, end: %s, reason: release}]\n"
    frozen = [(END + timedelta(minutes=minutes)).isoformat() for minutes in (60, 170)]
    (files / "rules.yaml").write_text(rules % tuple(frozen))
    steps, free = (
        [step["due_at"] for step in json.loads(forebay(*words)[1])["workloads"][0]["steps"]]
        for words in ((*PLAN_JSON, "--rules", "rules.yaml"), PLAN_JSON)
    )
    assert any(frozen[0] <= at.replace("Z", "+00:00") < frozen[1] for at in free)
    assert steps and not any(frozen[0] <= at.replace("Z", "+00:00") < frozen[1] for at in steps)
    (files / "change.yaml").write_text(CHANGE.replace("PT3H", "PT1H"))
    code, _, error = forebay(*PLAN, "--rules", "rules.yaml")
    assert code == 3 and "under the minimum delay" in error


def test_a_replay_does_not_begin_above_what_an_autoscaler_lets_stand(files: Path, forebay) -> None:  # noqa: F811
    rows = [f"{(END + timedelta(minutes=5 * i)).isoformat()},checkout,,cpu,4,cores\n" for i in range(60)]
    (files / "actual.csv").write_text(HEADER + "".join(rows))
    code, out, error = forebay("replay", *PLAN[1:], "--actual", "actual.csv", "--out", "out", "--units", "500")
    assert (code, out) == (2, "")
    assert error.startswith("forebay: checkout: --units 500 is above max_units 60 of its limits, which no autoscaler")


def test_an_impact_that_is_scaled_too_far_is_refused_by_the_option(files: Path, forebay) -> None:  # noqa: F811
    code, _, error = forebay(*PLAN, "--impact-scale", "1000")
    assert code == 2
    assert error.startswith("forebay: --impact-scale 1000 takes an impact out of its range:\n  factor: ")


def test_a_refused_replay_says_why(files: Path, forebay) -> None:  # noqa: F811
    (files / "change.yaml").write_text(CHANGE.replace("PT3H", "PT5M"))
    rows = [f"{(END + timedelta(minutes=5 * i)).isoformat()},checkout,,cpu,4,cores\n" for i in range(24)]
    (files / "actual.csv").write_text(HEADER + "".join(rows))
    words = ("replay", *PLAN[1:], "--actual", "actual.csv", "--out", "out")
    code, out, error = forebay(*words)
    assert code == 3
    assert "CHG-1: denied, not in force; 0 replans; checkout: " in out
    assert error.startswith("forebay: refused: checkout: ")
    (files / "change.yaml").write_text(CHANGE.replace("PT3H", "PT90M"))
    (files / "rules.yaml").write_text("rules: [{name: all, minimum_delay: PT2H}]\n")
    code, _, error = forebay(*words, "--rules", "rules.yaml")
    assert code == 3 and "under the minimum delay of 2:00:00 (rule: all)" in error


def test_of_two_on_one_path_each_is_taken_as_measured(files: Path, forebay) -> None:  # noqa: F811
    """8 cores, 1 of them acme's and 4 bolt's; no share is stated."""
    (files / "history.csv").write_text(by_entity(1.0))
    (files / "workloads.yaml").write_text(WORKLOADS.replace("    shares: {acme: 0.5}\n", ""))
    other = CHANGE.replace("CHG-1", "CHG-0").replace("acme", "bolt").replace("PT3H", "PT2H")
    (files / "other.yaml").write_text(other)
    code, out, error = forebay(*PLAN_JSON, "--with", "other.yaml")
    assert (code, error) == (0, "")
    (plan,) = json.loads(out)["workloads"]
    whose = {note.split(":")[0] for note in plan["forecast"]["cpu"]}
    assert {"acme, measured", "bolt, measured", "the rest"} <= whose
    for name, cores in {"CHG-0": 8 + 4, "CHG-1": 8 + 4 + 1}.items():
        assert cores / 0.6 - 1 < plan["carries"][name] < cores / 0.6 * 1.25


def test_a_history_by_customer_is_replayed_as_it_is_planned(files: Path, forebay) -> None:  # noqa: F811
    """acme's 4 of 8 cores, and by nothing but the measurement; the record since then tells the total alone."""
    (files / "history.csv").write_text(by_entity(4.0))
    (files / "workloads.yaml").write_text(WORKLOADS.replace("    shares: {acme: 0.5}\n", ""))
    rows = [f"{(END + timedelta(minutes=5 * i)).isoformat()},checkout,,cpu,8,cores\n" for i in range(6 * 12)]
    (files / "actual.csv").write_text(HEADER + "".join(rows))
    code, out, error = forebay("replay", *PLAN[1:], "--actual", "actual.csv", "--out", "out")
    assert (code, error) == (0, "")
    assert "CHG-1: closed, in force since" in out
    slots = (files / "out" / "slots.csv").read_text().splitlines()
    assert {row.split(",")[2] for row in slots[1:]} == {"8.0", "12.0"}


def test_with_one_that_is_in_force_already_its_impact_is_not_lost(files: Path, forebay) -> None:  # noqa: F811
    """Of two days of 4 to 7 cores the last hour has twice as many: that will go on, and acme's half doubles on top."""
    rows = (files / "history.csv").read_text().splitlines()[1:]
    twice = [row.split(",") for row in rows[-12:]]
    rows[-12:] = [",".join([*row[:4], str(2 * float(row[4])), row[5]]) for row in twice]
    (files / "history.csv").write_text(HEADER + "\n".join(rows) + "\n")
    began = (END - timedelta(hours=1)).isoformat()
    impact = "scope: workload, factor: 2"
    other = CHANGE.replace("CHG-1", "CHG-0").replace("effective_in: PT3H", f"effective_at: {began}")
    (files / "other.yaml").write_text(other.replace("factor: 2, low: 1.8, high: 2.3", impact))
    (plan,) = json.loads(forebay(*PLAN_JSON, "--with", "other.yaml")[1])["workloads"]
    alone = json.loads(forebay(*PLAN_JSON)[1])["workloads"][0]
    assert plan["aligned_units"] > 1.3 * alone["aligned_units"]
    assert any(note.startswith("CHG-0 is in force since") for note in plan["forecast"]["cpu"])


def test_entities_sampled_seconds_apart_are_planned_on_apart(files: Path, forebay) -> None:  # noqa: F811
    hours = [START + timedelta(hours=i) for i in range(400)]
    (files / "history.csv").write_text(
        HEADER
        + "".join(f"{at.isoformat()},checkout,acme,cpu,{3 + at.hour / 12},cores\n" for at in hours)
        + "".join(f"{(at + timedelta(seconds=7)).isoformat()},checkout,bolt,cpu,2,cores\n" for at in hours)
    )
    code, table, error = forebay(*PLAN)
    assert code == 0, error
    assert "acme, measured" in table and "assumed share" not in table


def test_a_history_that_does_not_hold_what_is_planned_says_what_it_holds(files: Path, forebay) -> None:  # noqa: F811
    recorded = (files / "history.csv").read_text()
    (files / "history.csv").write_text(recorded.replace(",checkout,", ",cart,"))
    code, out, error = forebay(*PLAN)
    assert (code, out) == (2, "")
    assert error == "forebay: history: no cpu usage of workload 'checkout'; it holds cart/cpu\n"
    (files / "history.csv").write_text(recorded)
    code, out, error = forebay(*PLAN, "--now", (START - timedelta(days=1)).isoformat())
    assert (code, out) == (2, "")
    assert "the cpu usage of workload 'checkout' begins at 2026-03-02 00:00 UTC, and now is 2026-03-01" in error


def test_a_what_if_reaches_no_further_than_a_change_may(files: Path, forebay) -> None:  # noqa: F811
    code, out, error = forebay(*PLAN, "--effective-at", (END + timedelta(days=730)).isoformat())
    assert (code, out) == (2, "")
    assert "it reaches further than the 92 days ahead that can be planned" in error


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ("entitlements: [{workload: checkout, max_units: 12}]\n", "a policy caps the units of checkout"),
        ("", "the same policy's version of CHG-0 must be in force first"),
    ],
    ids=["a cap", "the same policy"],
)
def test_what_would_take_turns_is_not_drawn_on_one_path(files: Path, forebay, others: str, why: str) -> None:  # noqa: F811
    other = CHANGE.replace("CHG-1", "CHG-0").replace("PT3H", "PT2H")
    (files / "other.yaml").write_text((other.replace("entity: acme", "entity: bolt") if others else other) + others)
    (files / "workloads.yaml").write_text(WORKLOADS.replace("{acme: 0.5}", "{acme: 0.5, bolt: 0.25}"))
    code, out, error = forebay(*PLAN, "--with", "other.yaml")
    assert (code, out) == (2, "")
    assert (
        f"CHG-1 takes its turn after CHG-0, and is planned once that is over: no path carries both, for {why}" in error
    )


def test_now_is_when_the_last_sample_ends_of_what_the_change_touches(files: Path, forebay) -> None:  # noqa: F811
    """Neither an outage before the last sample nor a daily series of something else puts it off."""
    lines = (files / "history.csv").read_text().splitlines()[1:]
    kept = [line for line in lines if not f"{END - timedelta(hours=6):%Y-%m-%dT%H:%M}" < line < lines[-1]]
    daily = [f"{END + timedelta(days=n):%Y-%m-%dT%H:%M:%SZ},other,,cpu,3,cores" for n in (-1, 0)]
    apart = [
        f"{END - timedelta(hours=h):%Y-%m-%dT%H:%M:%SZ},apart,{who},cpu,3,cores" for h, who in ((9, "a"), (8, "b"))
    ]
    (files / "history.csv").write_text(HEADER + "\n".join([*kept, *daily, *apart]))
    plan = json.loads(forebay(*PLAN_JSON)[1])["workloads"][0]
    assert datetime.fromisoformat(plan["created_at"]) == END


def test_what_is_in_force_keeps_its_cap_beside_a_plan_from_files(files: Path, forebay) -> None:  # noqa: F811
    capped = CHANGE.replace("CHG-1", "CHG-0").replace("entity: acme", "entity: bolt").replace("effective_in: PT3H", "")
    began = f"effective_at: {(END - timedelta(hours=1)).isoformat()}\n"
    (files / "other.yaml").write_text(capped + began + "entitlements: [{workload: checkout, max_units: 6}]\n")
    (files / "workloads.yaml").write_text(WORKLOADS.replace("{acme: 0.5}", "{acme: 0.5, bolt: 0.25}"))
    code, _, error = forebay(*PLAN, "--with", "other.yaml", "--now", END.isoformat())
    assert code == 3 and "max_units of bolt quota (CHG-0) is 6" in error


def test_an_impact_on_nothing_that_is_planned_is_refused(files: Path, forebay) -> None:  # noqa: F811
    (files / "change.yaml").write_text(CHANGE.replace("workload: checkout,", "workload: checkout, resource: memory,"))
    code, out, error = forebay(*PLAN)
    assert (code, out) == (3, "")
    assert "memory of checkout is to change, and its objectives name cpu only" in error
    (files / "change.yaml").write_text(CHANGE.replace("factor: 2, low: 1.8, high: 2.3", "resource: memory, factor: 1"))
    assert forebay(*PLAN)[0] == 0, "a policy switch, which asks for no capacity"
    both = CHANGE.replace("}]", "}, {workload: checkout, resource: network, factor: 2}]")
    (files / "change.yaml").write_text(both)
    assert "note: NOT planned for: the impact of CHG-1 on network" in forebay(*PLAN)[1]


RULES = "rules: [{name: all, minimum_delay: PT4H}]\n"
LATER = ("--effective-at", (END + timedelta(hours=5)).isoformat())


def test_a_what_if_is_shown_beside_the_rule_that_refuses_what_was_asked(files: Path, forebay) -> None:  # noqa: F811
    (files / "rules.yaml").write_text(RULES)
    code, out, error = forebay(*PLAN, "--rules", "rules.yaml", *LATER)
    assert code == 3 and "under the minimum delay" in error
    asked, what_if = out.split("what if: in force at 2026-03-04 05:00 UTC")
    assert asked.startswith("as asked\n\nrefused: ") and "(rule: all). What would pass: effective_at" in asked
    assert "checkout: plan " in what_if and "unit-hours" in what_if
    code, out, _ = forebay(*PLAN_JSON, "--rules", "rules.yaml", *LATER)
    shown = json.loads(out)
    assert (code, shown["workloads"], list(shown["refused"])) == (3, [], ["workloads"])
    assert [one["result"] for one in shown["what_if"]] == ["plan"]
    code, out, _ = forebay(*PLAN, "--rules", "rules.yaml", *LATER, "--format", "html")
    assert code == 3 and "under the minimum delay" in out and out.count("<svg") == 1
    assert forebay(*PLAN, "--rules", "rules.yaml")[:2] == (3, "")


def test_a_plan_is_shown_beside_the_rule_that_refuses_its_what_if(files: Path, forebay) -> None:  # noqa: F811
    (files / "rules.yaml").write_text(RULES.replace("PT4H", "PT2H"))
    sooner = ("--effective-at", (END + timedelta(hours=1)).isoformat())
    code, out, error = forebay(*PLAN, "--rules", "rules.yaml", *sooner)
    assert (code, error) == (0, "")
    asked, what_if = out.split("what if: in force at 2026-03-04 01:00 UTC")
    assert "checkout: plan " in asked and what_if.startswith("\n\nrefused: ")


@pytest.mark.parametrize("other", ["json", "html"])
def test_sentences_are_for_people(files: Path, forebay, other: str) -> None:  # noqa: F811
    code, out, error = forebay(*PLAN, "--explain", "--format", other)
    assert (code, out) == (2, "")
    assert f"--explain says the table in sentences: leave it out, or leave out --format {other}" in error


def test_sentences_say_what_the_forecast_says(files: Path, forebay) -> None:  # noqa: F811
    day = (files / "history.csv").read_text().splitlines()[145:-144]
    (files / "history.csv").write_text(HEADER + "\n".join(day))
    code, said, error = forebay(*PLAN, "--explain")
    assert code == 0, error
    assert "Forecast of cpu: acme: assumed share 50%, not measured." in said
    assert "Forecast of cpu: last value: only 1 day of history, 3 days needed." in said


def test_a_page_compares_a_what_if(files: Path, forebay) -> None:  # noqa: F811
    assert "<h2>checkout, side by side</h2>" in forebay(*PLAN, *LATER, "--format", "html")[1]


@pytest.mark.parametrize("whose", ["", "acme"])
def test_a_preview_reads_as_much_of_the_past_as_production(files: Path, forebay, whose: str) -> None:  # noqa: F811
    """What is older than the workload's `history` is in the file, and ten times as much: it plays no part."""
    recent = by_entity(4.0) if whose else (files / "history.csv").read_text()
    old = [START - timedelta(minutes=5 * i) for i in range(4 * 288, 0, -1)]
    rows = "".join(f"{at.isoformat()},checkout,{whose},cpu,{40 + at.hour},cores\n" for at in old)
    (files / "workloads.yaml").write_text(WORKLOADS + "    history: P2D\n")
    (files / "history.csv").write_text(recent)
    without = forebay(*PLAN_JSON)[1]
    (files / "history.csv").write_text(HEADER + rows + recent.removeprefix(HEADER))
    assert json.loads(forebay(*PLAN_JSON)[1]) == json.loads(without)


def test_a_workloads_file_that_is_not_there_is_named_by_the_option_that_named_it(files: Path, forebay) -> None:  # noqa: F811
    for words in (PLAN, ("forecast", "history.csv", "--workloads", "workloads.yaml")):
        (files / "workloads.yaml").unlink(missing_ok=True)
        code, _, error = forebay(*words)
        assert (code, "name yours by --workloads, or copy" in error) == (2, True)
