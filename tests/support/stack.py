"""A real stack for tests: Prefect server, runner, receiver, reconciler and the sandbox, in processes of their own.

Its clock is the real one, so everything is quick: slots of a second, a flat load whose forecast is exact.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import pytest
import yaml

from deployments.processes import Processes, free_port
from deployments.up import ROOT, Stack, start_child, start_stack, wait_child
from forebay.domain.signature import signed_headers
from forebay.store import open_store
from tests.support.stores import drop, postgresql_url, sqlite_url

SECRET = "stack-secret-0123456789"
DEPLOYMENTS = ("policy-change", "friday-sale", "month-end", "shaping-step", "enforce-policy", "reconcile", "backtest")
T = TypeVar("T")
# FOREBAY_PATIENCE=3, on a machine that is busy with other things, makes time limits and delays so many times longer.
PATIENCE = float(os.environ.get("FOREBAY_PATIENCE", "1"))

_UNIT = {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100}
_SHARES = {"acme": 0.75}
_TRACKING = {"metric": "cpu", "target_percent": 70, "in_cooldown_s": 3, "out_cooldown_s": 3}
_FLAT = "timestamp,cpu,memory,network\n2026-01-01T00:00:00Z,0.42,0.1,0.1\n2026-01-01T00:05:00Z,0.42,0.1,0.1\n"


def workload(name: str, **more: Any) -> dict[str, Any]:
    """As Forebay knows it: 4.2 cores of demand, 6 units at 70 %; with acme's share doubled, about 11."""
    return {
        "name": name,
        "target": {"type": "ecs", "cluster": "prod", "service": name},
        "unit": _UNIT,
        "objectives": {"cpu": 0.7},
        "limits": {"min_units": 4, "max_units": 40, "soft": {"units": 3, "percent": 50, "dwell": "PT2S"}},
        "lead_time": "PT6S",  # the sandbox takes one: the difference is each step's slack on a busy machine
        "metric_period": "PT1S",
        "price": {"per_unit_hour": "0.05"},
        "verification": {"metric_delay": "PT2S", "window": "PT2S", "patience": "PT30S", "tolerance": 0.2},
        "slot": "PT1S",
        "seasons": ["PT1M"],
        "history": "PT2M",
        "shares": _SHARES,
    } | more


def cloud(name: str, *, speed: float = 300, **more: Any) -> dict[str, Any]:
    """The same workload as the sandbox plays it; `speed` 300 makes a sample a second."""
    return {
        "name": name,
        "ecs_service": f"prod/{name}",
        "unit": _UNIT,
        "peak": {"cpu_cores": 10, "memory_gib": 10, "network_mbps": 100},
        "entities": {**_SHARES, "others": 0.25},
        "units": 6,
        "min_units": 4,
        "max_units": 40,
        "target_utilisation": 0.7,
        "trace_start": 120,
        "history_samples": 120,
        "speed": speed,
    } | more


# `checkout` keeps a customer's pace (slots of a minute): prefect.yaml's friday-sale plans two hours on it.
SLOW = {"slot": "PT1M", "history": "PT1H", "seasons": ["P1D"]}
WORKLOADS = [workload("checkout", **SLOW), *(workload(name) for name in ("payments", "search", "basket", "late"))]
CLOUDS = [
    cloud("checkout", speed=5),
    cloud("payments", target_tracking=_TRACKING),
    *(cloud(name) for name in ("search", "basket", "late")),
]


