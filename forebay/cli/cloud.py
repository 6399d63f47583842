"""Commands that look at AWS: they change nothing there, and need no database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli import common
from forebay.domain.errors import InputError, OutsideError

if TYPE_CHECKING:
    from forebay.aws import AwsClients
    from forebay.domain.workload import Workload

app = typer.Typer()

Named = Annotated[list[str] | None, typer.Argument(help="Names of workloads; default: all of the file.")]
WorkloadsFile = Annotated[
    Path | None, typer.Option("--workloads", help="The workloads file, YAML; default: FOREBAY_WORKLOADS.")
]


@app.command()
def check(
    names: Named = None,
    workloads: WorkloadsFile = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """See whether the workloads are in AWS as the file says: target, autoscaler, quota, usage and its history."""
    from forebay.report.survey import survey_text
    from forebay.wiring import survey_of

    wanted, aws = _wanted(workloads, names or [])
    found = []
    for workload in wanted:
        found.append(survey_of(workload, aws))
        if not as_json:
            typer.echo(survey_text(found[-1]) + "\n")
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
    if unread := [one.workload for one in found if one.unread]:
        typer.echo(f"forebay: could not look at everything of {', '.join(unread)}", err=True)
        raise typer.Exit(4)
    if faulty := [one.workload for one in found if one.faults]:
        typer.echo(f"forebay: any change would be denied or held: {', '.join(faulty)}", err=True)
        raise typer.Exit(3)


@app.command()
def history(
    names: Named = None,
    workloads: WorkloadsFile = None,
    entity: Annotated[
        list[str] | None,
        typer.Option("--entity", help="Also this customer's usage, by the workload's entity_usage; may be repeated."),
    ] = None,
    out: common.Out = None,
) -> None:
    """Write what CloudWatch has of the workloads' usage as a history file, for plan, forecast, backtest and replay."""
    from forebay.app.past import measured_past
    from forebay.clock import SystemClock
    from forebay.forecasting.history import History, history_csv
    from forebay.wiring import make_usage

    wanted, aws = _wanted(workloads, names or [])
    clock = SystemClock()

    def read() -> Iterator[History]:
        for workload in wanted:
            yield measured_past(workload, make_usage(workload, aws, clock), clock.now(), entity or [])

    series = {key: one for past in read() for key, one in past.series.items()}
    missing = [
        f"{workload.name}/{resource}"
        for workload in wanted
        for resource in workload.resources
        if (workload.name, resource.value, "") not in series
    ]
    if not series:
        raise OutsideError(
            f"CloudWatch has no usage of {', '.join(missing)}: `forebay check` looks closer", retryable=False
        )
    common.write(history_csv(History(series)), out)
    if missing:
        typer.echo(f"forebay: no usage of {', '.join(missing)}: `forebay check` looks closer", err=True)
    if unmeasured := [one for one in entity or [] if all(key.entity != one for key in series)]:
        unknown = "by no workload's entity_usage is anything measured"
        typer.echo(f"forebay: no usage of their own of {', '.join(unmeasured)}: {unknown}", err=True)


def _wanted(path: Path | None, names: Sequence[str]) -> tuple[Sequence[Workload], AwsClients]:
    """Raises InputError for a name that is not in the file, and OutsideError where no call could be made."""
    from forebay.aws import AwsClients
    from forebay.domain.workload import unknown_workload
    from forebay.settings import load_settings
    from forebay.wiring import read_catalog

    settings = load_settings()
    catalog = read_catalog(path, "--workloads") if path else read_catalog(settings.workloads)
    for name in names:
        if catalog.get(name) is None:
            raise unknown_workload(name, catalog.workloads)
    wanted = [workload for workload in catalog.workloads if not names or workload.name in names]
    if not wanted:
        raise InputError("the workloads file names no workload")
    aws = AwsClients(settings.aws_region, settings.aws_endpoint_url)
    for workload in wanted:
        aws.in_region(workload.target.region).ready()
    return wanted, aws
