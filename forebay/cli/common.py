"""What the commands share: their options, what they read, and what they print. Nothing heavy is imported here."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from forebay.domain.errors import InputError
from forebay.domain.model import quoted, short, to_utc
from forebay.domain.resources import Resource
from forebay.domain.wording import on_one_line

if TYPE_CHECKING:
    import pandas as pd

    from forebay.app.context import Context
    from forebay.domain.change import ChangeRequest
    from forebay.domain.rules import ChangeRules
    from forebay.domain.workload import Workload
    from forebay.forecasting.history import History

T = TypeVar("T")

By = Annotated[str, typer.Option("--by", help="Your name; the audit log keeps it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")]
ChangeFile = Annotated[Path, typer.Argument(help="The change, YAML or JSON; - reads standard input.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model to combine, may be repeated (docs/forecast-and-plan.md).")
]


def _in_a_folder(out: Path | None) -> Path | None:
    # Asked first, as the work takes minutes.
    if out is not None and not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}")
    return out


Out = Annotated[
    Path | None,
    typer.Option(
        "--out", dir_okay=False, writable=True, callback=_in_a_folder, help="Write there instead of to standard output."
    ),
]
Workloads = Annotated[Path, typer.Option("--workloads", help="The workloads file, YAML.")]
OnlyWorkloads = Annotated[
    Path | None,
    typer.Option("--workloads", help="Only what these workloads plan on, by their slots, seasons and calendars."),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one a core where it pays.")]


def context() -> Context:
    from forebay.settings import load_settings
    from forebay.wiring import build_context

    return build_context(load_settings())


def say(record: Any) -> None:
    say_line(f"{record.change.change}: {record.state}: {record.note}")


def say_line(text: str) -> None:
    """What holds the words of others, who must not write a line of ours."""
    typer.echo(on_one_line(text))


def read(path: Path) -> str:
    from forebay.wiring import read_text

    return sys.stdin.read() if str(path) == "-" else read_text(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises InputError, naming the path, where it cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def write(text: str, out: Path | None) -> None:
    """Print `text`, or write it to `out`. Raises InputError."""
    if out is None:
        typer.echo(text)
        return
    with writing(out):
        out.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}")


def history(path: Path) -> History:
    from forebay.forecasting.history import read_history

    try:
        return read_history(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def rules(path: Path) -> ChangeRules:
    """The change rules in a file; a freeze's calendar may be a file beside it. Raises InputError."""
    from forebay.domain.model import parse_yaml
    from forebay.domain.rules import ChangeRules

    return ChangeRules.written(_with_calendars(parse_yaml(read(path), str(path)), path.parent), str(path))


def _with_calendars(content: Any, folder: Path) -> Any:
    """The rules as parsed, with the text of each iCalendar file in place of its name. Raises InputError."""
    from forebay.domain.freeze import CALENDAR_BEGINS

    freezes = content.get("freezes") if isinstance(content, dict) else None
    if not isinstance(freezes, list):
        return content

    def inlined(freeze: Any) -> Any:
        named = freeze.get("calendar") if isinstance(freeze, dict) else None
        if not isinstance(named, str) or named.lstrip().startswith(CALENDAR_BEGINS):
            return freeze
        return freeze | {"calendar": read(folder / named)}

    return content | {"freezes": [inlined(freeze) for freeze in freezes]}


def history_of(path: Path, workloads: Path | None) -> tuple[History, Sequence[Workload]]:
    """A history, cut to what the workloads of a file plan on where one is named; and those workloads.

    Of the past it is as much as a plan made at the end of a workload's own history reads.
    """
    from forebay.wiring import read_catalog

    recorded = history(path)
    if workloads is None:
        return recorded, ()
    catalog = read_catalog(workloads, "--workloads").workloads
    measured = totals(recorded, ())
    for workload in catalog:
        if any(len(series) > 1 for series in measured.get(workload.name, {}).values()):
            recorded = recorded.lately([workload], end_of(measured, [workload.name]))
    return recorded.planned(catalog), catalog


