"""What people and schedules ask of a real Prefect server: run forms, runs meddled with, recurring changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.stack import LiveStack, until
from tests.support.story import cancel, names, planned, request

FORM = {
    # What the run form sends: every field it shows, those left alone as null or at their default.
    "change": "",
    "entity": "acme",
    "policy": "tier",
    "kind": "tier",
    "effective_at": None,
    "effective_in": "PT2H",
    "impacts": [
        {
            "workload": "checkout",
            "resource": "cpu",
            "factor": 1.5,
            "low": None,
            "high": None,
            "scope": "entity",
            "adoption": {"shape": "ramp", "over": "PT30M"},
            "add": 0,
            "add_low": None,
            "add_high": None,
            "unit": None,
        }
    ],
    "entitlements": [],
    "document": {"tier": "gold"},
    "requested_by": "Jane",
    "reason": "",
    "on_misalignment": "defer",
    "settle": "PT30M",
    "base_version": None,
}


def test_the_form_says_what_each_field_is(stack: LiveStack) -> None:
    schema = stack.deployment("policy-change")["parameter_openapi_schema"]
    models = schema["definitions"]
    fields = models["ChangeRequest"]["properties"]
    by_position = sorted(fields, key=lambda name: fields[name]["position"])
    assert by_position[:4] == ["change", "entity", "policy", "kind"]
    assert set(models["ChangeRequest"]["required"]) == {"entity", "policy", "requested_by"}
    for model in ("ChangeRequest", "Impact", "Entitlement", "Adoption"):
        described = models[model]["properties"].values()
        # A field that is a model itself has that model's title.
        assert [f for f in described if not (("title" in f or "$ref" in f) and f.get("description"))] == [], model
        positions = [field["position"] for field in described]
        assert len(set(positions)) == len(positions), model
    assert fields["entity"]["examples"] == ["acme"]
    assert fields["on_misalignment"]["enum"] == ["defer", "reject", "enforce"]
    assert models["ImpactResource"]["enum"] == ["cpu", "memory", "network", "all"]


@pytest.mark.parametrize("form", ["policy-change", "approve", "change-action"])
def test_a_form_has_labels_help_and_examples(stack: LiveStack, form: str) -> None:
    """As Prefect stores it, which reads a flow's source rather than the flow."""
    schema = stack.deployment(form)["parameter_openapi_schema"]
    fields = schema["definitions"]["ChangeRequest"]["properties"] if form == "policy-change" else schema["properties"]
    assert all(field.get("title", "Adoption") != name for name, field in fields.items())
    assert all(field.get("description") for field in fields.values())
    assert sum("examples" in field for field in fields.values()) >= 5


def test_whoever_answers_in_the_form_names_the_plan(stack: LiveStack) -> None:
    said = {"change": "CHG-1", "decision": "approve", "by": "bob", "reason": "fine"}
    for plan in ({}, {"plan": ""}, {"plan": "3f9a"}):
        assert stack.start_run("approve", said | plan).status_code == 409


def test_what_the_form_sends_becomes_a_change_named_by_its_run(stack: LiveStack) -> None:
    sent = stack.start_run("policy-change", {"change": FORM}).raise_for_status().json()
    run = stack.ended(sent["id"])
    assert run["state_type"] == "COMPLETED", run["state"]
    [name] = [name for name in names(stack) if name.startswith("acme-tier-")]
    assert run["state"]["message"].startswith(f"{name} is scheduled")
    found = stack.change(name)
    assert found
    assert found["record"]["change"]["impacts"][0]["adoption"] == {"shape": "ramp", "over": "PT30M"}
    cancel(stack, name)


def test_a_run_that_people_cancel_retry_repeat_or_delete_breaks_nothing(stack: LiveStack) -> None:
    """A run is a wake-up, no more: what becomes of the change is in the store."""
    name = "CHG-7"
    double = {"workload": "basket", "factor": 2.0, "scope": "workload"}
    # Time enough that few steps fall due meanwhile: a run stays for those that do.
    assert stack.send_ticket(name, request("basket", "basket", effective_in="PT4M", impacts=[double])) == 202
    before = planned(stack, name)
    step, *_, enforcing = sorted(stack.runs_of(name), key=lambda run: run["expected_start_time"])

    def set_state(**state: str) -> None:
        body = {"state": state, "force": True}
        stack.ask_prefect("POST", f"/flow_runs/{step['id']}/set_state", body).raise_for_status()

    set_state(type="CANCELLED")
    assert stack.ended(step["id"])["state_type"] == "CANCELLED"
    set_state(type="SCHEDULED", name="AwaitingRetry")  # what the button does
    again = stack.start_run("shaping-step", step["parameters"]).raise_for_status().json()["id"]
    for run in (step["id"], again):
        ended = stack.ended(run)
        assert ended["state_type"] == "COMPLETED", ended["state"]
    for run in (step, enforcing):
        stack.ask_prefect("DELETE", f"/flow_runs/{run['id']}").raise_for_status()
    after = stack.change(name)
    assert after
    # Its first step may have fallen due meanwhile; but it is the same change, and nothing was asked for twice.
    assert after["record"]["change"] == before["record"]["change"]
    assert after["record"]["state"] in ("scheduled", "shaping")
    assert [s["step"] for s in after["workloads"][0]["steps"]] == [s["step"] for s in before["workloads"][0]["steps"]]
    asked = [e["event"]["action"] for e in after["audit"] if e["event"]["action"].endswith("asked")]
    assert len(asked) == len(set(asked))
    cancel(stack, name)


