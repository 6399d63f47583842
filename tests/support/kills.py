"""Kills of real processes at chosen points: who dies when, how it is done, and what has to hold afterwards.

The points come from a seed. The sandbox is told to let the next write wait, before or after it is in effect; the owner
of the connection that waits is the process between its intent and its write, or between its write and its outcome.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from forebay.domain.records import Intent, Outcome
from tests.support.stack import LiveStack, until

Child = Literal["runner", "prefect", "reconciler", "receiver"]
Who = Child | Literal["caller", "any run", "runner and its runs"]
When = Literal["before the write", "while the write is on its way", "after the write", "at any moment"]

# How the sandbox opens the window for a kill: the write never arrives, arrives late, or is answered late.
HOLDS: dict[When, str] = {
    "before the write": "lost_call",
    "while the write is on its way": "delay",
    "after the write": "slow_answer",
}
HELD_S = 2.0  # far below the clients' read timeout, or they would try again by themselves
WRITES = ("UpdateService", "RegisterScalableTarget")


@dataclass(frozen=True)
class Kill:
    """`down_s`: how long what an operator's supervisor starts again stays away. `pause_s`: before it strikes.

    `workload`: only at a write to it; None: at the next write to any.
    """

    who: Who
    when: When
    pause_s: float = 0
    down_s: float = 0
    workload: str | None = None


@dataclass(frozen=True)
class Struck:
    """A kill that was done: of which process, at which write (None: at none)."""

    kill: Kill
    process: str
    write: str | None


def draw_kills(seed: int) -> Iterator[Kill]:
    """Kills without end, the same ones for the same seed; most of them at a write, and of the process that makes it."""
    dice = random.Random(seed)
    children: list[Who] = ["runner", "runner and its runs", "prefect", "reconciler", "receiver"]
    while True:
        when = dice.choices([*HOLDS, "at any moment"], weights=[3, 2, 3, 2])[0]
        alone: Who = "any run" if when == "at any moment" else "caller"
        who = dice.choices([alone, *children], weights=[7, 1, 1, 1, 1, 1])[0]
        yield Kill(who, when, pause_s=dice.uniform(0, 4), down_s=dice.uniform(0, 4))


def strike(stack: LiveStack, kill: Kill, patience_s: float) -> Struck | None:
    """Do it, and start again what an operator's supervisor would; None if nothing to strike came in `patience_s`."""
    time.sleep(kill.pause_s)
    write, pid = None, None
    if kill.when != "at any moment":
        call = _held_write(stack, HOLDS[kill.when], kill.workload, patience_s)
        if call is None:
            return None
        write = f"{call['operation']} {written(call)[0]}"
        pid = owner_of(call["port"], stack.cloud.base_url.port) if kill.who == "caller" else None
    elif kill.who == "any run":
        pid = next(iter(runs_at_work()), None)
    if kill.who in ("caller", "any run"):
        if pid is None:
            return None
        process = _told(pid)
        child = next((n for n in ("runner", "reconciler", "receiver") if stack.processes.pid(n) == pid), None)
        os.kill(pid, signal.SIGKILL)
    else:
        child = kill.who.split()[0]
        process = kill.who
        victim = stack.processes.pid(child)
        if kill.who == "runner and its runs":
            os.killpg(victim, signal.SIGKILL)
        else:
            os.kill(victim, signal.SIGKILL)
    if child is not None:
        until(lambda: child in stack.processes.ended(), f"{child} ends", 10)
        time.sleep(kill.down_s)
        stack.restart(child)
    return Struck(kill, process, write)


