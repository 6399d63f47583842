"""Pins: a person keeps a workload at least at so many units until a time; then the plan goes on."""

from __future__ import annotations

from datetime import datetime

from forebay.app.context import Context
from forebay.app.others import in_force_on
from forebay.app.people import permitted
from forebay.app.turn import waits_for
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.bounds import PolicyBounds
from forebay.domain.change import LONGEST_AHEAD, PolicyChange
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import STEPPING
from forebay.domain.records import ChangeRecord, Pin
from forebay.domain.workload import Workload
from forebay.ports import Snapshot


def pin(
    ctx: Context, change: str, units: int, until: datetime, actor: str, reason: str, workload: str | None = None
) -> ChangeRecord:
    """Move up to `units` within the soft limits, and make no step of the change on the workload before `until`.

    A pin takes nothing away: less than what stands is refused, as are units beyond the limits. Raises InputError,
    RuleRefusal, and OutsideError where the target cannot be read.
    """
    with ctx.store.snapshot() as tx:
        record = _under_way(tx, change, actor, reason)
    name = _one_of(record.change, workload)
    _check_ahead(until, ctx.clock.now())
    most = _most_units(ctx, record.change, ctx.workload(name))
    stands = ctx.target(ctx.workload(name)).observe().setting.units
    if not stands <= units <= most:
        raise RuleRefusal(
            "a pin takes nothing away and keeps to the limits",
            f"{units} units of {name} were asked for; {stands} stand, and {most} are the most that is allowed",
            f"{stands} to {most} units" if stands <= most else "a new change, or other limits",
        )
    with ctx.store.transaction() as tx:
        current = _under_way(tx, change, actor, reason)
        if waiting := waits_for(tx, current.change, name):
            first = f"change {change} {waiting}: until then {name} is not its to move"
            raise RuleRefusal("overlapping changes take turns", first, "a pin on the change whose turn it is")
        text = f"{name} keeps at least {units} units until {until.isoformat()}: {reason}"
        event = ctx.event(current.change, Deed.PINNED, text, actor, workload=name, new=f"{units} units")
        tx.put_pin(Pin(change=change, workload=name, units=units, until=until, actor=actor, reason=reason), event)
    ctx.notifier.notify(event)
    return current


def _under_way(tx: Snapshot, change: str, actor: str, reason: str) -> ChangeRecord:
    """The change, which `actor` may pin. Raises InputError and RuleRefusal."""
    record = permitted(tx, change, "hold", actor, reason)
    if record.state not in STEPPING:
        raise RuleRefusal("life of a change", f"change {change} is {record.state}", "pinning a change under way")
    return record


def _one_of(change: PolicyChange, workload: str | None) -> str:
    """Which workload of `change` is meant. Raises InputError where that is none of its own, or not said of several."""
    names = change.workloads
    if workload is None and len(names) > 1:
        raise InputError(f"change {change.change} touches {', '.join(names)}: name one of them as the workload")
    name = workload or names[0]
    if name not in names:
        raise InputError(f"change {change.change} does not touch {name!r}: it touches {', '.join(names)}")
    return name


def _check_ahead(until: datetime, now: datetime) -> None:
    """Raises InputError for a time that is over, or beyond what is planned."""
    if until <= now:
        raise InputError(f"until: {until.isoformat()} is over (now {now.isoformat()}): name a time to come")
    if until - now > LONGEST_AHEAD:
        told = f"is more than {LONGEST_AHEAD.days} days ahead"
        raise InputError(f"until: {until.isoformat()} {told}: name an earlier time, and pin again then")


def _most_units(ctx: Context, change: PolicyChange, workload: Workload) -> int:
    """The lowest of the bounds that hold for a pin: hard limit, entitlement, policies in force, approval."""
    name, entitlement = workload.name, change.entitlement(workload.name)
    with ctx.store.snapshot() as tx:
        plan = tx.plan(change.change, name)
        approved = tx.rules().approved_units(change, plan, tx.approvals(change.change)) if plan else None
        held_to = PolicyBounds.of(in_force_on(tx, name, ctx.clock.now()), name, [change], 1)
    bounds = (workload.limits.max_units, entitlement.max_units if entitlement else None, held_to.max_units, approved)
    return min(bound for bound in bounds if bound is not None)


def end_pins(ctx: Context, record: ChangeRecord) -> None:
    """Pins whose time is over hold nothing any more: that is recorded and told once, and the plan goes on."""
    change, ended = record.change, list[AuditEvent]()
    with ctx.store.snapshot() as seen:
        if all(ctx.clock.now() < pin.until for pin in seen.pins(change.change)):
            return
    with ctx.store.transaction() as tx:
        for pin in tx.pins(change.change):
            if ctx.clock.now() >= pin.until:
                text = f"{pin.workload} was kept at {pin.units} units at least until {pin.until.isoformat()}"
                ended.append(ctx.event(change, Deed.UNPINNED, text, workload=pin.workload, old=f"{pin.units} units"))
                tx.drop_pins(change.change, ended[-1], pin.workload)
    for event in ended:
        ctx.notifier.notify(event)
