"""What all parts of the sandbox share: clock, timing, faults, metrics, and the patches on moto."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.calls import CallLog
from sandbox.clock import Clock
from sandbox.config import SandboxConfig, Timing
from sandbox.faults import FaultBook
from sandbox.metrics import MetricStore

ACCOUNT = "123456789012"  # moto's default account


@dataclass
class World:
    config: SandboxConfig
    clock: Clock
    faults: FaultBook = field(default_factory=FaultBook)
    calls: CallLog = field(default_factory=CallLog)
    stores: defaultdict[tuple[str, str], MetricStore] = field(default_factory=lambda: defaultdict(MetricStore))
    timings: dict[str, Timing] = field(default_factory=dict)

    def now(self) -> datetime:
        return self.clock.now()

    def naive_now(self) -> datetime:
        """Naive UTC, as moto's models keep it."""
        return self.clock.now().replace(tzinfo=None)

    def store(self, region: str | None = None, account: str = ACCOUNT) -> MetricStore:
        return self.stores[(account, region or self.config.region)]

    def timing(self, target: str) -> Timing:
        """The timing of `cluster/service` or of a group; the sandbox's own for targets without a workload."""
        return self.timings.get(target, self.config.timing)


class StartRate:
    """A token bucket: how many units may begin to start now."""

    def __init__(self, rate_per_s: float, now: datetime) -> None:
        self._depth = max(1.0, rate_per_s)
        self._rate = rate_per_s
        self._tokens = self._depth
        self._last = now

    def take(self, wanted: int, now: datetime) -> int:
        """As many of `wanted` as the rate allows, up to now."""
        self._tokens = min(self._depth, self._tokens + (now - self._last).total_seconds() * self._rate)
        self._last = now
        granted = min(wanted, int(self._tokens + 1e-9))
        self._tokens -= granted
        return granted


class Patches:
    """Attributes replaced on moto's classes and modules; `undo` puts back what was there."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replaces `owner.name`, or adds it; answers what was there (None if nothing)."""
        before = vars(owner).get(name)
        self._before.append((owner, name, before))
        setattr(owner, name, value)
        return before

    def undo(self) -> None:
        while self._before:
            owner, name, before = self._before.pop()
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
