"""From past forecast errors to calibrated sample paths.

Multi-step split conformal prediction: the errors a model made from rolling origins it had not seen are the
distribution of the errors it will make (Vovk, Gammerman & Shafer 2005; per lead: Wang & Hyndman, "Online
conformal inference for multi-step time series forecasting", 2024). Whole error trajectories are kept, as a block
bootstrap does, so that a path carries the persistence of real errors: a plan fails by its worst hour, not by the
average of independent noises. Quantiles are those of the paths, so that the two never disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from forebay.forecasting.scores import SCORED_LEVELS, quantile_loss

Floats = npt.NDArray[np.float64]


def error_trajectories(values: Floats, origins: Sequence[int], forecasts: Floats) -> Floats:
    """Shape (trajectories, leads): actual minus forecast from each origin.

    An error whose actual value is missing is taken from the next origin that knows it at the same lead; a
    lead that no origin knows repeats the lead before it. Empty when no error is known at all.
    """
    leads = forecasts.shape[1]
    actual = values[np.asarray(origins)[:, None] + np.arange(leads)]
    errors = actual - forecasts
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


def sample_paths(centre: Floats, errors: Floats, n_paths: int, seed: int) -> Floats:
    """Shape (n_paths, horizon): the forecast plus whole error trajectories, each used equally often, never below 0."""
    rng = np.random.default_rng(seed)
    repeats = -(-n_paths // len(errors))
    picked = np.concatenate([rng.permutation(len(errors)) for _ in range(repeats)])[:n_paths]
    return np.asarray(np.maximum(centre + errors[picked], 0.0))


def path_quantiles(paths: Floats, levels: Sequence[float]) -> Floats:
    """Shape (horizon, levels): pointwise quantiles of the paths; never crossing, as they are of one sample."""
    return np.asarray(np.quantile(paths, levels, axis=0).T)


def backtest_loss(actual: Floats, forecasts: Floats) -> float:
    """Mean quantile loss of forecast + calibrated errors, in the data's unit: what candidates are compared by.

    `actual`, `forecasts`: shape (origins, leads). Cross-fitted in two halves of time: the errors that make the
    quantiles of one half come from the other half only.
    """
    half = len(forecasts) // 2
    errors = actual - forecasts
    losses = []
    for scored, source in ((slice(half, None), slice(None, half)), (slice(None, half), slice(half, None))):
        if len(errors[source]) == 0 or not np.isfinite(errors[source]).any():
            continue
        known_leads = np.isfinite(errors[source]).any(axis=0)
        offsets = np.nanquantile(errors[source][:, known_leads], SCORED_LEVELS, axis=0).T
        quantiles = np.maximum(forecasts[scored][:, known_leads, None] + offsets, 0.0)
        losses.append(quantile_loss(actual[scored][:, known_leads], quantiles, SCORED_LEVELS))
    known = np.concatenate([loss.ravel() for loss in losses]) if losses else np.empty(0)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("inf")
