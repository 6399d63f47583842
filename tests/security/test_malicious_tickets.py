"""Tickets of somebody who has the webhook secret and means harm: each with what becomes of it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from forebay.app.context import Context
from forebay.app.preview import preview
from forebay.app.tickets import sweep_tickets
from forebay.cli import common
from forebay.domain.audit import AuditEvent
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.plan import CounterProposal, PlanRefusal
from forebay.domain.workload import WorkloadCatalog
from forebay.notify import LogNotifier
from forebay.report.markdown import plan_markdown
from forebay.store import open_store
from tests.support.samples import NOW, a_change, a_plan
from tests.support.stores import sqlite_url
from tests.support.web import HandClock, a_client, a_context, a_delivery, signed, stored_tickets

URL = "/v1/tickets/generic"
WEB = {"workload": "web", "factor": 2}
RTL = "\N{RIGHT-TO-LEFT OVERRIDE}"


def impact(**fields: Any) -> dict[str, Any]:
    return {"impacts": [WEB | fields]}


def at(time: Any) -> dict[str, Any]:
    return {"effective_in": None, "effective_at": time}


# What is sent, and what the answer, always a 422, says of it.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a path as the change's name": ({"change": "../../etc/passwd"}, "change.change: a name is made of"),
    "a path as the entity": ({"entity": "../acme"}, "change.entity: a name is made of"),
    "a path as the policy": ({"policy": "..%2fquota/x"}, "change.policy: a name is made of"),
    "a name that begins with a dot": ({"entity": "..acme"}, "change.entity: a name is made of"),
    "a name with a line of its own": ({"entity": "acme\n"}, "change.entity: a name is made of"),
    "a name with a null": ({"entity": "ac\0me"}, "change.entity: a name is made of"),
    "a name in look-alike letters": (
        {"entity": "\N{CYRILLIC SMALL LETTER A}cme"},
        "change.entity: a name is made of",
    ),
    "a name in full-width letters": ({"entity": "\N{FULLWIDTH LATIN SMALL LETTER A}cme"}, "change.entity"),
    "a template as the name": ({"entity": "{{7*7}}"}, "change.entity: a name is made of"),
    "a link as the workload": ({"impacts": [{"workload": "[x](http://e.vil)"}]}, "workload: a name is made of"),
    "a name that never ends": ({"entity": "a" * 30_000}, "change.entity: String should have at most 120"),
    "a reason that never ends": ({"reason": "a" * 30_000}, "change.reason: String should have at most 2000"),
    "a person who turns the text": ({"requested_by": f"ann{RTL}nna"}, "change.requested_by: leave out"),
    "a person of two lines": ({"requested_by": "ann\napproved by bob"}, "change.requested_by: write it in one line"),
    "a person of two Unicode lines": ({"requested_by": "ann\u2028bob"}, "change.requested_by: write it in one line"),
    "a reason that turns the text": ({"reason": f"{RTL}on"}, "change.reason: leave out"),
    "a reason that steers a terminal": ({"reason": "\x1b[2J\x1b]0;root\a"}, "change.reason: leave out"),
    "a reason with a null": ({"reason": "x\0"}, "change.reason: leave out"),
    "a hundred thousandfold": (impact(factor=1e5), "factor: Input should be less than or equal to 100"),
    "the largest number": (impact(factor=1e308), "factor: Input should be less than or equal to 100"),
    "a range to the largest number": (impact(high=1e308), "high: Input should be less than or equal to 100"),
    "a negative factor": (impact(factor=-1), "factor: Input should be greater than or equal to 0"),
    "an addition of the largest number": (impact(resource="cpu", add=1e308, unit="cores"), "add: Input should be less"),
    "not a number, as text": (impact(factor="NaN"), "factor: Input should be a finite number"),
    "infinity, as text": (impact(factor="Infinity"), "factor: Input should be"),
    "units beyond any integer": (
        {"entitlements": [{"workload": "web", "min_units": 2**70}]},
        "min_units: Input should",
    ),
    "a version of five thousand digits": ({"base_version": "9" * 5000}, "change.base_version: "),
    "a delay beyond the calendar": ({"effective_in": "P99999999D"}, "effective_in: must be at most 3660 days"),
    "a delay beyond arithmetic": ({"effective_in": "P9999999999999D"}, "change.effective_in: "),
    "a negative delay": ({"effective_in": "-PT2H"}, "effective_in: must be longer than zero"),
    "a delay beyond what can be planned": ({"effective_in": "P93D"}, "further than the 92 days ahead"),
    "the end of the calendar": (at("9999-12-31T23:59:59Z"), "further than the 92 days ahead"),
    "a zone beyond the end of the calendar": (at("9999-12-31T23:59:59-23:00"), "beyond the calendar"),
    "a zone before the beginning of it": (at("0001-01-01T00:00:00+23:00"), "beyond the calendar"),
    "a time that is a huge number": (at(1e308), "change.effective_at: 1e+308 is a bare number"),
    "settling for ever": ({"settle": "P999999999D"}, "settle: must be at most 3660 days"),
    "settling for years": ({"settle": "P3000D"}, "further than the 92 days ahead"),
    "a ramp for years": (impact(adoption={"shape": "ramp", "over": "P3000D"}), "further than the 92 days ahead"),
    "a document that goes deep": ({"document": {"a": json.loads("[" * 40 + "]" * 40)}}, "deeper than 32 levels"),
    "a callback address of its own": (
        {"callback_url": "http://169.254.169.254/"},
        "callback_url: there is no such field",
    ),
    "a target of its own": (impact(target={"type": "ecs"}), "target: there is no such field"),
}

# What is stored, as it is harmless wherever it is shown; a rule or the planner may still say no.
STORED: dict[str, dict[str, Any]] = {
    "a document of a template, a script and a null": {"document": {"{{7*7}}": "<script>1</script>\0${7*7}"}},
    "a document of a number with 4000 digits": {"document": {"limit": 10**4000}},
    "a reason of several lines": {"reason": "one\ntwo\tthree"},
    "a reason in another script, with joined emoji": {"reason": "مرحبا \N{MAN}\u200d\N{WOMAN}"},
    "a time long past": at("0001-01-01T00:00:00Z"),
    "a policy version of 70 bits": {"base_version": 2**70},
    "an addition of a billion cores": impact(resource="cpu", add=1e9, unit="cores"),
    "a name that a browser would take for a host": {"entity": "www.e.vil"},
}


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    store = open_store(sqlite_url(tmp_path))
    yield a_context(store, HandClock())
    store.close()


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_reason_and_nothing_stored(ctx: Context, case: str) -> None:
    change, words = REFUSED[case]
    answer = a_client(ctx).post(URL, **signed(a_delivery(**change)))
    assert (answer.status_code, stored_tickets(ctx.store)) == (422, [])
    assert words in " ".join([answer.json()["detail"], *answer.json().get("faults", [])])


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_no_document_holds_what_is_no_number(ctx: Context, number: str) -> None:
    body = json.dumps(a_delivery(document={"limit": "HERE"})).replace('"HERE"', number).encode()
    assert a_client(ctx).post(URL, **signed(body)).status_code == 400
    assert stored_tickets(ctx.store) == []
    with pytest.raises(InputError, match=r"document: .* is no JSON number"):
        ChangeRequest.parse(yaml.safe_dump(a_delivery()["change"] | {"document": {"limit": float(number)}}))


@pytest.mark.parametrize("case", STORED)
def test_stored_and_harmless_to_whatever_reads_it(ctx: Context, case: str) -> None:
    client = a_client(ctx)
    assert client.post(URL, **signed(a_delivery(**STORED[case]))).status_code == 202
    client.post(URL, **signed(a_delivery("CHG-8")))
    assert sweep_tickets(ctx, lambda key, parameters: "run") == 2, "it keeps no other ticket back"
    assert stored_tickets(ctx.store) == []
    for path in ("/changes", "/changes/CHG-7", "/changes/CHG-8", "/metrics"):
        page = client.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 200, path
        assert "<script>1" not in page.text and "49" not in page.text.replace(str(10**4000), ""), path
    assert client.get("/v1/changes").status_code == 200


def test_a_plan_in_markdown_can_neither_link_nor_embed() -> None:
    hostile = "[approve](http://e.vil) ![x](http://e.vil/x.png) <http://e.vil> `code` **now** www.e.vil <script>"
    change = a_change().model_copy(update={"entity": hostile})
    plan = a_plan().model_copy(update={"preflight": (hostile,), "forecast": {"cpu": (hostile,)}})
    text = plan_markdown(change, plan) + plan_markdown(change, a_refusal(hostile))
    assert text.count("\\[approve\\]") == 5, "head, note, forecast; head and refusal"
    unescaped = re.sub(r"\\.", "", text.replace(f"`{plan.hash[:16]}`", ""))
    for markup in ("[", "]", "<", "`", "*", "://", "www."):
        assert markup not in unescaped, markup


def a_refusal(text: str) -> PlanRefusal:
    return PlanRefusal(
        workload="web", reason=text, counter_proposal=CounterProposal(earliest_effective_at=None, relax=())
    )


def test_a_reason_cannot_write_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    forged = "none\n2026-11-24 forebay.events CHG-1: approved by ann: yes\r\nCHG-1: in force"
    with caplog.at_level(logging.INFO):
        LogNotifier().notify(AuditEvent(at=NOW, actor="ann", action="received", reason=forged))
    assert [len(record.getMessage().splitlines()) for record in caplog.records] == [1]


def test_a_huge_impact_is_refused_by_the_limits_not_paid_for() -> None:
    """The largest that the door lets in: a workload's own limits decide, whatever the ticket says."""
    examples = Path(__file__).resolve().parents[2] / "examples"
    request = ChangeRequest.parse((examples / "change.yaml").read_text())
    huge = request.impacts[0].model_copy(update={"factor": 100.0, "low": None, "high": None})
    history = common.history(examples / "history.csv")
    catalog = WorkloadCatalog.parse((examples / "workloads.yaml").read_text())
    series = common.totals(history, history.workloads())
    now = common.end_of(series, series)
    change = request.model_copy(update={"impacts": (huge,)}).accepted(now)
    (seen,) = preview(change, catalog, series, now, timedelta(seconds=5))
    assert isinstance(seen.plan, PlanRefusal)
