"""How often an address may deliver: a bucket of so many deliveries, which fills again over a minute."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta

MINUTE = timedelta(minutes=1)
# A flood from ever new addresses must not fill the memory; whoever is forgotten begins with a full bucket.
MOST_ADDRESSES = 10_000


@dataclass
class Pace:
    """Not for threads: the web door asks on its one event loop."""

    per_minute: int
    _left: dict[str, tuple[float, datetime]] = field(default_factory=dict)

    def wait_s(self, address: str, now: datetime) -> int:
        """0: it may deliver, and this is counted; else the seconds until it may. `now` is aware."""
        left, since = self._left.pop(address, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + max(timedelta(0), now - since) / MINUTE * self.per_minute)
        allowed = left >= 1
        self._left[address] = (left - 1 if allowed else left, now)
        if len(self._left) > MOST_ADDRESSES:
            del self._left[next(iter(self._left))]  # the one that was silent longest
        return 0 if allowed else max(1, math.ceil((1 - left) * 60 / self.per_minute))
