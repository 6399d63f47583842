"""Forecasts made from past moments, each from what was known then only, against what came."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.domain.accuracy import BandSlot, Score, SeriesBacktest
from forebay.domain.wording import duration
from forebay.domain.workload import Workload
from forebay.forecasting.calendar import Calendar
from forebay.forecasting.candidates import JUDGED_FROM
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.fleet import Asked, asked_of, cores, fit, spread
from forebay.forecasting.forecaster import DAY_AND_WEEK, forecast_series
from forebay.forecasting.history import History, SeriesKey
from forebay.forecasting.models import DEFAULT, MODELS, Model, named
from forebay.forecasting.regular import RegularSeries, gridded
from forebay.forecasting.scores import SCORED_LEVELS, coverage, mase, mean, quantile_loss, share_above

Floats = npt.NDArray[np.float64]

DEFAULT_NAME = "default"
REFERENCE = "seasonal-naive"
ORIGINS = 5
BUDGET_SECONDS = 120.0
MEDIAN = len(SCORED_LEVELS) // 2


@dataclass(frozen=True)
class _Forecasts:
    """Of one model from every origin: quantiles of shape (origins, horizon, levels), what it said, seconds each."""

    quantiles: Floats
    reasons: list[str]
    seconds: float


def backtest_series(
    key: SeriesKey,
    history: pd.Series,
    *,
    horizon: int,
    step: timedelta,
    seasons: Sequence[timedelta] = DAY_AND_WEEK,
    models: Sequence[str] = tuple(MODELS),
    calendar: Calendar | None = None,
    origins: int = ORIGINS,
    budget_seconds: float = BUDGET_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> SeriesBacktest:
    """Forecast from up to `origins` moments, a horizon apart, by each model alone and by the default combination.

    A model is judged as it is: it is not given up for seasonal naive, as the default is where that did better. Left
    out, with the reason said, is one whose library is not installed or that no time is left for; the budget is for
    the whole series. `calendar`: see `forecast_series`. Raises HistoryError when fewer than three seasons are known
    before the first horizon to judge, InputError for a model that is not there.
    """
    # gaps stay open: one across an origin, filled, would hold what came after it, and then be judged as if it had come
    series = gridded(history, step, *seasons)
    least = math.ceil(JUDGED_FROM * (seasons[0] / step))
    starts = list(range(len(series.values) - horizon, least - 1, -horizon))[:origins][::-1]
    if not starts:
        raise HistoryError(
            f"{duration(len(series.values) * step)} of history are too short to judge "
            f"forecasts of {duration(horizon * step)}: {duration((least + horizon) * step)} are needed"
        )
    actual = np.stack([series.values[start : start + horizon] for start in starts])
    deadline = monotonic() + budget_seconds
    made: dict[str, _Forecasts] = {}
    reasons: list[str] = []
    wanted = list(dict.fromkeys([REFERENCE, DEFAULT_NAME, *(model.name for model in _there(models, reasons))]))
    for number, name in enumerate(wanted):
        share = max(0.0, deadline - monotonic()) / (len(wanted) - number) / len(starts)
        if name != DEFAULT_NAME and share < MODELS[name].seconds:
            reasons.append(f"{name} left out: {share:.2g} s a forecast are too short for it; give it more by --budget")
            continue
        parts = DEFAULT if name == DEFAULT_NAME else (name,)
        made[name] = _forecasts(
            series, starts, horizon, seasons, parts, name == DEFAULT_NAME, share, monotonic, calendar
        )
        if name != DEFAULT_NAME:
            reasons += [reason for reason in made[name].reasons if " left out: " in reason]
    scores = _scores(made, actual, series, starts[0], round(seasons[0] / step))
    champion = scores[0].model
    return SeriesBacktest(
        **key._asdict(),
        horizon=horizon * step,
        origins=tuple((series.start + start * step).to_pydatetime() for start in starts),
        scores=tuple(scores),
        champion=champion,
        reasons=(_verdict(scores, len(starts)), *dict.fromkeys(reasons), *_last_words(made[DEFAULT_NAME])),
        shown=tuple(_shown(series, starts, actual, made[DEFAULT_NAME].quantiles)),
    )


def backtest_many(
    history: History,
    horizon: timedelta,
    *,
    workloads: Sequence[Workload] = (),
    models: Sequence[str] = tuple(MODELS),
    origins: int = ORIGINS,
    budget_seconds: float = BUDGET_SECONDS,
    workers: int | None = None,
    unfit: Callable[[HistoryError], None] | None = None,
) -> Iterator[SeriesBacktest]:
    """`backtest_series` of every series of a history, in its order, as they are ready, `budget_seconds` for each.

    `workloads`, `horizon`, `workers` and `unfit`: see `fleet.forecast_many`; one series alone takes seconds, so that
    two are worth a process each.
    """
    asked = asked_of(history, workloads)
    work = partial(_backtest, horizon, tuple(models), origins, budget_seconds)
    processes = min(len(asked), cores()) if workers is None else workers
    yield from fit(spread(work, asked, processes, batch=1), unfit)


def _backtest(
    horizon: timedelta, models: Sequence[str], origins: int, budget_seconds: float, asked: Asked
) -> SeriesBacktest | HistoryError:
    try:
        return backtest_series(
            asked.key,
            asked.history,
            horizon=asked.slots(horizon),
            step=asked.step,
            seasons=asked.seasons,
            models=models,
            calendar=asked.calendar,
            origins=origins,
            budget_seconds=budget_seconds,
        )
    except HistoryError as error:
        return HistoryError(f"{asked.name}: {error}")


def _there(names: Sequence[str], reasons: list[str]) -> list[Model]:
    """The known models of these names that are installed; the others are said in `reasons`."""
    missing = [name for name in names if name in MODELS and not MODELS[name].installed]
    reasons += [f"{name} left out: pip install 'forebay[{name}]'" for name in missing]
    left = [name for name in names if name not in missing]
    return named(left) if left else []


def _forecasts(
    series: RegularSeries,
    starts: Sequence[int],
    horizon: int,
    seasons: Sequence[timedelta],
    parts: Sequence[str],
    fallback: bool,
    budget_seconds: float,
    monotonic: Callable[[], float],
    calendar: Calendar | None,
) -> _Forecasts:
    index = pd.date_range(series.start, periods=len(series.values), freq=pd.Timedelta(series.step))
    known = pd.Series(series.values, index=index)
    made = [
        forecast_series(
            known.iloc[:start],
            horizon=horizon,
            step=series.step,
            seasons=seasons,
            levels=SCORED_LEVELS,
            budget_seconds=budget_seconds,
            monotonic=monotonic,
            models=parts,
            fallback=fallback,
            calendar=calendar,
        )
        for start in starts
    ]
    quantiles = np.stack([forecast.quantiles.to_numpy() for forecast in made])
    return _Forecasts(quantiles, made[-1].reasons, float(np.mean([forecast.seconds for forecast in made])))


def _scores(made: dict[str, _Forecasts], actual: Floats, series: RegularSeries, first: int, season: int) -> list[Score]:
    """Best first; the figures are means over all judged slots."""
    losses = {name: mean(quantile_loss(actual, by.quantiles, SCORED_LEVELS)) for name, by in made.items()}
    reference = losses[REFERENCE]
    scores = [
        Score(
            model=name,
            relative_loss=_figure(losses[name] / reference if reference else math.nan),
            mase=_figure(mase(actual, by.quantiles[..., MEDIAN], series.values[:first], season)),
            coverage=_figure(coverage(actual, by.quantiles[..., 0], by.quantiles[..., -1])),
            above=_figure(share_above(actual, by.quantiles[..., -1])),
            seconds=by.seconds,
        )
        for name, by in made.items()
    ]
    # where they are alike the default is the champion: it has the more behind it
    return sorted(scores, key=lambda score: (losses[score.model], score.model != DEFAULT_NAME))


def _verdict(scores: Sequence[Score], origins: int) -> str:
    best = scores[0]
    default = next(score for score in scores if score.model == DEFAULT_NAME)
    over = f"over {origins} origin{'s' * (origins > 1)}"
    if best.relative_loss is None or default.relative_loss is None:
        return f"nothing tells the models apart: seasonal naive made no error {over}"
    said = f"{best.model} did best: {best.relative_loss:.2f} of seasonal naive's quantile loss {over}"
    return said if best is default else f"{said}; the default had {default.relative_loss:.2f}"


def _last_words(default: _Forecasts) -> list[str]:
    return [f"default, from the last origin: {reason}" for reason in default.reasons]


def _shown(series: RegularSeries, starts: Sequence[int], actual: Floats, quantiles: Floats) -> list[BandSlot]:
    return [
        BandSlot(
            at=(series.start + (start + lead) * series.step).to_pydatetime(),
            low=quantiles[row, lead, 0],
            median=quantiles[row, lead, MEDIAN],
            high=quantiles[row, lead, -1],
            actual=_figure(actual[row, lead]),
        )
        for row, start in enumerate(starts)
        for lead in range(actual.shape[1])
    ]


def _figure(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
