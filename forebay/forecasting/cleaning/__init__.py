"""What a recorded series is mended of before it is forecast. Every stage says in one sentence what it did.

A stage is a function of the series and the season (in slots); it returns the series itself where it finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal

from forebay.forecasting.cleaning.censoring import lifted
from forebay.forecasting.cleaning.levels import Judge, with_one_level
from forebay.forecasting.cleaning.outliers import without_outliers
from forebay.forecasting.cleaning.restarts import without_restarts
from forebay.forecasting.regular import RegularSeries

StageName = Literal["restarts", "censoring", "level shifts", "outliers"]
ALL_STAGES: tuple[StageName, ...] = ("restarts", "censoring", "level shifts", "outliers")


def cleaned(
    series: RegularSeries,
    season: int,
    *,
    judge: Judge,
    stages: Collection[StageName] = ALL_STAGES,
) -> RegularSeries:
    """The series after all stages, in this order: no new level is then taken for outliers, no restart for a level."""
    stage: dict[StageName, Callable[[RegularSeries], RegularSeries]] = {
        "restarts": lambda s: without_restarts(s, season),
        "censoring": lambda s: lifted(s, season),
        "level shifts": lambda s: with_one_level(s, season, _without_outliers_first(judge, s, season)),
        "outliers": lambda s: without_outliers(s, season),
    }
    series = replace(series, recorded=series.values)
    for name in ALL_STAGES:
        if name in stages:
            series = stage[name](series)
    return series


def _without_outliers_first(judge: Judge, series: RegularSeries, season: int) -> Judge:
    """What a level is worth must not hang on what will be damped at it: at another level it may be no outlier."""
    return lambda values, held_out: judge(without_outliers(replace(series, values=values), season).values, held_out)
