"""The daily backtest: how right the forecasts of a workload were, recorded, and a warning once they no longer are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from forebay.app.context import CONTROLLER, Context
from forebay.domain.accuracy import Accuracy, Judged, SeriesBacktest, plan_accuracy
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.lifecycle import ChangeState
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.forecasting.calendar import Calendar
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.evaluation import DEFAULT_NAME, backtest_series
from forebay.forecasting.history import SeriesKey
from forebay.ports import Snapshot, Transaction

if TYPE_CHECKING:
    import pandas as pd

LAST_DAY = timedelta(days=1)
ORIGINS = 7
"""A season (a day) apart."""
MODELS = ("simple", "theta", "time-of-day")
"""Beside the default: to see whether another would do better, which changes nothing by itself."""
BUDGET_SECONDS = 300.0
PLANS_REACH = timedelta(days=14)
"""No plan looks farther beyond its effective time."""
IN_FORCE = frozenset({ChangeState.IN_FORCE, ChangeState.SETTLING, ChangeState.CLOSED})


def backtest_workload(ctx: Context, workload: Workload) -> str:
    """Judge the forecasts of the days up to the last midnight (UTC), record that, warn; returns it in words.

    A rolling-origin backtest of the last seven seasons, each forecast whole, and the bands of stored plans against
    what came on the last day. Run again on the same day, it replaces what it recorded and warns no second time.
    Raises OutsideError.
    """
    until = datetime.combine(ctx.clock.now().date(), time(), ctx.clock.now().tzinfo)
    history = ctx.usage(workload).history(until - workload.history, until, workload.slot)
    found, said = _backtests(workload, history, until)
    with ctx.store.transaction() as tx:
        found += _plans(tx, workload, history, until)
        events = [event for accuracy in found if (event := _recorded(ctx, tx, accuracy))]
    for event in events:
        ctx.notifier.notify(event)
    return f"{workload.name}: " + "; ".join([*said, *map(_words, found)])


def recorded(ctx: Context) -> list[Accuracy]:
    """Everything recorded, oldest first."""
    with ctx.store.snapshot() as tx:
        return list(tx.accuracies())


def _backtests(
    workload: Workload, history: Mapping[Resource, pd.Series], until: datetime
) -> tuple[list[Accuracy], list[str]]:
    """What can be judged of each resource, and in words what cannot."""
    found, said = [], []
    for resource in workload.resources:
        series = history.get(resource)
        if series is None or series.empty:
            said.append(f"{resource} was not measured")
            continue
        try:
            result = backtest_series(
                SeriesKey(workload.name, resource, ""),
                series,
                horizon=-(-workload.seasons[0] // workload.slot),
                step=workload.slot,
                seasons=workload.seasons,
                models=MODELS,
                calendar=Calendar(workload.zone, workload.holidays),
                origins=ORIGINS,
                budget_seconds=BUDGET_SECONDS / len(workload.resources),
            )
        except HistoryError as error:
            said.append(f"{resource}: {error}")
            continue
        if (accuracy := _of(result, resource, until)) is not None:
            found.append(accuracy)
    return found, said


def _of(result: SeriesBacktest, resource: Resource, until: datetime) -> Accuracy | None:
    default = next(score for score in result.scores if score.model == DEFAULT_NAME)
    if default.coverage is None or default.above is None:
        return None
    return Accuracy(
        workload=result.workload,
        resource=resource,
        judged=Judged.BACKTEST,
        since=result.origins[0],
        until=until,
        slots=sum(slot.actual is not None for slot in result.shown),
        coverage=default.coverage,
        above=default.above,
        relative_loss=default.relative_loss,
        note=result.reasons[0],
    )


def _plans(tx: Snapshot, workload: Workload, history: Mapping[Resource, pd.Series], until: datetime) -> list[Accuracy]:
    """The bands of the current plans on this workload, on the last day."""
    import pandas as pd

    found = []
    for record in tx.changes():
        if record.change.effective_at < until - PLANS_REACH:
            continue  # spares reading every plan there ever was
        plan = tx.plan(record.change.change, workload.name)
        if plan is None or plan.slots[-1].at < until - LAST_DAY:
            continue
        for resource, series in history.items():
            known = series.dropna()
            usage = list(zip(pd.DatetimeIndex(known.index).to_pydatetime(), map(float, known), strict=True))
            judged = plan_accuracy(plan, resource, usage, until - LAST_DAY, until, record.state in IN_FORCE)
            found += [judged] if judged else []
    return found


def _recorded(ctx: Context, tx: Transaction, accuracy: Accuracy) -> AuditEvent | None:
    """Store it. Returns the warning, audited, if the forecasts were right last time and no longer are; else None."""
    before = [known for known in tx.accuracies(accuracy.workload) if known.same_series(accuracy)]
    tx.put_accuracy(accuracy)
    if accuracy.decay is None or (before and before[-1].decay is not None):
        return None
    event = AuditEvent(
        at=ctx.clock.now(),
        actor=CONTROLLER,
        action=Deed.FORECAST_DECAYED,
        reason=f"{accuracy.workload} {accuracy.resource}: {accuracy.decay} since {accuracy.since:%Y-%m-%d}",
        workload=accuracy.workload,
        change=accuracy.change or None,
    )
    tx.audit(event)
    return event


def _words(accuracy: Accuracy) -> str:
    what = f"{accuracy.resource} {accuracy.judged}" + (f" {accuracy.change}" if accuracy.change else "")
    return f"{what}: the 90 % band held {accuracy.coverage:.0%} of {accuracy.slots} slots"
