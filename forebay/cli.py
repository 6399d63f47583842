"""The `forebay` command. Exit codes: 0 done, 2 the input is wrong, 3 refused by a rule, 4 the outside failed."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forebay.domain.allocation import Lever
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import ForebayError, InputError, OutsideError, RuleRefusal
from forebay.domain.model import parse_yaml, to_utc, validate
from forebay.domain.plan import PlanRefusal
from forebay.domain.resources import Resource

if TYPE_CHECKING:
    import pandas as pd

    from forebay.app.context import Context
    from forebay.app.preview import Preview
    from forebay.domain.change import PolicyChange
    from forebay.forecasting.history import History

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
audit_app = typer.Typer(no_args_is_help=True, help="The audit log.")
policy_app = typer.Typer(no_args_is_help=True, help="Policies as the decision point answers them.")
rules_app = typer.Typer(no_args_is_help=True, help="The change rules.")
app.add_typer(audit_app, name="audit")
app.add_typer(policy_app, name="policy")
app.add_typer(rules_app, name="rules")

By = Annotated[str, typer.Option("--by", help="Your name; the audit log keeps it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")]
ChangeFile = Annotated[Path, typer.Argument(help="The change, YAML or JSON; - reads standard input.")]
Workloads = Annotated[Path, typer.Option("--workloads", help="The workloads file, YAML.")]


class PlanFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    HTML = "html"


class SeriesFormat(StrEnum):
    JSON = "json"
    CSV = "csv"


@app.command()
def plan(
    change: ChangeFile,
    workloads: Workloads,
    history: Annotated[Path, typer.Option("--history", help="Usage history, CSV or Parquet.")],
    now: Annotated[str | None, typer.Option("--now", help="ISO time with zone; default: the history's end.")] = None,
    units: Annotated[
        int | None, typer.Option("--units", help="Units allocated now; default: what usage needs.")
    ] = None,
    output_format: Annotated[PlanFormat, typer.Option("--format")] = PlanFormat.TABLE,
    out: Annotated[Path | None, typer.Option("--out", help="Write there instead of to standard output.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="In sentences instead of tables.")] = False,
    impact_scale: Annotated[float, typer.Option("--impact-scale", help="What if the impact were so many times?")] = 1.0,
    confidence: Annotated[float | None, typer.Option("--confidence", help="What if it had to be so certain?")] = None,
    effective_at: Annotated[str | None, typer.Option("--effective-at", help="What if it came into force then?")] = None,
) -> None:
    """Draw the plan of a change from files alone: no cloud, no database."""
    from forebay.app.preview import preview, what_if
    from forebay.domain.rules import ChangeRules
    from forebay.wiring import read_catalog

    request = ChangeRequest.parse(_read(change), str(change))
    catalog = read_catalog(workloads)
    series = _totals(_history(history))
    at = _time(now, "--now") if now else _end_of(series)
    accepted = request.accepted(at)
    ChangeRules().check_request(accepted, at)
    previews = preview(accepted, catalog, series, at, timedelta(seconds=60), units)
    others: list[Preview] = []
    if impact_scale != 1.0 or confidence is not None or effective_at is not None:
        then = _time(effective_at, "--effective-at") if effective_at else None
        changed, changed_catalog = what_if(
            accepted, catalog, impact_scale=impact_scale, confidence=confidence, effective_at=then
        )
        ChangeRules().check_request(changed, at)
        others = preview(changed, changed_catalog, series, at, timedelta(seconds=60), units)
    text = _shown(accepted, previews, others, output_format, explain)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {out}")
    for refused in (p.plan for p in previews if isinstance(p.plan, PlanRefusal)):
        typer.echo(f"forebay: refused: {refused.text}", err=True)
        raise typer.Exit(3)


@app.command()
def forecast(
    history: Annotated[Path, typer.Argument(help="Usage history, CSV or Parquet.")],
    horizon: Annotated[str, typer.Option("--horizon", help="How far, for example 48h, 90m or 3d.")] = "48h",
    output_format: Annotated[SeriesFormat, typer.Option("--format")] = SeriesFormat.CSV,
) -> None:
    """Forecast every series of a history, with quantiles."""
    import pandas as pd

    from forebay.forecasting import forecast_history

    try:
        span = pd.Timedelta(horizon).to_pytimedelta()
    except ValueError as error:
        raise InputError(f"--horizon {horizon!r} is not a duration: write 48h, 90m or 3d") from error
    forecasts = forecast_history(_history(history), span)
    if output_format is SeriesFormat.JSON:
        typer.echo(
            json.dumps(
                [
                    {
                        **key._asdict(),
                        "model": f.model,
                        "reasons": f.reasons,
                        "timestamps": [t.isoformat() for t in f.index],
                        "quantiles": {str(level): f.quantiles[level].round(6).tolist() for level in f.quantiles},
                    }
                    for key, f in forecasts.items()
                ]
            )
        )
        return
    tables = [
        f.quantiles.rename_axis("timestamp").reset_index().assign(**key._asdict()) for key, f in forecasts.items()
    ]
    table = pd.concat(tables)
    named = ["timestamp", "workload", "resource", "entity"]
    typer.echo(table[named + [c for c in table.columns if c not in named]].to_csv(index=False), nl=False)


@app.command()
def replay(
    change: ChangeFile,
    workloads: Workloads,
    history: Annotated[Path, typer.Option("--history", help="Usage before the change was asked for, CSV or Parquet.")],
    actual: Annotated[Path, typer.Option("--actual", help="Usage since then, without the change, CSV or Parquet.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for slots.csv, decisions.jsonl and summary.json.")],
    now: Annotated[str | None, typer.Option("--now", help="ISO time with zone; default: the history's end.")] = None,
    true_factor: Annotated[
        float, typer.Option("--true-factor", min=0, help="True impact as a multiple of the estimated one.")
    ] = 1.0,
    lever: Annotated[
        Lever, typer.Option("--lever", help="floor: an autoscaler stands above it; count: nothing else scales.")
    ] = Lever.FLOOR,
    units: Annotated[
        int | None, typer.Option("--units", help="Units allocated now; default: what usage needs.")
    ] = None,
) -> None:
    """Run the whole life of a change against recorded demand, on a virtual clock and a simulated cloud."""
    from forebay.replay.run import Scenario, summary_text, write
    from forebay.replay.run import replay as run_replay
    from forebay.wiring import read_catalog

    request = ChangeRequest.parse(_read(change), str(change))
    past = _totals(_history(history))
    at = _time(now, "--now") if now else _end_of(past)
    scenario = Scenario(true_factor=true_factor, lever=lever, units=units)
    done = run_replay(request, read_catalog(workloads), past, _totals(_history(actual)), at, scenario)
    write(done, out)
    typer.echo(summary_text(done.summary))
    typer.echo(f"wrote {out}/slots.csv, decisions.jsonl and summary.json")
    if done.summary.state == "denied":
        raise typer.Exit(3)


@app.command()
def submit(change: ChangeFile) -> None:
    """Store a change; a running reconciler plans and shapes it. Prints its name and state."""
    from forebay.app.tickets import submit as submit_change

    record = submit_change(_context(), ChangeRequest.parse(_read(change), str(change)))
    typer.echo(f"{record.change.change}: {record.state}: {record.note}")
    if record.state == "denied":
        raise typer.Exit(3)


@app.command()
def status(
    change: Annotated[str | None, typer.Argument(help="A change; default: all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """What changes there are and where they stand, or everything about one."""
    from forebay.app.status import change_status, list_changes
    from forebay.report.table import changes_table, status_table

    ctx = _context()
    if change is None:
        records = list_changes(ctx)
        rows = [record.model_dump(mode="json") for record in records]
        typer.echo(json.dumps(rows) if as_json else changes_table(records, ctx.clock.now()))
        return
    found = change_status(ctx, change)
    typer.echo(found.model_dump_json() if as_json else status_table(found.record, found.steps, ctx.clock.now()))


@app.command()
def hold(change: str, by: By, reason: Reason) -> None:
    """Make no further step until the change is resumed."""
    from forebay.app import people

    _say(people.hold(_context(), change, by, reason))


@app.command()
def resume(change: str, by: By, reason: Reason) -> None:
    """Go on where a change was held."""
    from forebay.app import people

    _say(people.resume(_context(), change, by, reason))


@app.command()
def cancel(change: str, by: By, reason: Reason) -> None:
    """Cancel a change that is not in force; its allocation goes back."""
    from forebay.app import people

    _say(people.cancel(_context(), change, by, reason))


@audit_app.command("verify")
def audit_verify() -> None:
    """Check that no audit entry was altered, removed or reordered."""
    from forebay.settings import load_settings
    from forebay.store import open_store

    store = open_store(load_settings().database_url.get_secret_value())
    broken = store.audit_break()
    if broken:
        raise RuleRefusal("audit chain", broken, "the log as it was written: compare with a backup")
    with store.transaction() as tx:
        typer.echo(f"the audit chain holds: {len(tx.audit_entries())} entries")


@audit_app.command("show")
def audit_show(change: Annotated[str | None, typer.Argument(help="Only this change's entries.")] = None) -> None:
    """The audit log, one JSON object a line."""
    with _context().store.transaction() as tx:
        for entry in tx.audit_entries(change):
            typer.echo(entry.model_dump_json())


@policy_app.command("import")
def policy_import(
    entity: str,
    policy: str,
    by: By,
    reason: Reason,
    kind: Annotated[str, typer.Option("--kind")] = "quota",
    document: Annotated[Path | None, typer.Option("--document", help="The policy's content, YAML or JSON.")] = None,
) -> None:
    """Store what is in force already as version 1 of a policy Forebay does not know yet."""
    from forebay.app.policies import import_policy

    content: Any = parse_yaml(_read(document), str(document)) if document else {}
    if not isinstance(content, dict):
        raise InputError(f"{document}: the policy's content must be a mapping of names to values")
    version = import_policy(_context(), entity, policy, kind, content, by, reason)
    typer.echo(f"{entity} {policy}: version {version.version} is in force")


@policy_app.command("show")
def policy_show(
    entity: str,
    policy: str,
    at: Annotated[str | None, typer.Option("--at", help="ISO time with zone; default: now.")] = None,
) -> None:
    """What the decision point answers."""
    from forebay.app.policies import policy_at

    typer.echo(policy_at(_context(), entity, policy, _time(at, "--at") if at else None).model_dump_json())


@rules_app.command("set")
def rules_set(
    rules: Annotated[Path, typer.Argument(help="Change rules, YAML or JSON.")], by: By, reason: Reason
) -> None:
    """Store a new version of the change rules."""
    from forebay.domain.audit import AuditEvent
    from forebay.domain.rules import ChangeRules

    wanted = validate(ChangeRules, parse_yaml(_read(rules), str(rules)), str(rules))
    ctx = _context()
    with ctx.store.transaction() as tx:
        event = AuditEvent(at=ctx.clock.now(), actor=by, action="change rules set", reason=reason)
        typer.echo(f"change rules: version {tx.put_rules(wanted, event)}")


@rules_app.command("show")
def rules_show() -> None:
    """The change rules in force."""
    with _context().store.transaction() as tx:
        typer.echo(tx.rules().model_dump_json(indent=2))


@app.command()
def migrate() -> None:
    """Create or upgrade the database's tables."""
    from forebay.settings import load_settings
    from forebay.store import migrate as upgrade

    upgrade(load_settings().database_url.get_secret_value())
    typer.echo("the database is up to date")


