"""What is raised, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.report.table import text_table


def raises_table(rows: Sequence[tuple[str, str, str, str, str, str]]) -> str:
    """One row a workload: from and to, the change it belongs to, until when, what it goes back to, and why."""
    return text_table(("raised", "from -> to", "by", "until", "goes back to", "why"), rows)
