"""The system's clock behind the port."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """A Clock. Keep the host on NTP: the decision point is as exact as this clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, duration: timedelta) -> None:
        time.sleep(max(0.0, duration.total_seconds()))
