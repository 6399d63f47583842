"""Durations and days as people say them, and words of others on a line of ours. Pure."""

from __future__ import annotations

import unicodedata
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


def on_one_line(text: str) -> str:
    """`text` as it may stand in a terminal or a log, where a second line of it could be taken for one of ours: runs of
    blanks and line breaks become one blank (an indent stays), control characters are shown by their escapes.
    """
    indent = len(text) - len(text.lstrip(" "))
    words = " ".join(text.split())
    return " " * indent + "".join(f"{c!a}"[1:-1] if unicodedata.category(c) == "Cc" else c for c in words)
