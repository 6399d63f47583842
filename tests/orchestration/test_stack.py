"""Forebay on a real Prefect server: one story of several changes at once, told in the order it happens.

Three changes run side by side, each on a workload of its own: one goes all the way, one loses its process in the
middle of a step, one is cancelled. The tests look at them while they move.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.up import ROOT
from tests.support.kills import Kill, Struck, faults_of_writes, strike, writes, written
from tests.support.stack import PATIENCE, WORKLOADS, LiveStack, until

STORY, CRASH, CANCEL, LATE = "CHG-1", "CHG-2", "CHG-3", "CHG-4"
DELAY = timedelta(seconds=80 * PATIENCE)
SOONER = f"PT{65 * PATIENCE:.0f}S"
OVER = {"settling", "closed"}


def request(workload: str, entity: str, **more: Any) -> dict[str, Any]:
    return {
        "entity": entity,
        "policy": "quota",
        "requested_by": "jane@example.com",
        "reason": "acme's contract doubles its quota",
        "document": {"requests_per_minute": 12000, "note": 'quotes " and {{ braces }} and </script>'},
        "impacts": [{"workload": workload, "factor": 2.0, "low": 1.9, "high": 2.1, "scope": "workload"}],
        "settle": "PT2S",
    } | more


class Switch(threading.Thread):
    """A client that asks the decision point all the time; `seen_at`: its first answer with version 2."""

    def __init__(self, stack: LiveStack) -> None:
        super().__init__(daemon=True)
        self._stack, self.seen_at, self._over = stack, None, threading.Event()

    def run(self) -> None:
        while not self._over.is_set() and self.seen_at is None:
            version = self._stack.web.get("/v1/policies/acme/quota").json()["version"]
            if version == 2:
                self.seen_at = datetime.now(UTC)
            self._over.wait(0.05)

    def stop(self) -> None:
        self._over.set()
        self.join()


@dataclass
class Story:
    """The change that goes all the way, what its two deliveries were answered, who watches it, and who was killed."""

    change: dict[str, Any]
    effective_at: datetime
    answers: list[int]
    switch: Switch
    struck: list[Struck | None]


@pytest.fixture(scope="module")
def story(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A policy in force, three tickets, and a process that dies at its work."""
    document = tmp_path_factory.mktemp("story") / "v1.yaml"
    document.write_text("requests_per_minute: 6000\n")
    who = ["--by", "test", "--reason", "in force"]
    done = stack.forebay("policy", "import", "acme", "quota", "--document", str(document), *who)
    assert done.returncode == 0, done.stderr
    half = {"workload": "basket", "factor": 1.5, "scope": "workload"}
    assert stack.send_ticket(CANCEL, request("basket", "basket", effective_in=SOONER, impacts=[half])) == 202
    planned(stack, CANCEL)
    assert strike(stack, Kill("receiver", "at any moment"), 0)
    weak = {"workload": "search", "factor": 1.2, "scope": "workload"}
    assert stack.send_ticket(CRASH, request("search", "search", effective_in=SOONER, impacts=[weak])) == 202
    planned(stack, CRASH)
    kills = threading.Thread(target=kill_at_work, args=(stack, struck := []), daemon=True)
    kills.start()
    effective_at = datetime.now(UTC).replace(microsecond=0) + DELAY
    change = request("payments", "acme", change=STORY, effective_at=effective_at.isoformat())
    answers = [stack.send_ticket(STORY, change), stack.send_ticket(STORY, change)]
    stack.emit(f"forebay.ticket.{STORY}", "forebay.ticket.accepted", {"change": change})
    switch = Switch(stack)
    switch.start()
    yield Story(change, effective_at, answers, switch, struck)
    switch.stop()
    kills.join()


def kill_at_work(stack: LiveStack, struck: list[Struck | None]) -> None:
    """End the reconciler, and the process that works on a step of CRASH between its write and its outcome."""
    struck.append(strike(stack, Kill("reconciler", "at any moment", down_s=1), 0))
    struck.append(strike(stack, Kill("caller", "after the write", workload="search"), 120))


def planned(stack: LiveStack, change: str) -> dict[str, Any]:
    """The change once its plan is stored and its runs are made."""
    until(lambda: stack.state(change) not in (None, "received", "planned"), f"{change} is planned", 60)
    found = stack.change(change)
    assert found
    assert found["record"]["state"] != "denied", found["record"]["note"]
    steps = len(found["workloads"][0]["steps"])
    until(lambda: len(stack.runs_of(change)) >= steps + 1, f"{change} has its runs", 30)
    return found