def _held_write(stack: LiveStack, fault: str, workload: str | None, patience_s: float) -> dict[str, Any] | None:
    """The first write (to `workload`) from now on that the sandbox lets wait, while it waits."""
    rules = [{"kind": fault, "op": op, "delay_s": HELD_S} for op in WRITES]
    faults = [stack.cloud.post("faults", json=rule).json()["id"] for rule in rules]
    known = max((call["number"] for call in writes(stack)), default=0)
    deadline, held = time.monotonic() + patience_s, None
    while held is None and time.monotonic() < deadline:
        held = next((c for c in writes(stack, known) if workload in (None, written(c)[0])), None)
        time.sleep(0.02)
    for fault_id in faults:
        stack.cloud.delete("faults", params={"id": fault_id})
    return held


def writes(stack: LiveStack, since: int = 0) -> list[dict[str, Any]]:
    """The cloud's own record of the writes to it, see `sandbox.calls`."""
    return list(stack.cloud.get("calls", params={"since": since}).raise_for_status().json()["writes"])


def written(call: dict[str, Any]) -> tuple[str, dict[str, int]]:
    """The workload that a write is to, and the values it sets."""
    asked = call["parameters"]
    if call["operation"] == "UpdateService":
        return asked["service"], {"count": asked["desiredCount"]}
    values = {"floor": asked["MinCapacity"]}
    if "MaxCapacity" in asked:
        values["ceiling"] = asked["MaxCapacity"]
    return asked["ResourceId"].rsplit("/", 1)[-1], values


def owner_of(port: int, to: int | None) -> int | None:
    """The process with a TCP connection from `port` to port `to` of this host; None if it has just gone."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [(*(int(end.rsplit(":", 1)[1], 16) for end in row[1:3]), row[9]) for row in rows]
    inodes = {inode for ours, theirs, inode in ends if (ours, theirs) == (port, to) and inode != "0"}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if sockets & {str(file.readlink()) for file in folder.iterdir()}:
                return int(folder.parent.name)
        except OSError:
            continue  # it has just ended, or is another user's
    return None


def runs_at_work() -> Iterator[int]:
    """Processes that execute a flow run of this process's stack."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            settings = environ.read_bytes()
        except OSError:
            continue
        if b"PREFECT__FLOW_RUN_ID=" in settings and f"FOREBAY_STACK={os.getpid()}\0".encode() in settings:
            yield int(environ.parent.name)


def _told(pid: int) -> str:
    """A process in words."""
    if b"PREFECT__FLOW_RUN_ID=" in Path(f"/proc/{pid}/environ").read_bytes():
        return "run"
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip().rsplit(".", 1)[-1]


def faults_of_writes(calls: Iterable[dict[str, Any]], intents: Iterable[Intent]) -> list[str]:
    """What is wrong between what one workload's writes were and what announced them; in words, empty if all is right.

    Each write in effect has exactly one intent that stood open when it came, and asks for that value; no intent was
    written twice; each intent that is `done` was written, each that is `not done` was not.
    """
    wrong, made = [], {}
    known = list(intents)
    for call in calls:
        if call["state"] != "made":
            continue
        values = written(call)[1]
        announced = [
            intent
            for intent in known
            if intent.stored_at.timestamp() <= call["at"]
            and (intent.settled_at is None or call["at"] <= intent.settled_at.timestamp())
        ]
        if len(announced) != 1:
            wrong.append(f"write {call['number']} of {values} has {len(announced)} open intents")
            continue
        [intent] = announced
        if values.items() - {(n, v) for n, v in intent.new.model_dump().items() if v is not None}:
            wrong.append(
                f"write {call['number']} of {values} is not what intent {intent.number} announced: {intent.new}"
            )
        if intent.number in made:
            wrong.append(f"intent {intent.number} was written twice: calls {made[intent.number]} and {call['number']}")
        made[intent.number] = call["number"]
    for intent in known:
        if intent.outcome is Outcome.DONE and intent.fencing and intent.number not in made:
            wrong.append(f"intent {intent.number} is done, and nobody wrote it")
        if intent.outcome is Outcome.NOT_DONE and intent.number in made:
            wrong.append(f"intent {intent.number} is not done, and was written by call {made[intent.number]}")
    return wrong