@app.command()
def serve(
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port")] = 8080,
    upgrade: Annotated[bool, typer.Option("--migrate", help="Create or upgrade the tables first.")] = False,
) -> None:
    """Run the receiver, the decision point and the pages."""
    import logging

    import uvicorn

    from forebay.settings import load_settings
    from forebay.web.app import create_app
    from forebay.web.settings import WebSettings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = load_settings()
    if upgrade:
        migrate()
    web = validate(
        WebSettings,
        {"webhook_secrets": settings.webhook_secrets, "replay_window": settings.replay_window},
        "FOREBAY_WEBHOOK_SECRETS, FOREBAY_REPLAY_WINDOW",
    )
    uvicorn.run(create_app(_context(), web), host=host, port=port, log_level="warning")


def main() -> None:
    """Run a command; an error made for people becomes one message and its exit code, never a traceback."""
    try:
        app()
    except InputError as error:
        _fail(error, 2)
    except RuleRefusal as error:
        _fail(error, 3)
    except OutsideError as error:
        _fail(error, 4)


def _fail(error: ForebayError, code: int) -> None:
    typer.echo(f"forebay: {error}", err=True)
    sys.exit(code)


def _context() -> Context:
    from forebay.settings import load_settings
    from forebay.wiring import build_context

    return build_context(load_settings())