def states(stack: LiveStack, change: str) -> list[str]:
    found = stack.change(change)
    return [step["state"] for step in found["workloads"][0]["steps"]] if found else []


def cancel(stack: LiveStack, change: str) -> None:
    """Until its allocation has gone back."""
    done = stack.forebay("cancel", change, "--by", "jane", "--reason", "not wanted any more")
    assert done.returncode == 0, done.stderr
    until(lambda: stack.state(change) == "rolled back", f"{change} is rolled back", 60)


def times(stack: LiveStack, change: str) -> list[tuple[str, ...]]:
    """When each step was due, asked and passed: what there is to know of one that was late."""
    found = stack.change(change)
    assert found
    return [(s["step"]["due_at"], s["asked_at"], s["passed_at"]) for s in found["workloads"][0]["steps"]]


def plan_runs(stack: LiveStack, change: str) -> list[dict[str, Any]]:
    runs = stack.runs(deployment_id={"any_": [stack.deployment("policy-change")["id"]]})
    return [run for run in runs if run["parameters"]["change"].get("change") == change]


def test_a_ticket_and_its_repeat_and_an_event_meet_in_one_change(stack: LiveStack, story: Story) -> None:
    assert story.answers == [202, 200]
    found = planned(stack, STORY)
    runs = until(lambda: len(r := plan_runs(stack, STORY)) == 2 and r, "a run of the ticket and one of the event", 30)
    assert {(run["created_by"] or {}).get("type") for run in runs} == {None, "AUTOMATION"}
    assert [stack.ended(run["id"])["state_type"] for run in runs] == ["COMPLETED"] * 2
    query = {"logs": {"flow_run_id": {"any_": [run["id"] for run in runs]}}}
    logged = until(lambda: stack.prefect.post("/logs/filter", json=query).json(), "the runs' logs are shown", 20)
    assert any("samples since" in line["message"] for line in logged)
    stored = [entry["event"]["action"] for entry in found["audit"]]
    assert [stored.count(action) for action in ("received", "plan stored", "scheduled")] == [1, 1, 1]
    assert found["record"]["change"]["document"] == story.change["document"]


def test_its_steps_are_runs_made_ahead_and_linked_to_their_parent(stack: LiveStack, story: Story) -> None:
    steps = planned(stack, STORY)["workloads"][0]["steps"]
    runs = sorted(stack.runs_of(STORY), key=lambda run: (run["name"].count("version"), run["expected_start_time"]))
    assert len(steps) >= 3
    moves = [(s["step"]["sequence"], s["step"]["from_units"], s["step"]["to_units"]) for s in steps]
    wanted = [f"acme quota: step {number}/{len(steps)}, {a} to {b} units" for number, a, b in moves]
    clock = f"{story.effective_at:%H:%M:%S} UTC"
    wanted.append(f"acme quota: version 2 comes into force at {clock}")
    for run, name in zip(runs, wanted, strict=True):
        assert run["name"] == name
    parents = {run["id"] for change in (STORY, CRASH, CANCEL) for run in plan_runs(stack, change)}
    for run, step in zip(runs, steps, strict=False):
        task = stack.prefect.get(f"/task_runs/{run['parent_task_run_id']}").json()
        assert task["flow_run_id"] in parents
        ahead = datetime.fromisoformat(step["step"]["due_at"]) - datetime.fromisoformat(run["expected_start_time"])
        assert timedelta(seconds=3) <= ahead <= timedelta(seconds=8)
        assert run["created"] < run["expected_start_time"]


def test_the_plan_can_be_seen_before_anything_moves(stack: LiveStack, story: Story) -> None:
    planned(stack, STORY)

    def artifact() -> list[dict[str, Any]]:
        query = {"artifacts": {"key": {"any_": [f"plan-{STORY.lower()}"]}}}
        return list(stack.prefect.post("/artifacts/filter", json=query).json())

    shown = until(artifact, "the artifact of the plan", 20)[0]
    assert shown["type"] == "markdown"
    assert "payments" in shown["data"]


