"""Target tracking alone: no floor but the minimum.

Source: AWS, "Target tracking scaling policies for Application Auto Scaling".
"""

from __future__ import annotations

from datetime import datetime

from benchmarks.peers.seen import Load


def floor(now: datetime, load: Load) -> float:
    return 0.0