class LiveStack:
    """A running stack, and what a test asks of it. `web`, `prefect`, `cloud`: clients of the three servers."""

    def __init__(self, processes: Processes, stack: Stack, cloud_url: str) -> None:
        self.processes = processes
        self.stack = stack
        # Whoever looks while the receiver is started again waits for it; and no connection is kept that a server may
        # end, having been idle for a while, just as the next request goes out.
        anew = httpx.Limits(max_keepalive_connections=0)
        web = httpx.HTTPTransport(retries=6, limits=anew)
        self.web = httpx.Client(base_url=stack.web_url, timeout=60, transport=web)
        self.prefect = httpx.Client(base_url=f"{stack.prefect_url}/api", timeout=60, limits=anew)
        self.store = open_store(stack.env["FOREBAY_DATABASE_URL"])
        self.cloud = httpx.Client(base_url=f"{cloud_url}/_sandbox", timeout=60)

    def send_ticket(self, ticket: str, change: dict[str, Any]) -> int:
        """A signed delivery; the status it is answered with."""
        body = json.dumps({"ticket": ticket, "change": change}).encode()
        headers = {"Content-Type": "application/json", **signed_headers(SECRET, body, datetime.now(UTC))}
        return self.web.post("/v1/tickets/generic", content=body, headers=headers).status_code

    def change(self, name: str) -> dict[str, Any] | None:
        """What `/v1/changes/{name}` answers; None if there is no such change."""
        answer = self.web.get(f"/v1/changes/{name}")
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    def state(self, name: str) -> str | None:
        found = self.change(name)
        return found and found["record"]["state"]

    def serving(self, name: str, at: datetime | None = None) -> int:
        """Units of the workload that serve at `at` (now, if None), by the sandbox's record."""
        ticks = self.cloud.get("ticks", params={"workload": name}).raise_for_status().json()
        return int([t for t in ticks if at is None or t["time"] <= at.timestamp()][-1]["serving"])

    def forebay(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The command line, as an operator of this stack has it."""
        return self.python("-m", "forebay.cli", *words, **env)

    def python(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        """`python argv…` in the stack's environment, until it ends."""
        return subprocess.run(
            [sys.executable, *argv],
            env=os.environ | self.stack.child_env | env,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=120,
        )

    def aws(self, service: str) -> Any:
        """A client of the sandbox's AWS: another hand than Forebay's."""
        import boto3

        env = self.stack.env
        return boto3.client(
            service,
            region_name=env["AWS_REGION"],
            endpoint_url=env["AWS_ENDPOINT_URL"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )

    def runs(self, **flow_runs: Any) -> list[dict[str, Any]]:
        """Flow runs that match a filter of Prefect's API, in the order they were scheduled."""
        query = {"flow_runs": flow_runs, "sort": "EXPECTED_START_TIME_ASC"}
        return list(self.ask_prefect("POST", "/flow_runs/filter", query).raise_for_status().json())

    def runs_of(self, change: str) -> list[dict[str, Any]]:
        """The wake-ups made for a change."""
        return self.runs(tags={"all_": [f"change:{change}"]})

    def deployment(self, name: str) -> dict[str, Any]:
        flow = "policy-change" if name in ("friday-sale", "month-end") else name
        return dict(self.ask_prefect("GET", f"/deployments/name/{flow}/{name}").raise_for_status().json())

    def start_run(self, name: str, parameters: dict[str, Any], **more: Any) -> httpx.Response:
        """A run of a deployment, made as the UI's form makes it."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "enforce_parameter_schema": True} | more
        return self.ask_prefect("POST", f"/deployments/{self.deployment(name)['id']}/create_flow_run", body)

    def ask_prefect(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """On SQLite a busy server answers 503, and every client of Prefect's tries again."""

        def answer() -> httpx.Response | None:
            answered = self.prefect.request(method, path, json=body)
            return None if answered.status_code == 503 else answered

        found = until(answer, f"Prefect is not busy: {method} {path}", 30)
        assert found is not None
        return found

    def run(self, id: str) -> dict[str, Any]:
        return dict(self.ask_prefect("GET", f"/flow_runs/{id}").raise_for_status().json())

    def ended(self, id: str, timeout_s: float = 150) -> dict[str, Any]:
        """The run once it has reached a final state."""
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return until(lambda: (run := self.run(id))["state_type"] in final and run, f"run {id} ends", timeout_s)

    def emit(self, resource: str, event: str, payload: dict[str, Any]) -> None:
        """An event, as a client of Prefect's API sends it."""
        at = datetime.now(UTC).isoformat()
        about = {"prefect.resource.id": resource}
        body = {"id": str(uuid4()), "occurred": at, "event": event, "resource": about, "payload": payload}
        self.prefect.post("/events", json=[body]).raise_for_status()

    def kill(self, name: str) -> None:
        """End a child and all it started, without a warning."""
        os.killpg(self.processes.pid(name), signal.SIGKILL)
        until(lambda: name in self.processes.ended(), f"{name} ends", 10)

    def restart(self, name: str) -> None:
        """A child that has ended again, on the same port and database."""
        start_child(self.processes, self.stack, name)
        wait_child(self.processes, self.stack, name)


def until(condition: Callable[[], T], what: str, timeout_s: float) -> T:
    """What `condition` gives once it is true. Fails, saying `what` did not happen, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s * PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.3)
    return found


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LiveStack]:
    """One stack for the whole session: starting it takes longer than most tests on it."""
    assert pytestconfig.cache is not None
    with live_stack(tmp_path_factory.mktemp("stack"), pytestconfig.cache.mkdir("prefect-server")) as running:
        yield running


@contextmanager
def live_stack(
    folder: Path,
    template: Path,
    *,
    postgresql: bool = True,
    workloads: Sequence[Mapping[str, Any]] = WORKLOADS,
    clouds: Sequence[Mapping[str, Any]] = CLOUDS,
) -> Iterator[LiveStack]:
    """A stack in `folder`; `template` keeps from one session to the next what takes long to make anew.

    At the end everything is stopped, and no process and no port may be left.
    """
    url = postgresql_url() if postgresql else sqlite_url(folder)
    cloud_port = free_port()
    env = _settings(folder, url, cloud_port, workloads)
    env["PYTHONDONTWRITEBYTECODE"] = ""  # dozens of processes start in a story: each would compile all of Forebay
    stack = Stack(folder, free_port(), free_port(), env=env)
    _copy_server_database(folder / "prefect", template)
    with Processes(folder / "logs") as processes:
        argv = ["-m", "sandbox", "--port", str(cloud_port), "--config", str(_cloud_file(folder, clouds))]
        processes.start("sandbox", argv, stack.child_env)
        start_stack(processes, stack)
        processes.wait_ready("sandbox", f"http://127.0.0.1:{cloud_port}/_sandbox/health")
        running = LiveStack(processes, stack, f"http://127.0.0.1:{cloud_port}")
        yield running
        running.store.close()
    assert [port for port in (cloud_port, stack.prefect_port, stack.web_port) if listens(port)] == []
    assert processes_of(folder) == []
    if postgresql:
        drop(url)


def pid_of_run(run: str) -> int | None:
    """The process that executes a flow run; None if none does."""
    return next((int(pid) for pid, _ in _marked(f"PREFECT__FLOW_RUN_ID={run}")), None)


def listens(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes whose PREFECT_HOME lies in `folder`: everything a stack there has started."""
    return [command for _, command in _marked(f"PREFECT_HOME={folder}")]


def _marked(setting: str) -> Iterator[tuple[str, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if setting.encode() in (process / "environ").read_bytes():
                yield process.name, (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has just ended, or is another user's


def _settings(folder: Path, database: str, cloud_port: int, workloads: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    catalog = folder / "workloads.yaml"
    catalog.write_text(yaml.safe_dump({"workloads": list(workloads)}))
    return {
        "FOREBAY_DATABASE_URL": database,
        "FOREBAY_WORKLOADS": str(catalog),
        "FOREBAY_WEBHOOK_SECRETS": json.dumps({"generic": [SECRET]}),
        "FOREBAY_STACK": str(os.getpid()),  # by which a test knows the processes of its own stack
        "FOREBAY_POLL": "PT1S",
        "FOREBAY_LEASE": "PT20S",
        "FOREBAY_FORECAST_BUDGET": "PT2S",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{cloud_port}",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def _cloud_file(folder: Path, clouds: Sequence[Mapping[str, Any]]) -> Path:
    trace = folder / "flat.csv"
    trace.write_text(_FLAT)
    timing = {"launch_lag_s": 1, "metric_period_s": 1, "metric_delay_s": 1, "autoscaler_period_s": 1}
    config = folder / "cloud.yaml"
    workloads = [{**play, "trace": str(trace)} for play in clouds]
    config.write_text(yaml.safe_dump({"timing": timing, "workloads": workloads}))
    return config


def _copy_server_database(home: Path, template: Path) -> None:
    """Migrating a new server database takes longer than everything else in a start together."""
    kept = template / f"prefect-{version('prefect')}.db"
    if not kept.exists():
        fresh = template / f"fresh-{os.getpid()}"
        env = os.environ | {"PREFECT_HOME": str(fresh)}
        upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
        subprocess.run(upgrade, env=env, check=True, capture_output=True, timeout=180)
        (fresh / "prefect.db").rename(kept)
        shutil.rmtree(fresh)
    home.mkdir(parents=True)
    shutil.copy(kept, home / "prefect.db")