def test_cancelled_it_goes_back_and_later_runs_find_nothing_to_do(stack: LiveStack, story: Story) -> None:
    until(lambda: states(stack, CANCEL)[:1] == ["passed"], "the first step is verified", 120)
    cancel(stack, CANCEL)
    assert stack.serving("basket") == 6
    assert "passed" not in states(stack, CANCEL)[2:]
    for run in stack.runs_of(CANCEL):
        ended = stack.ended(run["id"], 90)
        if ended["state_type"] == "CANCELLED":
            assert re.search(f"{CANCEL} is (cancelled|rolled back)", ended["state"]["message"]), "removed by us"
        else:
            assert ended["state_type"] == "COMPLETED"


def test_run_by_hand_twice_at_once_a_step_does_no_harm(stack: LiveStack, story: Story) -> None:
    until(lambda: stack.state(CANCEL) == "rolled back", "the change is over", 60)
    before = stack.change(CANCEL)
    parameters = {"change": CANCEL, "workload": "basket", "sequence": 1}
    runs = [stack.start_run("shaping-step", parameters).raise_for_status().json()["id"] for _ in range(2)]
    for run in runs:
        ended = stack.ended(run)
        assert ended["state_type"] == "COMPLETED", ended["state"]
        assert re.search("nothing to do|rolled back", ended["state"]["message"])
    assert stack.change(CANCEL) == before
    assert stack.serving("basket") == 6


def test_the_daily_backtest_looks_at_every_workload(stack: LiveStack) -> None:
    """The stack is minutes old: nothing can be judged up to midnight yet, and that is said."""
    run = stack.ended(stack.start_run("backtest", {}).raise_for_status().json()["id"])
    assert run["state_type"] == "COMPLETED", run["state"]
    wanted = {f"backtest of {entry['name']}" for entry in WORKLOADS}

    def seen() -> bool:  # Prefect writes a task's run down a moment after it
        asked = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        return wanted <= {task["name"] for task in stack.prefect.post("/task_runs/filter", json=asked).json()}

    until(seen, "every workload was looked at", 30)
    assert "nothing was recorded yet" in stack.forebay("backtest", "--recorded").stdout


def test_it_is_in_force_at_its_effective_time_and_every_run_completed(stack: LiveStack, story: Story) -> None:
    until(lambda: story.switch.seen_at, "version 2 is in force", 90)
    assert story.switch.seen_at
    error_s = (story.switch.seen_at - story.effective_at).total_seconds()
    assert 0 <= error_s < 1, times(stack, STORY)
    assert set(states(stack, STORY)) == {"passed"}
    for run in stack.runs_of(STORY):
        assert stack.ended(run["id"])["state_type"] == "COMPLETED"
    assert stack.serving("payments", story.effective_at) >= 11
    until(lambda: stack.state(STORY) in OVER, "it settles", 30)
    verified = stack.forebay("audit", "verify")
    assert verified.returncode == 0
    assert "the audit chain holds" in verified.stdout


def test_a_process_killed_in_its_step_is_replaced_and_nothing_is_done_twice(stack: LiveStack, story: Story) -> None:
    until(lambda: stack.state(CRASH) in OVER, "the change is in force after all", 150)
    found = stack.change(CRASH)
    assert found
    steps = found["workloads"][0]["steps"]
    assert {step["state"] for step in steps} == {"passed"}
    assert "CRASHED" in {run["state_type"] for run in stack.runs_of(CRASH)}
    assert [hit and hit.process for hit in story.struck] == ["reconciler", "run"]


@pytest.mark.parametrize("change, workload", [(STORY, "payments"), (CRASH, "search"), (CANCEL, "basket")])
def test_whoever_was_killed_every_write_was_announced_and_none_made_twice(
    stack: LiveStack, story: Story, change: str, workload: str
) -> None:
    until(lambda: stack.state(change) in OVER | {"rolled back"}, f"{change} is over", 150)
    mine = [call for call in writes(stack) if written(call)[0] == workload]
    with stack.store.transaction() as tx:
        intents = tx.intents(workload, change=change)
    assert [call for call in mine if call["state"] == "made"]
    assert faults_of_writes(mine, intents) == []
    assert stack.store.audit_break() is None


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


def test_the_form_says_what_each_field_is(stack: LiveStack, story: Story) -> None:
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


