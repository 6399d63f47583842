"""What the documents list is what there is: fields, settings, commands, targets, links."""

from __future__ import annotations

import ast
import json
import re
import shlex
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import pytest
import yaml

from forebay.cli import app
from forebay.domain.approval import ApprovalRule, FreeLimits
from forebay.domain.change import ChangeRequest
from forebay.domain.freeze import CalendarFreeze, CronFreeze, FreezeException, FreezeWindow
from forebay.domain.impact import Adoption, Entitlement, Impact
from forebay.domain.issuer import TrustedIssuer
from forebay.domain.lifecycle import ChangeState
from forebay.domain.model import Model
from forebay.domain.resources import UNIT_FACTOR, ResourceVector
from forebay.domain.rules import Amendment, ChangeRule, ChangeRules
from forebay.domain.source import TicketAnswer, TicketSource
from forebay.domain.ticket import door_of
from forebay.domain.verdict import Verdict
from forebay.domain.workload import (
    AsgTarget,
    Deployment,
    EcsTarget,
    Limits,
    Risk,
    SoftLimit,
    UnitPrice,
    Verification,
    Workload,
)
from forebay.settings import Settings
from forebay.web.monitoring import metrics_text
from forebay.web.overview import Overview

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def listed(name: str) -> set[str]:
    """Every word in backquotes at the start of a table row."""
    return set(re.findall(r"^\| `([^`]+)`", text(name), re.MULTILINE))


