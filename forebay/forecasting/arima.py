"""ARIMA with Fourier terms, by pmdarima: regression on the seasons' harmonics with ARIMA errors.

The harmonics carry the seasons so that the ARIMA part stays small: a seasonal ARIMA of period 96 costs gigabytes.
(Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed., ch. 10.5: dynamic harmonic regression.)

The Fourier coefficients are part of the Kalman filter's state, not of the likelihood search. One pass of the
filter then holds, for every origin, the state estimated from the values before it only; forecasts from all
rolling origins follow by matrix products, without a single refit. Only the two or three ARMA coefficients are
estimated once for all origins; they are too few to learn the future by heart. They are searched on what least
squares leave of the harmonics: the state is then of two numbers instead of twenty, and the search takes a fourth of
the time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forebay.forecasting.errors import FitError
from forebay.forecasting.grid import ModelGrid

Floats = npt.NDArray[np.float64]
Order = tuple[int, int, int]

HARMONICS = (4, 3)  # of the first (daily) and of each longer season: sharp edges are left to the error part
FITTED_ON = 7  # seasons: more values do not move an ARMA coefficient, but cost time
ORDER: Order = (1, 0, 1)  # (0, 1, 1) is exponential smoothing, which the simple members already are
SEARCH_ITERATIONS = 15  # the likelihood is flat near its top: more iterations cost time and change nothing


def member(grid: ModelGrid) -> dict[str, Floats]:
    """The one member this model is, fitted on the newest seasons. Raises FitError."""
    model = fit(grid.coarse[-round(FITTED_ON * grid.seasons[0]) :], grid.seasons, ORDER)
    return {name(ORDER): np.maximum(forecast_from(model, grid.coarse, grid.origins, grid.steps), 0.0)}


def name(order: Order) -> str:
    return f"ARIMA{order}+Fourier".replace(" ", "")


@dataclass(frozen=True)
class FittedArima:
    """An ARIMA whose parameters were estimated once; it forecasts from any origin without a refit."""

    order: Order
    seasons: tuple[float, ...]
    """Season lengths in values, shortest first."""
    scale: float
    """What the values were divided by, to keep the filter well conditioned."""
    parameters: Floats
    """Shape (p + q + 1,): the ARMA coefficients and the variance of the innovations, as statsmodels orders them."""


def fourier_terms(times: Floats, seasons: Sequence[float], constant: bool) -> Floats:
    """Shape (len(times), terms): a constant if asked for, then sine and cosine of each season's harmonics."""
    columns = [np.ones(len(times))] if constant else []
    for number, season in enumerate(seasons):
        for k in range(1, HARMONICS[min(number, 1)] + 1):
            if number and abs(season / k - seasons[0]) < 1e-9:
                continue  # the same wave as a daily one would make the regression singular
            angle = 2 * np.pi * k * times / season
            columns += [np.sin(angle), np.cos(angle)]
    return np.column_stack(columns)


def fit(values: Floats, seasons: Sequence[float], order: Order) -> FittedArima:
    """Estimate an ARIMA of the given order on the longest gap-free part of `values`.

    `values`: shape (n,), NaN in gaps; `seasons`: season lengths in slots, shortest first.
    Raises FitError when the part is too short or the estimation fails.
    """
    import pmdarima  # takes seconds to import: only when a model is fitted
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    begin, end = _longest_known(values)
    part = values[begin:end]
    regressors = fourier_terms(np.arange(begin, end, dtype=float), seasons, constant=True)
    if len(part) < 2 * regressors.shape[1] + 10:
        raise FitError(f"only {len(part)} values in a row for {regressors.shape[1]} Fourier terms")
    scale = float(np.std(part))
    if scale <= 0:
        raise FitError("the values do not vary")
    model = pmdarima.ARIMA(
        order,
        with_intercept=False,
        maxiter=SEARCH_ITERATIONS,
        suppress_warnings=True,
    )
    left = part - regressors @ np.linalg.lstsq(regressors, part, rcond=None)[0]
    try:
        # on matrices this small, BLAS threads only wait for each other: three times slower on a busy machine
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an imperfect fit is judged by the backtest, not by its warnings
            parameters = np.asarray(model.fit(left / scale).arima_res_.params)
    except (ValueError, np.linalg.LinAlgError, FloatingPointError) as error:
        raise FitError(str(error).splitlines()[0]) from error
    if not np.isfinite(parameters).all():
        raise FitError("the parameters did not converge to finite numbers")
    return FittedArima(order, tuple(seasons), scale, parameters)


def filtered(model: FittedArima, values: Floats, terms: Floats) -> Any:
    """statsmodels' filter after all of `values`, the coefficients of `terms` in its state."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    form = SARIMAX(values / model.scale, exog=terms, order=model.order, mle_regression=False)
    return form.filter(model.parameters)


def forecast_from(model: FittedArima, values: Floats, origins: Sequence[int], horizon: int) -> Floats:
    """Shape (len(origins), horizon): means forecast from each origin (slots seen), which knows `values[:origin]`."""
    from threadpoolctl import threadpool_limits

    constant = model.order[1] == 0
    terms = fourier_terms(np.arange(len(values) + horizon, dtype=float), model.seasons, constant)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = filtered(model, values, terms[: len(values)])
    states = result.filter_results.predicted_state[:, list(origins)]
    ssm = result.model.ssm
    transition = ssm["transition"].reshape(len(states), len(states), -1)[:, :, 0]
    # the state ends with the Fourier coefficients, whose design is the regressors themselves
    fixed = ssm["design"].reshape(len(states), -1)[: -terms.shape[1], 0]
    means = np.empty((len(origins), horizon))
    rows = np.asarray(origins)
    for lead in range(horizon):
        at = terms[rows + lead]
        means[:, lead] = fixed @ states[: len(fixed)] + (at.T * states[len(fixed) :]).sum(axis=0)
        states = transition @ states
    return means * model.scale


def _longest_known(values: Floats) -> tuple[int, int]:
    known = np.isfinite(values).astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], known, [0]))))
    runs = list(zip(edges[::2], edges[1::2], strict=True))
    if not runs:
        raise FitError("no values are known")
    begin, end = max(runs, key=lambda run: run[1] - run[0])
    return int(begin), int(end)
