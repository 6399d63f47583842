"""Runs of the scheduler that have outlived their purpose: of changes that are over, and of processes that have died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from forebay.app.context import Context
from forebay.app.wakeups import step_key
from forebay.domain.lifecycle import TERMINAL, ChangeState

Kind = Literal["plan", "step", "enforce", "reconcile"]
Stage = Literal["scheduled", "pending", "running"]
# The lease of a run at work is held by `run <its id> …`.
RUN = "run "
OVER = TERMINAL | {ChangeState.CANCELLED}
# A run at work on a step holds its workload's lease from its first second on; so long its process may take to start.
SILENT_FOR = timedelta(minutes=3)
# Above every time limit that planning has by itself.
PLANS_FOR = timedelta(minutes=45)
# A pass forecasts at times. One that takes longer still does no harm beside the next.
RECONCILES_FOR = timedelta(minutes=10)
AT_WORK_FOR: Mapping[Kind, timedelta] = {"plan": PLANS_FOR, "reconcile": RECONCILES_FOR}


@dataclass(frozen=True)
class Run:
    """A run as the scheduler has it, made for `changes` under `key`. `since`: when it came into its state."""

    id: str
    kind: Kind
    state: Stage
    since: datetime
    changes: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Ending:
    """What is to become of a run, and why."""

    run: Run
    how: Literal["cancel", "crash"]
    reason: str


def outlived(ctx: Context, runs: Sequence[Run]) -> list[Ending]:
    """The runs that nobody needs any more, or in which nobody works.

    A scheduled run goes once every change it was made for is over, or its step is of a plan that is no longer the
    current one; it would do no harm, it would only find nothing to do. One that is taken for dead is called so; what it
    leaves open is found and settled without that.
    """
    now = ctx.clock.now()
    with ctx.store.snapshot() as tx:
        changes = tx.changes()
        states = {record.change.change: record.state for record in changes}
        waking = [name for run in runs if run.kind == "step" and run.state == "scheduled" for name in run.changes]
        steps = {step_key(step) for name in set(waking) for step in tx.steps(name)}
        # Of the changes, not of the workloads file: a run may have read another edition of it.
        leases = [tx.lease(name) for name in {name for record in changes for name in record.change.workloads}]
    valid = [lease.holder for lease in leases if lease is not None and lease.expires_at > now]
    at_work = {holder.split()[1] for holder in valid if holder.startswith(RUN)}
    endings = []
    for run in runs:
        known = run.changes and all(name in states for name in run.changes)
        over = [name for name in run.changes if states.get(name) in OVER]
        patience = AT_WORK_FOR.get(run.kind, SILENT_FOR) if run.state == "running" else SILENT_FOR
        if run.state == "scheduled":
            if over and len(over) == len(run.changes):
                told = ", ".join(f"change {name} is {states[name]}" for name in over)
                endings.append(Ending(run, "cancel", told))
            elif run.kind == "step" and known and run.key and run.key.rpartition(":")[0] not in steps:
                endings.append(Ending(run, "cancel", "its step is not planned any more"))
        elif run.since + patience < now and run.id not in at_work:
            endings.append(Ending(run, "crash", f"nobody has worked in it since {run.since:%Y-%m-%d %H:%M:%S} UTC"))
    return endings
