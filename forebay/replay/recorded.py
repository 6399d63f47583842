"""The recorded demand of one workload, and what the change really does to it once its policy is in force."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.impact import Impact
from forebay.domain.resources import Resource
from forebay.domain.wording import duration
from forebay.domain.workload import Workload
from forebay.forecasting.history import aligned
from forebay.planning.demand import Floats, Paths
from forebay.planning.slots import SlotIndex
from forebay.planning.stacked import stacked_demand

if TYPE_CHECKING:
    import pandas as pd

# Two samples further apart than this many spacings have a gap between them; nearer ones came a little late.
LATE = 1.5
LONGEST_HELD = timedelta(hours=1)  # the coarsest that CloudWatch keeps; two values hours apart are no record of them
MOST_BRIDGED = 0.5  # where more than half is not known, what comes out tells of the gaps


class RecordedDemand:
    """Demand per metric period from `start` on. `history` and `actual`: usage per resource, canonical units, UTC.

    The record is the demand without the change; each of its values holds until the next one. `own`, `own_since`: what
    of `history` and `actual` was measured of the change's entity; where only the former was, its part stays what it
    was. `held_over_gaps`: share of the periods whose value comes from before a gap of the record, of the series where
    it is largest. Raises InputError naming the resource where the record has none, ends before the replay begins,
    begins more than one spacing after it, or is missing in more than half of the periods.
    """

    def __init__(
        self,
        workload: Workload,
        history: Mapping[Resource, pd.Series],
        actual: Mapping[Resource, pd.Series],
        start: datetime,
        own: Mapping[Resource, pd.Series] = {},
        own_since: Mapping[Resource, pd.Series] = {},
    ) -> None:
        self.workload, self.history, self.own_history, self.start = workload, history, own, start
        self.end = min(_end(workload, r, actual) for r in workload.resources)
        count = int((self.end - start) / workload.metric_period)
        if count < 1:
            raise InputError(f"{workload.name}: the actual demand ends at {self.end}, the replay begins at {start}")
        self.index = SlotIndex(start, workload.metric_period, count)
        self.held_over_gaps = 0.0
        self._without = {r: self._held(actual[r], str(r)) for r in workload.resources}
        self._own_without = {r: self._own_of(r, own[r], own_since.get(r)) for r in workload.resources if r in own}
        self._demand: Paths = self._without
        self._own: Paths = self._own_without

    def _own_of(self, resource: Resource, before: pd.Series, since: pd.Series | None) -> Floats:
        total = self._without[resource]
        if since is None:
            return total * self._share_of(resource, before)
        return np.minimum(self._held(since, f"{resource} of the change's entity"), total)

    def _share_of(self, resource: Resource, before: pd.Series) -> float:
        """The part of the total that was the entity's while both are known."""
        whole, own = aligned([self.history[resource].dropna(), before.dropna()])
        known = whole.index.intersection(own.index)
        if known.empty:
            raise InputError(
                f"{self.workload.name}: the history has no time at which both {resource} and the entity's part of it "
                "are known: give the entity's usage in the actual demand too"
            )
        most = float(whole[known].mean())
        return min(1.0, float(own[known].mean()) / most) if most > 0 else 1.0

    def _held(self, series: pd.Series, what: str) -> Floats:
        """Of each period the value that holds in it. Shape (1, periods)."""
        import pandas as pd

        known = series.dropna()
        grid = pd.date_range(self.start, periods=len(self.index), freq=pd.Timedelta(self.index.length))
        missing = _missing(self.workload, known, grid, what)
        self.held_over_gaps = max(self.held_over_gaps, missing)
        values = known.reindex(known.index.union(grid)).ffill().bfill().reindex(grid)
        return np.asarray(values, dtype=np.float64)[None, :]

    def at(self, at: datetime) -> dict[Resource, float]:
        """Demand in the period that contains `at`; the last one known beyond the record's end."""
        slot = min(self.index.covering(at), len(self.index) - 1)
        return {r: float(values[0, slot]) for r, values in self._demand.items()}

    def own_at(self, at: datetime) -> dict[Resource, float]:
        """What of it is the change's entity's, for the resources that was measured for."""
        slot = min(self.index.covering(at), len(self.index) - 1)
        return {r: float(values[0, slot]) for r, values in self._own.items()}

    def come_into_force(self, truth: PolicyChange | None, at: datetime | None) -> None:
        """`truth` acts from `at` on; None: it does not act (yet)."""
        if truth is None or at is None:
            self._demand, self._own = self._without, self._own_without
            return
        acting = truth.model_copy(update={"effective_at": at})
        self._demand, own = stacked_demand(
            self.workload,
            [acting],
            acting,
            self._without,
            {acting.entity: self._own_without},
            self.index,
            lambda _: np.random.default_rng(0),  # what a change really does is exact: nothing depends on the draw
        )
        self._own = {r: own[r] for r in self._own_without}


