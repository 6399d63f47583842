"""How right forecasts were, as tables, JSON and one HTML page with pictures: the band and what came."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from forebay.domain.accuracy import Accuracy, Score, SeriesBacktest
from forebay.domain.resources import CANONICAL_UNIT, Resource
from forebay.domain.wording import on_one_line
from forebay.report.picture import BLUE, GREY, SKY, svg_of
from forebay.report.table import text_table
from forebay.report.words import percent, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER = ("model", "loss / seasonal naive's", "MASE", "in the 90 % band", "above 95 %", "seconds")


def backtest_table(results: Sequence[SeriesBacktest]) -> str:
    """One table a series, best model first, with the champion and why."""
    return "\n\n".join(
        "\n".join([on_one_line(head(result)), "", _scores(result), "", *map(on_one_line, result.reasons)])
        for result in results
    )


def backtest_json(results: Sequence[SeriesBacktest]) -> str:
    """`{"series": [...]}`: scores, champion, reasons, and the default's band with what came."""
    return json.dumps({"series": [result.model_dump(mode="json") for result in results]}, indent=2)


def backtest_html(results: Sequence[SeriesBacktest]) -> str:
    """A page that needs nothing else: no script, no font, no picture from elsewhere."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("forebay.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    sections = [
        # The only text not escaped: our own drawing, in which matplotlib escaped every name.
        {"result": result, "head": head(result), "rows": rows(result.scores), "picture": Markup(backtest_svg(result))}  # noqa: S704
        for result in results
    ]
    return environment.get_template("backtest.html").render(sections=sections, header=HEADER)


def recorded_table(found: Sequence[Accuracy]) -> str:
    """One row a day, workload, resource and kind: what the daily backtest found."""
    if not found:
        return "nothing was recorded yet: the deployment `backtest` does so once a day"
    lines = [
        (
            f"{one.until:%Y-%m-%d}",
            f"{one.workload} {one.resource}",
            one.change or one.judged.value,
            _number(one.relative_loss),
            percent(one.coverage),
            percent(one.above),
            str(one.slots),
            f"DECAYED: {one.decay}" if one.decay else one.note,
        )
        for one in found
    ]
    return text_table(("until", "of", "judged", "loss", "in band", "above", "slots", "note"), lines)


def recorded_json(found: Sequence[Accuracy]) -> str:
    """`{"accuracy": [...]}`, oldest first, each with its decay in words or null."""
    rows = [one.model_dump(mode="json") | {"decay": one.decay} for one in found]
    return json.dumps({"accuracy": rows}, indent=2)


def head(result: SeriesBacktest) -> str:
    count = len(result.origins)
    return f"{result.name}: {count} origin{'s' * (count > 1)}, {span(result.horizon)} ahead; best: {result.champion}"


def rows(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """One row a model under HEADER; a dash where nothing could be judged."""
    return [
        (
            score.model,
            _number(score.relative_loss),
            _number(score.mase),
            "-" if score.coverage is None else percent(score.coverage),
            "-" if score.above is None else percent(score.above),
            f"{score.seconds:.2f}",
        )
        for score in scores
    ]


def backtest_svg(result: SeriesBacktest) -> str:
    """The default's band and median as forecast from each origin, and what came, as an SVG element."""
    return svg_of(backtest_figure(result), result.name)


def backtest_figure(result: SeriesBacktest) -> Figure:
    """The picture as a matplotlib figure of its own, outside pyplot."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panel = figure.subplots()
    per_origin = len(result.shown) // len(result.origins)
    for number in range(len(result.origins)):
        slots = result.shown[number * per_origin : (number + 1) * per_origin]
        at = [slot.at for slot in slots]
        named = {} if number else {"label": "5 to 95 % band"}
        panel.fill_between(at, [s.low for s in slots], [s.high for s in slots], color=SKY, alpha=0.45, lw=0, **named)  # type: ignore[arg-type]
        panel.plot(at, [s.median for s in slots], color=BLUE, lw=0.9, label=None if number else "median")  # type: ignore[arg-type]
        panel.axvline(result.origins[number], color="black", lw=0.6, ls=":")  # type: ignore[arg-type]
    known = [slot for slot in result.shown if slot.actual is not None]
    panel.plot([s.at for s in known], [s.actual for s in known], color=GREY, lw=0.9, label="what came")  # type: ignore[arg-type]
    panel.set_ylim(bottom=0)
    panel.set_ylabel(CANONICAL_UNIT[Resource(result.resource)])
    panel.set_title(f"{result.name}: forecast from each dotted line, by the default", loc="left", fontsize=10)
    panel.legend(fontsize=8, frameon=False, ncols=3, loc="upper left")
    panel.grid(alpha=0.25)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    return figure


def _scores(result: SeriesBacktest) -> str:
    return text_table(HEADER, rows(result.scores))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
