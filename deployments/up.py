"""`make up`: everything on this host by one command: Prefect server, runner, receiver, reconciler."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployments.processes import Processes, StartError, require_free

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Stack:
    """Ports and files of one local start. `env` goes to every child (FOREBAY_… and AWS_… settings)."""

    data: Path
    prefect_port: int = 4200
    web_port: int = 8080
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def child_env(self) -> dict[str, str]:
        """What each child needs to find the others."""
        return {
            "PREFECT_HOME": str(self.data / "prefect"),
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_UI_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Else the runs of `reconcile`, one a minute, stay for ever.
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            # An orphaned run must outlive its runner's pipe, and a silent one must be told from a dead one.
            "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "deployments.console.PlainConsole",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PYTHONPATH": str(ROOT),
            "MPLBACKEND": "Agg",
            "FOREBAY_DATABASE_URL": os.environ.get("FOREBAY_DATABASE_URL", f"sqlite:///{self.data / 'forebay.db'}"),
            **self.env,
        }


def start_child(processes: Processes, stack: Stack, name: str) -> None:
    """One of the four children, for the first time or after it died; returns at once."""
    argv = {
        "prefect": ["deployments.server", "--host", "127.0.0.1", "--port", str(stack.prefect_port)],
        "receiver": ["forebay.cli", "serve", "--migrate", "--port", str(stack.web_port)],
        "runner": ["deployments.runner"],
        "reconciler": ["deployments.reconciler"],
    }[name]
    processes.start(name, ["-m", *argv], stack.child_env)


def wait_child(processes: Processes, stack: Stack, name: str) -> None:
    """Until that child is ready to work. Raises StartError."""
    match name:
        case "prefect":
            processes.wait_ready(name, f"{stack.prefect_url}/api/health")
        case "receiver":
            processes.wait_ready(name, f"{stack.web_url}/healthz")
        case "runner":
            processes.wait_logged(name, "serving")
        case _:
            processes.wait_logged(name, "reconciling every")


def require_free_ports(stack: Stack) -> None:
    """Raises StartError naming the first port that is taken."""
    require_free(stack.prefect_port, "the Prefect server", "stop what listens there, or choose --prefect-port")
    require_free(stack.web_port, "the receiver", "stop what listens there, or choose --web-port")


def start_stack(processes: Processes, stack: Stack) -> None:
    """Everything, ready to work when this returns. Raises StartError."""
    require_free_ports(stack)
    # All at once: most of a start is imports and migrations, and each child waits by itself for the one it needs.
    for name in ("prefect", "receiver", "runner"):
        start_child(processes, stack, name)
    wait_child(processes, stack, "receiver")  # it has made the tables the reconciler reads
    start_child(processes, stack, "reconciler")
    for name in ("prefect", "runner", "reconciler"):
        wait_child(processes, stack, name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Start Forebay on this host; Ctrl-C stops everything.")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "up", help="databases and logs")
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--web-port", type=int, default=8080)
    args = parser.parse_args()
    stack = Stack(args.data.resolve(), args.prefect_port, args.web_port)
    # A shell's background job is started with SIGINT ignored, a closed terminal sends SIGHUP: all must end it cleanly.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with Processes(stack.data / "logs") as processes:
            start_stack(processes, stack)
            print(f"Prefect UI  {stack.prefect_url}\nChanges     {stack.web_url}/changes")
            print(f"For prefect export PREFECT_API_URL={stack.prefect_url}/api")
            if "FOREBAY_DATABASE_URL" not in os.environ:
                print(f"For forebay export FOREBAY_DATABASE_URL={stack.child_env['FOREBAY_DATABASE_URL']}")
            print(f"Logs        {stack.data / 'logs'}\nCtrl-C stops everything.", flush=True)
            while not (ended := processes.ended()):
                time.sleep(1)
            print(f"{ended[0]} ended:\n{processes.tail(ended[0])}", file=sys.stderr)
            return 4
    except StartError as error:
        print(error, file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
