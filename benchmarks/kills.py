"""Kill -9 on real processes, at points that a seed chooses: `python -m benchmarks.kills --kills 50 --seed 1`.

A real Prefect server, runner, receiver, reconciler and PostgreSQL over the sandbox. In each round four changes run at
once, one of them is cancelled on its way, and processes die under them. After each round everything must have ended
by itself: in force or rolled back (or held, or denied if its planning died), every write announced, none made twice,
no policy early, the audit chain whole. Exits with 1 if not.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from forebay.domain.errors import OutsideError
from forebay.domain.policy import PolicyVersion
from tests.support.kills import Struck, draw_kills, faults_of_writes, runs_at_work, strike, writes, written
from tests.support.stack import LiveStack, cloud, live_stack, until, workload

TRACKING = {"metric": "cpu", "target_percent": 70, "in_cooldown_s": 3, "out_cooldown_s": 3}
FLOORS, COUNTS = ("north", "east"), ("south", "west")
NAMES = FLOORS + COUNTS
ENDED = {"closed", "rolled back", "denied", "held"}
A_ROUND = 8  # kills


@dataclass
class Round:
    """Changes of one round by workload, and what was seen of them from outside."""

    number: int
    began: int
    effective_at: dict[str, datetime] = field(default_factory=dict)
    first_seen: dict[str, datetime] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def change(self, name: str) -> str:
        return f"{name}-{self.number}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--delay", type=int, default=75, help="seconds to each effective time: more on a busy machine")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this must not leave a stack behind
    with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
        home = Path(folder)
        (home / "template").mkdir()
        clouds = [cloud(n, target_tracking=TRACKING) if n in FLOORS else cloud(n) for n in NAMES]
        workloads = [workload(name) for name in NAMES]
        with live_stack(home, home / "template", workloads=workloads, clouds=clouds) as stack:
            return run(stack, args.kills, args.seed, timedelta(seconds=args.delay))


def run(stack: LiveStack, count: int, seed: int, delay: timedelta) -> int:
    """`count` kills on a running stack, round after round; returns the exit code."""
    began, dice, kills = time.monotonic(), random.Random(seed), draw_kills(seed)  # noqa: S311  the same again
    struck: list[Struck] = []
    wrong: list[str] = []
    ends: Counter[str] = Counter()
    for number in itertools.count(1):
        around = start_round(stack, number, delay)
        watcher = threading.Thread(target=watch_policies, args=(stack, around), daemon=True)
        watcher.start()
        cancelled = dice.choice(COUNTS)
        cancel = threading.Timer(
            dice.uniform(0.4, 0.9) * delay.total_seconds(), cancel_change, (stack, around.change(cancelled))
        )
        cancel.start()
        for kill in itertools.islice(kills, min(A_ROUND, count - len(struck))):
            if done := strike(stack, kill, patience_s=delay.total_seconds()):
                struck.append(done)
                at = f" at {done.write}" if done.write else ""
                print(f"{len(struck):>3}  {kill.when:<30} {done.process:<22}{at}", flush=True)
            if all(state_of(stack, around.change(name)) in ENDED for name in NAMES):
                break
        cancel.join()
        found, states = end_round(stack, around)
        watcher.join()
        wrong += found
        ends.update(states)
        print(f"     round {number}: {', '.join(states)}; {'; '.join(found) or 'all rules held'}", flush=True)
        if len(struck) >= count:
            break
    # A run whose runner was killed is in nobody's group any more; it ends by itself while there is a server.
    until(lambda: not list(runs_at_work()), "the orphaned runs end", 90)
    print(
        f"\n{len(struck)} kills in {number} rounds and {(time.monotonic() - began) / 60:.0f} min, seed {seed}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for what, counted in (("who died", Counter(s.process.split()[0] for s in struck)), ("how changes ended", ends)):
        print(f"{what}: " + ", ".join(f"{name} {n}" for name, n in counted.most_common()))
    for when, n in Counter(s.kill.when for s in struck).most_common():
        print(f"{when}: {n}")
    print(f"broken rules: {len(wrong)}" + "".join(f"\n  {text}" for text in wrong))
    return 1 if wrong else 0


def start_round(stack: LiveStack, number: int, delay: timedelta) -> Round:
    """Four tickets, each on a workload of its own."""
    around = Round(number, max((call["number"] for call in writes(stack)), default=0))
    for name in NAMES:
        around.effective_at[name] = datetime.now(UTC) + delay
        change = {
            "entity": name,
            "policy": "quota",
            "requested_by": "kills",
            "reason": "to be disturbed",
            "effective_at": around.effective_at[name].isoformat(),
            "impacts": [{"workload": name, "factor": 1.9, "scope": "workload"}],
            "settle": "PT1S",
        }
        answer = until(lambda c=change: _sent(stack, around, c), "the ticket is taken", 60)
        assert answer in (200, 202), answer
    return around


def _sent(stack: LiveStack, around: Round, change: dict[str, object]) -> int | None:
    try:
        return stack.send_ticket(around.change(str(change["entity"])), change)
    except httpx.HTTPError:
        return None  # it is being started again


def cancel_change(stack: LiveStack, change: str) -> None:
    """As an operator does; refused where it is in force already."""
    stack.forebay("cancel", change, "--by", "kills", "--reason", "not wanted any more")


def watch_policies(stack: LiveStack, around: Round) -> None:
    """What a client of the decision point sees first of each new version."""
    client = httpx.Client(base_url=stack.stack.web_url, timeout=5)
    while not around.over.wait(0.2):
        for name in set(NAMES) - set(around.first_seen):
            try:
                answer = client.get(f"/v1/policies/{name}/quota")
            except httpx.HTTPError:
                continue  # it is being started again
            if answer.status_code == 200 and answer.json()["change"] == around.change(name):
                around.first_seen[name] = datetime.now(UTC)


def end_round(stack: LiveStack, around: Round) -> tuple[list[str], list[str]]:
    """Wait until all has ended by itself; what was broken, and how each change ended. Then tidy up for the next."""
    deadline = time.monotonic() + 300
    changes = [around.change(name) for name in NAMES]
    while time.monotonic() < deadline and not all(state_of(stack, change) in ENDED for change in changes):
        time.sleep(1)
    around.over.set()
    wrong, states = [], []
    calls = writes(stack, around.began)
    for name in NAMES:
        change = around.change(name)
        with stack.store.transaction() as tx:
            record, intents = tx.change(change), tx.intents(name, change=change)
            version = next((v for v in tx.versions(name, "quota") if v.change == change), None)
        state = str(record.state) if record else "not received"
        states.append(f"{name} {state}")
        if record and state in ("held", "denied"):
            print(f"     {change} is {state}: {record.note}")
        if state not in ENDED:
            wrong.append(f"{change} has not ended: {state}{f', {record.note}' if record else ''}")
        if state != "held" and any(intent.outcome is None for intent in intents):
            wrong.append(f"{change} has left a write open")
        mine = [call for call in calls if written(call)[0] == name]
        wrong += [f"{change}: {text}" for text in faults_of_writes(mine, intents)]
        wrong += _early(change, version, around.effective_at[name], around.first_seen.get(name))
    if broken := stack.store.audit_break():
        wrong.append(f"the audit chain: {broken}")
    for name in NAMES:
        if state_of(stack, around.change(name)) == "held":
            cancel_change(stack, around.change(name))
            until(lambda n=name: state_of(stack, around.change(n)) == "rolled back", f"{name} is rolled back", 120)
    for name in COUNTS:
        stack.aws("ecs").update_service(cluster="prod", service=name, desiredCount=6)
    return wrong, [state.split(" ", 1)[1] for state in states]


def state_of(stack: LiveStack, change: str) -> str | None:
    """From the store itself: the receiver may be dead. None if there is no such change, or the store is too busy."""
    try:
        with stack.store.transaction() as tx:
            record = tx.change(change)
    except OutsideError:
        return None
    return str(record.state) if record else None


def _early(change: str, version: PolicyVersion | None, at: datetime, seen: datetime | None) -> list[str]:
    began = version.in_force_from if version else None
    wrong = []
    if began is not None and began < at:
        wrong.append(f"{change} is in force from {began}, before {at}")
    if seen is not None and seen < at:
        wrong.append(f"{change} was answered at {seen}, before {at}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
