"""The sandbox as a process and as an object: start, control over HTTP, real clock, clean end, errors for people."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from sandbox.config import ConfigError
from sandbox.sandbox import Sandbox
from sandbox.testing import client, close_shared, fresh

CONFIG = """
tick_s: 0.05
timing: {launch_lag_s: 0.2, metric_period_s: 1, autoscaler_period_s: 1}
workloads:
  - name: web
    ecs_service: prod/web
    unit: &unit {cpu_cores: 1, memory_gib: 2, network_mbps: 100}
    peak: *unit
    speed: 60
    entities: {acme: 0.4, others: 0.6}
"""


def call(url, method, path, body=None):
    request = urllib.request.Request(
        f"{url}/_sandbox/{path}", method=method, data=None if body is None else json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def start(*args):
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_process_serves_its_control_api_and_ends_on_sigterm(tmp_path):
    path = tmp_path / "sandbox.yaml"
    path.write_text(CONFIG)
    process = start("--port", "0", "--config", str(path))
    try:
        url = process.stdout.readline().split()[-1]
        assert call(url, "GET", "health")[1]["workloads"] == ["web"]
        extra = {"name": "api", "ecs_service": "prod/api"}
        extra["unit"] = extra["peak"] = {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100}
        assert call(url, "POST", "workloads", extra)[0] == 200
        assert call(url, "POST", "factors", {"workload": "web", "entity": "acme", "factor": 2})[0] == 200
        assert call(url, "POST", "faults", {"kind": "throttle", "op": "UpdateService"}) == (200, {"id": "fault-1"})
        assert list(call(url, "GET", "faults")[1]) == ["fault-1"]
        assert call(url, "DELETE", "faults?id=fault-1")[0] == 200
        time.sleep(0.3)
        status, report = call(url, "GET", "report")
        assert (status, set(report)) == (200, {"web", "api"})
        assert report["web"]["seconds"] > 0, "the ticker runs"
        assert call(url, "GET", "ticks?workload=web&every=2")[1][0]["serving"] == 2
        assert call(url, "POST", "advance", {"seconds": 1})[0] == 400, "the real clock cannot be moved"
        assert call(url, "POST", "reset", {})[0] == 200
        assert call(url, "GET", "health")[1]["workloads"] == ["web"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_a_wrong_file_is_told_by_field_and_exits_2(tmp_path):
    path = tmp_path / "sandbox.yaml"
    path.write_text("tick_s: -1\nworkloads: [{name: web}]\n")
    process = start("--config", str(path))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "tick_s: Input should be greater than 0 (given: -1)" in errors
    assert "workloads.0.unit: Field required" in errors


def test_control_errors_say_what_to_mend():
    with fresh() as cloud:
        assert "POST factors" in call(cloud.url, "GET", "nothing")[1]["error"]
        status, answer = call(cloud.url, "POST", "factors", {"workload": "web", "entity": "a", "factor": 1})
        assert (status, answer["error"]) == (404, "unknown or missing: no workload 'web' plays; known: none")
        status, answer = call(cloud.url, "POST", "faults", {"kind": "capacity"})
        assert status == 400
        assert "max_running" in answer["error"]
        assert call(cloud.url, "POST", "advance", {"seconds": 5})[0] == 200


def test_the_virtual_clock_moves_only_when_told():
    with fresh() as cloud:
        before = cloud.now()
        time.sleep(0.05)
        assert cloud.now() == before
        cloud.advance(2.5)
        assert (cloud.now() - before).total_seconds() == 2.5


def test_wrong_faults_are_refused():
    with fresh() as cloud, pytest.raises(ConfigError, match="kind"):
        cloud.fault(kind="earthquake")


def test_the_real_clock_ticks_and_the_end_leaves_nothing_behind():
    close_shared()
    threads = set(threading.enumerate())
    unit = {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100}
    workload = {"name": "web", "ecs_service": "prod/web", "unit": unit, "peak": unit, "timing": {"launch_lag_s": 0.1}}
    with Sandbox({"tick_s": 0.02, "workloads": [workload]}) as sandbox:
        ecs = client(sandbox, "ecs")
        ecs.update_service(cluster="prod", service="web", desiredCount=3)
        deadline = time.monotonic() + 5
        while sandbox.report()["web"]["now"]["serving"] < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sandbox.report()["web"]["now"]["serving"] == 3
        with pytest.raises(RuntimeError, match="already"):
            Sandbox().__enter__()
        port = int(sandbox.url.rsplit(":", 1)[1])
    ecs.close()
    assert set(threading.enumerate()) <= threads
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that has ended may linger
        probe.bind(("127.0.0.1", port))


def test_a_taken_port_is_told():
    close_shared()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} .* is in use"):
            Sandbox(port=port).__enter__()
    with fresh() as cloud:
        assert call(cloud.url, "GET", "health")[0] == 200
