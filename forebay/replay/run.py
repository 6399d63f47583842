"""`forebay replay`: a change against recorded demand, from files to files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from forebay.app.context import Context
from forebay.app.preview import NOTHING_FROZEN, units_now
from forebay.domain.allocation import Lever, Setting
from forebay.domain.audit import AuditEntry, AuditEvent, Deed
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.model import Model, UtcTime
from forebay.domain.resources import Resource
from forebay.domain.rules import ChangeRules
from forebay.domain.workload import Workload, WorkloadCatalog, unknown_workload
from forebay.replay.cloud import Outage, SimulatedService
from forebay.replay.journal import DecisionRecord, Journal
from forebay.replay.loop import Replay, VirtualClock
from forebay.replay.outcome import WorkloadOutcome, outcome_of
from forebay.replay.recorded import RecordedDemand, truth
from forebay.store import SqlStore, migrate, open_store

if TYPE_CHECKING:
    import pandas as pd

Usages = Mapping[str, Mapping[Resource, "pd.Series"]]

# A simulated run has no other writer and no impatient cloud: neither a lease nor a budget may end in the middle of
# a computation, or the same input would not give the same result on a slower machine.
NEVER = timedelta(days=1)


class Summary(Model):
    """What a replay comes to. `activation_at`: when the policy took force; None if it did not."""

    change: str
    state: str
    note: str
    effective_at: UtcTime
    activation_at: UtcTime | None
    true_factor: float
    replans: int
    workloads: dict[str, WorkloadOutcome]


@dataclass(frozen=True)
class Replayed:
    """A finished replay."""

    summary: Summary
    decisions: Sequence[DecisionRecord]
    services: Mapping[str, SimulatedService]
    audit: Sequence[AuditEntry]


@dataclass(frozen=True)
class Scenario:
    """How the simulated world differs from the estimate. `true_factor` scales the change's estimated effect.

    `rules`: the change rules there. Nobody is there to ask: an approval that they want is taken as given.
    """

    true_factor: float = 1.0
    lever: Lever = Lever.FLOOR
    units: int | None = None
    outages: Sequence[Outage] = ()
    rules: ChangeRules = NOTHING_FROZEN


def replay(
    request: ChangeRequest,
    catalog: WorkloadCatalog,
    history: Usages,
    actual: Usages,
    now: datetime,
    scenario: Scenario = Scenario(),
    own: Usages | None = None,
    own_since: Usages | None = None,
) -> Replayed:
    """Replay `request`, received at `now`, until the actual demand ends.

    `history`, `actual`: workload -> resource -> usage (aware UTC, canonical units); the actual usage is the demand
    without the change. `own`, `own_since`: what of them is the change's entity's, where that was measured. Raises
    InputError, and RuleRefusal as the use cases do.
    """
    change = request.accepted(now)
    workloads = [_found(catalog, name) for name in change.workloads]
    own, own_since = own or {}, own_since or {}
    services = {
        w.name: simulated(
            w,
            history.get(w.name, {}),
            actual.get(w.name, {}),
            now,
            scenario,
            own.get(w.name, {}),
            own_since.get(w.name, {}),
        )
        for w in workloads
    }
    until = min(service.recorded.index.end for service in services.values())
    if until <= change.effective_at:
        raise InputError(
            f"the actual demand ends at {until.isoformat()}, before the effective time "
            f"{change.effective_at.isoformat()}: give a longer record, or an earlier effective_at"
        )
    clock = VirtualClock(now, list(services.values()))
    journal = Journal(clock)
    with _store() as store:
        ctx = Context(
            clock=clock,
            store=store,
            catalog=catalog,
            target=lambda workload: services[workload.name],
            usage=lambda workload: services[workload.name],
            notifier=journal,
            poll=min(w.metric_period for w in workloads),
            lease=NEVER,
            forecast_budget=NEVER,
        )
        _put_rules(ctx, scenario.rules)
        run = Replay(ctx, clock, services, truth(change, scenario.true_factor), journal)
        record = run.run(request)
        with store.snapshot() as tx:
            audit = tx.audit_entries(change.change)
    summary = Summary(
        change=change.change,
        state=str(record.state),
        note=record.note,
        effective_at=change.effective_at,
        activation_at=run.in_force_from,
        true_factor=scenario.true_factor,
        replans=sum(1 for entry in audit if entry.event.action == Deed.REPLANNED),
        workloads={name: outcome_of(service) for name, service in services.items()},
    )
    return Replayed(summary, journal.records, services, audit)


@contextmanager
def _store() -> Iterator[SqlStore]:
    """A store of its own, gone with the block."""
    with tempfile.TemporaryDirectory(prefix="forebay-replay-") as folder:
        url = f"sqlite:///{Path(folder) / 'replay.db'}"
        migrate(url)
        store = open_store(url)
        try:
            yield store
        finally:
            store.close()


def _put_rules(ctx: Context, rules: ChangeRules) -> None:
    given = tuple(rule.model_copy(update={"approval": None}) for rule in rules.rules)
    event = AuditEvent(at=ctx.clock.now(), actor="replay", action=Deed.RULES_SET, reason="approvals as given")
    with ctx.store.transaction() as tx:
        tx.put_rules(rules.model_copy(update={"rules": given}), event)


def simulated(
    workload: Workload,
    history: Mapping[Resource, pd.Series],
    actual: Mapping[Resource, pd.Series],
    now: datetime,
    scenario: Scenario,
    own: Mapping[Resource, pd.Series] = {},
    own_since: Mapping[Resource, pd.Series] = {},
) -> SimulatedService:
    """The workload's service at `now`, allocated `scenario.units` or what the last usage known needs."""
    for resource in workload.resources:
        if resource not in history or history[resource].dropna().empty:
            raise InputError(
                f"{workload.name}: no {resource} in the history: give it, or leave it out of the objectives"
            )
    recorded = RecordedDemand(workload, history, actual, now, own, own_since)
    limits = workload.limits
    units = scenario.units
    if units is None:
        before = {r: series[series.index < now] for r, series in history.items()}
        units = units_now(workload, before)
    match scenario.lever:
        case Lever.FLOOR if units > limits.max_units:
            raise InputError(
                f"{workload.name}: --units {units} is above max_units {limits.max_units} of its limits, which no "
                "autoscaler lets stand: give fewer units, raise the limit, or take --lever count"
            )
        case Lever.FLOOR:
            lever = Setting(lever=Lever.FLOOR, floor=limits.min_units, ceiling=limits.max_units)
        case Lever.COUNT:
            lever = Setting(lever=Lever.COUNT, count=units)
    revision = f"{workload.name}:1" if workload.size else None
    setting = lever.model_copy(update={"size": workload.size, "revision": revision})
    return SimulatedService(workload, recorded, setting, units, workload.objectives, scenario.outages)


