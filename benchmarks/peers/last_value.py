"""The last value measured is the forecast: the baseline every predictor must beat at equal service.

Source: the evaluation asked for in ai-dynamo/dynamo issue 14238 (cost at a matched objective against last value).
"""

from __future__ import annotations

from datetime import datetime

from benchmarks.peers.seen import Load


def floor(now: datetime, load: Load) -> float:
    return float(load.units[-1]) if len(load.units) else 0.0
