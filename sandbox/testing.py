"""For tests: one sandbox a process on a manual clock, empty again for each test in about a millisecond.

@pytest.fixture
def cloud():
    with fresh({"workloads": [...]}) as sandbox:
        yield sandbox

def test_something(cloud):
    ecs = client(cloud, "ecs")
    ...
    cloud.advance(60)
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import botocore.config
import botocore.session

from sandbox.config import SandboxConfig, parse
from sandbox.sandbox import Sandbox

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday, 00:00
_shared: Sandbox | None = None
_session: botocore.session.Session | None = None
_clients: dict[str, Any] = {}


@contextmanager
def fresh(config: SandboxConfig | dict[str, Any] | None = None) -> Iterator[Sandbox]:
    """The process's sandbox, reset to `config`, on a manual clock at `config.start` (default: `START`), 1 s ticks."""
    global _shared
    given = config.model_dump() if isinstance(config, SandboxConfig) else dict(config or {})
    wanted = parse(SandboxConfig, {"tick_s": 1, **given, "start": given.get("start") or START})
    if _shared is None:
        _shared = Sandbox(wanted, clock="manual").__enter__()
        atexit.register(close_shared)
    _shared.reset(wanted)
    yield _shared


def close_shared() -> None:
    """Closes the process's sandbox, e.g. before a test that starts its own with the real clock."""
    global _shared
    if _shared is not None:
        shared, _shared = _shared, None
        shared.close()
        while _clients:
            _clients.popitem()[1].close()


def client(sandbox: Sandbox, service: str, **config: Any) -> Any:
    """A boto client of `service` at the sandbox; `config` goes to botocore's Config (retries, timeouts).

    Clients are kept: making one takes longer than most calls.
    """
    global _session
    key = f"{sandbox.url} {sandbox.config.region} {service} {config}"
    if key in _clients:
        return _clients[key]
    _session = _session or botocore.session.Session()
    made = _session.create_client(
        service,
        region_name=sandbox.config.region,
        endpoint_url=sandbox.url,
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",  # noqa: S106 - moto wants some key, any will do
        config=botocore.config.Config(**config),
    )
    _clients[key] = made
    return made
