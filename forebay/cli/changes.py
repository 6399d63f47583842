"""What people do with a change: submit it, look at it, hold, resume, cancel, roll back, pin, settle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from forebay.cli import common
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import COME_TO_NOTHING, TERMINAL, ChangeState

if TYPE_CHECKING:
    from forebay.app.context import Context
    from forebay.app.status import Wanted
    from forebay.domain.records import ChangeRecord

app = typer.Typer()


@app.command()
def submit(change: common.ChangeFile) -> None:
    """Store a change; a running reconciler plans and shapes it. Prints its name and state."""
    from forebay.app.tickets import submit as submit_change

    record = submit_change(common.context(), ChangeRequest.parse(common.read(change), str(change)))
    common.say(record)
    if record.state is ChangeState.DENIED:
        raise typer.Exit(3)
    if record.state in COME_TO_NOTHING:
        raise RuleRefusal(
            "life of a change",
            f"{record.change.change} is {record.state}: nothing comes of asking for it again",
            "the same under another name",
        )


@app.command()
def status(
    change: Annotated[str | None, typer.Argument(help="A change; default: all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    state: Annotated[ChangeState | None, typer.Option("--state", help="List only these.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="List only this one's.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="List none that is over.")] = False,
) -> None:
    """What changes there are and where they stand, or everything about one."""
    from forebay.app.status import Wanted

    wanted = Wanted(state=state, entity=entity, only_open=only_open)
    if change is not None and wanted != Wanted():
        raise InputError("--state, --entity and --open choose from the list: leave them out, or the change")
    if change is None:
        _list(common.context(), wanted, as_json)
    else:
        _show(common.context(), change, as_json)


def _tell_silence(ctx: Context, records: Iterable[ChangeRecord]) -> None:
    """Beside the answer, where one of the changes is to go on and nobody is there to see to it."""
    from forebay.app.pulse import silence

    if any(record.state not in TERMINAL for record in records) and (said := silence(ctx)):
        typer.echo(f"forebay: {said}", err=True)


def _list(ctx: Context, wanted: Wanted, as_json: bool) -> None:
    from forebay.app.outbox import unsent
    from forebay.app.raises import open_raises
    from forebay.app.status import list_with_times
    from forebay.report.raised import raises_table
    from forebay.report.table import changes_table

    records, in_force = list_with_times(ctx, wanted)
    raises = open_raises(ctx)
    _tell_silence(ctx, records)
    if as_json:
        rows = [
            record.model_dump(mode="json")
            | {"raises": [r.model_dump(mode="json") for r in raises if r.change == record.change.change]}
            for record in records
        ]
        typer.echo(json.dumps(rows))
        return
    typer.echo(changes_table(records, ctx.clock.now(), in_force))
    if raises:
        typer.echo("\n" + raises_table([r.row for r in raises]))
    if failed := [message for message in unsent(ctx) if message.failure or message.overdue(ctx.clock.now())]:
        typer.echo(f"\nnot sent: {len(failed)}, see `forebay outbox show`")


def _show(ctx: Context, change: str, as_json: bool) -> None:
    from forebay.app.status import change_status
    from forebay.report.table import notes_text, pending_table, request_text, status_table

    found = change_status(ctx, change)
    _tell_silence(ctx, [found.record])
    if as_json:
        typer.echo(found.model_dump_json())
        return
    typer.echo(status_table(found.record, found.steps, ctx.clock.now(), found.builds_on, found.in_force_from))
    for expected in [w.expected for w in found.workloads if w.expected]:
        common.say_line(f"expected: {expected}")
    asked = found.request.plans.values() if found.request else ()
    if known := notes_text(w.plan for w in found.workloads if w.plan and w.plan not in asked):
        typer.echo(known)
    if found.request:
        typer.echo("\n" + request_text(found.request, {step.plan_hash for step in found.steps}, ctx.clock.now()))
    if found.pending:
        typer.echo("\n" + pending_table(found.pending))


@app.command()
def hold(change: str, by: common.By, reason: common.Reason) -> None:
    """Make no further step until the change is resumed."""
    from forebay.app import people

    common.say(people.hold(common.context(), change, by, reason))


@app.command()
def resume(change: str, by: common.By, reason: common.Reason) -> None:
    """Go on where a change was held."""
    from forebay.app import people

    common.say(people.resume(common.context(), change, by, reason))


@app.command()
def cancel(change: str, by: common.By, reason: common.Reason) -> None:
    """Cancel a change that is not in force; its allocation goes back."""
    from forebay.app import people

    common.say(people.cancel(common.context(), change, by, reason))


@app.command()
def rollback(change: str, by: common.By, reason: common.Reason) -> None:
    """Take a change back: policy and capacity; before it is in force the same as cancel."""
    from forebay.app.rollback import rollback as roll_back

    common.say(roll_back(common.context(), change, by, reason))


@app.command()
def pin(
    change: str,
    units: Annotated[int, typer.Argument(min=0)],
    until: Annotated[str, typer.Option("--until", help="A time with its zone: 2026-11-24T18:00Z.")],
    by: common.By,
    reason: common.Reason,
    workload: Annotated[str | None, typer.Option("--workload", help="Where the change touches several.")] = None,
) -> None:
    """Keep at least so many units until a time; the change's steps wait so long."""
    from forebay.app.pins import pin as pin_units

    record = pin_units(common.context(), change, units, common.time(until, "--until"), by, reason, workload)
    common.say_line(f"{record.change.change}: {record.state}: pinned at {units} units until {until}: {reason}")


@app.command()
def settle(change: str, by: common.By, reason: common.Reason) -> None:
    """Say that what a change has not given back stands right as it is: that also ends its giving back."""
    from forebay.app.raises import settle as settle_leftovers

    common.say(settle_leftovers(common.context(), change, by, reason))
