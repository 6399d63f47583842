"""The models that can be asked for by name: each learns, none sees its future, and a missing one is said."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.domain.errors import InputError
from forebay.forecasting import forecast_series, lstm, models, theta
from forebay.forecasting.backtest import Backtest
from forebay.forecasting.errors import FitError
from forebay.forecasting.grid import ModelGrid
from forebay.forecasting.refits import refits
from forebay.forecasting.smoothing import FACTORS, smoothed

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
DAY = 24
FITTED = ("theta", "arima", "mstl", "prophet", "lstm")


def wave(n: int, noise: float = 1.0, seed: int = 0) -> np.ndarray:
    noises = np.random.default_rng(seed).normal(0, noise, n)
    return 20 + 6 * np.sin(2 * np.pi * np.arange(n) / DAY) + noises


def grid(values: np.ndarray, origins: list[int], horizon: int = DAY) -> ModelGrid:
    return ModelGrid(values, 1, [float(DAY)], Backtest(origins, horizon), horizon, HOUR)


def means(name: str, values: np.ndarray, origins: list[int], horizon: int = DAY) -> np.ndarray:
    """Of a model that is a single member; the last row is the forecast from the end."""
    (found,) = models.MODELS[name].members(grid(values, origins, horizon)).values()
    return found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the network hardly at all, where what it learns is not the question."""
    monkeypatch.setattr(lstm, "ROUNDS", 10)


@pytest.mark.parametrize("name", FITTED)
def test_a_noisy_sine_is_learnt_better_than_by_the_last_value(name: str) -> None:
    origins = [144, 150, 160]
    got = means(name, wave(240), origins)
    for origin, row in zip([*origins, 240], got, strict=True):
        truth = 20 + 6 * np.sin(2 * np.pi * np.arange(origin, origin + DAY) / DAY)
        held = np.abs(wave(240)[origin - 1] - truth).mean()
        assert np.abs(row - truth).mean() < min(2.0, 0.6 * held)


@pytest.mark.parametrize("name", [name for name in models.MODELS if name not in ("simple", "arima")])
def test_what_comes_after_an_origin_does_not_change_its_forecast(name: str, hasty: None) -> None:
    """ARIMA alone estimates two numbers from everything (its module says why); what it does with them is tested
    beside it."""
    values = wave(192)
    changed = values.copy()
    changed[150:] = 90.0
    before, after = (means(name, series, [120, 140, 150], 30) for series in (values, changed))
    assert before[:3] == pytest.approx(after[:3], rel=1e-6)
    assert np.abs(before[3] - after[3]).max() > 1, "the last origin knows the change"


@pytest.mark.parametrize("name", FITTED)
def test_forecasts_are_finite_and_never_negative(name: str, hasty: None) -> None:
    values = np.maximum(wave(192) - 22, 0)
    values[70:76] = np.nan
    got = means(name, values, [120, 150], 60)
    assert got.shape == (3, 60)
    assert np.isfinite(got).all() and (got >= 0).all()


def test_the_same_seed_trains_the_same_network_and_another_does_not(hasty: None) -> None:
    values = wave(120)
    one, two, other = (lstm.trained(values, DAY, seed).weights["head"] for seed in (1, 1, 2))
    assert (one == two).all() and (one != other).any()


def test_a_network_needs_some_seasons_to_train_on() -> None:
    with pytest.raises(FitError, match="only 1 pairs of seasons to train on, 8 needed"):
        lstm.trained(wave(48), DAY)


def test_refits_are_at_most_a_quarter_of_a_season_old_and_the_last_is_fresh() -> None:
    found = refits([100, 103, 106, 109, 112, 113], 24)
    assert [(fit.origin, fit.rows) for fit in found] == [(100, [0, 1]), (106, [2, 3]), (112, [4]), (113, [5])]


def test_smoothing_follows_a_jump_and_ignores_noise() -> None:
    jump = np.where(np.arange(100) < 80, 10.0, 20.0)
    noise = 10 + np.random.default_rng(0).normal(size=100)
    levels, factors = smoothed(np.stack([jump, noise]))
    assert factors[0] == FACTORS[-1] and factors[1] <= 0.1
    assert levels == pytest.approx([20, 10], abs=0.6)


def test_theta_goes_on_with_half_the_slope() -> None:
    line = 10 + 0.5 * np.arange(240)
    got = theta.theta_forecasts(line, DAY, [240], 48)[0]
    assert np.diff(got[::DAY]) / DAY == pytest.approx([0.25], rel=0.1)


@pytest.mark.parametrize("name", ["theta", "time-of-day"])
def test_a_model_asked_for_alone_is_named_with_its_loss(name: str) -> None:
    history = pd.Series(wave(336), index=pd.date_range("2026-11-02", periods=336, freq="1h", tz="UTC"))
    got = forecast_series(history, horizon=24, step=HOUR, models=[name])
    assert got.model == models.MODELS[name].title
    assert got.reasons[0].startswith(f"{got.model}: quantile loss 0.")


def test_a_model_worse_than_seasonal_naive_is_given_up_unless_it_is_to_be_judged() -> None:
    history = pd.Series(wave(336), index=pd.date_range("2026-11-02", periods=336, freq="1h", tz="UTC"))
    kept, judged = (
        forecast_series(history, horizon=24, step=HOUR, models=["last-value"], fallback=fallback)
        for fallback in (True, False)
    )
    assert (kept.model, judged.model) == ("seasonal naive", "last value")
    assert "last value did no better" in kept.reasons[0]


def test_a_model_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there is no model 'lstn': choose of seasonal-naive, "):
        models.named(["simple", "lstn"])
    monkeypatch.setattr(models, "find_spec", lambda library: None)
    with pytest.raises(
        InputError, match=r"'lstm' needs autograd, which is not installed: pip install 'forebay\[lstm\]'"
    ):
        models.named(["lstm"])
    assert [model.name for model in models.named(models.DEFAULT)] == list(models.DEFAULT)
