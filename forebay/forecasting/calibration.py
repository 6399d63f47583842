"""From past forecast errors to calibrated sample paths.

Multi-step split conformal prediction: the errors a model made from rolling origins it had not seen are the
distribution of the errors it will make (Vovk, Gammerman & Shafer 2005; per lead: Wang & Hyndman, "Online
conformal inference for multi-step time series forecasting", 2024). Whole error trajectories are kept, as a block
bootstrap does, so that a path carries the persistence of real errors: a plan fails by its worst hour, not by the
average of independent noises. Trajectories from about this time of day count more, and the tails are stretched by
what few trajectories leave out, slot by slot and path by path. Beside them stand the last seasons as they were
recorded: what a load did once a week it may do again. Quantiles are those of the paths, so that the two never
disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.forecasting.scores import SCORED_LEVELS, quantile_loss

Floats = npt.NDArray[np.float64]

# All measured on half of the benchmark's traces (docs/benchmarks.md): coverage of slots, and of the day's peak.
STRETCH = 0.25
PEAK_STRETCH = 1.1
RECENT = 5  # seasons
AS_RECORDED = 0.2  # of all futures
GROWN = 1 / 24  # of a season, an hour of a day
RECORD_LEAST, RECORD_SPREAD, RECORD_MOST = 0.3, 0.35, 0.6
SCORED_LEADS = 48  # evenly spread over the horizon; more leads of one trajectory tell little new


def error_trajectories(actual: Floats, forecasts: Floats, season: int) -> Floats:
    """Shape (trajectories, leads): actual minus forecast of each origin of which any error is known, gaps bridged.

    A trajectory whose end is not known yet goes on with its own errors of a season (in leads) before.
    """
    errors = (actual - forecasts)[known_origins(actual)]
    ahead = np.logical_and.accumulate(np.isnan(errors)[:, ::-1], axis=1)[:, ::-1]
    for begin in range(season, errors.shape[1], season):
        now, before = errors[:, begin : begin + season], errors[:, begin - season : begin]
        np.copyto(now, before[:, : now.shape[1]], where=ahead[:, begin : begin + season])
    return _gaps_bridged(errors)


def known_origins(actual: Floats) -> npt.NDArray[np.bool_]:
    """Shape (origins,): whether anything is known of what followed."""
    return np.asarray(np.isfinite(actual).any(axis=1))


def _gaps_bridged(errors: Floats) -> Floats:
    """Trajectories without NaN: whole paths are needed, and a gap in the past is no reason to forget the rest.

    An error whose actual value is missing is taken from the next origin that knows it at the same lead; a
    lead that no origin knows repeats the lead before it.
    """
    missing = np.isnan(errors)
    for lead in np.flatnonzero(missing.any(axis=0)):
        known = np.flatnonzero(~missing[:, lead])
        if known.size:
            wanted = np.flatnonzero(missing[:, lead])
            errors[wanted, lead] = errors[known[np.searchsorted(known, wanted) % known.size], lead]
    for lead in np.flatnonzero(missing.all(axis=0)):
        source = lead - 1 if lead else int(np.argmin(missing.all(axis=0)))
        errors[:, lead] = errors[:, source]
    return errors


def extended(errors: Floats, horizon: int, block: int, growing: bool) -> Floats:
    """Error trajectories as long as the horizon: leads never seen repeat the last `block` leads seen.

    With `growing` they widen with the square root of the lead, as those of a random walk do.
    """
    seen = errors.shape[1]
    if seen >= horizon:
        return errors[:, :horizon]
    block = min(block, seen)
    beyond = np.arange(seen, horizon)
    tail = errors[:, seen - block + (beyond - seen) % block]
    if growing:
        tail = tail * np.sqrt((beyond + 1) / seen)
    return np.concatenate([errors, tail], axis=1)


def recent_twice(origins: npt.NDArray[np.int64], season: int) -> npt.NDArray[np.int64]:
    """Indices of the trajectories, those of the last seasons once more where there are older ones.

    What was wrong lately says more of the next days, and a few days say too little of what is rare. `origins`: those of
    the trajectories, in slots seen, ascending.
    """
    recent = np.flatnonzero(origins >= origins[-1] - RECENT * season)
    everything = np.arange(len(origins))
    return everything if len(recent) == len(origins) else np.concatenate([everything, recent])


def with_same_hour(errors: Floats, usual: Floats, origins: npt.NDArray[np.int64], now: int, season: int) -> Floats:
    """The trajectories, with those from about this time of the season repeated to be about a third of all.

    A load errs differently at night and at noon; the rest keeps rare errors in view that came at other times. `usual`:
    the errors without outliers, which are what is repeated: what came once says nothing of its time of day. `origins`:
    those of the trajectories, in slots seen, as `now`.
    """
    away = (origins - now) % season
    same = usual[np.minimum(away, season - away) <= season / 12]
    if len(same) == 0:
        return errors
    return np.concatenate([errors, *[same] * round(len(errors) / 2 / len(same))])


def stretched(futures: Floats) -> Floats:
    """Outer values moved away from the median, slot by slot; the order of the futures in a slot stays.

    A few overlapping trajectories show too little of the tails: the farther out a rank, the more is missing. The
    factor is 1 at the median and 1 + STRETCH at the extremes, by the fourth power of the rank's distance.
    """
    by_rank = futures.argsort(axis=0, kind="stable")
    ordered = np.take_along_axis(futures, by_rank, axis=0)
    middle = len(futures) // 2
    median = (ordered[(len(futures) - 1) // 2] + ordered[middle]) / 2
    outer = 2 * (np.arange(len(futures)) + 0.5) / len(futures) - 1
    moved = median + (ordered - median) * (1 + STRETCH * outer[:, None] ** 4)
    np.put_along_axis(ordered, by_rank, moved, axis=0)
    return ordered


def with_recorded(futures: Floats, seasons: Floats, season: int) -> Floats:
    """The futures and, as a fifth of all, the last seasons as they were recorded; each as often as that takes.

    What a load did at this time of another day says little of the next minutes, of which the forecast knows better: a
    recorded season grows out of one of the futures, evenly over `GROWN`.
    """
    share = AS_RECORDED / (1 - AS_RECORDED) * len(futures) / len(seasons)
    times = max(1, round(share))
    recorded = np.concatenate([seasons] * times)
    soon = futures[np.arange(len(recorded)) * len(futures) // len(recorded)]
    grown = np.minimum(np.arange(futures.shape[1]) / (GROWN * season), 1.0)
    return np.concatenate([*[futures] * max(1, round(times / share)), soon + grown * (recorded - soon)])


def peaks_stretched(futures: Floats) -> Floats:
    """Each future moved away from the median where it peaks, the more the higher its peak ranks among all.

    A plan fails by the peak of a path, and of peaks the past shows far fewer than of slots: one a season. By the fourth
    power of a value's share of its peak, what lies off the peak nearly stays: slots are calibrated by `stretched`.
    """
    peaks = futures.max(axis=1, keepdims=True)
    ranks = peaks.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    outer = np.maximum(2 * (ranks + 0.5) / len(futures) - 1, 0.0)
    near_peak = np.maximum(futures, 0.0) * (outer / np.where(peaks > 0, peaks, np.inf))
    median = np.median(futures, axis=0)
    return np.asarray(median + (futures - median) * (1 + PEAK_STRETCH * np.square(np.square(near_peak))))


def records_rarely_broken(futures: Floats, record: Floats, seasons: Floats) -> Floats:
    """Values above the record drawn toward it: an error from a low level, put onto a high one, says too much.

    How far records are broken is told by how far the seasons' peaks lie apart: the logarithm of what is above shrinks
    to RECORD_LEAST of itself, and RECORD_SPREAD more for each unit of the peaks' standard deviation (of logarithms),
    up to RECORD_MOST. `record`: shape (horizon,), the highest value seen, or the forecast where that is higher;
    `seasons`: shape (seasons, season).
    """
    peaks = np.maximum(seasons.max(axis=1), 1e-9 * max(float(record.max()), 1e-300))
    left = min(RECORD_LEAST + RECORD_SPREAD * float(np.log(peaks).std()), RECORD_MOST)
    above = (futures > record) & (record > 0)
    base = np.broadcast_to(record, futures.shape)[above]
    drawn = futures.copy()
    drawn[above] = base * (futures[above] / base) ** left
    return drawn


def sample_paths(futures: Floats, n_paths: int, seed: int) -> Floats:
    """Shape (n_paths, horizon): whole futures, drawn equally often (to within one), in random order."""
    rng = np.random.default_rng(seed)
    repeats = -(-n_paths // len(futures))
    picked = np.concatenate([rng.permutation(len(futures)) for _ in range(repeats)])[:n_paths]
    return np.asarray(futures[picked])


def path_quantiles(paths: Floats, levels: Sequence[float]) -> Floats:
    """Shape (horizon, levels): pointwise quantiles of the paths; never crossing, as they are of one sample."""
    return np.asarray(np.quantile(paths, levels, axis=0).T)


def window_quantiles(paths: Floats, levels: Sequence[float], step: timedelta) -> pd.DataFrame:
    """Quantiles of a window's `peak` and `total` (the rows): usage, and usage x hours; one column a level.

    `paths`: shape (n_paths, slots of the window). Peak and total of each path are taken before the quantile: those of
    the slots neither add up, nor is the largest of them the peak's.
    """
    hours = step / timedelta(hours=1)
    rows = [np.quantile(of_path, levels) for of_path in (paths.max(axis=1), paths.sum(axis=1) * hours)]
    return pd.DataFrame(rows, index=["peak", "total"], columns=list(levels))


def backtest_loss(actual: Floats, forecasts: Floats, season: int) -> float:
    """Mean quantile loss of forecasts with their own errors around them, in the data's unit.

    `actual` and `forecasts`: shape (origins, leads); `season`: in leads. Cross-fitted in two halves of time: the
    errors that make the quantiles of one half come from the other half only. Infinite when nothing can be judged.
    """
    leads = np.unique(np.linspace(0, actual.shape[1] - 1, SCORED_LEADS).astype(int))
    half = len(actual) // 2
    losses = [np.empty(0)]
    for judged, source in ((slice(half, None), slice(None, half)), (slice(None, half), slice(half, None))):
        errors = error_trajectories(actual[source], forecasts[source], season)[:, leads]
        if len(errors) == 0:
            continue
        band = path_quantiles(stretched(errors), SCORED_LEVELS)
        quantiles = np.maximum(forecasts[judged][:, leads, None] + band, 0.0)
        losses.append(quantile_loss(actual[judged][:, leads], quantiles, SCORED_LEVELS).ravel())
    known = np.concatenate(losses)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("inf")
