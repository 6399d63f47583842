"""A plan in one picture on one time axis: history, forecast, required units, asked and serving profile, the steps."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from forebay.domain.plan import ShapingPlan, ShapingStep
from forebay.domain.resources import CANONICAL_UNIT, Resource
from forebay.domain.workload import Workload
from forebay.report.words import moment, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[Resource, tuple[Sequence[datetime], Sequence[float]]]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Okabe and Ito's colours, told apart with every common colour blindness; line styles differ as well.
GREY, BLUE, SKY, ORANGE, GREEN = "#6b6b6b", "#0072B2", "#56B4E9", "#D55E00", "#009E73"
# Steps closer than this share of the axis share one label, or the labels would cover each other.
LABEL_DISTANCE = 0.02
# Steps within less than this share of the axis are drawn once more, close up.
CLOSE_UP_BELOW = 0.25


def plan_svg(plan: ShapingPlan, workload: Workload, history: History | None = None) -> str:
    """The picture as an SVG element (no XML prolog: it can stand in an HTML page).

    `history`: per resource times (aware UTC) and usage in its canonical unit; shown as far back as the plan reaches
    ahead, but at least one season.
    """
    return svg_of(plan_figure(plan, workload, history), plan.hash)


def svg_of(figure: Figure, salt: str) -> str:
    """A figure as an SVG element. The same figure and `salt` give the same bytes: no date, no ids by chance."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # A tenth of a point is finer than any screen; matplotlib's six digits make the picture three times as large.
    path = re.compile(r'(?<= d=")[^"]+')
    text = path.sub(lambda found: re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", found[0]), text)
    return text[text.index("<svg") :]


def plan_figure(plan: ShapingPlan, workload: Workload, history: History | None = None) -> Figure:
    """The picture as a matplotlib figure of its own, outside pyplot: nothing to close, no display needed."""
    from matplotlib.figure import Figure

    shown = _recent(history or {}, plan, workload)
    close_up = _wants_close_up(plan, shown)
    rows = 1 + len(workload.resources) + close_up
    heights = [3.2] + [1.1] * len(workload.resources) + [2.2] * close_up
    figure = Figure(figsize=(11, sum(heights) + 0.75 * rows), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, 1, height_ratios=heights, squeeze=False)[:, 0])
    main, resources = panels[0], panels[1 : 1 + len(workload.resources)]
    _units_panel(main, plan, workload, shown)
    _mark_steps(main, plan)
    for panel, resource in zip(resources, workload.resources, strict=True):
        panel.sharex(main)
        _resource_panel(panel, plan, resource, shown)
    for panel in panels[: len(resources)]:
        panel.tick_params(labelbottom=False)
    if close_up:
        _units_panel(panels[-1], plan, workload, {})
        _close_up(panels[-1], plan)
    for panel in panels:
        panel.axvline(_time(plan.effective_at), color="black", linewidth=1.2, linestyle=(0, (5, 2)))
    for panel in {resources[-1], panels[-1]}:
        _time_axis(panel)
    _title_and_legend(main, plan)
    return figure


def _units_panel(panel: Axes, plan: ShapingPlan, workload: Workload, history: History) -> None:
    times = [_time(slot.at) for slot in plan.slots]
    medians, highs = [s.required_median for s in plan.slots], [s.required_high for s in plan.slots]
    if needed := _history_units(history, workload):
        panel.plot(
            [_time(at) for at in needed],
            list(needed.values()),
            color=GREY,
            linewidth=0.8,
            label="required, as measured",
        )
    panel.fill_between(times, medians, highs, step="post", color=SKY, alpha=0.35, linewidth=0)
    panel.step(times, medians, where="post", color=BLUE, linewidth=1.0, label="required, median")
    panel.step(
        times, highs, where="post", color=BLUE, linewidth=1.0, linestyle=":",
        label=f"required, {percent(plan.confidence)} quantile",
    )  # fmt: skip
    panel.step(times, [s.asked for s in plan.slots], where="post", color=ORANGE, linewidth=1.8, label="asked for")
    panel.step(
        times,
        [s.serving for s in plan.slots],
        where="post",
        color=GREEN,
        linewidth=1.8,
        linestyle="--",
        label="serving",
    )
    panel.set_ylabel("units")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.25)


