"""A plan beside its what-if: what was supposed, and the figures of both in rows for any kind of table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.report.words import FIGURES, moment, percent, price_rows


def supposed(impact_scale: float, confidence: float | None, effective_at: datetime | None) -> str:
    """What a what-if supposes: `impact x 1.3, confidence 99 %`; nothing where nothing differs."""
    parts = [] if impact_scale == 1 else [f"impact x {impact_scale:g}"]
    parts += [] if confidence is None else [f"confidence {percent(confidence)}"]
    parts += [] if effective_at is None else [f"in force at {moment(effective_at)}"]
    return ", ".join(parts)


def comparison_rows(asked: ShapingPlan | PlanRefusal, what_if: ShapingPlan | PlanRefusal) -> list[tuple[str, str, str]]:
    """Two results side by side: a header row, then one row a figure; that one is refused, if it is."""
    header = (f"{asked.workload}", "as asked", "what if")
    if isinstance(asked, PlanRefusal) or isinstance(what_if, PlanRefusal):
        words = ["refused" if isinstance(r, PlanRefusal) else _steps(r) for r in (asked, what_if)]
        return [header, ("plan", words[0], words[1])]
    both = (asked, what_if)
    unit_hours, money, *risks = zip(*(price_rows(plan)[1 : 1 + FIGURES] for plan in both), strict=True)
    return [
        header,
        _row("in force at", [moment(plan.effective_at) for plan in both]),
        _row("confidence", [percent(plan.confidence) for plan in both]),
        _row("steps", [str(len(plan.moves)) for plan in both]),
        _row("units that must serve then", [_units(plan) for plan in both]),
        _row("the plan's end", [moment(plan.end) for plan in both]),
        *(_row(mine[0], [mine[1], other[1]]) for mine, other in (unit_hours, money)),
        _row(f"more than left as it is ({asked.price.currency})", [f"{plan.price.more:.2f}" for plan in both]),
        *(_row(mine[0], [mine[1], other[1]]) for mine, other in risks),
    ]


def comparison_notes(asked: ShapingPlan | PlanRefusal, what_if: ShapingPlan | PlanRefusal) -> list[str]:
    """What is to be read with the rows: why one is refused, or which figures compare where the plans end apart."""
    sides = (("as asked", asked), ("what if", what_if))
    if why := [f"{title}: {one.reason}" for title, one in sides if isinstance(one, PlanRefusal)]:
        return why
    assert isinstance(asked, ShapingPlan) and isinstance(what_if, ShapingPlan)
    sizes = [str(plan.resize.size) for plan in (asked, what_if) if plan.resize]
    marked = [f"* of {' or '.join(dict.fromkeys(sizes))} once resized"] if sizes else []
    if asked.end == what_if.end:
        return marked
    return [
        *marked,
        "one of them runs longer: what compares is how much more each takes than leaving the allocation as it is",
    ]


def _units(plan: ShapingPlan) -> str:
    return f"{plan.aligned_units} of {plan.resize.size}" if plan.resize else str(plan.aligned_units)


def _row(title: str, figures: Sequence[str]) -> tuple[str, str, str]:
    mine, other = figures
    return title, mine, other


def _steps(plan: ShapingPlan) -> str:
    count = len(plan.moves)
    return f"{count} step{'s' * (count != 1)}"
