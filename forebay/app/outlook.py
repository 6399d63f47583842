"""What a plan rests on: the usage of a workload's past, and the forecasts of what is to come."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forebay.app.context import Context
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.resources import Resource
from forebay.domain.wording import duration
from forebay.domain.workload import Workload
from forebay.planning.required import whole
from forebay.planning.slots import SlotIndex, horizon_slots
from forebay.planning.tracking import reaction_slots

if TYPE_CHECKING:
    import pandas as pd

# Usage that ended so long ago is said to have, and beyond the longer span is not planned on: the seasons bridge a day
# or two, after that nobody knows what the load does now.
SAID_AFTER, OLDEST = timedelta(hours=3), timedelta(days=2)


def read_history(ctx: Context, workload: Workload) -> Mapping[Resource, pd.Series]:
    """Usage of the workload's history window, per slot. Raises OutsideError."""
    now = ctx.clock.now()
    return ctx.usage(workload).history(now - workload.history, now, workload.slot)


Entities = Mapping[str, Mapping[Resource, "pd.Series"]]


@dataclass(frozen=True)
class Outlook:
    """The forecasts of one workload on the slots its plan needs.

    `paths`: resource -> (n_paths, len(index)) joint samples of the demand without the change, canonical units.
    `notes`: resource -> what the forecast says of itself.
    """

    index: SlotIndex
    paths: Mapping[Resource, npt.NDArray[np.float64]]
    notes: Mapping[str, tuple[str, ...]]
    entity: Mapping[str, Mapping[Resource, npt.NDArray[np.float64]]] = field(default_factory=dict)
    """By entity, what of `paths` is theirs, for the resources it was measured for."""


def forecast_workload(
    workload: Workload,
    change: PolicyChange,
    history: Mapping[Resource, pd.Series],
    now: datetime,
    budget: timedelta,
    entity: Entities | None = None,
) -> Outlook:
    """Forecast every planned resource. Raises InputError naming a resource without data, or with none of late.

    `entity`: by entity, the part of the history that is theirs, where it was measured of late. They and the rest are
    then forecast apart, and each path of the total is the sum of one of each.
    """
    import pandas as pd

    from forebay.forecasting import Forecast, forecast_series
    from forebay.forecasting.calendar import Calendar

    index = horizon_slots(change, workload, now)
    wanted = pd.DatetimeIndex([index.at(slot) for slot in range(len(index))])
    parts = len(workload.resources) + sum(len(theirs) for theirs in (entity or {}).values())

    def ahead(series: pd.Series) -> Forecast:
        return forecast_series(
            series,
            horizon=int((wanted[-1] - series.index[-1]) / workload.slot) + 1,
            step=workload.slot,
            seasons=workload.seasons,
            seed=seed_for(change.change, workload.name),  # one seed: errors of one moment stay together
            budget_seconds=budget.total_seconds() / parts,
            calendar=Calendar(workload.zone, workload.holidays),
        )

    def age(series: pd.Series) -> timedelta:
        since: timedelta = (wanted[0] - series.index[-1]).to_pytimedelta() - workload.slot
        return since

    def paths_of(forecast: Forecast) -> npt.NDArray[np.float64]:
        columns = forecast.index.get_indexer(wanted)
        assert (columns >= 0).all(), "forecast and plan share one grid"
        return forecast.paths[:, columns]

    paths: dict[Resource, npt.NDArray[np.float64]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    theirs: dict[str, dict[Resource, npt.NDArray[np.float64]]] = {}
    for resource in workload.resources:
        series = _finished(history.get(resource), wanted[0], workload.slot)
        if series is None or series.empty:
            raise InputError(
                f"{workload.name}: no {resource} usage in the last {duration(workload.history)}: check the metric's "
                f"name and dimensions, or leave {resource} out of the objectives"
            )
        if age(series) > OLDEST:
            raise InputError(
                f"{workload.name}: its {resource} usage ends {duration(age(series))} before now, at "
                f"{series.index[-1]:%Y-%m-%d %H:%M} UTC: see why nothing has come since, or give the history until now"
            )
        apart = {
            name: own
            for name, measured in (entity or {}).items()
            if (own := _finished(measured.get(resource), wanted[0], workload.slot)) is not None
            and len(own)
            and age(own) <= OLDEST
        }
        rest = (series - sum(apart.values())).dropna().clip(lower=0.0)
        if rest.empty:  # nothing of them was measured at the times of the total
            apart, rest = {}, series
        others = ahead(rest)
        paths[resource], reasons = paths_of(others), []
        for name, own in apart.items():
            forecast = ahead(own)
            theirs.setdefault(name, {})[resource] = paths_of(forecast)
            paths[resource] = paths[resource] + theirs[name][resource]
            reasons.append(f"{name}, measured: {'; '.join(forecast.reasons)}")
        reasons += [f"the rest: {'; '.join(others.reasons)}"] if apart else others.reasons
        if change.entity in workload.shares and change.entity not in apart:
            reasons.append(f"{change.entity}: assumed share {workload.shares[change.entity]:.0%}, not measured")
        if age(series) > SAID_AFTER:
            reasons.insert(0, f"the usage ends {duration(age(series))} before now")
        notes[resource.value] = tuple(reasons)
    return Outlook(index, paths, notes, theirs)


def forecast_live(
    ctx: Context,
    workload: Workload,
    change: PolicyChange,
    history: Mapping[Resource, pd.Series],
    now: datetime,
    budget: timedelta,
    others: Iterable[PolicyChange] = (),
) -> Outlook:
    """`forecast_workload`, with what was measured of the entities of `change` and of the `others` that act on the same
    demand. Raises OutsideError.
    """
    usage = ctx.usage(workload)
    entity = {
        name: usage.entity_history(name, now - workload.history, now, workload.slot)
        for name in dict.fromkeys(one.entity for one in (*others, change))
    }
    return forecast_workload(workload, change, history, now, budget, entity)


def _finished(series: pd.Series | None, before: pd.Timestamp, slot: timedelta) -> pd.Series | None:
    """The samples whose interval ended before the plan begins: the mean of a slot that is not over is no sample."""
    if series is None or len(known := series.dropna()) == 0:
        return None
    import pandas as pd

    spacing = pd.Timedelta(slot)
    if len(known) > 1:
        spacing = max(spacing, pd.Timedelta(known.index.to_series().diff().median()))
    return known[known.index <= before - spacing]


def recently_needed(
    workload: Workload, history: Mapping[Resource, pd.Series], before: datetime
) -> npt.NDArray[np.int64] | None:
    """Units that the usage of the last slots before `before` needed, oldest first: what an autoscaler acts on next.

    A slot without data is taken for the one before it; None without any.
    """
    import pandas as pd

    slots = pd.date_range(
        before - reaction_slots(workload) * workload.slot, periods=reaction_slots(workload), freq=workload.slot
    )
    needs = [
        history[r].reindex(slots).ffill().bfill() / (workload.unit[r] * workload.objectives[r])
        for r in workload.resources
        if r in history
    ]
    if not needs or any(need.isna().any() for need in needs):
        return None
    return whole(np.max(needs, axis=0))


def seed_for(*words: str) -> int:
    """A seed that is the same for the same change and workload on every machine."""
    return zlib.crc32("/".join(words).encode())
