"""The table, the JSON, the picture and the page of a plan."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.domain.approval import Envelope, Request, Standing
from forebay.domain.lifecycle import COME_TO_NOTHING, ChangeState, StepState
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.records import ChangeRecord, StepRecord
from forebay.domain.resources import Resource
from forebay.report.document import documents_json
from forebay.report.html import Section, plan_html
from forebay.report.markdown import plan_markdown
from forebay.report.picture import plan_figure, plan_svg
from forebay.report.table import WIDTH, changes_table, plan_table, request_text, status_table, text_table
from tests.support.planning_cases import EFFECTIVE, NOW, change, drawn, refused, workload

SOON = NOW + timedelta(minutes=28)
BOTH = {"unit": {"cpu_cores": 1, "memory_gib": 2}, "objectives": {"cpu": 0.5, "memory": 0.5}}


def history(plan: ShapingPlan, days: int = 10) -> dict[Resource, Any]:
    times = [plan.slots[0].at - timedelta(minutes=5 * back) for back in range(288 * days, 0, -1)]
    return {resource: (times, [4.0] * len(times)) for resource in plan.slots[0].demand}


def test_the_steps_table() -> None:
    steps = plan_table(drawn(start=8)).split("\n\n")[1].splitlines()
    assert steps == [
        "step  at                    from  to  verified  why",
        "1     2026-11-24 11:35 UTC  8     9   11:45     cpu binds at 24 Nov 12:00 UTC (95 % quantile: 12.0",
        "                                                units): +1 unit, the least that lets the later steps",
        "                                                reach 12 units in time",
        "2     2026-11-24 11:45 UTC  9     12  11:55     cpu binds at 24 Nov 12:00 UTC (95 % quantile: 12.0",
        "                                                units): +3 units, the most the soft limit allows (3",
        "                                                units)",
    ]


def test_the_price_table_and_the_forecasts_words() -> None:
    _, _, price, forecast = plan_table(drawn(start=8)).split("\n\n")
    assert price.splitlines() == [
        "                                 with the plan  one jump     left as it is  without the change",
        "unit-hours                       33.17          32.33        29.33          29.33",
        "price (USD)                      1.66           1.62         1.47           1.47",
        "expected shortfall (unit-hours)  0.00           0.00         2.67           0.00",
        "too small at the effective time  under 2.5 %    under 2.5 %  100 %          under 2.5 %",
    ]
    assert forecast.splitlines() == ["forecast", "  cpu: flat"]


def test_a_plan_in_markdown_is_escaped_and_complete() -> None:
    plan = drawn(start=8)
    hostile = plan.model_copy(update={"forecast": {"cpu": ("flat", "<b>|x")}})
    text = plan_markdown(change(), hostile)
    assert "<b>" not in text and "&lt;b&gt;" in text
    rows = [line for line in text.splitlines() if line.startswith("| 1 ") or line.startswith("| 2 ")]
    assert [row.split(" | ")[2] for row in rows] == ["8 to 9", "9 to 12"]
    assert "left as it is" in text and "- cpu: flat" in text and hostile.hash[:16] in text


def test_a_refusal_in_markdown_says_what_would_do() -> None:
    assert "would do" in plan_markdown(change(), refused(to_be=change(effective_at=SOON), start=4))


def test_tables_fit_the_terminal() -> None:
    long = "w" * 60
    gone = change(impacts=[{"workload": long, "factor": 3.0}], effective_at=SOON)
    wordy = drawn(start=8, forecast_notes={"cpu": ("a long note " * 20,)})
    for result in (wordy, drawn(start=30), refused(workload(name=long, soft={"percent": 1}), gone)):
        assert all(len(line) <= WIDTH for line in plan_table(result).splitlines())


def test_changes_and_steps_as_they_stand() -> None:
    plan = drawn(start=8)
    record = ChangeRecord(
        change=change(),
        state=ChangeState.SHAPING,
        note="step 1 passed",
        policy_version=2,
        received_at=NOW,
        updated_at=NOW,
    )
    first, second = (
        StepRecord(change="CHG-1", workload="web", plan_hash=plan.hash, step=step, state=state, asked_units=asked)
        for step, state, asked in zip(plan.steps, (StepState.PASSED, StepState.PENDING), (10, None), strict=True)
    )
    assert changes_table([record], NOW, {}).splitlines() == [
        "change  policy      state    in force at                          note",
        "CHG-1   acme quota  shaping  2026-11-24 12:00 UTC  in 2 h 58 min  step 1 passed",
    ]
    assert changes_table([], NOW, {}) == "no changes"
    lines = status_table(record, [first, second], NOW).splitlines()
    assert lines[:2] == [
        "CHG-1 (acme quota): shaping. step 1 passed",
        "in force at 2026-11-24 12:00 UTC (in 2 h 58 min)",
    ]
    rows = [line.split("  cpu")[0] for line in lines if line.startswith("web")]
    assert rows == [
        "web       1     2026-11-24 11:35 UTC  8 -> 10  passed ",
        "web       2     2026-11-24 11:45 UTC  9 -> 12  pending",
    ]


def test_what_an_approver_is_asked_for() -> None:
    plan = drawn(start=8).model_copy(update={"preflight": ("max_units is 60",)})
    asked = Request(
        asked=plan.hash,
        latest=plan.steps[0].due_at,
        standing=Standing(needed="every change does", quorum=2, by=("ann",), approvers=("bob",)),
        plans={"web": plan},
        envelopes=(Envelope.around(plan, 10),),
    )
    text = request_text(asked, {plan.hash}, NOW)
    assert text.splitlines() == [
        "approval: 1 of 2 approvals (ann); bob may approve; needed: every change does",
        f"asked for: plan {plan.hash[:16]}, at the latest 2026-11-24 11:35 UTC (in 2 h 33 min)",
        "  web: 8 -> 12 units. Until the plan's end it costs 1.66 USD, 0.19 USD more than leaving the",
        "    allocation as it is; the risk of being too small at the effective time is under 2.5 % instead of",
        "    100 %.",
        "  An approval holds up to 14 units, moves of 4 and 1.82 USD.",
        "  note: max_units is 60",
    ]
    steps = request_text(asked, set(), NOW).removeprefix(text).strip().splitlines()
    assert steps[0] == "proposed for web", "its steps do not stand above it"
    assert [line.split()[4:6] for line in steps if line[:1].isdigit()] == [["8", "9"], ["9", "12"]]


@pytest.mark.parametrize("state", sorted(COME_TO_NOTHING))
def test_what_will_not_be_in_force_is_not_counted_down_to(state: ChangeState) -> None:
    record = ChangeRecord(
        change=change(), state=state, note="not now", policy_version=2, received_at=NOW, updated_at=NOW
    )
    assert not any("2 h 58 min" in text for text in (changes_table([record], NOW, {}), status_table(record, [], NOW)))
    assert status_table(record, [], NOW).splitlines()[1] == "was asked for 2026-11-24 12:00 UTC"


def test_words_of_others_write_no_line_of_ours_and_steer_no_terminal() -> None:
    forged = "more customers\r\n\nCHG-2 (acme quota): armed" + " " * 90 + "\x1b[2J\x9b1A\u2028end"
    record = ChangeRecord(
        change=change(), state=ChangeState.SHAPING, note=forged, policy_version=2, received_at=NOW, updated_at=NOW
    )
    for text in (changes_table([record], NOW, {}), status_table(record, [], NOW)):
        assert not any(line.startswith("CHG-2") for line in text.splitlines())
        assert "\x1b" not in text and "\x9b" not in text
        assert "CHG-2 (acme quota): armed \\x1b[2J\\x9b1A end" in " ".join(text.split())


@pytest.mark.parametrize(
    ("now", "began", "row", "line"),
    [
        pytest.param(
            NOW,
            NOW - timedelta(minutes=5),
            "2026-11-24 08:57 UTC  5 min ago",
            "in force at 2026-11-24 08:57 UTC (5 min ago), asked for 2026-11-24 12:00 UTC",
            id="by break glass",
        ),
        pytest.param(
            EFFECTIVE + timedelta(hours=2),
            EFFECTIVE + timedelta(hours=1),
            "2026-11-24 13:00 UTC  1 h ago",
            "in force at 2026-11-24 13:00 UTC (1 h ago), asked for 2026-11-24 12:00 UTC",
            id="after a deferral",
        ),
        pytest.param(
            EFFECTIVE + timedelta(hours=2),
            None,
            "2026-11-24 12:00 UTC  not yet",
            "asked for 2026-11-24 12:00 UTC (2 h ago), not in force yet",
            id="deferred still",
        ),
    ],
)
def test_when_a_policy_is_in_force_is_told_by_the_clock_and_not_by_the_wish(
    now: datetime, began: datetime | None, row: str, line: str
) -> None:
    state = ChangeState.SETTLING if began else ChangeState.SHAPING
    record = ChangeRecord(change=change(), state=state, note="why", policy_version=2, received_at=NOW, updated_at=NOW)
    assert row in changes_table([record], now, {"CHG-1": began} if began else {})
    assert status_table(record, [], now, in_force_from=began).splitlines()[1] == line


@given(st.lists(st.tuples(st.text("ab", max_size=8), st.text("cd ", max_size=200)), min_size=1, max_size=5))
def test_a_text_table_keeps_every_word(rows: list[tuple[str, str]]) -> None:
    table = text_table(("x", "y"), rows)
    assert all(len(line) <= WIDTH for line in table.splitlines())
    words = [word for row in rows for word in row[1].split() if len(word) < 60]
    assert all(word in table for word in words)


def test_json_holds_the_plan_and_its_hash() -> None:
    plan, refusal = drawn(), refused(to_be=change(effective_at=SOON), start=4)
    first, second = json.loads(documents_json([plan, refusal]))["workloads"]
    assert (first.pop("result"), second.pop("result")) == ("plan", "refusal")
    assert first.pop("hash") == plan.hash
    assert ShapingPlan.model_validate(first) == plan
    assert second.pop("text") == refusal.text
    assert PlanRefusal.model_validate(second) == refusal


def lines_of(panel: Any) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in panel.get_lines() if line.get_label()[0] != "_"}


def test_the_picture_draws_what_the_plan_says() -> None:
    plan = drawn(workload(**BOTH), start=9, noise=0.1)
    figure = plan_figure(plan, workload(**BOTH), history(plan))
    main, cpu, memory, close_up = figure.get_axes()
    drawn_lines = lines_of(main)
    assert drawn_lines["asked for"] == [slot.asked for slot in plan.slots]
    assert drawn_lines["serving"] == [slot.serving for slot in plan.slots]
    assert drawn_lines["required, median"] == [slot.required_median for slot in plan.slots]
    assert drawn_lines["required, 95 % quantile"] == [slot.required_high for slot in plan.slots]
    assert set(drawn_lines["required, as measured"]) == {8.0}
    assert [cpu.get_ylabel(), memory.get_ylabel()] == ["cpu\ncores", "memory\nGiB"]
    assert list(main.get_xlim()) == list(cpu.get_xlim()) == list(memory.get_xlim())
    assert [text.get_text() for text in close_up.texts] == [str(step.sequence) for step in plan.steps]


def test_history_goes_back_as_far_as_the_plan_reaches_or_one_season() -> None:
    plan = drawn(start=9)
    figure = plan_figure(plan, workload(), history(plan))
    assert len(lines_of(figure.get_axes()[0])["required, as measured"]) == 288


def test_steps_that_lie_close_share_a_label() -> None:
    plan = drawn(workload(soft={"units": 1}), start=8)
    main, _, close_up = plan_figure(plan, workload(), history(plan)).get_axes()
    assert [text.get_text() for text in main.texts] == ["1-4"]
    assert [text.get_text() for text in close_up.texts] == ["1", "2", "3", "4"]


def test_a_plan_without_steps_or_history_has_a_picture_too() -> None:
    assert len(plan_figure(drawn(start=30), workload()).get_axes()) == 2


def test_the_svg_is_well_formed_and_the_same_each_time() -> None:
    plan = drawn(start=9)
    first = plan_svg(plan, workload(), history(plan))
    assert ElementTree.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"
    assert first == plan_svg(plan, workload(), history(plan))


def test_rounded_paths_stay_where_they_were() -> None:
    plan = drawn(start=9, noise=0.1)
    numbers = re.findall(r' d="M ([\d.]+) ([\d.]+)', plan_svg(plan, workload()))
    assert numbers and all(np.isfinite([float(x), float(y)]).all() for x, y in numbers)
    assert all(len(part.partition(".")[2]) <= 1 for pair in numbers for part in pair)


class Outside(HTMLParser):
    """Collects what a page would load from elsewhere, and the tags that could run."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            value for name, value in attrs if name in ("src", "href", "xlink:href") and value and value[0] != "#"
        ]


