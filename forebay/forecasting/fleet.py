"""Many series in one call: spread over processes, answered in order, with only so many bytes in memory at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeVar

import pandas as pd

from forebay.domain.wording import duration
from forebay.domain.workload import Workload
from forebay.forecasting.calendar import Calendar
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.forecaster import (
    DAY_AND_WEEK,
    DEFAULT_BUDGET_SECONDS,
    DEFAULT_LEVELS,
    DEFAULT_PATHS,
    Forecast,
    forecast_series,
    sampling_interval,
    seasons_seen,
)
from forebay.forecasting.history import History, SeriesKey
from forebay.forecasting.models import DEFAULT

BATCH = 16  # series: enough to make a message worth sending, few enough that the last ones keep all cores busy
MESSAGE_BYTES = 16 * 2**20  # of answers at most, if they are more than one: long horizons make them large
AHEAD = 2  # batches a worker: one at work, one waiting
MOST_SLOTS = 2**18  # of a forecast: three days of seconds, half a year of minutes; its paths alone are 2 GB
WORTH_A_PROCESS = 64  # series: a new process spends a second or two on imports

T = TypeVar("T")
R = TypeVar("R")


class Asked(NamedTuple):
    """One series with what is its own of the terms."""

    key: SeriesKey
    history: pd.Series
    step: timedelta
    seasons: Sequence[timedelta]
    calendar: Calendar

    @property
    def name(self) -> str:
        return "/".join(filter(None, self.key))

    def slots(self, horizon: timedelta) -> int:
        """Of the horizon, rounded up.

        Raises HistoryError where its samples are too far apart for any season, or too close for what memory holds.
        """
        if not self.seasons:
            raise HistoryError(
                f"history: samples every {duration(self.step)} show no season: two or more of them must lie in the "
                "longest; export it finer"
            )
        if (slots := -(-horizon // self.step)) > MOST_SLOTS:
            raise HistoryError(
                f"history: {duration(horizon)} are {slots:,} slots as long as its samples are apart; at most "
                f"{MOST_SLOTS:,} are forecast: ask for a shorter horizon, or export it coarser"
            )
        return slots


@dataclass(frozen=True)
class Terms:
    """What is asked of every series; see `forecast_series`."""

    horizon: timedelta
    levels: Sequence[float]
    seed: int
    budget_seconds: float
    models: Sequence[str]
    keep_paths: bool


def asked_of(
    history: History,
    workloads: Sequence[Workload] = (),
    step: timedelta | None = None,
    seasons: Sequence[timedelta] = DAY_AND_WEEK,
) -> list[Asked]:
    """Every series, in order; those of the `workloads` by their own slots, seasons and calendars.

    Of `seasons` those too short for a series' slots are left out, which may be all of them.
    """
    by_name = {workload.name: workload for workload in workloads}

    def asked(key: SeriesKey, series: pd.Series) -> Asked:
        if (workload := by_name.get(key.workload)) is None:
            slot = step or sampling_interval(series)
            return Asked(key, series, slot, seasons_seen(seasons, slot), Calendar())
        calendar = Calendar(workload.zone, workload.holidays)
        return Asked(key, series, step or workload.slot, workload.seasons, calendar)

    return [asked(key, series) for key, series in history.series.items()]


def forecast_many(
    history: History,
    horizon: timedelta,
    *,
    workloads: Sequence[Workload] = (),
    step: timedelta | None = None,
    seasons: Sequence[timedelta] = DAY_AND_WEEK,
    levels: Sequence[float] = DEFAULT_LEVELS,
    seed: int = 0,
    budget_seconds: float = DEFAULT_BUDGET_SECONDS,
    models: Sequence[str] = DEFAULT,
    workers: int | None = None,
    keep_paths: bool = False,
    unfit: Callable[[HistoryError], None] | None = None,
) -> Iterator[tuple[SeriesKey, Forecast]]:
    """The forecast of every series of a history, in its order and in canonical units, as they are ready.

    `workloads`: whose slots, seasons and calendars their series are forecast by. `step`: length of a slot; without it
    each other series keeps its own sampling interval. `horizon` is rounded up to whole slots. `budget_seconds` of
    computing are for each of them: a forecast depends neither on how many others there are nor on `workers`
    (processes; default: one a core, and none beside this one for a few series).

    The paths are dropped but for `keep_paths`. Whoever does not keep the forecasts needs memory for the work on one in
    each process, and for a few messages of MESSAGE_BYTES.

    A series that cannot be forecast is left out and said to `unfit`, by name; without that it ends the run. Raises
    HistoryError naming the series, else as `forecast_series`.
    """
    asked = asked_of(history, workloads, step, seasons)
    terms = Terms(horizon, levels, seed, budget_seconds, tuple(models), keep_paths)
    if workers is None:
        workers = cores() if len(asked) >= WORTH_A_PROCESS else 1
    yield from fit(spread(partial(_forecast, terms), asked, workers, _batch(asked, terms)), unfit)


def fit(results: Iterator[R | HistoryError], unfit: Callable[[HistoryError], None] | None) -> Iterator[R]:
    """The results; why there is none of a series goes to `unfit`, or is raised where there is no such."""
    for result in results:
        if not isinstance(result, HistoryError):
            yield result
        elif unfit is None:
            raise result
        else:
            unfit(result)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def spread(work: Callable[[T], R], items: Sequence[T], workers: int, batch: int) -> Iterator[R]:
    """`work` of each item, in their order, as it is done; with more than one worker by as many processes.

    `batch`: items sent to a process at once; they, `work` and its results are pickled.
    """
    if workers <= 1:
        yield from chain.from_iterable(_done(work, [item]) for item in items)
        return
    batches = [items[i : i + batch] for i in range(0, len(items), batch)]
    # spawned, as a fork of a process with threads (BLAS, a flow's runner) may never come back
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[list[R]]] = deque()
        try:
            for each in batches:
                waiting.append(pool.submit(_done, work, each))
                if len(waiting) >= AHEAD * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _done(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # the cores are taken by series; threads within one only wait for each other
        return [work(item) for item in items]


def _batch(asked: Sequence[Asked], terms: Terms) -> int:
    """How many forecasts are sent at once."""
    slots = max(-(-terms.horizon // each.step) for each in asked) if asked else 1
    numbers = len(terms.levels) + 1 + DEFAULT_PATHS * terms.keep_paths  # a slot: its quantiles, its time, its paths
    return max(1, min(BATCH, MESSAGE_BYTES // (8 * slots * numbers)))


def _forecast(terms: Terms, asked: Asked) -> tuple[SeriesKey, Forecast] | HistoryError:
    try:
        forecast = forecast_series(
            asked.history,
            horizon=asked.slots(terms.horizon),
            step=asked.step,
            seasons=asked.seasons,
            levels=terms.levels,
            seed=terms.seed,
            budget_seconds=terms.budget_seconds,
            models=terms.models,
            calendar=asked.calendar,
        )
    except HistoryError as error:
        return HistoryError(f"{asked.name}: {error}")
    return asked.key, forecast if terms.keep_paths else forecast.without_paths()
