"""How often one sender may come: a bucket of so many requests, which fills again over a minute."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from forebay.domain.access import token_hash

MINUTE = timedelta(minutes=1)
# A flood from ever new senders must not fill the memory; whoever is forgotten begins with a full bucket.
MOST_ADDRESSES = 10_000


@dataclass
class Pace:
    """By sender: an address, or a name."""

    per_minute: int
    _left: dict[str, tuple[float, datetime]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def wait_s(self, sender: str, now: datetime, *, take: bool = True) -> int:
        """0: it may come, and with `take` this is counted; else the seconds until it may. `now` is aware."""
        with self._lock:
            left, since = self._left.pop(sender, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + max(timedelta(0), now - since) / MINUTE * self.per_minute)
            allowed = left >= 1
            self._left[sender] = (left - 1 if allowed and take else left, now)
            if len(self._left) > MOST_ADDRESSES:
                del self._left[next(iter(self._left))]  # the one that was silent longest
        return 0 if allowed else max(1, math.ceil((1 - left) * 60 / self.per_minute))


class Failures:
    """Tokens that let nobody in, by address: after too many, its next new token is not even looked at for a while.

    A token that was good goes on: where many services share an address, one with an old key must not shut out the rest.
    """

    def __init__(self, per_minute: int) -> None:
        self._pace = Pace(per_minute)
        self._good: dict[str, None] = {}
        self._lock = Lock()

    def wait_s(self, address: str, token: str, now: datetime) -> int:
        with self._lock:
            known = token_hash(token) in self._good
        return 0 if known else self._pace.wait_s(address, now, take=False)

    def note(self, address: str, token: str, now: datetime, *, good: bool) -> None:
        digest = token_hash(token)
        if not good:
            self._pace.wait_s(address, now)
        with self._lock:
            self._good.pop(digest, None)
            if good:
                self._good[digest] = None
            if len(self._good) > MOST_ADDRESSES:
                del self._good[next(iter(self._good))]  # the one not seen for longest
