"""Commands on files alone: no cloud, no database."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli import common
from forebay.cli.drawn import Drawn, PlanFormat, shown
from forebay.domain.allocation import Lever
from forebay.domain.change import LONGEST_AHEAD, ChangeRequest
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.model import read_duration
from forebay.domain.plan import PlanRefusal

if TYPE_CHECKING:
    from forebay.domain.change import PolicyChange
    from forebay.domain.workload import WorkloadCatalog
    from forebay.forecasting import HistoryError

app = typer.Typer()


LeverOption = Annotated[
    Lever, typer.Option("--lever", help="floor: an autoscaler stands above it; count: nothing else scales.")
]


RulesOption = Annotated[
    Path | None, typer.Option("--rules", help="Change rules; default: everyone may ask, nothing is frozen.")
]


class SeriesFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command()
def plan(
    change: common.ChangeFile,
    workloads: common.Workloads,
    history: Annotated[
        Path,
        typer.Option("--history", help="Usage history, CSV or Parquet; of it as much as the workload reads."),
    ],
    now: Annotated[str | None, typer.Option("--now", help="ISO time with zone; default: the history's end.")] = None,
    units: Annotated[
        int | None, typer.Option("--units", min=0, help="Units allocated now; default: what usage needs.")
    ] = None,
    lever: LeverOption = Lever.FLOOR,
    rules: RulesOption = None,
    output_format: Annotated[PlanFormat, typer.Option("--format")] = PlanFormat.TABLE,
    out: common.Out = None,
    explain: Annotated[bool, typer.Option("--explain", help="In sentences instead of tables.")] = False,
    impact_scale: Annotated[
        float, typer.Option("--impact-scale", min=0, help="What if the impact were so many times?")
    ] = 1.0,
    confidence: Annotated[float | None, typer.Option("--confidence", help="What if it had to be so certain?")] = None,
    effective_at: Annotated[str | None, typer.Option("--effective-at", help="What if it came into force then?")] = None,
    pending: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Another change under way, no later: one path for both. May be repeated."),
    ] = None,
) -> None:
    """Draw the plan of a change from files alone: no cloud, no database."""
    from forebay.app.preview import preview, what_if
    from forebay.domain.rules import ChangeRules
    from forebay.report.comparison import supposed
    from forebay.wiring import read_catalog

    if explain and output_format is not PlanFormat.TABLE:
        raise InputError(f"--explain says the table in sentences: leave it out, or leave out --format {output_format}")
    request = ChangeRequest.parse(common.read(change), str(change))
    catalog = read_catalog(workloads, "--workloads")
    ruled = common.rules(rules) if rules else ChangeRules()
    recorded = common.history(history)
    needed = common.touched(request)
    at = common.time(now, "--now") if now else common.end_of(common.totals(recorded, needed), needed)
    recorded = recorded.lately(catalog.workloads, at)
    series = common.totals(recorded, needed)
    ahead = [ChangeRequest.parse(common.read(path), str(path)).accepted(at) for path in pending or []]
    entity = common.entities(recorded, {request.entity, *(one.entity for one in ahead)})

    def drawn(title: str, change: PolicyChange, catalog: WorkloadCatalog) -> Drawn:
        try:
            ruled.check_request(change, at)
            previews = preview(change, catalog, series, at, timedelta(seconds=60), units, entity, ahead, lever, ruled)
        except RuleRefusal as refusal:
            return Drawn(title, refusal=refusal)
        return Drawn(title, previews)

    accepted = request.accepted(at)
    then = common.time(effective_at, "--effective-at") if effective_at else None
    what = supposed(impact_scale, confidence, then)
    asked = drawn("as asked" if what else "", accepted, catalog)
    other = None
    if what:
        supposition = what_if(accepted, catalog, impact_scale=impact_scale, confidence=confidence, effective_at=then)
        other = drawn(f"what if: {what}", *supposition)
    if asked.refusal is None or other is not None:
        common.write(shown(accepted, asked, other, output_format, explain), out)
    if asked.refusal is not None:
        raise asked.refusal
    if refusals := [plan for plan in asked.plans if isinstance(plan, PlanRefusal)]:
        typer.echo(f"forebay: refused: {PlanRefusal.texts(refusals)}", err=True)
        raise typer.Exit(3)


@app.command()
def forecast(
    history: Annotated[Path, typer.Argument(help="Usage history, CSV or Parquet.")],
    workloads: common.OnlyWorkloads = None,
    horizon: Annotated[
        str, typer.Option("--horizon", help="How far, for example 48h, 90m or 3d; at most 92d.")
    ] = "48h",
    output_format: Annotated[
        SeriesFormat, typer.Option("--format", help="table: peak and total of each series; csv, json: slot by slot.")
    ] = SeriesFormat.CSV,
    model: common.Models = None,
    budget: Annotated[float, typer.Option("--budget", min=0, help="Seconds for each series.")] = 20.0,
    workers: common.Workers = None,
) -> None:
    """Forecast every series of a history, with quantiles of each slot, of the peak and of the total."""
    from forebay.forecasting import forecast_many
    from forebay.forecasting.models import DEFAULT
    from forebay.report.forecasts import forecasts_csv, forecasts_json, forecasts_table

    recorded, catalog = common.history_of(history, workloads)
    unfit: list[HistoryError] = []
    forecasts = common.counted(
        forecast_many(
            recorded,
            read_duration(horizon, "--horizon", LONGEST_AHEAD),
            workloads=catalog,
            models=model or DEFAULT,
            budget_seconds=budget,
            workers=workers,
            unfit=unfit.append,
        ),
        len(recorded.series),
    )
    written = {
        SeriesFormat.CSV: forecasts_csv,
        SeriesFormat.JSON: forecasts_json,
        SeriesFormat.TABLE: forecasts_table,
    }
    common.print_together(written[output_format](common.what_fits(forecasts, unfit)))
    common.end(unfit)


@app.command()
def replay(
    change: common.ChangeFile,
    workloads: common.Workloads,
    history: Annotated[Path, typer.Option("--history", help="Usage before the change was asked for, CSV or Parquet.")],
    actual: Annotated[Path, typer.Option("--actual", help="Usage since then, without the change, CSV or Parquet.")],
    out: Annotated[
        Path, typer.Option("--out", file_okay=False, help="Folder for slots.csv, decisions.jsonl and summary.json.")
    ],
    now: Annotated[str | None, typer.Option("--now", help="ISO time with zone; default: the history's end.")] = None,
    true_factor: Annotated[
        float, typer.Option("--true-factor", min=0, help="True impact as a multiple of the estimated one.")
    ] = 1.0,
    lever: LeverOption = Lever.FLOOR,
    units: Annotated[
        int | None, typer.Option("--units", min=0, help="Units allocated now; default: what usage needs.")
    ] = None,
    rules: RulesOption = None,
) -> None:
    """Run the whole life of a change against recorded demand, on a virtual clock and a simulated cloud."""
    from forebay.domain.rules import ChangeRules
    from forebay.replay.run import Scenario, summary_text, write
    from forebay.replay.run import replay as run_replay
    from forebay.wiring import read_catalog

    request = ChangeRequest.parse(common.read(change), str(change))
    before, since = common.history(history), common.history(actual)
    needed = common.touched(request)
    past, future = common.totals(before, needed), common.totals(since, needed)
    at = common.time(now, "--now") if now else common.end_of(past, needed)
    ruled = common.rules(rules) if rules else ChangeRules()
    scenario = Scenario(true_factor=true_factor, lever=lever, units=units, rules=ruled)
    catalog = read_catalog(workloads, "--workloads")
    own, own_since = common.own(before, request.entity), common.own(since, request.entity)
    with common.writing(out):  # before the work: it takes minutes
        out.mkdir(parents=True, exist_ok=True)
    done = run_replay(request, catalog, past, future, at, scenario, own, own_since)
    with common.writing(out):
        write(done, out)
    typer.echo(summary_text(done.summary))
    typer.echo(f"wrote {out}/slots.csv, decisions.jsonl and summary.json")
    if done.summary.state == "denied":
        typer.echo(f"forebay: refused: {done.summary.note}", err=True)
        raise typer.Exit(3)
