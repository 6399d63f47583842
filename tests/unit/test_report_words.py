"""Plans and refusals in sentences, and how times, spans and shares are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forebay.domain.model import digest
from forebay.domain.plan import ShapingPlan
from forebay.report.table import WIDTH, comparison_table, plan_table, steps_table
from forebay.report.words import explain, in_brief, moment, percent, price_rows, price_sentence, span, units
from tests.support.planning_cases import change, drawn, refused, workload

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        pytest.param(timedelta(seconds=90), "90 s", id="seconds"),
        pytest.param(timedelta(minutes=13), "13 min", id="minutes"),
        pytest.param(timedelta(minutes=90), "1 h 30 min", id="hours and minutes"),
        pytest.param(timedelta(days=1), "1 day", id="one day"),
        pytest.param(timedelta(days=2, hours=3, minutes=20), "2 days 3 h", id="the two largest parts"),
    ],
)
def test_spans(length: timedelta, text: str) -> None:
    assert span(length) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.95, "95 %"), (0.975, "97.5 %"), (0.0, "0 %"), (1.0, "100 %"), (0.0004, "under 0.1 %"), (0.9996, "over 99.9 %")],
)
def test_a_share_that_is_not_quite_none_or_all_never_reads_as_such(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_risk_that_no_path_shows_is_under_that_of_one_and_not_none() -> None:
    plan = drawn()
    price = plan.price
    assert (price.shaped.misaligned, price.paths) == (0, 40)
    assert price_sentence(price).endswith("at the effective time is under 2.5 % instead of 100 %.")
    assert [row[1] for row in price_rows(plan)][-1] == "under 2.5 %"
    many = price.model_copy(update={"paths": 500})
    assert price_sentence(many).endswith("is under 0.2 % instead of 100 %.")
    unknown = price.model_copy(update={"paths": 0})
    assert price_sentence(unknown).endswith("is 0 % instead of 100 %."), "of a plan that was stored before"


def test_a_field_that_came_later_changes_no_hash_where_it_says_nothing() -> None:
    plan = drawn()
    before = plan.model_copy(update={"price": plan.price.model_copy(update={"paths": 0})})
    whole = before.model_dump(mode="json")
    del whole["counted_units"], whole["price"]["paths"], whole["bounds"]
    assert before.hash == digest(whole) != plan.hash


@pytest.mark.parametrize("refused_side", [0, 1])
def test_a_comparison_with_a_refusal_fits_the_width_and_says_why_below(refused_side: int) -> None:
    refusal = refused(to_be=change(effective_at=AT + timedelta(minutes=10)))
    sides = (refusal, drawn()) if refused_side == 0 else (drawn(), refusal)
    first, row, *why = comparison_table(*sides).splitlines()
    assert "refused" in row and "2 steps" in row
    assert max(map(len, (first, row, *why))) <= WIDTH
    words = " ".join(line.strip() for line in why)
    assert words == f"{('as asked', 'what if')[refused_side]}: {refusal.reason}"


def test_a_comparison_says_how_long_each_runs_and_what_then_compares() -> None:
    plan = drawn()
    longer = drawn(to_be=change(effective_at=plan.effective_at + timedelta(hours=2)))
    rows = dict(line.split("  ", 1) for line in comparison_table(plan, longer).splitlines()[1:-2])
    assert rows["the plan's end"].strip() == "2026-11-24 12:40 UTC  2026-11-24 14:40 UTC"
    assert rows["more than left as it is (USD)"].split() == [f"{one.price.more:.2f}" for one in (plan, longer)]
    note = "one of them runs longer: what compares is how much more each takes than leaving the allocation as it is"
    assert comparison_table(plan, longer).replace("\n  ", " ").endswith(f"\n{note}")
    assert "one of them runs longer" not in comparison_table(plan, plan)


def test_moments_and_units() -> None:
    assert moment(AT) == "2026-11-24 09:00 UTC"
    assert moment(AT + timedelta(seconds=7)) == "2026-11-24 09:00:07 UTC"
    assert (units(1), units(3)) == ("1 unit", "3 units")


def test_a_plan_in_sentences() -> None:
    assert explain(drawn(start=9)).splitlines() == [
        "web: 12 units must serve, verified, when CHG-1 comes into force at 2026-11-24 12:00 UTC (95 % confidence); "
        "9 units are asked for now.",
        "Step 1, 2026-11-24 11:45 UTC: 9 -> 12, verified by 11:55, because cpu binds at 24 Nov 12:00 UTC "
        "(95 % quantile: 12.0 units): +3 units, the most the soft limit allows (3 units).",
        "Until the plan's end it costs 1.79 USD, 0.14 USD more than leaving the allocation as it is; "
        "the risk of being too small at the effective time is under 2.5 % instead of 100 %.",
        "Forecast of cpu: flat.",
    ]


BRIEFLY: dict[str, tuple[int, str]] = {
    "no step": (14, "0 steps, 14 to 12 units (plan "),
    "one step": (9, "1 step, 9 to 12 units, at 2026-11-24 11:45 UTC (plan "),
    "more": (8, "2 steps, 8 to 12 units, the first at 2026-11-24 11:35 UTC, the last at 2026-11-24 11:45 UTC (plan "),
}


@pytest.mark.parametrize("case", BRIEFLY)
def test_a_plan_in_brief(case: str) -> None:
    start, words = BRIEFLY[case]
    plan = drawn(start=start)
    assert in_brief(plan) == f"{words}{plan.hash[:12]}). {price_sentence(plan.price)}"


def test_a_plan_that_another_makes_says_so_in_brief() -> None:
    assert ", made by CHG-0 on one path (plan " in in_brief(drawn(start=9).model_copy(update={"carried_by": "CHG-0"}))


def test_a_plan_without_steps_says_so() -> None:
    lines = explain(drawn(start=14)).splitlines()
    assert lines[1] == "No step is needed: what is there is enough, and stays."
    assert lines[-2].endswith("0.00 USD more than leaving the allocation as it is; "
                              "the risk of being too small at the effective time is under 2.5 %.")  # fmt: skip


def of_steps(count: int) -> ShapingPlan:
    """Steps up by one unit a minute, the seventh by three."""
    plan = drawn(start=9)
    sizes = [3 if number == 7 else 1 for number in range(1, count + 1)]
    steps = [
        plan.steps[0].model_copy(
            update={
                "sequence": number,
                "due_at": AT + timedelta(minutes=number),
                "from_units": 9 + sum(sizes[: number - 1]),
                "to_units": 9 + sum(sizes[:number]),
            }
        )
        for number in range(1, count + 1)
    ]
    return plan.model_copy(update={"steps": tuple(steps)})


def test_of_very_many_steps_people_see_the_ends_under_what_they_come_to() -> None:
    few, many = explain(of_steps(60)), explain(of_steps(61)).splitlines()
    assert "Step 30," in few and "60 steps" not in few
    assert many[1] == (
        "61 steps; the first at 2026-11-24 09:01 UTC: 9 -> 10, the largest at 2026-11-24 09:07 UTC: 15 -> 18, "
        "the last at 2026-11-24 10:01 UTC: 71 -> 72."
    )
    shown = [line.split(",")[0] for line in many[2:13]]
    ends = [f"Step {number}" for number in (1, 2, 3, 4, 5, 57, 58, 59, 60, 61)]
    assert shown == [*ends[:5], "51 more: --format json has all.", *ends[5:]]


def test_the_table_of_very_many_steps_keeps_where_the_policy_comes_into_force() -> None:
    plan = of_steps(61).model_copy(update={"effective_at": AT + timedelta(minutes=30, seconds=30)})
    head, steps, *_ = plan_table(plan).split("\n\n")
    assert "\n61 steps; the first at 2026-11-24 09:01 UTC: 9 -> 10," in head
    rows = [row for row in steps.splitlines()[1:] if not row.startswith(" ")]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5", "…", "…", "57", "58", "59", "60", "61"]
    assert "25 more: --format json has all" in rows[5] and "26 more" in rows[6]
    between = steps[steps.index("25 more") : steps.index("26 more")]
    assert "09:30:30 UTC" in between and "the policy comes into force" in between
    assert steps_table(plan).count("+3 units") == 61, "who approves sees all of them"


def test_a_refusal_lists_every_way_out() -> None:
    soon = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    lines = explain(refused(workload(soft={"dwell": "PT20M"}), change(effective_at=soon), start=8)).splitlines()
    assert lines[0].startswith("web: no plan meets the effective time. 12 units must serve, verified, at 24 Nov 09:30")
    assert all(line.endswith(" USD more than leaving it as it is") for line in lines[2:])
    assert [line.rsplit(": ", 1)[0] for line in lines[2:]] == [
        "  - an effective time of 2026-11-24 09:35 UTC",
        "  - limits.soft.units 4 (now 3)",
        "  - limits.soft.dwell 15 min (now 20 min)",
    ]


def test_a_refusal_without_a_way_out_says_so() -> None:
    tight = workload(limits={"min_units": 2, "max_units": 10, "soft": {"units": 1}})
    lines = explain(refused(tight, change(effective_at=AT + timedelta(minutes=30)), start=8)).splitlines()
    assert lines[1:] == [
        "Nothing that would do was found: no later effective time, within the forecast, from which on what is needed "
        "stays within the limits for a day and more, and no single limit."
    ]