@pytest.mark.parametrize(
    "wrong, status, told",
    [
        pytest.param({"entity": None}, 409, "", id="against the schema"),
        pytest.param({"effective_in": None}, 201, "exactly one of effective_at", id="against a rule of the model"),
        pytest.param(
            {"impacts": [{"workload": "nowhere"}]}, 201, "workload 'nowhere' is not in", id="against the workloads file"
        ),
    ],
)
def test_a_wrong_form_fails_clearly_and_stores_nothing(
    stack: LiveStack, wrong: dict[str, Any], status: int, told: str
) -> None:
    before = names(stack)
    answer = stack.start_run("policy-change", {"change": FORM | wrong})
    assert answer.status_code == status, answer.text
    if status == 201:
        run = stack.ended(answer.json()["id"])
        assert run["state_type"] == "FAILED"
        assert told in run["state"]["message"]
    assert names(stack) == before


def test_a_recurring_change_is_one_change_a_scheduled_time(stack: LiveStack) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}
    runs = [stack.start_run("friday-sale", {}, state=state).raise_for_status().json()["id"] for _ in range(2)]
    for run in runs:
        ended = stack.ended(run)
        assert ended["state_type"] == "COMPLETED", ended["state"]
    name = f"acme-quota-{at:%Y%m%dT%H%M%SZ}"
    found = stack.change(name)
    assert found
    assert datetime.fromisoformat(found["record"]["change"]["effective_at"]) == at + timedelta(hours=2)
    assert [n for n in names(stack) if n.startswith("acme-quota-")] == [name]
    cancel(stack, name)


def test_a_document_that_prefect_would_carry_out_is_kept_as_it_was_sent(stack: LiveStack) -> None:
    """By the signed door, and as an event: a variable of Prefect's shows in neither."""
    secret = {"name": "db_password", "value": "hunter2"}
    made = stack.ask_prefect("POST", "/variables/", secret).raise_for_status().json()
    kinds = [
        {"__prefect_kind": "workspace_variable", "variable_name": "db_password"},
        {"__prefect_kind": "workspace_variable", "variable_name": "there_is_none"},
        {"__prefect_kind": "jinja", "template": "{{ 6 * 7 }}"},
    ]
    document = {"x": kinds[0], "many": kinds, "note": "{{ 6 * 7 }}"}

    def kept(name: str, door: str) -> None:
        found = planned(stack, name)
        assert (found["record"]["change"]["document"], found["record"]["door"]) == (document, door)
        assert "edited" not in [entry["event"]["action"] for entry in found["audit"]]
        cancel(stack, name)

    asked = {"document": document, "effective_in": "PT1H"}
    event = {"change": request("search", "event", change="CHG-EVENT", **asked), "ticket": "jira OPS-12"}
    stack.emit("forebay.ticket.CHG-EVENT", "forebay.ticket.accepted", event)
    assert stack.send_ticket("CHG-KIND", request("basket", "kind", **asked)) == 202
    kept("CHG-KIND", "ticket generic CHG-KIND")
    kept("CHG-EVENT", "ticket jira OPS-12")
    stack.ask_prefect("DELETE", f"/variables/{made['id']}").raise_for_status()


def test_an_occurrence_that_no_run_asked_for_is_told(stack: LiveStack) -> None:
    deployment = stack.deployment("friday-sale")["id"]
    hourly = [{"active": True, "schedule": {"cron": "0 * * * *", "timezone": "Europe/Berlin"}}]
    path = f"/deployments/{deployment}/schedules"
    # On SQLite a busy server answers 503.
    answer = until(lambda: (a := stack.prefect.post(path, json=hourly)).status_code != 503 and a, "not busy", 30)
    made = answer.raise_for_status().json()
    code = (
        "import time\n"
        "from blocks.context import context\n"
        "from tasks.recurring import _schedules, check_recurring\n"
        "check_recurring()\n"  # from now on it is looked at
        "(name,) = [name for name, _, times in _schedules() if times]\n"
        "with context().store.transaction() as tx:\n"
        "    tx.put_mark(f'occurrences {name}', int(time.time()) - 6900)\n"  # as if nothing had run for two hours
        "print(check_recurring())"
    )
    done = stack.python("-c", code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] in ("1", "2")
    assert stack.ended(stack.start_run("reconcile", {}).json()["id"])["state_type"] == "COMPLETED"
    gone = f"{path}/{made[0]['id']}"
    until(lambda: stack.prefect.delete(gone).status_code in (204, 404), "the schedule is gone", 30)
    told = [e["event"] for e in stack.web.get("/v1/audit?limit=500").raise_for_status().json()]
    late = [event for event in told if event["action"] == "occurrence late"]
    assert late and len({event["change"] for event in late}) == len(late), "each of them once"
    assert "no run has asked for it" in late[0]["reason"]


@pytest.mark.parametrize(
    "away, told",
    [
        ({"FOREBAY_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/forebay"}, "Connection refused"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "127.0.0.1:1"),
    ],
    ids=["database", "AWS"],
)
def test_with_the_outside_away_a_run_fails_clearly_and_does_nothing_by_half(
    stack: LiveStack, away: dict[str, str], told: str
) -> None:
    change = request("late", "away", change="CHG-AWAY", effective_in="PT1H")
    code = (
        "import sys, json, tasks.policy\n"
        "tasks.policy.REPEATABLE['retries'] = 0\n"
        "from flows.policy_change import policy_change\n"
        "policy_change(json.loads(sys.argv[1]))\n"
    )
    done = stack.python("-c", code, json.dumps(change), **away)
    assert done.returncode == 1
    assert told in done.stderr.splitlines()[-1], done.stderr[-2000:]
    found = stack.change("CHG-AWAY")
    assert found is None or (found["record"]["state"], found["workloads"][0]["steps"]) == ("received", [])
    if found:
        cancel(stack, "CHG-AWAY")
