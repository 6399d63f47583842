"""A small LSTM: reads the last season in 12 parts, writes the next one as what differs from the last.

Hochreiter & Schmidhuber, "Long short-term memory", 1997. An extra (`pip install 'forebay[lstm]'`): gradients by
autograd, which weighs 0.1 MB where jax weighs 390; a network of this size trains on a CPU in seconds with it.
It has enough weights to learn a past by heart. So the past origins are judged by a network that was trained on what
came before the first of them, and only the forecast that counts comes from one trained on everything.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.forecasting.errors import FitError
from forebay.forecasting.grid import ModelGrid
from forebay.forecasting.members import bridged

Floats = npt.NDArray[np.float64]
Weights = dict[str, Any]

NAME = "LSTM"
HIDDEN = 16
PARTS = 12  # of a season: the steps the network runs over
ROUNDS, BATCH, RATE = 150, 64, 0.01
DECAY = 1e-3  # of squared weights: a few days of load teach little
SEED = 0
LEAST = 8  # windows to train on


class Network(NamedTuple):
    """Trained weights, and the length of the season in steps they were trained for."""

    weights: Weights
    season: int


def member(grid: ModelGrid) -> dict[str, Floats]:
    """The one member this model is. Raises FitError where the past is too short."""
    season = round(grid.seasons[0])
    filled = bridged(grid.coarse, season)
    *past, now = grid.origins
    judged = forecast_from(trained(filled[: past[0]], season), filled, past, grid.steps)
    return {NAME: np.concatenate([judged, forecast_from(trained(filled, season), filled, [now], grid.steps)])}


def trained(values: Floats, season: int, seed: int = SEED) -> Network:
    """A network trained on every pair of neighbouring seasons in `values` (no NaN). Raises FitError.

    The same values and seed give the same network.
    """
    import autograd.numpy as anp
    from autograd import grad
    from autograd.misc.optimizers import adam
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    ends = np.arange(season, len(values) - season + 1)
    if len(ends) < LEAST:
        raise FitError(f"only {max(0, len(ends))} pairs of seasons to train on, {LEAST} needed")
    inputs, scales, last = _read(values, ends, season)
    targets = (np.stack([values[end : end + season] for end in ends]) - last) / scales[:, None]
    rng = np.random.default_rng(seed)
    weights = _initial(inputs.shape[2], season, rng)

    batches = [rng.permutation(len(ends))[:BATCH] for _ in range(ROUNDS)]

    def loss(weights: Weights, number: int) -> Any:
        rows = batches[number]
        errors = _network(weights, inputs[rows]) - targets[rows]
        size = sum(anp.sum(matrix**2) for matrix in weights.values())
        return anp.mean(anp.sqrt(errors**2 + 1e-4)) + DECAY * size  # nearly the absolute error, but smooth

    with threadpool_limits(1):  # on matrices this small, BLAS threads only wait for each other
        return Network(adam(grad(loss), weights, num_iters=ROUNDS, step_size=RATE), season)


def forecast_from(network: Network, values: Floats, origins: list[int], horizon: int) -> Floats:
    """Shape (len(origins), horizon), not negative. An origin knows `values[:origin]`, at least one season of it.

    Beyond a season the network reads its own forecast.
    """
    season = network.season
    known = np.stack([values[origin - season : origin] for origin in origins])
    phases = np.asarray(origins)
    blocks = []
    for number in range(-(-horizon // season)):
        inputs, scales, last = _windows(known, phases + number * season, season)
        known = np.maximum(last + _network(network.weights, inputs) * scales[:, None], 0.0)
        blocks.append(known)
    return np.asarray(np.concatenate(blocks, axis=1)[:, :horizon])


def _read(values: Floats, ends: npt.NDArray[np.int64], season: int) -> tuple[Floats, Floats, Floats]:
    return _windows(np.stack([values[end - season : end] for end in ends]), ends, season)


def _windows(last: Floats, ends: npt.NDArray[np.int64], season: int) -> tuple[Floats, Floats, Floats]:
    """Inputs (windows, parts, features), the scale of each window, and the season that was read."""
    width = -(-season // PARTS)
    parts = -(-season // width)
    scales = np.maximum(last.std(axis=1), 1e-3 * np.abs(last).mean(axis=1) + 1e-12)
    normal = (last - last.mean(axis=1, keepdims=True)) / scales[:, None]
    padded = np.concatenate([np.repeat(normal[:, :1], parts * width - season, axis=1), normal], axis=1)
    angles = 2 * np.pi * ((ends[:, None] + np.arange(parts) * width) % season) / season
    return np.dstack([padded.reshape(len(last), parts, width), np.sin(angles), np.cos(angles)]), scales, last


def _initial(features: int, season: int, rng: np.random.Generator) -> Weights:
    size = features + HIDDEN
    weights = {gate: rng.normal(0, 1 / np.sqrt(size), (size + 1, HIDDEN)) for gate in ("write", "keep", "read", "new")}
    weights["keep"][-1] = 1.0  # it begins by remembering (Gers et al., 2000)
    return {**weights, "head": np.zeros((HIDDEN + 1, season))}  # and as seasonal naive


def _network(weights: Weights, inputs: Floats) -> Any:
    """Shape (windows, season): the LSTM's last state, read out linearly."""
    import autograd.numpy as anp

    ones = np.ones((len(inputs), 1))
    state = memory = np.zeros((len(inputs), HIDDEN))
    for part in range(inputs.shape[1]):
        seen = anp.concatenate([inputs[:, part], state, ones], axis=1)
        # the logistic function by tanh: it cannot overflow
        write, keep, read = (0.5 + 0.5 * anp.tanh(anp.dot(seen, weights[gate])) for gate in ("write", "keep", "read"))
        memory = keep * memory + write * anp.tanh(anp.dot(seen, weights["new"]))
        state = read * anp.tanh(memory)
    return anp.dot(anp.concatenate([state, ones], axis=1), weights["head"])
