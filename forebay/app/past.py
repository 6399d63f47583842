"""The measured past of a workload as a history: what `forebay plan`, `forecast`, `backtest` and `replay` read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from forebay.domain.workload import Workload
from forebay.ports import Usage

if TYPE_CHECKING:
    from forebay.forecasting.history import History


def measured_past(workload: Workload, usage: Usage, now: datetime, entities: Sequence[str] = ()) -> History:
    """Usage of the workload's history window in whole slots, and of each of the `entities` where it is measured.

    A slot counts once all of it can have been published: the mean of half a slot is no mean, and a plan from the file
    begins where it ends. Raises OutsideError.
    """
    from forebay.forecasting.history import History, SeriesKey

    known = (now - workload.verification.metric_delay).timestamp()
    seconds = workload.slot.total_seconds()
    end = datetime.fromtimestamp(known // seconds * seconds, UTC)
    start = end - workload.history
    found = {
        SeriesKey(workload.name, resource.value, ""): series
        for resource, series in usage.history(start, end, workload.slot).items()
    }
    for entity in entities:
        own = usage.entity_history(entity, start, end, workload.slot)
        found |= {SeriesKey(workload.name, resource.value, entity): series for resource, series in own.items()}
    return History({key: series for key, series in found.items() if len(series)})
