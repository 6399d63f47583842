"""Native predictive scaling: an hourly forecast from 14 days, refreshed every 6 hours, 48 hours ahead.

Sources: AWS, "How predictive scaling works" and the PredictiveScalingConfiguration references of EC2 and Application
Auto Scaling: hourly values; at least 24 hours of history, best 14 days; refreshed every 6 hours for the next 48;
SchedulingBufferTime 300 s by default; the larger of it and dynamic scaling wins; it never scales in.
AWS does not publish its model. Here an hour is forecast by the mean of the same hour on the days known, half of it of
the same weekday where there is one, scaled to the level of the last day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from benchmarks.peers.seen import Floats, Load

HOUR = timedelta(hours=1)
REFRESH = timedelta(hours=6)
HISTORY = timedelta(days=14)


@dataclass(frozen=True)
class Predictive:
    """`buffer`: how long before its hour a capacity is asked for."""

    buffer: timedelta = timedelta(seconds=300)

    def __call__(self, now: datetime, load: Load) -> float:
        made_at = _full(now, REFRESH)
        hourly, end = hourly_means(load, made_at)
        if len(hourly) < 24:
            return 0.0
        at = _full(now + self.buffer, HOUR)
        wanted = forecast(hourly, int((at - end) / HOUR))
        current = forecast(hourly, int((_full(now, HOUR) - end) / HOUR))
        return max(wanted, current)


def hourly_means(load: Load, until: datetime) -> tuple[Floats, datetime]:
    """Means of the last whole hours (at most 14 days) before `until`, and when the last one ended."""
    end = _full(min(until, load.end), HOUR)
    start = max(end - HISTORY, _full(load.start + HOUR - load.slot, HOUR))
    count, a_slot = int((end - start) / HOUR), int(HOUR / load.slot)
    values = load.between(start, start + count * HOUR)
    return np.nanmean(values.reshape(count, a_slot), axis=1) if count > 0 else np.empty(0), end


def forecast(hourly: Floats, ahead: int) -> float:
    """The hour `ahead` of the end of the hours known (0: the first one after them)."""
    same_hour = hourly[::-1][23 - ahead % 24 :: 24]
    same_weekday = hourly[::-1][167 - ahead % 168 :: 168]
    profile = float(same_hour.mean()) if len(same_hour) else float(hourly.mean())
    if len(same_weekday):
        profile = (profile + float(same_weekday.mean())) / 2
    whole_days = float(hourly[-(len(hourly) // 24 * 24) :].mean())
    level = float(hourly[-24:].mean()) / whole_days if whole_days > 0 else 1.0
    return profile * level


def _full(at: datetime, span: timedelta) -> datetime:
    """`at` rounded down to a multiple of `span` since the epoch."""
    seconds = span.total_seconds()
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, at.tzinfo)
