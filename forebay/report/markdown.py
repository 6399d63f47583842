"""A plan or refusal as Markdown, for places that render it (a Prefect artifact, a ticket's comment)."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from forebay.domain.change import PolicyChange
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.report.words import explain, moment, notes, price_rows, price_sentence

# What makes code, emphasis, a strike, a link or a picture, and what is made a link by itself: www.… and …://…
MARKUP = re.compile(r"[\\`*_\[\]~]|(?<=www)\.|:(?=//)", re.IGNORECASE)


def plan_markdown(change: PolicyChange, result: ShapingPlan | PlanRefusal) -> str:
    """Head, steps with their reasons, price and risk, and the forecast's own words. All of it is escaped."""
    head = f"## {_text(change.title)}: {_text(result.workload)}"
    if isinstance(result, PlanRefusal):
        return "\n\n".join([head, *map(_text, explain(result).splitlines())])
    first, *_ = explain(result).splitlines()
    steps = [
        (
            str(step.sequence),
            moment(step.due_at),
            f"{step.from_units} to {step.goal if step.size else step.to_units}",
            f"{step.verified_by:%H:%M:%S}",
            step.reason.text,
        )
        for step in result.moves
    ]
    prices = price_rows(result)
    words = [f"- {_text(resource)}: {_text(note)}" for resource, said in result.forecast.items() for note in said]
    return "\n\n".join(
        part
        for part in (
            head,
            _text(first),
            _text(result.sizing),
            *(_text(f"Note: {note}.") for note in notes(result)),
            _table(("step", "at", "units", "verified by", "why"), steps) if steps else "No step is needed.",
            _table(prices[0], prices[1:]),
            _text(price_sentence(result.price)),
            "\n".join(["### Forecast", "", *words]) if words else "",
            f"plan `{result.hash[:16]}`",
        )
        if part
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_text(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _text(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", html.escape(text, quote=False))