@pytest.mark.parametrize(
    ("document", "prefix", "model"),
    [
        ("docs/workloads.md", "", Workload),
        ("docs/workloads.md", "target.", EcsTarget),
        ("docs/workloads.md", "target.", AsgTarget),
        ("docs/workloads.md", "unit.", ResourceVector),
        ("docs/workloads.md", "limits.", Limits),
        ("docs/workloads.md", "limits.soft.", SoftLimit),
        ("docs/workloads.md", "price.", UnitPrice),
        ("docs/workloads.md", "risk.", Risk),
        ("docs/workloads.md", "verification.", Verification),
        ("docs/workloads.md", "deployment.", Deployment),
        ("docs/changes.md", "", ChangeRequest),
        ("docs/changes.md", "impacts[].", Impact),
        ("docs/changes.md", "impacts[].adoption.", Adoption),
        ("docs/changes.md", "entitlements[].", Entitlement),
        ("docs/rules.md", "rules[].", ChangeRule),
        ("docs/rules.md", "rules[].approval.", ApprovalRule),
        ("docs/rules.md", "rules[].approval.free.", FreeLimits),
        ("docs/rules.md", "freezes[].", FreezeWindow),
        ("docs/rules.md", "freezes[].", CronFreeze),
        ("docs/rules.md", "freezes[].", CalendarFreeze),
        ("docs/rules.md", "freezes[].exceptions[].", FreezeException),
        ("docs/rules.md", "", ChangeRules),
        ("docs/rules.md", "amendment.", Amendment),
        ("docs/api.md", "", TrustedIssuer),
        ("docs/doors.md", "sources[].", TicketSource),
        ("docs/doors.md", "sources[].answer.", TicketAnswer),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value,
)
def test_every_field_is_described(document: str, prefix: str, model: type[Model]) -> None:
    nested = {
        "target",
        "unit",
        "limits",
        "price",
        "risk",
        "verification",
        "deployment",
        "limits.soft",
        "impacts[].adoption",
    }
    nested |= {"impacts", "entitlements", "rules", "freezes", "amendment"}
    nested |= {"rules[].approval.free", "freezes[].exceptions"}
    missing = {prefix + name for name in model.model_fields} - listed(document) - nested
    assert missing == set()


def test_no_field_is_invented() -> None:
    known = {
        *(name for model in (Workload,) for name in model.model_fields),
        *(f"target.{name}" for model in (EcsTarget, AsgTarget) for name in model.model_fields),
        *(f"unit.{name}" for name in ResourceVector.model_fields),
        *(f"limits.{name}" for name in Limits.model_fields),
        *(f"limits.soft.{name}" for name in SoftLimit.model_fields),
        *(f"price.{name}" for name in UnitPrice.model_fields),
        *(f"risk.{name}" for name in Risk.model_fields),
        *(f"verification.{name}" for name in Verification.model_fields),
        *(f"deployment.{name}" for name in Deployment.model_fields),
        *get_args(Workload.model_fields["on_foreign_write"].annotation),
    }
    assert listed("docs/workloads.md") <= known


def test_every_setting_is_described_and_none_invented() -> None:
    described = {name for name in listed("docs/settings.md") if name.startswith("FOREBAY_")}
    assert described == {f"FOREBAY_{name.upper()}" for name in Settings.model_fields}


def test_every_gauge_is_described_and_none_invented() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    seen = Overview(now, changes=(), waiting_tickets=(), open_intents=0, raises=(), unsent={}, reconciled_at=now)
    gauges = re.findall(r"^# TYPE (\w+) gauge", metrics_text(seen), re.MULTILINE)
    assert {name.partition("{")[0] for name in listed("docs/monitoring.md") if "forebay_" in name} == set(gauges)


def test_the_notes_of_holds_are_written_in_the_words_of_the_code() -> None:
    """Each piece of a note between what is filled in; the verdict before it is put there by itself."""
    code = "\n".join(
        _words(node)
        for path in (ROOT / "forebay").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
    section = text("docs/holds.md").partition("## Holds, and what to do")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    notes = [note for cell in cells for note in re.findall("`(?:(?:error|no_data): )?(.+?)`", cell)]
    assert len(notes) >= 18
    assert {piece.strip() for note in notes for piece in note.split("…") if piece.strip() not in code} == set()


def _words(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) or "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_every_verdict_and_state_is_described() -> None:
    assert {str(verdict) for verdict in Verdict} <= listed("docs/holds.md")
    assert {str(state) for state in ChangeState} <= listed("docs/monitoring.md")


def test_every_unit_is_described() -> None:
    assert {unit for units in UNIT_FACTOR.values() for unit in units} <= set(
        re.findall(r"`([^`\n]+)`", text("docs/changes.md"))
    )


def test_every_command_is_described_and_none_invented() -> None:
    commands = set()
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            name = command.name or command.callback.__name__
            commands.add(f"{group.name} {name}" if isinstance(group.name, str) else name)
    rows = re.findall(r"^\| `forebay ([a-z-]+(?: [a-z]+)?)", text("README.md"), re.MULTILINE)
    assert set(rows) == commands


def test_every_deployment_is_described() -> None:
    named = {deployment["name"] for deployment in yaml.safe_load(text("prefect.yaml"))["deployments"]}
    assert {name for name in named if f"`{name}`" not in text("docs/operations.md")} == set()


def test_the_event_of_the_documents_starts_the_run_it_should() -> None:
    (document,) = [d for d in yaml.safe_load(text("prefect.yaml"))["deployments"] if d["name"] == "policy-change"]
    (trigger,) = document["triggers"]
    (command,) = re.findall(r"^\$ (prefect event emit (?:.*\\\n)*.*)", text("docs/doors.md"), re.MULTILINE)
    event, resource, payload = (shlex.split(command.replace("\\\n", ""))[n] for n in (3, 5, 7))
    assert event in trigger["expect"]
    assert fnmatchcase(resource, trigger["match"]["prefect.resource.id"])
    asked = json.loads(payload)
    assert set(asked) == set(trigger["parameters"]) == {"change", "ticket"}
    assert ChangeRequest.model_validate(asked["change"]).change == resource.rpartition(".")[2]
    assert door_of(*asked["ticket"].split(" ")) == "ticket jira OPS-12"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    content = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", content):
        path = next(filter(None, target))
        if "://" in path:
            continue
        name, _, anchor = path.partition("#")
        there = document.parent / name if name else document
        assert there.exists(), f"{document.name} links to {path}"
        assert not anchor or anchor in anchors(there), f"{document.name} links to {path}"


def anchors(document: Path) -> set[str]:
    """Its headings as GitHub calls them."""
    content = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", content, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    folders = "|".join(("forebay", "flows", "tasks", "blocks", "deployments", "sandbox", "tests", "docs", "examples"))
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", document.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{document.name} names {name}"


def test_named_tests_exist() -> None:
    there = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"`(test_\w+)`", text("docs/architecture.md")))
    assert len(named) >= 12
    assert {name for name in named if f"def {name}(" not in there} == set()


def test_the_picture_shows_the_plan_of_the_readme() -> None:
    told = re.search(r"\d+ units now; \d+ must serve", (ROOT / "README.md").read_text(encoding="utf-8"))
    drawn = re.search(r"\d+ units now, \d+ must serve", (ROOT / "docs/plan.svg").read_text(encoding="utf-8"))
    assert told and drawn and told[0].replace(";", ",") == drawn[0], "`make plan-picture` draws it anew"
