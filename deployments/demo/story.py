"""The story of the demo. All of it is the real thing (Prefect runs, receiver, store, controller) except the cloud:
the sandbox, the AWS API with lags and autoscalers under a load played from a real trace 60 times faster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from deployments.demo.report import write_report
from deployments.demo.screen import Screen, plan_lines, summary_lines
from deployments.processes import StartError
from deployments.up import ROOT, Stack
from forebay.domain.signature import signed_headers

FILES = Path(__file__).resolve().parent
SECRET = "demo-secret-0123456789abcdef"  # noqa: S105  lives for one demo on the loopback
DELAY = timedelta(seconds=150)
AFTER = timedelta(seconds=50)
CHANGE = "CHG-1042"
SERVICES = ("checkout", "checkout-alone")


class Story:
    """One run, told on the screen."""

    def __init__(self, screen: Screen, stack: Stack, cloud: str) -> None:
        self._screen = screen
        self._stack = stack
        self._cloud = cloud
        self._web = httpx.Client(base_url=stack.web_url, timeout=10)
        self._seen = 0
        self._plan_shown = False

    def run(self) -> int:
        """0 if the policy came into force, 3 if Forebay held or denied it."""
        document = str(FILES / "quota-v1.yaml")
        self._forebay(
            "policy", "import", "acme", "quota", "--document", document, "--by", "demo", "--reason", "in force"
        )
        began = datetime.now(UTC)
        effective_at = (began + DELAY).replace(microsecond=0)
        self._send_ticket(effective_at)
        self._follow(effective_at - timedelta(seconds=2))
        switched_at = self._watch_switch(effective_at)
        if switched_at is not None:
            self._screen.say("  The decision point answers version 2: acme's demand doubles now, on both services.")
            self._double_demand()
        self._follow(datetime.now(UTC) + AFTER)
        return self._finish(began, effective_at, switched_at)

    def _send_ticket(self, effective_at: datetime) -> None:
        change = yaml.safe_load((FILES / "change.yaml").read_text()) | {"effective_at": effective_at.isoformat()}
        body = json.dumps({"ticket": CHANGE, "revision": "1", "change": change}).encode()
        headers = {"Content-Type": "application/json", **signed_headers(SECRET, body, datetime.now(UTC))}
        answer = self._web.post("/v1/tickets/generic", content=body, headers=headers)
        answer.raise_for_status()
        self._screen.say(f"Ticket {CHANGE}, signed: acme's quota doubles at {effective_at:%H:%M:%S} UTC.")
        self._screen.say(
            f"The receiver stored it ({answer.status_code}). Watch it at {self._stack.web_url}/changes/{CHANGE}"
        )
        self._screen.say(f"and its runs at {self._stack.prefect_url}")

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
            time.sleep(min(1.0, (until - now).total_seconds()))
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
            return None  # the ticket is stored, the change not yet received from it
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def _report(self) -> dict[str, Any]:
        return self._ask_cloud("report")

    def _ask_cloud(self, what: str) -> Any:
        answer = httpx.get(f"{self._cloud}/_sandbox/{what}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def _watch_switch(self, effective_at: datetime) -> datetime | None:
        """Ask the decision point as fast as it answers; when version 2 was first seen, None if it was not."""
        return next((at for at, version in self._versions(effective_at + timedelta(seconds=5)) if version == 2), None)

    def _versions(self, until: datetime) -> Iterator[tuple[datetime, int]]:
        while datetime.now(UTC) < until:
            answer = self._web.get("/v1/policies/acme/quota")
            answer.raise_for_status()
            yield datetime.now(UTC), answer.json()["version"]
            time.sleep(0.002)

    def _double_demand(self) -> None:
        for workload in SERVICES:
            body = {"workload": workload, "entity": "acme", "factor": 2.0}
            httpx.post(f"{self._cloud}/_sandbox/factors", json=body, timeout=10).raise_for_status()

    def _finish(self, began: datetime, effective_at: datetime, switched_at: datetime | None) -> int:
        status = self._status()
        assert status is not None, "the change was followed until here"
        self._show_news(status)
        chain = self._forebay("audit", "verify")
        error_ms = None if switched_at is None else (switched_at - effective_at).total_seconds() * 1000
        lines = summary_lines(status, self._report(), error_ms, chain)
        ticks = {service: self._ask_cloud(f"ticks?workload={service}") for service in SERVICES}
        page = self._stack.data / "report.html"
        write_report(page, status, ticks, lines, began)
        took = (datetime.now(UTC) - began).total_seconds()
        for line in [*lines, f"report      {page}", f"took        {took:.0f} s from the ticket to this line"]:
            self._screen.say(line)
        return 0 if switched_at is not None else 3

    def _forebay(self, *words: str) -> str:
        done = subprocess.run(  # noqa: S603  our own command
            [sys.executable, "-m", "forebay.cli", *words],
            env={**os.environ, **self._stack.child_env},
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        if done.returncode:
            raise StartError(f"forebay {' '.join(words)} failed: {done.stderr.strip()}")
        return done.stdout.strip()
