"""What a plan rests on: the usage of a workload's past, and the forecasts of what is to come."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from forebay.planning.demand import Floats
from forebay.planning.learning import doubted
from forebay.planning.required import whole
from forebay.planning.slots import SlotIndex, horizon_slots
from forebay.planning.tracking import reaction_slots

if TYPE_CHECKING:
    import pandas as pd

    from forebay.forecasting.parts import Parts

# Usage that ended so long ago is said to have, and beyond the longer span is not planned on: the seasons bridge a day
# or two, after that nobody knows what the load does now.
SAID_AFTER, OLDEST = timedelta(hours=3), timedelta(days=2)


def read_history(ctx: Context, workload: Workload) -> Mapping[Resource, pd.Series]:
    """Usage of the workload's history window, per slot. Raises OutsideError."""
    now = ctx.clock.now()
    return ctx.usage(workload).history(now - workload.history, now, workload.slot)


Entities = Mapping[str, Mapping[Resource, "pd.Series"]]


@dataclass(frozen=True)
class Others:
    """Other changes that act on a workload's demand. Their `effective_at` is when they do: when those `in_force` took
    force, and no earlier than now for those `to_come`.
    """

    in_force: tuple[PolicyChange, ...] = ()
    to_come: tuple[PolicyChange, ...] = ()

    @property
    def entities(self) -> tuple[str, ...]:
        return tuple(one.entity for one in (*self.in_force, *self.to_come))


@dataclass(frozen=True)
class Outlook:
    """The forecasts of one workload on the slots its plan needs, as of the moment before any change `in_force` was.

    `paths`: resource -> (n_paths, len(index)) joint samples of the demand without the change, and without those that
    are `in_force` since `index` began, canonical units. `notes`: resource -> what the forecast says of itself.
    """

    index: SlotIndex
    paths: Mapping[Resource, Floats]
    notes: Mapping[str, tuple[str, ...]]
    entity: Mapping[str, Mapping[Resource, Floats]] = field(default_factory=dict)
    """By entity, what of `paths` is theirs, for the resources it was measured for."""
    in_force: tuple[PolicyChange, ...] = ()
    seen: Mapping[Resource, Floats] = field(default_factory=dict)
    """Usage in the `passed` slots that are over, with all that is in force by then; NaN where unknown."""
    passed: int = 0

    @property
    def rest(self) -> SlotIndex:
        """The slots from now on."""
        return self.index.part(self.passed, len(self.index))


