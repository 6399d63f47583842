"""Many series in one call: batches over processes, answered in order, with only a few batches in memory at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd

from forebay.forecasting.errors import HistoryError
from forebay.forecasting.forecaster import (
    DAY_AND_WEEK,
    DEFAULT_BUDGET_SECONDS,
    DEFAULT_LEVELS,
    Forecast,
    forecast_series,
    sampling_interval,
)
from forebay.forecasting.history import History, SeriesKey
from forebay.forecasting.models import DEFAULT

BATCH = 16  # series: enough to make a message worth sending, few enough that the last ones keep all cores busy
AHEAD = 2  # batches a worker: one at work, one waiting
WORTH_A_PROCESS = 64  # series: a new process spends a second or two on imports

Answers = list[tuple[SeriesKey, Forecast]]


@dataclass(frozen=True)
class Terms:
    """What is asked of every series; see `forecast_series`."""

    horizon: timedelta
    step: timedelta | None
    seasons: Sequence[timedelta]
    levels: Sequence[float]
    seed: int
    budget_seconds: float
    models: Sequence[str]


def forecast_many(
    history: History,
    horizon: timedelta,
    *,
    step: timedelta | None = None,
    seasons: Sequence[timedelta] = DAY_AND_WEEK,
    levels: Sequence[float] = DEFAULT_LEVELS,
    seed: int = 0,
    budget_seconds: float = DEFAULT_BUDGET_SECONDS,
    models: Sequence[str] = DEFAULT,
    workers: int | None = None,
) -> Iterator[tuple[SeriesKey, Forecast]]:
    """The forecast of every series of a history, in its order and in canonical units, as they are ready.

    `step`: length of a slot; without it each series keeps its own sampling interval. `horizon` is rounded up to
    whole slots. `budget_seconds` of computing are for each of them: a forecast depends neither on how many others there
    are nor on `workers` (processes; default: one a core, and none beside this one for a few series).
    Whoever does not keep the forecasts needs memory for a few dozen of them.

    Raises HistoryError naming the series, else as `forecast_series`.
    """
    keys = list(history.series)
    terms = Terms(horizon, step, seasons, levels, seed, budget_seconds, tuple(models))
    batches = ([(key, history.series[key]) for key in keys[i : i + BATCH]] for i in range(0, len(keys), BATCH))
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if len(keys) >= WORTH_A_PROCESS else 1
    if workers <= 1:
        for batch in batches:
            yield from _answered(batch, terms)
        return
    # spawned, as a fork of a process with threads (BLAS, a flow's runner) may never come back
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[Answers]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(_answered, batch, terms))
                if len(waiting) >= AHEAD * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _answered(batch: Sequence[tuple[SeriesKey, pd.Series]], terms: Terms) -> Answers:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # the cores are taken by series; threads within one only wait for each other
        return [(key, _forecast(key, series, terms)) for key, series in batch]


def _forecast(key: SeriesKey, series: pd.Series, terms: Terms) -> Forecast:
    step = terms.step or sampling_interval(series)
    try:
        return forecast_series(
            series,
            horizon=-(-terms.horizon // step),
            step=step,
            seasons=terms.seasons,
            levels=terms.levels,
            seed=terms.seed,
            budget_seconds=terms.budget_seconds,
            models=terms.models,
        )
    except HistoryError as error:
        raise HistoryError(f"{'/'.join(filter(None, key))}: {error}") from error
