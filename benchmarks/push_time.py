"""How exactly a push fires: `python -m benchmarks.push_time`. A callback in a process of its own notes when it is hit.

Each activation is a change of its own on a SQLite store, armed, waited for and pushed as the enforcing flow does it,
without Prefect; its effective time is taken from the clock and compared with the arrival on the same clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from forebay.app.arm import enforce, wait_until_effective
from forebay.app.context import Context
from forebay.app.receive import receive
from forebay.clock import SystemClock
from forebay.domain.audit import AuditEvent
from forebay.domain.change import ChangeRequest
from forebay.domain.lifecycle import ChangeState
from forebay.domain.rules import ChangeRules
from forebay.domain.workload import WorkloadCatalog
from forebay.enforcers.callback import HttpCallback
from forebay.store import migrate, open_store
from tests.support.web import CATALOG, SECRET, Silent, no_cloud

# The reconciler makes the run so much ahead; here only what is prepared needs the time.
AHEAD = timedelta(seconds=1.5)
RECEIVER = """
import http.server, json, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        at = time.time()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps([body["change"], at]), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--activations", type=int, default=100)
    wanted = parser.parse_args().activations
    with subprocess.Popen(  # noqa: S603 - our own text
        [sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True
    ) as receiver:
        try:
            assert receiver.stdout is not None, "it was asked for"
            url = f"http://127.0.0.1:{receiver.stdout.readline().strip()}/"
            with tempfile.TemporaryDirectory(prefix="forebay-") as folder:
                due = activate(Path(folder), url, wanted)
            hits = dict(json.loads(receiver.stdout.readline()) for _ in due)
        finally:
            receiver.kill()
    late = sorted(1000 * (hits[change] - at) for change, at in due.items())
    print(f"{len(late)} activations; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"arrival after the effective time (ms): earliest {late[0]:.1f}, median {statistics.median(late):.1f}, ")
    print(f"  99 of 100 within {late[int(0.99 * (len(late) - 1))]:.1f}, worst {late[-1]:.1f}")
    return 0 if late[0] >= 0 and late[-1] < 1000 else 1


def activate(folder: Path, url: str, wanted: int) -> dict[str, float]:
    """Unix seconds of the effective time, by change."""
    store_url = f"sqlite:///{folder / 'forebay.db'}"
    migrate(store_url)
    [web] = CATALOG.workloads
    catalog = WorkloadCatalog(workloads=tuple(web.model_copy(update={"name": f"web-{n}"}) for n in range(wanted)))
    store, clock = open_store(store_url), SystemClock()
    ctx = Context(
        clock=clock,
        store=store,
        catalog=catalog,
        target=no_cloud,
        usage=no_cloud,
        notifier=Silent(),
        enforcers=(HttpCallback(url, SECRET, clock, ("127.0.0.1",)),),
    )
    at_once = ChangeRules.model_validate({"rules": [{"name": "at once", "minimum_delay": "PT0S"}]})
    with store.transaction() as tx:
        tx.put_rules(at_once, AuditEvent(at=clock.now(), actor="benchmark", action="rules", reason="benchmark"))
    due = {}
    for number in range(wanted):
        change = f"CHG-{number}"
        at = clock.now() + AHEAD + timedelta(microseconds=137 * number)
        request = {
            "change": change,
            "entity": f"customer-{number}",
            "policy": "quota",
            "effective_at": at,
            "impacts": [{"workload": f"web-{number}", "factor": 2}],
            "requested_by": "benchmark",
        }
        record = receive(ctx, ChangeRequest.model_validate(request))
        if record.state is not ChangeState.RECEIVED:
            raise SystemExit(f"{change} is {record.state}: {record.note}")
        event = AuditEvent(at=clock.now(), actor="benchmark", action="armed", reason="benchmark", change=change)
        with store.transaction() as tx:
            version = tx.versions(f"customer-{number}", "quota")[-1]
            tx.put_version(version.model_copy(update={"armed_at": clock.now()}), event)
            for state in (ChangeState.PLANNED, ChangeState.SCHEDULED, ChangeState.ARMED):
                tx.move(change, state, event)
        wait_until_effective(ctx, change)
        enforce(ctx, change)
        due[change] = at.timestamp()
        time.sleep(0.01)
    store.close()
    return due


if __name__ == "__main__":
    raise SystemExit(main())