def write(replayed: Replayed, folder: Path) -> None:
    """`slots.csv`, `decisions.jsonl` and `summary.json` in `folder`, which is made if it is not there."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    tables = [_slots(service) for service in replayed.services.values()]
    pd.concat(tables).to_csv(folder / "slots.csv", index=False)
    lines = "".join(record.model_dump_json(exclude_none=True) + "\n" for record in replayed.decisions)
    (folder / "decisions.jsonl").write_text(lines, encoding="utf-8")
    (folder / "summary.json").write_text(
        json.dumps(replayed.summary.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8"
    )


def _slots(service: SimulatedService) -> pd.DataFrame:
    """One row a metric period: start, demand and usage per resource, units asked for and serving, and these' size."""
    import pandas as pd

    rows: list[dict[str, object]] = []
    for p in service.periods:
        row: dict[str, object] = {"timestamp": f"{p.at:%Y-%m-%dT%H:%M:%SZ}", "workload": service.workload.name}
        row |= {f"demand_{r}": round(value, 6) for r, value in p.demand.items()}
        row |= {"units_asked": p.desired, "units_serving": p.serving, "size": p.size and str(p.size)}
        row |= {f"usage_{r}": round(value, 6) for r, value in p.usage.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _found(catalog: WorkloadCatalog, name: str) -> Workload:
    workload = catalog.get(name)
    if workload is None:
        raise unknown_workload(name, catalog.workloads)
    return workload


def summary_text(summary: Summary) -> str:
    """A few lines for people; the first says why a policy is not in force."""
    force = f"in force since {summary.activation_at:%d %b %H:%M:%S} UTC" if summary.activation_at else "not in force"
    replans = f"{summary.replans} replan{'s' * (summary.replans != 1)}"
    lines = [f"{summary.change}: {summary.state}, {force}; {replans}"]
    if summary.activation_at is None:
        lines[0] += f"; {summary.note}"
    for name, o in summary.workloads.items():
        lines.append(
            f"{name}: {o.unit_hours:.1f} unit-hours ({o.money} {o.currency}); {o.short_unit_hours:.2f} unit-hours "
            f"short of the target utilisation in {o.slots_under_target:.1%} of the time; "
            f"{o.moves} moves, the largest {o.largest_move} units"
            + (f"; {o.held_over_gaps:.1%} of its demand held over gaps of the record" if o.held_over_gaps else "")
        )
    return "\n".join(lines)
