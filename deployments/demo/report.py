"""The demo's report: one HTML file that shows what was demanded and what served, with Forebay and without."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from forebay.domain.plan import ShapingPlan
from forebay.domain.workload import WorkloadCatalog
from forebay.report.picture import plan_svg

FILES = Path(__file__).resolve().parent
# Okabe-Ito: told apart by colour-blind readers too.
DEMAND, CAPACITY, UNMET, STEP = "#56B4E9", "#009E73", "#D55E00", "#000000"
TITLES = {"checkout": "with Forebay", "checkout-alone": "the autoscaler alone"}

Ticks = Mapping[str, Sequence[Mapping[str, float]]]


def write_report(page: Path, status: Mapping[str, Any], ticks: Ticks, summary: Sequence[str], began: datetime) -> None:
    """`status`: the change as `/v1/changes/{name}` answers; `ticks`: the sandbox's record by service."""
    plan = ShapingPlan.model_validate(status["workloads"][0]["plan"])
    catalog = WorkloadCatalog.parse((FILES / "workloads.yaml").read_text())
    workload = catalog.workloads[0]
    environment = Environment(
        loader=FileSystemLoader(FILES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page.write_text(
        environment.get_template("report.html.j2").render(
            change=status["record"]["change"],
            summary="\n".join(line for line in summary if line.strip()),
            # Our own drawings; everything else on the page is escaped.
            outcome=Markup(outcome_svg(status, ticks, began)),  # noqa: S704
            plan=Markup(plan_svg(plan, workload)),  # noqa: S704
            steps=status["workloads"][0]["steps"],
            audit=[entry["event"] for entry in status["audit"]],
        ),
        encoding="utf-8",
    )


def outcome_svg(status: Mapping[str, Any], ticks: Ticks, began: datetime) -> str:
    """Demand and capacity of both services over the demo, CPU in cores, one panel each."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, (service, title) in zip(panels, TITLES.items(), strict=True):
        _panel(axes, [tick for tick in ticks[service] if tick["time"] >= began.timestamp()], title)
        axes.axvline(_time(status["record"]["change"]["effective_at"]), color=STEP, linestyle="--", linewidth=1)
    for step in status["workloads"][0]["steps"]:
        if step["asked_at"]:
            at = _time(step["asked_at"])
            panels[0].annotate(str(step["step"]["sequence"]), (at, 0), ha="center", va="bottom", fontsize=8)
            panels[0].axvline(at, color=STEP, linewidth=0.4, alpha=0.5)
    panels[0].legend(loc="upper left", frameon=False, fontsize=8)
    panels[1].set_xlabel("UTC; dashed: the policy comes into force; numbers: shaping steps")
    panels[1].xaxis.set_major_formatter(DateFormatter("%H:%M:%S", tz=UTC))
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _panel(axes: Axes, ticks: Sequence[Mapping[str, float]], title: str) -> None:
    times: Any = [datetime.fromtimestamp(tick["time"], UTC) for tick in ticks]
    demand = [tick["demand_cpu"] for tick in ticks]
    capacity = [tick["capacity_cpu"] for tick in ticks]
    served = [min(d, c) for d, c in zip(demand, capacity, strict=True)]
    axes.fill_between(times, served, color=DEMAND, alpha=0.5, linewidth=0, label="demand served")
    axes.fill_between(times, served, demand, color=UNMET, linewidth=0, label="demand not served")
    axes.plot(times, capacity, color=CAPACITY, drawstyle="steps-post", label="capacity that serves")
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel("CPU cores")
    axes.spines[["top", "right"]].set_visible(False)


def _time(text: str) -> Any:
    return datetime.fromisoformat(text)