def truth(change: PolicyChange, scale: float) -> PolicyChange:
    """What the change really does: `scale` times the estimated effect, as an exact number."""
    return change.model_copy(update={"impacts": tuple(_scaled(impact, scale) for impact in change.impacts)})


def _scaled(impact: Impact, scale: float) -> Impact:
    factor = max(0.0, 1 + scale * (impact.factor - 1))
    exact = {"low": None, "high": None, "add_low": None, "add_high": None}
    return impact.model_copy(update={"factor": factor, "add": scale * impact.add, **exact})


def _end(workload: Workload, resource: Resource, actual: Mapping[Resource, pd.Series]) -> datetime:
    series = actual.get(resource)
    if series is None or len(known := series.dropna()) < 2:
        raise InputError(
            f"{workload.name}: no {resource} in the actual demand: give what was measured, or leave {resource} out of "
            "the objectives"
        )
    last: datetime = (known.index[-1] + _spacing(workload, known)).to_pydatetime()
    return last


def _spacing(workload: Workload, known: pd.Series) -> timedelta:
    """How long a value holds: what most samples are apart (the less, of two as frequent), but never for hours."""
    return min(_median_apart(known), max(workload.slot, LONGEST_HELD))


def _median_apart(known: pd.Series) -> timedelta:
    apart = np.sort(np.diff(known.index))
    return timedelta(seconds=float(apart[(len(apart) - 1) // 2] / np.timedelta64(1, "s")))


def _missing(workload: Workload, known: pd.Series, grid: pd.DatetimeIndex, what: str) -> float:
    """Share of the periods that lie in a gap of the record. Raises InputError where that is too much to replay."""
    if len(known) < 2:
        raise InputError(f"{workload.name}: the actual demand has fewer than two values of {what}: give all, or none")
    begin, first, spacing = grid[0], known.index[0], _spacing(workload, known)
    if (apart := _median_apart(known)) > spacing:
        raise InputError(
            f"{workload.name}: the actual demand of {what} is sampled every {duration(apart)}: a replay needs "
            f"values at most {duration(spacing)} apart"
        )
    if first > begin + spacing:
        raise InputError(
            f"{workload.name}: the actual demand of {what} begins at {first}, {duration(first - begin)} after the "
            f"replay does: give what was measured from {begin} on, or begin the replay later"
        )
    before_gap = np.append(np.diff(known.index) > LATE * np.timedelta64(spacing), True)
    latest = known.index.searchsorted(grid, side="right") - 1
    over = np.asarray(grid - known.index[latest] >= spacing)
    share = float(np.mean((latest < 0) | (before_gap[latest] & over)))
    if share > MOST_BRIDGED:
        raise InputError(
            f"{workload.name}: the actual demand of {what} is missing in {share:.0%} of the time from {begin} to "
            f"{grid[-1]}, and is known every {duration(spacing)} else: a replay needs at least half of it"
        )
    return share
