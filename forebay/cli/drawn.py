"""What `forebay plan` prints: the plans of a change, and of its what-if beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from forebay.domain.errors import RuleRefusal

if TYPE_CHECKING:
    from forebay.app.preview import Preview
    from forebay.domain.change import PolicyChange
    from forebay.domain.plan import PlanRefusal, ShapingPlan


class PlanFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    HTML = "html"


@dataclass(frozen=True)
class Drawn:
    """What came of one question, called `title`: one preview a workload, or the rule that says no to all of it."""

    title: str
    previews: Sequence[Preview] = ()
    refusal: RuleRefusal | None = None

    @property
    def plans(self) -> list[ShapingPlan | PlanRefusal]:
        return [preview.plan for preview in self.previews]


def shown(change: PolicyChange, asked: Drawn, what_if: Drawn | None, output_format: PlanFormat, in_words: bool) -> str:
    """The plans; with a what-if both under their titles, and their figures side by side at the end.

    `in_words`: in sentences instead of tables, of the table's format only.
    """
    from forebay.report.document import documents_json
    from forebay.report.html import Section, plan_html
    from forebay.report.table import comparison_table, plan_table, wrapped
    from forebay.report.words import explain

    both = [asked, what_if] if what_if else [asked]
    pairs = list(zip(asked.plans, what_if.plans, strict=False)) if what_if else []
    match output_format:
        case PlanFormat.JSON:
            names = ("workloads", "what_if")
            refused = {name: str(one.refusal) for name, one in zip(names, both, strict=False) if one.refusal}
            return documents_json(asked.plans, what_if.plans if what_if else (), refused)
        case PlanFormat.TABLE:
            parts = []
            for one in both:
                refused_text = [wrapped(f"refused: {one.refusal}")] if one.refusal else []
                texts = [(explain if in_words else plan_table)(plan) for plan in one.plans]
                parts += [part for text in refused_text + texts for part in (one.title, text) if part]
            return "\n\n".join([*parts, *(comparison_table(*pair) for pair in pairs)])
        case PlanFormat.HTML:
            sections = [Section(p.workload, p.plan, p.samples, one.title) for one in both for p in one.previews]
            return plan_html(change, sections, pairs, {one.title: str(one.refusal) for one in both if one.refusal})