def totals(history: History, needed: Collection[str]) -> dict[str, dict[Resource, pd.Series]]:
    """By workload and resource. Raises InputError where one that is `needed` has no total; another is left out then."""
    found: dict[str, dict[Resource, pd.Series]] = {}
    for name in history.workloads():
        for resource in history.resources(name):
            try:
                found.setdefault(name, {})[Resource(resource)] = history.total(name, resource)
            except InputError:
                if name in needed:
                    raise
    return found


def touched(request: ChangeRequest) -> set[str]:
    """Names of the workloads that the change is about."""
    return {i.workload for i in request.impacts} | {e.workload for e in request.entitlements}


def entities(history: History, names: Collection[str]) -> dict[str, dict[str, dict[Resource, pd.Series]]]:
    """By workload, entity and resource: what was measured of customers by name."""
    found: dict[str, dict[str, dict[Resource, pd.Series]]] = {}
    for key, series in history.series.items():
        if key.entity in names:
            found.setdefault(key.workload, {}).setdefault(key.entity, {})[Resource(key.resource)] = series
    return found


def own(history: History, name: str) -> dict[str, dict[Resource, pd.Series]]:
    """By workload and resource: what was measured of one customer."""
    return {workload: measured[name] for workload, measured in entities(history, {name}).items()}


def counted(items: Iterable[T], total: int) -> Iterator[T]:
    """The items; on a terminal the count of those that are there already stands on standard error meanwhile."""
    if not sys.stderr.isatty():
        yield from items
        return

    def show(number: int) -> None:
        typer.echo(f"\r{number} of {total} series", nl=False, err=True)

    show(0)
    try:
        for number, item in enumerate(items, start=1):
            show(number)
            yield item
    finally:
        typer.echo(err=True)  # what is printed next, an error too, has a line of its own


def what_fits(items: Iterable[T], unfit: Sequence[InputError]) -> Iterator[T]:
    """The items; where there is none, the first reason why is raised."""
    found = False
    for item in items:
        found = True
        yield item
    if unfit and not found:
        raise unfit[0]


def end(unfit: Sequence[InputError]) -> None:
    """Say what was left out of the work that is done, and why; the exit code then is that of wrong input."""
    for reason in unfit:
        typer.echo(f"forebay: left out: {reason}", err=True)
    if unfit:
        raise typer.Exit(2)


def print_together(texts: Iterable[str]) -> None:
    """Print the texts once all are there: of an input that is refused nothing is shown.

    Meanwhile they lie in a file: those of a thousand series would not fit in memory.
    """
    with TemporaryFile("w+", encoding="utf-8") as waiting:
        waiting.writelines(texts)
        waiting.seek(0)
        for piece in iter(partial(waiting.read, 2**20), ""):
            typer.echo(piece, nl=False)


def time(text: str, what: str) -> datetime:
    """Raises InputError, naming the mend, for anything but an ISO 8601 time with a zone."""
    try:
        return to_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        mend = "write it as 2026-11-26T09:00:00Z, or with an offset: 2026-11-26T09:00:00+01:00"
        raise InputError(f"{what} {quoted(text)} is not a time with a zone ({short(str(error))}): {mend}") from error


def end_of(series: Mapping[str, Mapping[Resource, pd.Series]], needed: Collection[str]) -> datetime:
    """When the latest sample of the `needed` workloads ends: a sampling interval after it began."""
    from forebay.forecasting.forecaster import sampling_interval

    # Where there is none of these, that is what will be refused, with what there is.
    found = [series[name] for name in needed if name in series] or series.values()
    known = [one for by_resource in found for one in by_resource.values() if len(one) > 1]
    if not known:
        raise InputError("history: it has no series of two samples or more: give --now, and more history")
    end: datetime = max(one.index[-1] + sampling_interval(one) for one in known).to_pydatetime()
    return end