def _say(record: Any) -> None:
    typer.echo(f"{record.change.change}: {record.state}: {record.note}")


def _read(path: Path) -> str:
    from forebay.wiring import read_text

    return sys.stdin.read() if str(path) == "-" else read_text(path)


def _history(path: Path) -> History:
    from forebay.forecasting.history import read_history

    try:
        return read_history(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _totals(history: History) -> dict[str, dict[Resource, pd.Series]]:
    return {
        name: {Resource(r): history.total(name, r) for r in history.resources(name)} for name in history.workloads()
    }


def _time(text: str, what: str) -> datetime:
    try:
        return to_utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise InputError(f"{what} {text!r}: {error}") from error


def _end_of(series: Any) -> datetime:
    ends = [s.index[-1] + (s.index[-1] - s.index[-2]) for by in series.values() for s in by.values() if len(s) > 1]
    if not ends:
        raise InputError("history: it has no series of two samples or more: give --now, and more history")
    end: datetime = max(ends).to_pydatetime()
    return end


def _shown(
    change: PolicyChange, previews: list[Preview], others: list[Preview], output_format: PlanFormat, in_words: bool
) -> str:
    from forebay.report.document import documents_json
    from forebay.report.html import Section, plan_html
    from forebay.report.table import comparison_table, plan_table
    from forebay.report.words import explain

    match output_format:
        case PlanFormat.JSON:
            return documents_json([p.plan for p in previews], [p.plan for p in others])
        case PlanFormat.TABLE:
            parts = [explain(p.plan) if in_words else plan_table(p.plan) for p in previews]
            parts += [comparison_table(p.plan, other.plan) for p, other in zip(previews, others, strict=False)]
            return "\n\n".join(parts)
        case PlanFormat.HTML:
            return plan_html(change, [Section(p.workload, p.plan, p.samples) for p in [*previews, *others]])


if __name__ == "__main__":
    main()
