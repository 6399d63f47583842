"""How right the forecasts are: tried on a history, or as recorded by the daily backtest."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli import common
from forebay.domain.change import LONGEST_AHEAD
from forebay.domain.errors import InputError
from forebay.domain.model import read_duration

if TYPE_CHECKING:
    from forebay.domain.accuracy import SeriesBacktest
    from forebay.forecasting import HistoryError

app = typer.Typer()


class BacktestFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    HTML = "html"


@app.command()
def backtest(
    history: Annotated[Path | None, typer.Argument(help="Usage history, CSV or Parquet.")] = None,
    workloads: common.OnlyWorkloads = None,
    horizon: Annotated[str, typer.Option("--horizon", help="How far, for example 24h, 90m or 3d.")] = "24h",
    origins: Annotated[int, typer.Option("--origins", min=1, help="Past moments to forecast from.")] = 5,
    model: common.Models = None,
    budget: Annotated[float, typer.Option("--budget", min=0, help="Seconds for each series.")] = 120.0,
    workers: common.Workers = None,
    output_format: Annotated[BacktestFormat, typer.Option("--format")] = BacktestFormat.TABLE,
    out: common.Out = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Instead of a history: what the daily backtest recorded.")
    ] = False,
) -> None:
    """Forecast a history's past from what was known then, by every model, and score it against what came."""
    from forebay.report import accuracy

    if recorded:
        typer.echo(_recorded(output_format))
        return
    if history is None:
        raise InputError("name a history file, or ask for what the daily backtest recorded by --recorded")
    unfit: list[HistoryError] = []
    results = _results(history, workloads, horizon, origins, model, budget, workers, unfit)
    match output_format:
        case BacktestFormat.TABLE:
            text = accuracy.backtest_table(results)
        case BacktestFormat.JSON:
            text = accuracy.backtest_json(results)
        case BacktestFormat.HTML:
            text = accuracy.backtest_html(results)
    common.write(text, out)
    common.end(unfit)


def _recorded(output_format: BacktestFormat) -> str:
    from forebay.app.accuracy import recorded
    from forebay.report import accuracy

    found = recorded(common.context())
    if output_format is BacktestFormat.HTML:
        raise InputError("--recorded is shown as a table or as JSON")
    return accuracy.recorded_json(found) if output_format is BacktestFormat.JSON else accuracy.recorded_table(found)


def _results(
    path: Path,
    workloads: Path | None,
    horizon: str,
    origins: int,
    models: list[str] | None,
    budget: float,
    workers: int | None,
    unfit: list[HistoryError],
) -> list[SeriesBacktest]:
    from forebay.forecasting.evaluation import backtest_many
    from forebay.forecasting.models import MODELS

    span = read_duration(horizon, "--horizon", LONGEST_AHEAD)
    recorded, catalog = common.history_of(path, workloads)
    results = backtest_many(
        recorded,
        span,
        workloads=catalog,
        models=models or tuple(MODELS),
        origins=origins,
        budget_seconds=budget,
        workers=workers,
        unfit=unfit.append,
    )
    return list(common.what_fits(common.counted(results, len(recorded.series)), unfit))
