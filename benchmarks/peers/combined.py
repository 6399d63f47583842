"""Several of them at once: the largest wins. Predictive scaling and a schedule are the most a user can build today.

Source: AWS, "Scheduled scaling for Application Auto Scaling": a scheduled minimum overrides a lower forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from benchmarks.peers.seen import Load, Peer


@dataclass(frozen=True)
class Combined:
    peers: tuple[Peer, ...]

    def __call__(self, now: datetime, load: Load) -> float:
        return max(peer(now, load) for peer in self.peers)
