"""How late steps start on a real Prefect server, and how long a ticket takes: `python -m benchmarks.lateness`.

Four changes at once, each on a workload of its own, with steps so far apart that each has a process of its own.
About five minutes. The cloud is the sandbox with a flat load, everything else is the real thing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.stack import LiveStack, cloud, live_stack, until, workload

NAMES = ("north", "east", "south", "west")
# A run lingers for a step that is due within 30 s; farther apart, every step is started by its own wake-up.
LIMITS = {"min_units": 4, "max_units": 40, "soft": {"units": 1, "percent": 50, "dwell": "PT36S"}}
DELAY = timedelta(seconds=330)
STAGGER = timedelta(seconds=3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, choices=range(1, len(NAMES) + 1), default=len(NAMES))
    names = NAMES[: parser.parse_args().changes]
    with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
        home = Path(folder)
        began = time.monotonic()
        workloads = [workload(name, limits=LIMITS) for name in names]
        template = home / "template"
        template.mkdir()
        with live_stack(
            home, template, postgresql=False, workloads=workloads, clouds=[cloud(name) for name in names]
        ) as stack:
            print(f"stack ready after {time.monotonic() - began:.0f} s; {os.cpu_count()} cores, load {_load()}")
            measure(stack, names)
    return 0


def measure(stack: LiveStack, names: Sequence[str]) -> None:
    """Send the tickets, let every change come into force, and print two tables."""
    accepted = {}
    for number, name in enumerate(names):
        change = {
            "entity": name,
            "policy": "quota",
            "requested_by": "benchmark",
            "effective_at": (datetime.now(UTC) + DELAY + number * STAGGER).isoformat(),
            "impacts": [{"workload": name, "factor": 1.9, "scope": "workload"}],
            "settle": "PT0S",
        }
        if stack.send_ticket(name, change) != 202:
            raise SystemExit(f"the receiver did not take the ticket {name}: see its log")
        accepted[name] = datetime.now(UTC)
    until(lambda: all(stack.state(name) in ("settling", "closed") for name in names), "all are in force", 500)
    print_planning(stack, accepted)
    print_steps(stack, names)


def print_planning(stack: LiveStack, accepted: dict[str, datetime]) -> None:
    """From the ticket's 202 to the last wake-up made, and what took it."""
    print(
        f"\n{'change':<8}{'run started':>12}{'planned':>10}{'all runs made':>15}{'forecast alone':>16}   (s from 202)"
    )
    for name, at in accepted.items():
        [plan] = [run for run in stack.runs() if run["name"].startswith(f"{name} quota: plan")]
        tasks = stack.prefect.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": [plan["id"]]}}}).json()
        seconds = {task["name"].split("-")[0].split(" of ")[0]: task["total_run_time"] for task in tasks}
        stored = next(e["event"]["at"] for e in _change(stack, name)["audit"] if e["event"]["action"] == "scheduled")
        made = max(run["created"] for run in stack.runs_of(name))
        figures = [_time(plan["start_time"]) - at, _time(stored) - at, _time(made) - at]
        row = "".join(f"{figure.total_seconds():>{w}.1f}" for figure, w in zip(figures, (12, 10, 15), strict=True))
        print(f"{name:<8}{row}{seconds['forecast']:>16.2f}")


def print_steps(stack: LiveStack, names: Sequence[str]) -> None:
    """Of every step: when its process ran and when the cloud was asked, against when it was due."""
    starts, asks = [], []
    for name in names:
        runs = {run["parameters"].get("sequence"): run for run in stack.runs_of(name)}
        for step in _change(stack, name)["workloads"][0]["steps"]:
            due, run = _time(step["step"]["due_at"]), runs[step["step"]["sequence"]]
            starts.append((_time(run["start_time"]) - _time(run["expected_start_time"])).total_seconds())
            asks.append((_time(step["asked_at"]) - due).total_seconds())
    print(f"\nlateness of steps, seconds{'n':>12}{'median':>10}{'worst':>10}   load {_load()}")
    for what, late in (("process, against its schedule", starts), ("ask, against its due time", asks)):
        print(f"{what:<32}{len(late):>6}{statistics.median(late):>10.3f}{max(late):>10.3f}")


def _change(stack: LiveStack, name: str) -> dict[str, Any]:
    found = stack.change(name)
    assert found is not None, "it was in force a moment ago"
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
