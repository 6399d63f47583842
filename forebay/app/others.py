"""Other changes on a workload: those ahead of one, those whose impact is still new, and the bounds that hold for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from forebay.app.context import Context
from forebay.app.left import stood_before
from forebay.app.lookup import own_version
from forebay.app.outlook import Others, Outlook, forecast_live
from forebay.app.turn import Ahead, ahead_of
from forebay.domain.allocation import Setting
from forebay.domain.bounds import PolicyBounds
from forebay.domain.change import PolicyChange
from forebay.domain.lifecycle import AFTER, COME_TO_NOTHING, ChangeState
from forebay.domain.policy import begun, followed, in_force
from forebay.domain.records import ChangeRecord
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.ports import Snapshot

if TYPE_CHECKING:
    import pandas as pd

UNDONE = frozenset({ChangeState.ROLLING_BACK, ChangeState.ROLLED_BACK})
ACTING = frozenset(ChangeState) - COME_TO_NOTHING - {ChangeState.ROLLING_BACK}
TO_COME = ACTING - AFTER
# Once an impact was there for so many of the workload's shortest seasons, the forecast finds the new level in the
# history by itself (forecasting/cleaning/levels.py), and what was measured is worth more than an estimate.
SEASONS_UNTIL_KNOWN = 3


def ahead_on(tx: Snapshot, change: PolicyChange, workload: str, live: Setting, now: datetime) -> list[Ahead]:
    """The changes that `change` comes after on `workload`, where `live` stands, the earliest first."""
    ahead = [record for record in reversed(ahead_of(tx, change)) if workload in record.change.workloads]
    coming = [record.change for record in ahead if record.state in TO_COME]
    over = PolicyBounds.of(in_force_on(tx, workload, now), workload, coming)
    found = []
    for record in ahead:
        name = record.change.change
        back = stood_before(tx, name, workload, tx.original(name, workload) or live).within(over)
        plan = tx.plan(name, workload)
        found.append(Ahead(record.change, plan, back.floor, record.state, _acts_from(tx, record, now)))
    return found


def forecast_beside_others(
    ctx: Context,
    workload: Workload,
    change: PolicyChange,
    history: Mapping[Resource, pd.Series],
    now: datetime,
    budget: timedelta,
    began: datetime | None = None,
) -> Outlook:
    """`forecast_live` of `change` beside all that acts on the demand of `workload` with it. Raises OutsideError.

    One that took force before its time, by break glass, is itself among what is in force, unless it is said when it
    `began`: then the plan is of what follows on that.
    """
    with ctx.store.snapshot() as tx:
        others = others_on(tx, change, workload, now)
    if began is not None:
        others = replace(others, in_force=tuple(o for o in others.in_force if o.change != change.change))
    return forecast_live(ctx, workload, change, history, now, budget, others, began)


def others_on(tx: Snapshot, change: PolicyChange, workload: Workload, now: datetime) -> Others:
    """What acts on the demand of `workload` as of `now`: all that took force of late, and what is before `change`."""
    return Others(_in_force_lately(tx, workload, now), to_come(tx, change, workload.name, now))


def to_come(tx: Snapshot, change: PolicyChange, workload: str, now: datetime) -> tuple[PolicyChange, ...]:
    """Those ahead of `change` that are not in force yet, the earliest first, as of when they will be."""
    return tuple(
        _as_of(record.change, _acts_from(tx, record, now))
        for record in reversed(ahead_of(tx, change))
        if workload in record.change.workloads and record.state in ACTING and not begun(own_version(tx, record), now)
    )


def bounds_on(tx: Snapshot, changes: Sequence[PolicyChange], workload: str, now: datetime) -> PolicyBounds:
    """What policies hold `workload` to while `changes` (one, or those on one path, in their order) come into force:
    those in force now, and those that will be by their turn.
    """
    coming = [r.change for r in reversed(ahead_of(tx, changes[0])) if r.state in TO_COME]
    return PolicyBounds.of(in_force_on(tx, workload, now), workload, [*coming, *changes], len(changes))


def in_force_on(tx: Snapshot, workload: str, now: datetime) -> list[PolicyChange]:
    """The changes whose policies are in force now and have an entitlement on `workload`, one of each policy."""
    acting = (record.change for record in reversed(tx.changes(ACTING, entitled=True)))
    entitled = {change.change: change for change in acting if change.entitlement(workload)}
    policies = dict.fromkeys((change.entity, change.policy) for change in entitled.values())
    names = [_says(tx, entity, policy, now) for entity, policy in policies]
    return [entitled[name] for name in names if name in entitled]


def _says(tx: Snapshot, entity: str, policy: str, now: datetime) -> str | None:
    """The change that brought what the policy says now, maybe again since a later version was rolled back."""
    versions = tx.versions(entity, policy)
    version = in_force(versions, now)
    while version is not None and version.change is None:
        undone = followed(versions, version)
        by = tx.change(undone.change) if undone and undone.change else None
        if undone is None or by is None or by.state not in UNDONE:
            return None  # it was imported
        version = followed(versions, undone)
    return version.change if version else None


def _in_force_lately(tx: Snapshot, workload: Workload, now: datetime) -> tuple[PolicyChange, ...]:
    """Those whose impact the history does not know well yet, as of when they took force; closed ones among them."""
    known_if_before = now - SEASONS_UNTIL_KNOWN * workload.seasons[0]
    found = []
    # What was closed before all of the history can be in no forecast of it: most of all changes there ever were.
    for record in reversed(tx.changes(ACTING, closed_after=now - workload.history)):
        taking = max((i.adoption.over for i in record.change.impacts if i.workload == workload.name), default=None)
        if taking is None or _over(record, known_if_before - taking):
            continue
        began = _acts_from(tx, record, now)
        if begun(own_version(tx, record), now) and began + taking > known_if_before:
            found.append(_as_of(record.change, began))
    return tuple(found)


def _over(record: ChangeRecord, at: datetime) -> bool:
    """Whether it was closed by then, as most are: no need to read their versions."""
    return record.state is ChangeState.CLOSED and record.updated_at <= at


def _acts_from(tx: Snapshot, record: ChangeRecord, now: datetime) -> datetime:
    """When its policy took force, or will by the clock; where it is deferred it may at any moment."""
    version, effective_at = own_version(tx, record), record.change.effective_at
    if version is not None and version.in_force_from is not None:
        return version.in_force_from
    return max(effective_at, now) if record.state in ACTING else effective_at


def _as_of(change: PolicyChange, at: datetime) -> PolicyChange:
    return change.model_copy(update={"effective_at": at})
