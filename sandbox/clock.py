"""The sandbox's two clocks. Both give aware UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime: ...


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """Stands still until it is moved; never goes back."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start.astimezone(UTC) if start else datetime.now(UTC).replace(second=0, microsecond=0)

    def now(self) -> datetime:
        return self._now

    def move(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"the clock cannot go back ({seconds} s); advance by 0 or more")
        self._now += timedelta(seconds=seconds)
