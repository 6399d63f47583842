"""`make demo`: the main job on a real trace, from a signed ticket to a policy in force, in a few minutes.

Everything is the real thing (Prefect server and runs, receiver, store, controller) except the cloud, which is the
sandbox: the AWS API with lags and autoscalers, under a load played from a real trace 60 times faster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from deployments.demo_screen import Screen, plan_lines, summary_lines
from deployments.processes import Processes, StartError, require_free
from deployments.up import ROOT, Stack, start_stack
from forebay.web.signature import signed_headers

FILES = ROOT / "deployments" / "demo"
SECRET = "demo-secret-0123456789abcdef"  # noqa: S105  lives for one demo on the loopback
DELAY = timedelta(seconds=150)
AFTER = timedelta(seconds=45)
CHANGE = "CHG-1042"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "demo")
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--web-port", type=int, default=8080)
    parser.add_argument("--cloud-port", type=int, default=5566)
    args = parser.parse_args()
    screen = Screen()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(args.data, ignore_errors=True)
    cloud = f"http://127.0.0.1:{args.cloud_port}"
    stack = Stack(args.data.resolve(), args.prefect_port, args.web_port, env=_settings(cloud))
    try:
        with Processes(stack.data / "logs") as processes:
            _start(screen, processes, stack, args.cloud_port, cloud)
            done = Demo(screen, stack, cloud).run()
            if os.environ.get("KEEP"):
                screen.say(f"Prefect UI {stack.prefect_url}   Changes {stack.web_url}/changes   AWS API {cloud}")
                screen.say("All is left running; Ctrl-C stops it.")
                while not processes.ended():
                    time.sleep(1)
            return done
    except StartError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        screen.say("stopped; nothing is left running")
        return 130


def _settings(cloud: str) -> dict[str, str]:
    return {
        "FOREBAY_WORKLOADS": str(FILES / "workloads.yaml"),
        "FOREBAY_WEBHOOK_SECRETS": f'{{"generic": ["{SECRET}"]}}',
        "FOREBAY_POLL": "PT1S",
        "FOREBAY_FORECAST_BUDGET": "PT15S",
        "FOREBAY_SSM_PREFIX": "/forebay/policies",
        "AWS_ENDPOINT_URL": cloud,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
    }


def _start(screen: Screen, processes: Processes, stack: Stack, cloud_port: int, cloud: str) -> None:
    require_free(cloud_port, "the sandbox", "stop what listens there, or choose --cloud-port")
    screen.say(
        "Starting the cloud (sandbox), Prefect, the receiver and the reconciler; the first start takes longest …"
    )
    began = time.monotonic()
    argv = ["-m", "sandbox", "--port", str(cloud_port), "--config", str(FILES / "cloud.yaml")]
    processes.start("sandbox", argv, stack.child_env)
    start_stack(processes, stack)
    processes.wait_ready("sandbox", f"{cloud}/_sandbox/health")
    screen.say(f"Ready after {time.monotonic() - began:.0f} s.")


class Demo:
    """One run of the story, told on the screen."""

    def __init__(self, screen: Screen, stack: Stack, cloud: str) -> None:
        self._screen = screen
        self._stack = stack
        self._cloud = cloud
        self._web = httpx.Client(base_url=stack.web_url, timeout=10)
        self._seen = 0
        self._plan_shown = False

    def run(self) -> int:
        self._import_first_version()
        effective_at = (datetime.now(UTC) + DELAY).replace(microsecond=0)
        sent = time.monotonic()
        self._send_ticket(effective_at)
        self._follow(effective_at - timedelta(seconds=3))
        switched_at = self._watch_switch(effective_at)
        if switched_at is not None:
            self._screen.say("Demand of acme doubles now, on both services.")
            self._double_demand()
        self._follow(datetime.now(UTC) + AFTER)
        return self._finish(effective_at, switched_at, time.monotonic() - sent)

    def _import_first_version(self) -> None:
        self._forebay("policy", "import", "acme", "quota", "--document", str(FILES / "quota-v1.yaml"))

    def _forebay(self, *words: str) -> str:
        import subprocess

        argv = [sys.executable, "-m", "forebay.cli", *words]
        if words[0] == "policy":
            argv += ["--by", "demo", "--reason", "in force since before the demo"]
        done = subprocess.run(  # noqa: S603  our own command
            argv, env={**os.environ, **self._stack.child_env}, capture_output=True, text=True, check=False, cwd=ROOT
        )
        if done.returncode:
            raise StartError(f"forebay {' '.join(words)} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def _send_ticket(self, effective_at: datetime) -> None:
        import json

        import yaml

        change = yaml.safe_load((FILES / "change.yaml").read_text())
        body = json.dumps(
            {"ticket": CHANGE, "revision": "1", "change": {**change, "effective_at": effective_at.isoformat()}}
        ).encode()
        headers = {"Content-Type": "application/json", **signed_headers(SECRET, body, datetime.now(UTC))}
        answer = self._web.post("/v1/tickets/generic", content=body, headers=headers)
        self._screen.say(f"Ticket {CHANGE}: acme's quota doubles at {effective_at:%H:%M:%S} UTC. Signed and sent.")
        self._screen.say(f"The receiver answers {answer.status_code}: stored, and a Prefect run will plan it.")
        answer.raise_for_status()

    def _follow(self, until: datetime) -> None:
        """Show what happens until then."""
        patience = time.monotonic() + 60
        while (now := datetime.now(UTC)) < until:
            status = self._status()
            if status:
                self._show_news(status)
                self._screen.progress(status, self._report(), now)
            elif time.monotonic() > patience:
                raise StartError("no run received the ticket within 60 s: see runner.log and reconciler.log")
            time.sleep(1)
        self._screen.clear()

    def _show_news(self, status: dict[str, Any]) -> None:
        for entry in status["audit"][self._seen :]:
            self._screen.event(entry["event"])
        self._seen = len(status["audit"])
        plan = status["workloads"][0]["plan"]
        if plan and not self._plan_shown:
            self._plan_shown = True
            for line in plan_lines(plan):
                self._screen.say(line)

    def _status(self) -> dict[str, Any] | None:
        answer = self._web.get(f"/v1/changes/{CHANGE}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None  # the ticket is stored; its run has not received it yet
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _report(self) -> dict[str, Any]:
        answer = httpx.get(f"{self._cloud}/_sandbox/report", timeout=10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _watch_switch(self, effective_at: datetime) -> datetime | None:
        """Ask the decision point as fast as it answers; the first answer with version 2, or None if none comes."""
        for asked_at, version in self._versions(effective_at + timedelta(seconds=5)):
            if version == 2:
                return asked_at
        return None

    def _versions(self, until: datetime) -> Iterator[tuple[datetime, int]]:
        while datetime.now(UTC) < until:
            answer = self._web.get("/v1/policies/acme/quota")
            yield datetime.now(UTC), answer.json()["version"]
            time.sleep(0.002)

    def _double_demand(self) -> None:
        for workload in ("checkout", "checkout-alone"):
            body = {"workload": workload, "entity": "acme", "factor": 2.0}
            httpx.post(f"{self._cloud}/_sandbox/factors", json=body, timeout=10).raise_for_status()

    def _finish(self, effective_at: datetime, switched_at: datetime | None, seconds: float) -> int:
        status = self._status()
        assert status is not None, "the change was followed until here"
        self._show_news(status)
        page = self._stack.data / "report.html"
        page.write_text(self._web.get(f"/changes/{CHANGE}").text, encoding="utf-8")
        chain = self._forebay("audit", "verify")
        error = None if switched_at is None else (switched_at - effective_at).total_seconds() * 1000
        for line in summary_lines(status, self._report(), error, chain, page, seconds):
            self._screen.say(line)
        return 0 if switched_at is not None else 3


if __name__ == "__main__":
    sys.exit(main())
