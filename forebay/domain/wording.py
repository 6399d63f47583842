"""Durations and days as people say them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta


def duration(span: timedelta) -> str:
    """The span in its largest fitting unit: "14 days", "1.2 days", "90 min"."""
    seconds = span.total_seconds()
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds == size or seconds >= size * (2 if unit == "h" else 1):
            amount = f"{seconds / size:.1f}".removesuffix(".0")
            return f"{amount} {'day' if unit == 'days' and amount == '1' else unit}"
    return f"{seconds:g} s"


def days(dates: Sequence[date]) -> str:
    """Each with its year: "24 Dec 2026, 01 Jan 2027"."""
    return ", ".join(f"{day:%d %b %Y}" for day in dates)
