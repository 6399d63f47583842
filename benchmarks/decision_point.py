"""How fast the decision point answers: `python -m benchmarks.decision_point`. On SQLite and on PostgreSQL.
With `--door tickets` the receiver: signed tickets, each a new one, stored before they are answered.

`forebay serve` runs in a process of its own, and so does each client. The clients send at a fixed rate whatever the
answers do (an open loop), so a slow answer delays none that follows and hides nothing; a latency counts from the time
a request was due.  The server's own CPU seconds say what a request costs on a
machine that others use too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from forebay.domain.audit import AuditEvent
from forebay.domain.policy import PolicyVersion
from forebay.domain.signature import signed_headers
from forebay.store import open_store
from tests.support.stores import postgresql_url, sqlite_url

POLICIES, VERSIONS = 200, 5
CONNECTIONS = 16
SECRET = "benchmark-secret-0123456789"  # noqa: S105  of the servers that this starts, and of nothing else


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000, help="requests a second")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--door", choices=("policies", "tickets"), default="policies")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
        for kind in given.store or ("sqlite", "postgresql"):
            url = sqlite_url(Path(folder)) if kind == "sqlite" else postgresql_url()
            fill(url)
            with served(url, Path(folder), given.workers) as (port, server):
                run(port, given.door, given.rate, 1)  # warm
                before, began = cpu_seconds(server), time.monotonic()
                late, failed = run(port, given.door, given.rate, given.seconds)
                used, took = cpu_seconds(server) - before, time.monotonic() - began
            late.sort()
            print(
                f"{kind:<11}{len(late) / took:>7.0f} requests/s (asked: {given.rate}), {failed} failed; "
                f"p50 {1000 * statistics.median(late):.1f} ms, p99 {1000 * late[int(0.99 * len(late))]:.1f} ms, "
                f"worst {1000 * late[-1]:.0f} ms; server CPU {1000 * used / len(late):.2f} ms a request; "
                f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    return 0


def fill(url: str) -> None:
    store, now = open_store(url), datetime.now(UTC)
    with store.transaction() as tx:
        for number in range(POLICIES * VERSIONS):
            at = now - timedelta(days=VERSIONS - number % VERSIONS)
            version = PolicyVersion(
                entity=f"customer-{number // VERSIONS}",
                policy="quota",
                kind="quota",
                version=1 + number % VERSIONS,
                document={"requests_per_minute": 6000, "burst": 100, "regions": ["eu", "us"]},
                change=None,
                effective_at=at,
                armed_at=at,
            )
            tx.put_version(version, AuditEvent(at=now, actor="benchmark", action="stored", reason="benchmark"))
    store.close()


@contextlib.contextmanager
def served(url: str, folder: Path, workers: int) -> Iterator[tuple[int, int]]:
    workloads = folder / "workloads.yaml"
    workloads.write_text((Path(__file__).parents[1] / "examples" / "workloads.yaml").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "forebay.cli", "serve", "--port", str(port), "--workers", str(workers)]
    sources = folder / "sources.yaml"
    sources.write_text("sources: [{name: generic, deliveries_per_minute: 1000000}]\n")
    env = os.environ | {
        "FOREBAY_DATABASE_URL": url,
        "FOREBAY_WORKLOADS": str(workloads),
        "FOREBAY_SOURCES": str(sources),
        "FOREBAY_WEBHOOK_SECRETS": json.dumps({"generic": [SECRET]}),
    }
    with subprocess.Popen(command, env=env) as process:  # noqa: S603 - our own command
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
            yield port, process.pid
        finally:
            process.terminate()


def cpu_seconds(pid: int) -> float:
    """Of a process and its children, user and system; from /proc, so on Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)


def run(port: int, door: str, rate: int, seconds: int) -> tuple[list[float], int]:
    """Latencies (s) of the right answers, and how many were something else. In one process of its own."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(load, port, door, rate, seconds).result()


def load(port: int, door: str, rate: int, seconds: int) -> tuple[list[float], int]:
    return asyncio.run(_load(port, door, rate, seconds))


def request(door: str, number: int) -> bytes:
    if door == "policies":
        return f"GET /v1/policies/customer-{number % POLICIES}/quota HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    change = {
        "entity": f"customer-{number % POLICIES}",
        "policy": "quota",
        "requested_by": "jane@example.com",
        "effective_in": "PT6H",
        "impacts": [{"workload": "checkout", "factor": 2.0}],
    }
    body = json.dumps({"ticket": f"T-{uuid4().hex}", "change": change}).encode()
    headers = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body))}
    headers |= signed_headers(SECRET, body, datetime.now(UTC))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/tickets/generic HTTP/1.1\r\n{lines}\r\n".encode() + body


def is_right(door: str, head: bytes, body: bytes) -> bool:
    if door == "policies":
        return head.startswith(b"HTTP/1.1 200") and json.loads(body)["version"] == VERSIONS
    return head.startswith(b"HTTP/1.1 202")


async def _load(port: int, door: str, rate: int, seconds: int) -> tuple[list[float], int]:
    """Plain sockets: an HTTP client in Python costs more than the server that is measured."""
    late: list[float] = []
    failed = 0
    due: asyncio.Queue[tuple[int, float] | None] = asyncio.Queue()

    async def connection() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (job := await due.get()) is not None:
            number, at = job
            writer.write(request(door, number))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if is_right(door, head, body):
                late.append(time.perf_counter() - at)
            else:
                failed += 1
        writer.close()

    connections = [asyncio.create_task(connection()) for _ in range(CONNECTIONS)]
    began = time.perf_counter()
    for number in range(rate * seconds):
        at = began + number / rate
        if (wait := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait((number, at))
    for _ in connections:
        due.put_nowait(None)
    await asyncio.gather(*connections)
    return late, failed


if __name__ == "__main__":
    raise SystemExit(main())
