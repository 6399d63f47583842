"""A person asks for a change in Prefect's run form, finds its run there, and looks at it on Forebay's pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.stack import LiveStack, until

pytestmark = pytest.mark.browser

FIELDS = [
    "Change (Optional)",
    "Entity",
    "Policy",
    "Kind (Optional)",
    "Effective at (Optional)",
    "Effective in (Optional)",
    "Impacts (Optional)",
    "Entitlements (Optional)",
    "Document (Optional)",
    "Requested by",
    "Reason (Optional)",
    "If capacity is not there (Optional)",
    "Settle (Optional)",
    "Base version (Optional)",
]
IMPACT = [
    "Workload",
    "Resource (Optional)",
    "Factor (Optional)",
    "Factor, low estimate (Optional)",
    "Factor, high estimate (Optional)",
    "Acts on (Optional)",
    "Adoption (Optional)",
    "Shape (Optional)",
    "Ramp length (Optional)",
    "Addition (Optional)",
    "Addition, low estimate (Optional)",
    "Addition, high estimate (Optional)",
    "Unit of the addition (Optional)",
]


def options(page: Page, field: str) -> list[str]:
    """What a select offers; it is left closed, its list faded out: else the next one's would be read with it."""
    page.get_by_role("button", name=f"Select {field}").click()
    page.get_by_role("option").first.wait_for()
    offered = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    expect(page.get_by_role("option")).to_have_count(0)
    return offered


def choose(page: Page, field: str, option: str) -> None:
    page.get_by_role("button", name=f"Select {field}").click()
    page.get_by_role("option", name=option, exact=True).click()
    expect(page.get_by_role("option")).to_have_count(0)


def test_a_change_is_asked_for_in_the_form_and_seen_on_the_pages(stack: LiveStack, page: Page, tmp_path: Path) -> None:
    page.goto(f"{stack.stack.prefect_url}/v2/deployments/deployment/{stack.deployment('policy-change')['id']}/run")
    page.get_by_label("Entity").wait_for()

    def labels() -> list[str]:
        return [label for label in page.locator("label").all_inner_texts() if label in FIELDS + IMPACT]

    assert labels() == FIELDS
    for help_text in ("PT2H is 2 hours", "at least one, or one entitlement", "None takes whichever is latest"):
        expect(page.get_by_text(help_text)).to_be_visible()
    assert options(page, "If capacity is not there") == ["defer", "reject", "enforce"]

    page.get_by_label("Entity").fill("acme")
    page.get_by_label("Policy").fill("quota")
    page.get_by_label("Requested by").fill("Jane")
    page.get_by_role("tab", name="duration").click()
    page.get_by_role("tabpanel").get_by_role("textbox").fill("PT2H")
    page.get_by_role("button", name="Add item").first.click()
    page.get_by_label("Workload", exact=True).wait_for()
    assert labels() == [*FIELDS[:7], *IMPACT, *FIELDS[7:]]
    assert options(page, "Resource") == ["cpu", "memory", "network", "all"]
    assert options(page, "Acts on") == ["entity", "workload"]
    page.get_by_label("Workload", exact=True).fill("checkout")
    choose(page, "Resource", "cpu")
    page.get_by_label("Factor (Optional)", exact=True).fill("2")
    choose(page, "Shape", "ramp")
    page.get_by_label("Ramp length (Optional)").fill("PT10M")
    page.screenshot(path=tmp_path / "form.png")
    page.get_by_role("button", name="Submit").click()

    name = until(lambda: _planned(stack), "the change is planned", 90)
    found = stack.change(name)
    assert found
    asked = found["record"]["change"]
    assert (asked["entity"], asked["policy"], asked["requested_by"]) == ("acme", "quota", "Jane")
    impact = asked["impacts"][0]
    assert (impact["workload"], impact["resource"], impact["factor"]) == ("checkout", "cpu", 2.0)
    assert impact["adoption"] == {"shape": "ramp", "over": "PT10M"}

    page.goto(f"{stack.stack.prefect_url}/v2/runs")
    page.get_by_text("acme quota: plan").first.click()
    expect(page.get_by_text("Completed").first).to_be_visible(timeout=60_000)
    page.screenshot(path=tmp_path / "run.png")

    page.goto(f"{stack.stack.web_url}/changes")
    page.screenshot(path=tmp_path / "changes.png")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_text(re.compile("scheduled")).first).to_be_visible()
    expect(page.get_by_text("checkout").first).to_be_visible()
    page.screenshot(path=tmp_path / "change.png")
    assert stack.forebay("cancel", name, "--by", "Jane", "--reason", "only a look").returncode == 0


def _planned(stack: LiveStack) -> str | None:
    records = stack.web.get("/v1/changes").json()
    return next((r["change"]["change"] for r in records if r["state"] == "scheduled"), None)
