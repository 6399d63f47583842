"""Forebay on a real Prefect server: one story of several changes at once, told in the order it happens.

Three changes run side by side, each on a workload of its own: one goes all the way, one loses its process in the
middle of a step, one is cancelled. The tests look at them while they move.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.kills import Kill, Struck, faults_of_writes, strike, writes, written
from tests.support.stack import PATIENCE, WORKLOADS, LiveStack, until
from tests.support.story import cancel, planned, request

STORY, CRASH, CANCEL, LATE = "CHG-1", "CHG-2", "CHG-3", "CHG-4"
DELAY = timedelta(seconds=80 * PATIENCE)
SOONER = f"PT{65 * PATIENCE:.0f}S"
OVER = {"settling", "closed"}


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
    """The change that goes all the way, what its two deliveries were answered, and who watches it.

    Beside the tests, which on a slow machine may come late: who was killed, and that CANCEL was cancelled.
    """

    change: dict[str, Any]
    effective_at: datetime
    answers: list[int]
    switch: Switch
    struck: Future[list[Struck | None]]
    cancelled: Future[None]


@pytest.fixture(scope="module")
def story(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A policy in force, three tickets, and a process that dies at its work."""
    document = tmp_path_factory.mktemp("story") / "v1.yaml"
    document.write_text("requests_per_minute: 6000\n")
    who = ["--by", "test", "--reason", "in force"]
    done = stack.forebay("policy", "import", "acme", "quota", "--document", str(document), *who)
    assert done.returncode == 0, done.stderr
    with ThreadPoolExecutor() as beside:
        half = {"workload": "basket", "factor": 1.5, "scope": "workload"}
        assert stack.send_ticket(CANCEL, request("basket", "basket", effective_in=SOONER, impacts=[half])) == 202
        planned(stack, CANCEL)
        assert strike(stack, Kill("receiver", "at any moment"), 0)
        cancelled = beside.submit(cancel_on_its_way, stack)
        weak = {"workload": "search", "factor": 1.2, "scope": "workload"}
        assert stack.send_ticket(CRASH, request("search", "search", effective_in=SOONER, impacts=[weak])) == 202
        planned(stack, CRASH)
        struck = beside.submit(kill_at_work, stack)
        effective_at = datetime.now(UTC).replace(microsecond=0) + DELAY
        change = request("payments", "acme", change=STORY, effective_at=effective_at.isoformat())
        answers = [stack.send_ticket(STORY, change), stack.send_ticket(STORY, change)]
        stack.emit(f"forebay.ticket.{STORY}", "forebay.ticket.accepted", {"change": change})
        switch = Switch(stack)
        switch.start()
        yield Story(change, effective_at, answers, switch, struck, cancelled)
        switch.stop()


def kill_at_work(stack: LiveStack) -> list[Struck | None]:
    """End the reconciler, and the process that works on a step of CRASH between its write and its outcome."""
    reconciler = strike(stack, Kill("reconciler", "at any moment", down_s=1), 0)
    return [reconciler, strike(stack, Kill("caller", "after the write", workload="search"), 120)]


def cancel_on_its_way(stack: LiveStack) -> None:
    """Cancel CANCEL once its first step is verified."""
    until(lambda: states(stack, CANCEL)[:1] == ["passed"], "the first step is verified", 120)
    cancel(stack, CANCEL)


def states(stack: LiveStack, change: str) -> list[str]:
    found = stack.change(change)
    return [step["state"] for step in found["workloads"][0]["steps"]] if found else []


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
    story.cancelled.result(300 * PATIENCE)
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
    now = datetime.now(UTC)
    if (now - timedelta(minutes=10)).date() == now.date():  # else midnight has passed since the first plan
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
    assert [hit and hit.process for hit in story.struck.result(150 * PATIENCE)] == ["reconciler", "run"]


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


def test_a_ticket_that_comes_while_prefect_is_away_is_started_when_it_is_back(stack: LiveStack, story: Story) -> None:
    stack.kill("prefect")
    assert stack.send_ticket(LATE, request("late", "late", effective_in="PT5M")) == 202
    assert stack.change(LATE) is None
    stack.restart("prefect")
    until(lambda: stack.state(LATE) == "scheduled", "its run is started and plans it", 60)
    assert stack.processes.ended() == [], "runner and reconciler outlived the server"
