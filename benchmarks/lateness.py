"""How late steps start on a real Prefect server, and how long a ticket takes: `python -m benchmarks.lateness`.

Several changes at once (`--changes`), each on a workload of its own, with steps so far apart that a change's next one
has a wake-up of its own. About five minutes, and 15 s more for each change above four, so that all are planned in
time. `--runners 2`: a second process takes runs too. The cloud is the sandbox with a flat load, everything else is
the real thing.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.stack import LiveStack, cloud, live_stack, until, workload

# A run lingers for a step that is due within 30 s; farther apart, every step is started by its own wake-up.
LIMITS = {"min_units": 4, "max_units": 40, "soft": {"units": 1, "percent": 50, "dwell": "PT36S"}}
DELAY = timedelta(seconds=330)
PLANNED = timedelta(seconds=15)  # added for each change above four: a plan takes about 5 CPU seconds
STAGGER = timedelta(seconds=3)
LATE_S = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=4)
    parser.add_argument("--runners", type=int, default=1)
    args = parser.parse_args()
    names = [f"w{number:02}" for number in range(1, args.changes + 1)]
    with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
        home = Path(folder)
        began = time.monotonic()
        workloads = [workload(name, limits=LIMITS) for name in names]
        template = home / "template"
        template.mkdir()
        with live_stack(
            home, template, postgresql=False, workloads=workloads, clouds=[cloud(name) for name in names]
        ) as stack:
            for number in range(2, args.runners + 1):
                stack.processes.start(f"runner {number}", ["-m", "deployments.runner"], stack.stack.child_env)
                stack.processes.wait_logged(f"runner {number}", "serving")
            print(f"stack ready after {time.monotonic() - began:.0f} s; {os.cpu_count()} cores, load {_load()}")
            stack.prefect.timeout = 300  # dozens of processes have just ended at it
            measure(stack, names)
    return 0


def measure(stack: LiveStack, names: Sequence[str]) -> None:
    """Send the tickets, let every change come into force, and print two tables."""
    accepted = {}
    delay = DELAY + PLANNED * max(0, len(names) - 4)
    for number, name in enumerate(names):
        change = {
            "entity": name,
            "policy": "quota",
            "requested_by": "benchmark",
            "effective_at": (datetime.now(UTC) + delay + number * STAGGER).isoformat(),
            "impacts": [{"workload": name, "factor": 1.9, "scope": "workload"}],
            "settle": "PT0S",
        }
        if stack.send_ticket(name, change) != 202:
            raise SystemExit(f"the receiver did not take the ticket {name}: see its log")
        accepted[name] = datetime.now(UTC)
    for name in names:  # one after the other: the API takes no caller's questions without limit
        until(partial(_has_begun, stack, name), f"{name} is in force", 2 * delay.total_seconds())
    print_steps(stack, names)
    print_planning(stack, accepted)


def _has_begun(stack: LiveStack, name: str) -> bool:
    return stack.state(name) in ("settling", "closed")


def print_planning(stack: LiveStack, accepted: dict[str, datetime]) -> None:
    """From the ticket's 202 to the last wake-up made, and what took it."""
    planning = stack.runs(deployment_id={"any_": [stack.deployment("policy-change")["id"]]})
    planned_after = []
    print(
        f"\n{'change':<8}{'run started':>12}{'planned':>10}{'all runs made':>15}{'forecast alone':>16}   (s from 202)"
    )
    for name, at in accepted.items():
        [plan] = [run for run in planning if run["name"].startswith(f"{name} quota: plan")]
        tasks = stack.prefect.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": [plan["id"]]}}}).json()
        seconds = {task["name"].split("-")[0].split(" of ")[0]: task["total_run_time"] for task in tasks}
        stored = next(e["event"]["at"] for e in _change(stack, name)["audit"] if e["event"]["action"] == "scheduled")
        made = max(run["created"] for run in stack.runs_of(name))
        figures = [_time(plan["start_time"]) - at, _time(stored) - at, _time(made) - at]
        planned_after.append(figures[1].total_seconds())
        row = "".join(f"{figure.total_seconds():>{w}.1f}" for figure, w in zip(figures, (12, 10, 15), strict=True))
        print(f"{name:<8}{row}{seconds['forecast']:>16.2f}")
    print(f"accepted to planned: median {statistics.median(planned_after):.1f} s, worst {max(planned_after):.1f} s")


def print_steps(stack: LiveStack, names: Sequence[str]) -> None:
    """Of every step: when the cloud was asked, against when it was due; of every policy: when it came into force."""
    firsts, others, switches, told = [], [], [], []
    for name in names:
        change = _change(stack, name)
        steps = [step for step in change["workloads"][0]["steps"] if step["asked_at"]]  # others a correction has made
        late = [(_time(step["asked_at"]) - _time(step["step"]["due_at"])).total_seconds() for step in steps]
        firsts.append(late[0])
        others += late[1:]
        told += [_why(stack, name, change, number) for number, by in enumerate(late) if by > LATE_S]
        at = next(e["event"]["at"] for e in change["audit"] if e["event"]["action"] == "in force")
        switches.append((_time(at) - _time(change["record"]["change"]["effective_at"])).total_seconds())
    print(f"\nlateness, seconds{'n':>22}{'median':>10}{'p99':>10}{'worst':>10}   load {_load()}")
    # A first step may be due before its plan is stored, where many are planned at once.
    rows = {"a first step, asked": firsts, "a later step, asked": others, "policy, against its time": switches}
    for what, late in rows.items():
        print(f"{what:<32}{len(late):>6}{statistics.median(late):>10.3f}{_p99(late):>10.3f}{max(late):>10.3f}")
    for what, late in (("first", firsts), ("later", others)):
        print(
            f"{what} steps asked more than {LATE_S} s late: {sum(by > LATE_S for by in late)} of {len(late)}",
            flush=True,
        )
    print("".join(told), end="")


def _why(stack: LiveStack, name: str, change: dict[str, Any], number: int) -> str:
    """What happened to a late step from a minute before it was due until it was asked: runs and entries of the log."""
    step = [step for step in change["workloads"][0]["steps"] if step["asked_at"]][number]
    due, asked = _time(step["step"]["due_at"]), _time(step["asked_at"])
    entries = [(_time(e["event"]["at"]), f"{e['event']['action']}: {e['event']['reason']}") for e in change["audit"]]
    runs = [(_time(r["start_time"]), f"run: {r['name']}") for r in stack.runs_of(name) if r["start_time"]]
    ends = [(_time(r["end_time"]), f"end: {r['name']}") for r in stack.runs_of(name) if r["end_time"]]
    shown = [(at, what) for at, what in sorted(entries + runs + ends) if (at - due).total_seconds() >= -60]
    lines = [f"    {(at - due).total_seconds():+7.1f}  {what[:120]}" for at, what in shown if at <= asked]
    return "\n".join([f"  {name} step {step['step']['sequence']}, due at {due:%H:%M:%S}", *lines, ""])


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


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