def _resource_panel(panel: Axes, plan: ShapingPlan, resource: Resource, history: History) -> None:
    if resource in history:
        at, usage = history[resource]
        panel.plot([_time(moment_) for moment_ in at], list(usage), color=GREY, linewidth=0.7)
    times = [_time(slot.at) for slot in plan.slots]
    bands = [slot.demand[resource] for slot in plan.slots]
    panel.fill_between(
        times,
        [band.low for band in bands],
        [band.high for band in bands],
        step="post",
        color=SKY,
        alpha=0.45,
        linewidth=0,
    )
    panel.step(times, [band.median for band in bands], where="post", color=BLUE, linewidth=0.9)
    panel.set_ylabel(f"{resource}\n{CANONICAL_UNIT[resource]}")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.25)


def _mark_steps(panel: Axes, plan: ShapingPlan) -> None:
    """A dot where a step ends, and its number; steps that lie too close together are numbered as a range."""
    begin, end = panel.get_xlim()
    groups: list[list[ShapingStep]] = []
    for step in plan.moves:
        near = groups and (_time(step.due_at) - _time(groups[-1][-1].due_at)) / (end - begin) < LABEL_DISTANCE
        groups[-1].append(step) if near else groups.append([step])
    for group in groups:
        first, last = group[0], group[-1]
        name = f"{first.sequence}" if first is last else f"{first.sequence}-{last.sequence}"
        _numbered(panel, last, name)
        for step in group[:-1]:
            panel.plot(_time(step.due_at), step.to_units, "o", color=ORANGE, markersize=3)


def _close_up(panel: Axes, plan: ShapingPlan) -> None:
    first, last = plan.moves[0], plan.moves[-1]
    begin, end = min(first.due_at, plan.effective_at), max(last.verified_by, plan.effective_at)
    margin = (end - begin) * 0.08
    panel.set_xlim(_time(begin - margin), _time(end + margin))
    near = [s for s in plan.slots if begin - margin <= s.at <= end + margin]
    values = [value for s in near for value in (s.asked, s.serving, s.required_median, s.required_high)]
    room = max(1.0, 0.25 * (max(values) - min(values)))
    panel.set_ylim(max(0.0, min(values) - room), max(values) + room)
    panel.set_title("close up", loc="left", fontsize=9)
    labelled = max(1, round(len(plan.moves) / 30))
    for step in plan.moves:
        if step.sequence % labelled == 0 or step is last:
            _numbered(panel, step, str(step.sequence))


def _numbered(panel: Axes, step: ShapingStep, name: str) -> None:
    panel.annotate(
        name,
        (_time(step.due_at), step.to_units),
        xytext=(0, 9 if step.to_units >= step.from_units else -16),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": ORANGE, "linewidth": 0.8},
    )
    panel.plot(_time(step.due_at), step.to_units, "o", color=ORANGE, markersize=4)


def _title_and_legend(panel: Axes, plan: ShapingPlan) -> None:
    panel.set_title(
        f"{plan.workload}: {plan.start_units} units now, {plan.aligned_units} must serve when {plan.change} comes into "
        f"force\nat {moment(plan.effective_at)} (dashed line)",
        loc="left",
        fontsize=10,
    )
    top = panel.get_ylim()[1]
    panel.set_ylim(0, top * 1.12)
    panel.legend(loc="upper left", ncols=5, fontsize=8, frameon=False, bbox_to_anchor=(0, -0.01), borderaxespad=0.1)


def _time_axis(panel: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=UTC, minticks=5, maxticks=12)  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    panel.set_xlabel("UTC", fontsize=8)


def _wants_close_up(plan: ShapingPlan, history: History) -> bool:
    if not plan.moves:
        return False
    begins = [at[0] for at, _ in history.values() if len(at)]
    shown = plan.slots[-1].at - min([plan.slots[0].at, *begins])
    return (plan.moves[-1].verified_by - plan.moves[0].due_at) < shown * CLOSE_UP_BELOW


def _recent(history: History, plan: ShapingPlan, workload: Workload) -> History:
    start = plan.slots[0].at
    back = start - max(plan.slots[-1].at - start, workload.seasons[0])
    recent = {}
    for resource, (times, usage) in history.items():
        pairs = [(at, value) for at, value in zip(times, usage, strict=True) if back <= at]
        if pairs:
            recent[resource] = ([at for at, _ in pairs], [value for _, value in pairs])
    return recent


def _history_units(history: History, workload: Workload) -> dict[datetime, float]:
    """Units that the measured usage needed, at times at which every planned resource was measured."""
    if not all(resource in history for resource in workload.resources):
        return {}
    usage = {r: dict(zip(*history[r], strict=True)) for r in workload.resources}
    common = sorted(set.intersection(*(set(values) for values in usage.values())))
    return {at: workload.units_for({r: usage[r][at] for r in usage})[0] for at in common}


def _time(at: datetime) -> float:
    """Matplotlib's number of an aware time: days since the epoch."""
    return (at - EPOCH) / timedelta(days=1)
