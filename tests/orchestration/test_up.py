"""The local start: what it refuses, and that it leaves nothing behind. Stand-ins for its children start at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from deployments.processes import free_port
from deployments.up import ROOT
from tests.support.stack import LiveStack, listens, processes_of, until

# `main` as it is, on children of a second's making: one listens until it is told to stop, the other ends by itself.
UP = """
import sys, time
from deployments import up
LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
def start(processes, stack):
    processes.start("receiver", ["-c", LISTEN.format(port=stack.web_port)], stack.child_env)
    processes.start("runner", ["-c", {runner!r}], stack.child_env)
up.start_stack = start
sys.exit(up.main())
"""


@pytest.fixture
def web_port() -> int:
    return free_port()


def start_up(folder: Path, web_port: int, runner: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            UP.replace("{runner!r}", repr(runner)),
            "--data",
            str(folder),
            "--web-port",
            str(web_port),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_stops_everything(tmp_path: Path, web_port: int, number: signal.Signals) -> None:
    up = start_up(tmp_path, web_port, "import time; time.sleep(600)")
    until(lambda: listens(web_port) and len(processes_of(tmp_path)) == 2, "both children run", 20)
    up.send_signal(number)
    up.communicate(timeout=20)
    assert up.returncode == 0
    assert not listens(web_port)
    assert processes_of(tmp_path) == []


def test_a_child_that_dies_is_named_with_its_last_words_and_the_rest_is_stopped(tmp_path: Path, web_port: int) -> None:
    up = start_up(tmp_path, web_port, "import sys; sys.exit('no space left on device')")
    _, told = up.communicate(timeout=30)
    assert up.returncode == 4
    assert "runner ended:\nno space left on device" in told
    assert not listens(web_port)
    assert processes_of(tmp_path) == []


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    "option, mend", [("--prefect-port", "choose --prefect-port"), ("--web-port", "choose --web-port")]
)
def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path, taken: int, option: str, mend: str) -> None:
    free = {"--prefect-port": str(free_port()), "--web-port": str(free_port())} | {option: str(taken)}
    argv = [word for pair in free.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-m", "deployments.up", "--data", str(tmp_path), *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=30,
    )
    assert done.returncode == 4
    assert done.stderr.startswith(f"port {taken} for ")
    assert mend in done.stderr
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("command", [["status"], ["serve"], ["serve", "--migrate"]], ids=" ".join)
def test_a_store_that_is_away_ends_a_command_with_a_clear_message(command: list[str], tmp_path: Path) -> None:
    workloads = tmp_path / "workloads.yaml"
    workloads.write_text("workloads: []\n")
    env = {
        "FOREBAY_DATABASE_URL": "postgresql+psycopg://nobody:secret@127.0.0.1:1/forebay",
        "FOREBAY_WORKLOADS": str(workloads),
    }
    done = subprocess.run(
        [sys.executable, "-m", "forebay.cli", *command],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("forebay: store postgresql+psycopg://nobody")
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_many_writers_at_once_do_not_make_the_server_stand_still(stack: LiveStack) -> None:
    """Each waits for the others' lock now and then; without `deployments.server` that ends in a minute's standstill."""
    made = stack.ask_prefect("POST", "/flows/", {"name": "writers"}).raise_for_status()
    flow = made.json()["id"]
    over = time.monotonic() + 6

    def slowest_s() -> float:
        slowest, body = 0.0, {"flow_id": flow, "state": {"type": "PENDING"}}
        with httpx.Client(base_url=f"{stack.stack.prefect_url}/api", timeout=90) as client:
            while (began := time.monotonic()) < over:
                with suppress(httpx.TransportError):  # a busy server answers 503 and hangs up
                    made = client.post("/flow_runs/", json=body)
                    if made.status_code == 201:
                        client.post(f"/flow_runs/{made.json()['id']}/set_state", json={"state": {"type": "RUNNING"}})
                slowest = max(slowest, time.monotonic() - began)
        return slowest

    with ThreadPoolExecutor(5) as writers:
        taken_s = [future.result() for future in [writers.submit(slowest_s) for _ in range(5)]]
    stack.ask_prefect("DELETE", f"/flows/{flow}")
    assert max(taken_s) < 30
