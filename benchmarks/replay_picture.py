"""One case as a picture: what demand needed, and what Forebay, its best peer and the oracle had serving."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.replay_cases import Case
from benchmarks.replay_run import FOREBAY, ORACLE, Run
from forebay.report.picture import BLUE, GREEN, GREY, ORANGE, svg_of

# Right, wrong by two either way, gone wrong on the way: (kind, truth).
REPRESENTATIVE = (("increase, 3 h", 1.0), ("increase, 3 h", 2.0), ("increase, 3 h", 0.5), ("no launch for 20 min", 2.0))
LINES = {FOREBAY: (BLUE, "-", 2.0), ORACLE: (GREEN, ":", 1.5)}


def picture(case: Case, runs: Mapping[str, Run]) -> str:
    """An SVG element; times are UTC."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    panel = figure.subplots()
    periods = runs[FOREBAY].service.periods[::5]
    times, workload = [p.at for p in periods], case.workload()
    needed = [workload.units_for(p.demand)[0] for p in periods]
    panel.fill_between(times, needed, step="post", color=GREY, alpha=0.25, lw=0, label="needed for the target")
    for name, run in runs.items():
        colour, style, width = LINES.get(name, (ORANGE, "--", 1.5))
        serving = [p.serving for p in run.service.periods[::5]]
        panel.step(times, serving, where="post", color=colour, ls=style, lw=width, label=name)
    panel.axvline(case.effective_at, color=GREY, lw=1)
    panel.set(ylabel="units", ylim=(0, None), xlim=(times[0], times[-1]))
    panel.set_title(f"{case.service.name}: {case.kind}, true impact {case.truth:g} x the estimate", fontsize="medium")
    panel.legend(loc="upper left", fontsize="small", frameon=False)
    locator = AutoDateLocator()
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return svg_of(figure, salt=case.service.name)
