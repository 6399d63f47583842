"""Child processes of a local start: ports checked first, readiness awaited, everything stopped at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

GRACE_S = 8.0


class StartError(Exception):
    """A child could not be started; the text says which, why, and how to mend it."""


class Processes:
    """Named children in process groups of their own; leaving the block stops them all, last started first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._logged_before: dict[str, int] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `python argv…` with its output in logs/name.log."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._logged_before[name] = log.tell()
            self._children[name] = subprocess.Popen(  # noqa: S603  our own modules, no shell
                [sys.executable, *argv],
                env={**os.environ, **env},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_ready(self, name: str, url: str, timeout_s: float = 120) -> None:
        """Until `url` answers 2xx. Raises StartError with the log's last lines if the child ends or time is up."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._children[name].poll() is not None:
                raise StartError(f"{name} ended at its start:\n{self.tail(name)}")
            if answers(url):
                return
            time.sleep(0.2)
        raise StartError(f"{name} did not answer at {url} within {timeout_s:.0f} s:\n{self.tail(name)}")

    def wait_logged(self, name: str, text: str, timeout_s: float = 120) -> None:
        """Until the child's log holds `text`; errors as wait_ready."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if text in self._log(name):
                return
            if self._children[name].poll() is not None:
                raise StartError(f"{name} ended at its start:\n{self.tail(name)}")
            time.sleep(0.2)
        raise StartError(f"{name} did not log {text!r} within {timeout_s:.0f} s:\n{self.tail(name)}")

    def ended(self) -> list[str]:
        """Names of children that are no longer running."""
        return [name for name, child in self._children.items() if child.poll() is not None]

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a child's log."""
        return "\n".join(self._log(name).splitlines()[-lines:])

    def _log(self, name: str) -> str:
        """What the child has logged since it was started; earlier starts wrote into the same file."""
        with (self._logs / f"{name}.log").open("rb") as log:
            log.seek(self._logged_before[name])
            return log.read().decode(errors="replace")

    def stop(self) -> None:
        """Ask each group to end, then end what is left. A second Ctrl-C must not cut this short."""
        with _deaf_to_interrupts():
            self._stop()

    def _stop(self) -> None:
        for child in reversed(self._children.values()):
            signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):  # the group is killed next, whether it ended or not
                child.wait(max(0.1, deadline - time.monotonic()))
            signal_group(child, signal.SIGKILL)
            child.wait()
        self._children.clear()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the child and everything it started; a group that is gone already is fine."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def answers(url: str) -> bool:
    """Whether `url` answers 2xx within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310  our own http addresses
            return 200 <= response.status < 300
    except (urllib.error.URLError, OSError):
        return False


def require_free(port: int, what: str, mend: str) -> None:
    """Raises StartError if something listens on the port: a start must never attach to a stranger's server."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(f"port {port} for {what} is taken: {mend}") from error


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
