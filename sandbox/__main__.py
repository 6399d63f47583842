"""`python -m sandbox --port 5566 [--config FILE.yaml]`: the sandbox until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from sandbox.config import ConfigError, SandboxConfig, load_config


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A simulated AWS with a load on it.")
    parser.add_argument("--port", type=int, default=5566, help="port on 127.0.0.1 (0: a free one)")
    parser.add_argument("--config", type=Path, help="YAML file, see sandbox/README.md")
    parser.add_argument("--clock", choices=("real", "manual"), default="real")
    args = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        config = load_config(args.config) if args.config else SandboxConfig()
        from sandbox.sandbox import Sandbox  # moto takes seconds to import; wrong input is told before that

        with Sandbox(config, port=args.port, clock=args.clock) as sandbox:
            print(f"sandbox on {sandbox.url}", flush=True)
            stop.wait()
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 2
    except OSError as exc:
        print(exc, file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
