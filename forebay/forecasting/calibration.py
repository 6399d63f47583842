"""From past forecast errors to calibrated sample paths.

Multi-step split conformal prediction: the errors a model made from rolling origins it had not seen are the
distribution of the errors it will make (Vovk, Gammerman & Shafer 2005; per lead: Wang & Hyndman, "Online
conformal inference for multi-step time series forecasting", 2024). Whole error trajectories are kept, as a block
bootstrap does, so that a path carries the persistence of real errors: a plan fails by its worst hour, not by the
average of independent noises. Errors are then widened by what one half of the past shows to be missing from the
bands of the other half. Quantiles are those of the paths, so that the two never disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forebay.forecasting.scores import SCORED_LEVELS, quantile_loss

Floats = npt.NDArray[np.float64]

WIDEST = 1.35  # measured: wider bands cost more quantile loss than the coverage they win is worth
FEWEST = 8  # trajectories in each half, to measure a widening at all
SCORED_LEADS = 48  # evenly spread over the horizon; more leads of one trajectory tell little new


def error_trajectories(values: Floats, origins: Sequence[int], forecasts: Floats) -> Floats:
    """Shape (trajectories, leads): actual minus forecast from each origin; empty when no error is known at all."""
    leads = forecasts.shape[1]
    actual = values[np.asarray(origins, dtype=int)[:, None] + np.arange(leads)]
    return _gaps_bridged(actual - forecasts)


def _gaps_bridged(errors: Floats) -> Floats:
    """Trajectories without NaN: whole paths are needed, and a gap in the past is no reason to forget the rest.

    An error whose actual value is missing is taken from the next origin that knows it at the same lead; a
    lead that no origin knows repeats the lead before it.
    """
    errors = errors[np.isfinite(errors).any(axis=1)]
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


def widened(errors: Floats) -> Floats:
    """Errors stretched away from their median, up and down apart, by a cross-fitted conformal factor in [1, 1.35].

    The factor is the 0.95 quantile of (error / band of the other half of the origins), as in conformalized
    quantile regression (Romano, Patterson & Candes, 2019). It repairs that overlapping trajectories are few and
    that the future drifts. With too few trajectories to measure it is 1.35.
    """
    median = np.median(errors, axis=0)
    half = len(errors) // 2
    if half < FEWEST:
        return np.asarray(median + WIDEST * (errors - median))
    above, below = [], []
    for judged, source in ((errors[half:], errors[:half]), (errors[:half], errors[half:])):
        low, middle, high = np.quantile(source, (0.05, 0.5, 0.95), axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            above.append((judged - middle) / (high - middle))
            below.append((middle - judged) / (middle - low))
    factors = []
    for side in (above, below):
        ratios = np.concatenate(side).ravel()
        # 0/0: neither half erred here, which is inside any band; x/0: outside of any
        bounded = np.clip(np.where(np.isnan(ratios), 0.0, ratios), 1.0, WIDEST)
        factors.append(np.quantile(bounded, 0.95))
    return np.asarray(median + np.where(errors > median, factors[0], factors[1]) * (errors - median))


def sample_paths(futures: Floats, n_paths: int, seed: int) -> Floats:
    """Shape (n_paths, horizon): whole futures, drawn equally often (to within one), in random order."""
    rng = np.random.default_rng(seed)
    repeats = -(-n_paths // len(futures))
    picked = np.concatenate([rng.permutation(len(futures)) for _ in range(repeats)])[:n_paths]
    return np.asarray(futures[picked])


def path_quantiles(paths: Floats, levels: Sequence[float]) -> Floats:
    """Shape (horizon, levels): pointwise quantiles of the paths; never crossing, as they are of one sample."""
    return np.asarray(np.quantile(paths, levels, axis=0).T)


def backtest_loss(actual: Floats, members: Sequence[Floats]) -> float:
    """Mean quantile loss of the pool of `members`, in the data's unit: what candidates are compared by.

    `actual` and each member's forecasts: shape (origins, leads). Cross-fitted in two halves of time: the errors that
    make the quantiles of one half come from the other half only. Infinite when nothing can be judged.
    """
    leads = np.unique(np.linspace(0, actual.shape[1] - 1, SCORED_LEADS).astype(int))
    actual = actual[:, leads]
    members = [forecasts[:, leads] for forecasts in members]
    half = len(actual) // 2
    losses = [np.empty(0)]
    for judged, source in (
        (range(half, len(actual)), slice(None, half)),
        (range(half), slice(half, None)),
    ):
        errors = [_gaps_bridged(actual[source] - forecasts[source]) for forecasts in members]
        if any(len(trajectories) == 0 for trajectories in errors):
            continue
        for origin in judged:
            futures = [
                forecasts[origin] + trajectories for forecasts, trajectories in zip(members, errors, strict=True)
            ]
            quantiles = path_quantiles(np.maximum(np.concatenate(futures), 0.0), SCORED_LEVELS)
            losses.append(quantile_loss(actual[origin], quantiles, SCORED_LEVELS).ravel())
    known = np.concatenate(losses)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("inf")