def forecast_workload(
    workload: Workload,
    change: PolicyChange,
    history: Mapping[Resource, pd.Series],
    now: datetime,
    budget: timedelta,
    entity: Entities | None = None,
    others: Others = Others(),
    began: datetime | None = None,
) -> Outlook:
    """Forecast every planned resource. Raises InputError naming a resource without data, or with none of late.

    `entity`: by entity, the part of the history that is theirs, where it was measured. They and the rest are
    then forecast apart, and each path of the total is the sum of one of each; one measured for a part of the history
    only is a share of the rest. Raises InputError too where they are above the total for much of the time.

    `began`: when `change` itself took force. The forecast is made of the history before it and before whatever of
    `others` is in force: of hours with an impact after days without, it would miss most. What was seen since is there
    to be learned from.
    """
    import pandas as pd

    entity = entity or {}
    in_force = _known_before(workload, history, others.in_force, now)
    starts = [*(one.effective_at for one in in_force), *([began] if began else [])]
    index = horizon_slots(change, workload, min([now, *starts]))
    passed = index.covering(now)
    this_slot = index.at(passed)
    forecasts = len(workload.resources) + sum(len(measured) for measured in entity.values())
    paths: dict[Resource, Floats] = {}
    theirs: dict[str, dict[Resource, Floats]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    seen: dict[Resource, Floats] = {}
    for resource in workload.resources:
        series = known_of_late(workload, resource, history.get(resource), this_slot)
        parts = _parts(workload, resource, series, entity, index.start)
        reasons = list(parts.notes)
        own: dict[str, Floats] = {}
        for name, measured in parts.apart.items():
            own[name], own_reasons = _ahead(workload, measured, index, budget / forecasts)
            reasons.append(f"{name}, measured: {'; '.join(own_reasons)}")
        rest, rest_reasons = _ahead(workload, parts.rest, index, budget / forecasts)
        reasons += [f"the rest: {'; '.join(rest_reasons)}"] if own else rest_reasons
        paths[resource] = rest + sum(own.values())
        for name, share in parts.shares.items():
            if name in workload.shares and share.known < workload.seasons[0]:
                known_for = f"measured for {duration(share.known)} only"
                reasons.append(f"{name}: assumed share {workload.shares[name]:.0%}, {known_for}")
                continue
            own[name] = rest * share.at(pd.DatetimeIndex(list(index)))
            reasons.append(f"{name}, {share.said}")
        for name, known in own.items():
            theirs.setdefault(name, {})[resource] = known
        if change.entity in workload.shares and change.entity not in own and change.entity not in parts.shares:
            reasons.append(f"{change.entity}: assumed share {workload.shares[change.entity]:.0%}, not measured")
        if (age := _age(series, this_slot, workload.slot)) > SAID_AFTER:
            reasons.insert(0, f"the usage ends {duration(age)} before now")
        notes[resource.value] = (*reasons, *(_said_of(one) for one in in_force))
        if passed:
            seen[resource] = _seen(workload, series, index.part(0, passed), starts)
    return Outlook(index, paths, notes, theirs, tuple(_weighed(one, index, seen) for one in in_force), seen, passed)


def forecast_live(
    ctx: Context,
    workload: Workload,
    change: PolicyChange,
    history: Mapping[Resource, pd.Series],
    now: datetime,
    budget: timedelta,
    others: Others,
    began: datetime | None = None,
) -> Outlook:
    """`forecast_workload`, with what was measured of the entities of all changes that act. Raises OutsideError.

    `others` is always said: whoever forgot them would plan for a demand in which nothing else is about to happen.
    """
    usage = ctx.usage(workload)
    entity = {
        name: usage.entity_history(name, now - workload.history, now, workload.slot)
        for name in dict.fromkeys([*others.entities, change.entity])
    }
    return forecast_workload(workload, change, history, now, budget, entity, others, began)


def _ahead(workload: Workload, series: pd.Series, index: SlotIndex, budget: timedelta) -> tuple[Floats, list[str]]:
    """Sample paths of what follows on `series`, on the slots of `index`; and what the forecast says of itself."""
    import pandas as pd

    from forebay.forecasting import forecast_series
    from forebay.forecasting.calendar import Calendar

    wanted = pd.DatetimeIndex(list(index))
    forecast = forecast_series(
        series,
        horizon=int((wanted[-1] - series.index[-1]) / workload.slot) + 1,
        step=workload.slot,
        seasons=workload.seasons,
        seed=seed_for(workload.name),  # one seed: errors of one moment stay together
        budget_seconds=budget.total_seconds(),
        calendar=Calendar(workload.zone, workload.holidays),
    )
    columns = forecast.index.get_indexer(wanted)
    assert (columns >= 0).all(), "forecast and plan share one grid"
    return forecast.paths[:, columns], list(forecast.reasons)


def known_of_late(workload: Workload, resource: Resource, history: pd.Series | None, now: datetime) -> pd.Series:
    """What is known of the resource by `now`. Raises InputError where that is nothing, or nothing of late."""
    series = _finished(history, now, workload.slot)
    if series is None:
        raise InputError(
            f"{workload.name}: no {resource} usage in the last {duration(workload.history)}: check the metric's "
            f"name and dimensions, or leave {resource} out of the objectives"
        )
    if (age := _age(series, now, workload.slot)) > OLDEST:
        raise InputError(
            f"{workload.name}: its {resource} usage ends {duration(age)} before now, at "
            f"{series.index[-1]:%Y-%m-%d %H:%M} UTC: see why nothing has come since, or give the history until now"
        )
    return series


def _parts(workload: Workload, resource: Resource, total: pd.Series, entity: Entities, start: datetime) -> Parts:
    """The usage before `start`, and in it what was measured of each entity. Raises InputError."""
    from forebay.forecasting.parts import Parts, parted

    before = _finished(total, start, workload.slot)
    if before is None:
        raise InputError(
            f"{workload.name}: no {resource} usage from before {start:%Y-%m-%d %H:%M} UTC to forecast from"
        )
    measured: dict[str, pd.Series] = {}
    for name, by_resource in entity.items():
        own = _finished(by_resource.get(resource), start, workload.slot)
        if own is not None:
            measured[name] = own
    if not measured:
        return Parts({}, {}, before)
    try:
        return parted(before, measured, workload.slot, workload.seasons)
    except InputError as error:
        raise InputError(f"{workload.name}: {resource} usage: {error}") from error


def _age(series: pd.Series, now: datetime, slot: timedelta) -> timedelta:
    last: datetime = series.index[-1].to_pydatetime()
    return now - last - slot


def _finished(series: pd.Series | None, before: datetime, slot: timedelta) -> pd.Series | None:
    """The samples whose interval ended `before` then: the mean of a slot that is not over is none. None without any."""
    if series is None or len(known := series.dropna()) == 0:
        return None
    import pandas as pd

    finished = known[known.index <= pd.Timestamp(before) - max(pd.Timedelta(slot), _spacing(known, slot))]
    return finished if len(finished) else None


def _spacing(known: pd.Series, slot: timedelta) -> pd.Timedelta:
    """How long each sample is taken to be of."""
    import pandas as pd

    return pd.Timedelta(known.index.to_series().diff().median() if len(known) > 1 else slot)


def _known_before(
    workload: Workload, history: Mapping[Resource, pd.Series], in_force: Sequence[PolicyChange], now: datetime
) -> list[PolicyChange]:
    """Those that have been in force for no longer than the history goes back before them: of any other it knows too
    little from before to forecast from.
    """
    firsts = [known.index[0] for r in workload.resources if r in history and len(known := history[r].dropna())]
    return [one for one in in_force if firsts and now - one.effective_at <= one.effective_at - max(firsts)]


def _seen(workload: Workload, series: pd.Series, index: SlotIndex, starts: Sequence[datetime]) -> Floats:
    """Usage in each slot; NaN where unknown, and where a change came into force in the middle of it, or of a sample."""
    import pandas as pd

    begins = pd.DatetimeIndex(series.index)
    ends = begins + _spacing(series, workload.slot)
    moments = [pd.Timestamp(start) for start in starts]
    mixed = [np.asarray((begins < moment) & (ends > moment)) for moment in moments]
    known = _in_slots(workload, series[~np.any(mixed, axis=0)] if mixed else series, index)
    return np.where([any(at < start < at + index.length for start in starts) for at in index], np.nan, known)


def _in_slots(workload: Workload, series: pd.Series | None, index: SlotIndex) -> Floats:
    """Usage in each slot as a forecast sees it, NaN where unknown: few files have samples just where slots begin."""
    import pandas as pd

    from forebay.forecasting.regular import gridded

    if series is None or series.isna().all():
        return np.full(len(index), np.nan)
    found = gridded(series, workload.slot, *workload.seasons)
    slots = pd.date_range(found.start, periods=len(found.values), freq=workload.slot)
    return np.asarray(pd.Series(found.values, index=slots).reindex(list(index)), dtype=float)


def _weighed(change: PolicyChange, index: SlotIndex, seen: Mapping[Resource, Floats]) -> PolicyChange:
    """`change`, doubted where there is anything to learn from: what nothing corrects yet is as it was estimated."""
    first = index.first_from(change.effective_at)
    return doubted(change) if any(np.isfinite(values[first:]).any() for values in seen.values()) else change


def _said_of(change: PolicyChange) -> str:
    return (
        f"{change.change} is in force since {change.effective_at:%d %b %H:%M} UTC: forecast from the history before, "
        "with its impact as it was estimated, corrected by what was seen since"
    )


def recently_needed(
    workload: Workload, history: Mapping[Resource, pd.Series], before: datetime
) -> npt.NDArray[np.int64] | None:
    """Units that the usage of the last slots before `before` needed, oldest first: what an autoscaler acts on next.

    A slot without data is taken for the one before it; None without any.
    """
    import pandas as pd

    late = reaction_slots(workload)
    slots = SlotIndex(before - late * workload.slot, workload.slot, late)
    finished = {r: _finished(history[r], before, workload.slot) for r in workload.resources if r in history}
    needs = [
        pd.Series(_in_slots(workload, usage, slots)).ffill().bfill() / (workload.unit[r] * workload.objectives[r])
        for r, usage in finished.items()
    ]
    if not needs or any(need.isna().any() for need in needs):
        return None
    return whole(np.max(needs, axis=0))


def seed_for(*words: str) -> int:
    """A seed that is the same for the same words on every machine."""
    return zlib.crc32("/".join(words).encode())


def luck_of(workload: Workload, changes: Iterable[PolicyChange]) -> Callable[[PolicyChange], np.random.Generator]:
    """By change, where the estimates of its impact come to lie; the `changes` are all that act, the earliest first.

    The same whatever a change is called and whenever it comes into force, so that asking again tells nothing new.
    Those of different policies are independent, and so are several of one: what one customer's first change turned out
    to be is not what the next will.
    """
    seeds: dict[str, int] = {}
    before: Counter[tuple[str, str]] = Counter()
    for one in changes:
        if one.change not in seeds:
            seeds[one.change] = seed_for(workload.name, one.entity, one.policy, str(before[one.entity, one.policy]))
            before[one.entity, one.policy] += 1
    return lambda of: np.random.default_rng(seeds[of.change])
