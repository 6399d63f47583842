"""The plans of a change as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forebay.domain.change import PolicyChange
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.workload import Workload
from forebay.report.comparison import comparison_notes, comparison_rows
from forebay.report.picture import History, plan_svg
from forebay.report.words import explain, moment, notes, percent, price_rows, span


@dataclass(frozen=True)
class Section:
    """One workload of the change: its plan or refusal, and the history to be shown with it.

    `title`: which of several it is, where the page shows a what-if too.
    """

    workload: Workload
    result: ShapingPlan | PlanRefusal
    history: History = field(default_factory=dict)
    title: str = ""


Result = ShapingPlan | PlanRefusal


def plan_html(
    change: PolicyChange,
    sections: Sequence[Section],
    compared: Sequence[tuple[Result, Result]] = (),
    refused: Mapping[str, str] = {},
) -> str:
    """Title and facts, then per workload the picture, the steps with their reasons, the price, the forecast's words.

    `compared`: plans and their what-ifs, whose figures stand side by side at the end. `refused`: by title, what the
    change rules say no to, in words; it stands first.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("forebay.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"moment": moment, "percent": percent, "price_rows": price_rows, "span": span}
    shown = [
        {
            "heading": ", ".join(part for part in (section.workload.name, section.title) if part),
            "plan": section.result if isinstance(section.result, ShapingPlan) else None,
            "notes": notes(section.result) if isinstance(section.result, ShapingPlan) else (),
            "sentences": explain(section.result).splitlines(),
            # The only text not escaped: our own drawing, in which matplotlib escaped every name.
            "picture": Markup(_picture(section)),  # noqa: S704
        }
        for section in sections
    ]
    pairs = [{"rows": comparison_rows(*pair), "notes": comparison_notes(*pair)} for pair in compared]
    return environment.get_template("plan.html").render(
        change=change, sections=shown, comparisons=pairs, refused=refused
    )


def _picture(section: Section) -> str:
    if isinstance(section.result, PlanRefusal):
        return ""
    return plan_svg(section.result, section.workload, section.history)