def test_what_the_form_sends_becomes_a_change_named_by_its_run(stack: LiveStack, story: Story) -> None:
    sent = stack.start_run("policy-change", {"change": FORM}).raise_for_status().json()
    run = stack.ended(sent["id"])
    assert run["state_type"] == "COMPLETED", run["state"]
    [name] = [name for name in names(stack) if name.startswith("acme-tier-")]
    assert run["state"]["message"].startswith(f"{name} is scheduled")
    found = stack.change(name)
    assert found
    assert found["record"]["change"]["impacts"][0]["adoption"] == {"shape": "ramp", "over": "PT30M"}
    cancel(stack, name)


def test_a_run_that_people_cancel_retry_repeat_or_delete_breaks_nothing(stack: LiveStack, story: Story) -> None:
    """A run is a wake-up, no more: what becomes of the change is in the store."""
    name = "CHG-7"
    double = {"workload": "late", "factor": 2.0, "scope": "workload"}
    # Time enough that few steps fall due meanwhile: a run stays for those that do.
    assert stack.send_ticket(name, request("late", "late", effective_in="PT4M", impacts=[double])) == 202
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
    stack: LiveStack, story: Story, wrong: dict[str, Any], status: int, told: str
) -> None:
    before = names(stack)
    answer = stack.start_run("policy-change", {"change": FORM | wrong})
    assert answer.status_code == status, answer.text
    if status == 201:
        run = stack.ended(answer.json()["id"])
        assert run["state_type"] == "FAILED"
        assert told in run["state"]["message"]
    assert names(stack) == before


def test_a_recurring_change_is_one_change_a_scheduled_time(stack: LiveStack, story: Story) -> None:
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
    stack: LiveStack, story: Story, away: dict[str, str], told: str
) -> None:
    change = request("late", "away", change="CHG-AWAY", effective_in="PT1H")
    code = (
        "import sys, json, tasks.policy\n"
        "tasks.policy.READS['retries'] = 0\n"
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


def names(stack: LiveStack) -> list[str]:
    return [record["change"]["change"] for record in stack.web.get("/v1/changes").raise_for_status().json()]


def test_a_ticket_that_comes_while_prefect_is_away_is_started_when_it_is_back(stack: LiveStack, story: Story) -> None:
    stack.kill("prefect")
    assert stack.send_ticket(LATE, request("late", "late", effective_in="PT5M")) == 202
    assert stack.change(LATE) is None
    stack.restart("prefect")
    until(lambda: stack.state(LATE) == "scheduled", "its run is started and plans it", 60)
    assert stack.processes.ended() == [], "runner and reconciler outlived the server"


def _schedule(told: dict[str, Any]) -> tuple[str, str, bool]:
    when = told.get("cron") or told["rrule"].splitlines()[-1]  # Prefect puts a DTSTART before a rule
    return when, told.get("timezone") or "UTC", told.get("active", True)


def test_prefect_yaml_deploys_to_a_work_pool_and_a_worker_runs_it(
    stack: LiveStack, story: Story, tmp_path: Path
) -> None:
    """The production way: only the folder of the image is another one here."""
    stack.kill("runner")  # what is served and what is deployed have the same names
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    document["pull"] = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump(document))
    pool = {"name": "forebay", "type": "process"}
    assert stack.prefect.post("/work_pools/", json=pool).status_code == 201
    done = stack.python("-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    for entry in document["deployments"]:
        found = stack.deployment(entry["name"])
        queue = (found["work_pool_name"], found["work_queue_name"])
        assert queue == ("forebay", entry["work_pool"]["work_queue_name"])
        assert found["entrypoint"] == entry["entrypoint"]
        assert found["parameters"] == entry.get("parameters", {})
        schedules = [s["schedule"] | {"active": s["active"]} for s in found["schedules"]]
        assert [_schedule(s) for s in schedules] == [_schedule(s) for s in entry.get("schedules", [])]
    automations = stack.prefect.post("/automations/filter", json={}).json()
    [automation] = [a for a in automations if a["name"].startswith("policy-change")]
    assert automation["trigger"]["expect"] == ["forebay.ticket.accepted"]
    stack.processes.start(
        "worker", ["-m", "prefect", "worker", "start", "--pool", "forebay", "--name", "test"], stack.stack.child_env
    )
    # Its schedule's own run may be under way: then one sent by hand is cancelled, as the deployment says.
    runs = (stack.start_run("reconcile", {}).raise_for_status().json() for _ in range(3))
    ended = next(r for r in (stack.ended(sent["id"], 90) for sent in runs) if r["state_type"] != "CANCELLED")
    assert ended["state_type"] == "COMPLETED", ended["state"]
