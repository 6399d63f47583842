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
    "Supersedes (Optional)",
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
ACTING = ["Change", "Decision", "What to do", "Your name", "Reason", "Plan"]


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
    press_submit(page)

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
    cancel(stack, name)


def _planned(stack: LiveStack) -> str | None:
    records = stack.web.get("/v1/changes").json()
    return next((r["change"]["change"] for r in records if r["state"] == "scheduled"), None)


def cancel(stack: LiveStack, name: str) -> None:
    """Until the next change need not wait for it."""
    assert stack.forebay("cancel", name, "--by", "jane", "--reason", "only a look").returncode == 0
    until(lambda: stack.state(name) == "rolled back", f"{name} is rolled back", 60)


def a_change(stack: LiveStack, name: str, kind: str, state: str) -> str:
    """A change that has got as far as `state`, asked for by the form's API."""
    change = {
        "change": name,
        "entity": "acme",
        "policy": kind,
        "kind": kind,
        "effective_in": "PT2H",
        "impacts": [{"workload": "checkout", "factor": 2.0}],
        "requested_by": "jane",
    }
    assert stack.start_run("policy-change", {"change": change}).status_code == 201
    until(lambda: stack.state(name) not in (None, "received", "planned"), f"{name} is {state}", 90)
    found = stack.change(name)
    assert found and found["record"]["state"] == state, found and found["record"]["note"]
    return name


def open_form(stack: LiveStack, page: Page, deployment: str) -> list[str]:
    """Its fields, in their order."""
    page.goto(f"{stack.stack.prefect_url}/v2/deployments/deployment/{stack.deployment(deployment)['id']}/run")
    page.get_by_label("Change", exact=True).wait_for()
    return [label for label in page.locator("label").all_inner_texts() if label in ACTING or "(Optional)" in label]


def press_submit(page: Page) -> None:
    """A busy server on SQLite answers 503; the form says so and stays, and a person presses again."""

    def taken() -> bool:
        with page.expect_response(re.compile("create_flow_run")) as answer:
            page.get_by_role("button", name="Submit").click()
        return answer.value.status != 503

    until(taken, "Prefect is not busy", 60)


def submit(stack: LiveStack, page: Page, deployment: str, name: str) -> tuple[dict[str, object], str]:
    """The parameters of the run that the form made for a change, and the state it ended in."""
    press_submit(page)
    of = {"any_": [stack.deployment(deployment)["id"]]}

    def made() -> str | None:
        return next((r["id"] for r in stack.runs(deployment_id=of) if r["parameters"]["change"] == name), None)

    ended = stack.ended(until(made, "the run is made", 60))
    return ended["parameters"], ended["state"]["name"]


def test_a_plan_is_approved_in_the_form(stack: LiveStack, page: Page, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: tiers, kinds: [tier], approval: {approvers: [bob]}}, {name: others}]")
    assert stack.forebay("rules", "set", str(rules), "--by", "jane", "--reason", "tiers are asked for").returncode == 0
    name = a_change(stack, "FORM-APPROVE", "tier", "awaiting approval")
    assert open_form(stack, page, "approve")[:5] == ["Change", "Decision", "Your name", "Reason", "Plan"]
    for help_text in ("Approve or reject", "the audit log keeps it", "First digits (8 or more)"):
        expect(page.get_by_text(help_text).first).to_be_visible()
    assert options(page, "Decision") == ["approve", "reject"]
    found = stack.change(name)
    assert found
    filled = {"change": name, "by": "bob", "reason": "as planned", "plan": found["request"]["asked"][:12]}
    for field, value in zip(["Change", "Your name", "Reason", "Plan"], filled.values(), strict=True):
        page.get_by_label(field, exact=True).fill(value)
    choose(page, "Decision", "approve")
    page.screenshot(path=tmp_path / "approve.png")
    parameters, ended = submit(stack, page, "approve", name)
    assert {key: parameters[key] for key in filled} == filled
    assert (parameters["decision"], ended) == ("approve", "Completed")
    assert stack.state(name) == "scheduled"
    cancel(stack, name)


@pytest.mark.parametrize(("deed", "state"), [("hold", "held"), ("cancel", "rolled back")])
def test_a_change_is_held_and_cancelled_in_the_form(
    stack: LiveStack, page: Page, tmp_path: Path, deed: str, state: str
) -> None:
    name = a_change(stack, f"FORM-{deed.upper()}", "quota", "scheduled")
    assert open_form(stack, page, "change-action")[:4] == ["Change", "What to do", "Your name", "Reason"]
    for help_text in ("Who does it", "keep at least so many", "so long, a time with its zone"):
        expect(page.get_by_text(help_text).first).to_be_visible()
    assert options(page, "What to do") == ["hold", "resume", "cancel", "roll back", "pin", "settle"]
    filled = {"change": name, "by": "jane", "reason": "a campaign"}
    for field, value in zip(["Change", "Your name", "Reason"], filled.values(), strict=True):
        page.get_by_label(field, exact=True).fill(value)
    choose(page, "What to do", deed)
    page.screenshot(path=tmp_path / f"{deed}.png")
    parameters, ended = submit(stack, page, "change-action", name)
    assert {key: parameters[key] for key in filled} == filled
    assert (parameters["deed"], parameters.get("units"), ended) == (deed, None, "Completed")
    until(lambda: stack.state(name) == state, f"{name} is {state}", 60)
    if deed == "hold":
        cancel(stack, name)