def test_the_page_stands_alone_and_escapes_what_people_wrote() -> None:
    evil = "<script>alert(1)</script>"
    plan = drawn(start=9, forecast_notes={"cpu": (evil,)})
    other = refused(to_be=change(effective_at=SOON), start=4)
    text = plan_html(
        change(reason=evil), [Section(workload(), plan, history(plan)), Section(workload(name="api"), other)]
    )
    seen = Outside()
    seen.feed(text)
    assert seen.loads == []
    assert "script" not in seen.tags
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert seen.tags.count("svg") == 1
    assert plan.hash in text and plan.steps[0].reason.text in text
    assert "<h2>api</h2>" in text and "no plan meets the effective time" in text


def test_a_what_if_on_the_page_is_called_so() -> None:
    plan = drawn(start=9).model_copy(update={"preflight": ("no autoscaler is assumed",)})
    page = plan_html(
        change(), [Section(workload(), plan, title="as asked"), Section(workload(), plan, title="what if: impact x 2")]
    )
    assert "<h2>web, as asked</h2>" in page and "<h2>web, what if: impact x 2</h2>" in page
    assert page.count("<p>Note: no autoscaler is assumed.</p>") == 2


def test_a_page_puts_the_figures_of_a_what_if_beside_those_asked_for() -> None:
    plan, other = drawn(start=9), refused(to_be=change(effective_at=SOON), start=4)
    page = plan_html(change(), [], [(plan, plan), (plan, other)], {"what if: <sooner>": "a rule says <no>"})
    assert page.count("<h2>web, side by side</h2>") == 2
    assert f'<td class="number">{plan.price.more:.2f}</td><td class="number">{plan.price.more:.2f}</td>' in page
    assert f"<p>what if: {other.reason}.</p>" in page
    assert "<h2>what if: &lt;sooner&gt;</h2>" in page and "<p>a rule says &lt;no&gt;</p>" in page


def test_the_steps_table_says_where_the_policy_comes_into_force() -> None:
    ramp = {"shape": "ramp", "over": "PT2H"}
    to_be = change(impacts=[{"workload": "web", "factor": 2.0, "adoption": ramp}])
    rows = plan_table(drawn(to_be=to_be)).split("\n\n")[1].splitlines()
    (at,) = [number for number, row in enumerate(rows) if "the policy comes into force" in row]
    assert rows[at].split()[:3] == ["2026-11-24", "12:00", "UTC"]
    assert [row.split()[2] > "12:00" for row in rows[at + 1 :] if row[0].isdigit()] == [True]
