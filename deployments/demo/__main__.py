"""Start everything, let the story run, and stop everything whatever happens."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from deployments.demo.screen import Screen
from deployments.demo.story import SECRET, Story
from deployments.processes import Processes, StartError, require_free
from deployments.up import ROOT, Stack, require_free_ports, start_stack

FILES = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description="The main job on a real trace; Ctrl-C stops everything.")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "demo", help="databases, logs and the report")
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--web-port", type=int, default=8080)
    parser.add_argument("--cloud-port", type=int, default=5566)
    args = parser.parse_args()
    screen = Screen()
    # A shell's background job is started with SIGINT ignored, a closed terminal sends SIGHUP: all must end it cleanly.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    cloud = f"http://127.0.0.1:{args.cloud_port}"
    stack = Stack(args.data.resolve(), args.prefect_port, args.web_port, env=_settings(cloud, args.data.resolve()))
    try:
        require_free(args.cloud_port, "the sandbox", "stop what listens there, or choose --cloud-port")
        require_free_ports(stack)
        _clear(stack.data)
        with Processes(stack.data / "logs") as processes:
            _start(screen, processes, stack, args.cloud_port, cloud)
            done = Story(screen, stack, cloud).run()
            if os.environ.get("KEEP"):
                screen.say(
                    f"Left running, Ctrl-C stops it: Prefect {stack.prefect_url}, changes {stack.web_url}/changes,"
                )
                screen.say(f"AWS API {cloud}, load {cloud}/_sandbox/report, logs {stack.data / 'logs'}")
                while not processes.ended():
                    time.sleep(1)
            return done
    except StartError as error:
        screen.clear()
        print(f"demo: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        screen.say("stopped; nothing is left running")
        return 130


def _clear(data: Path) -> None:
    """Remove what an earlier demo left, and nothing that is not a demo's."""
    marker = data / "made-by-make-demo"
    if data.exists() and not marker.exists() and any(data.iterdir()):
        raise StartError(f"{data} holds something else: choose another folder with --data")
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    marker.touch()


def _settings(cloud: str, data: Path) -> dict[str, str]:
    return {
        "FOREBAY_WORKLOADS": str(FILES / "workloads.yaml"),
        "FOREBAY_WEBHOOK_SECRETS": f'{{"generic": ["{SECRET}"]}}',
        "FOREBAY_DATABASE_URL": f"sqlite:///{data / 'forebay.db'}",
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
    screen.say("Starting a simulated AWS, Prefect, the receiver and the reconciler; the first start takes longest …")
    began = time.monotonic()
    argv = ["-m", "sandbox", "--port", str(cloud_port), "--config", str(FILES / "cloud.yaml")]
    processes.start("sandbox", argv, stack.child_env)
    start_stack(processes, stack)
    processes.wait_ready("sandbox", f"{cloud}/_sandbox/health")
    screen.say(f"Ready after {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    sys.exit(main())
