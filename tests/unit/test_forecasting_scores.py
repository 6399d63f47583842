"""Scores: worked numbers, so that a wrong factor or sign shows."""

from __future__ import annotations

import numpy as np
import pytest

from forebay.forecasting import scores

NAN = float("nan")


@pytest.mark.parametrize(
    ("actual", "quantile", "level", "loss"),
    [
        pytest.param(10.0, 8.0, 0.5, 2.0, id="the median's loss is the absolute error"),
        pytest.param(10.0, 8.0, 0.95, 3.8, id="too low a high quantile is dear"),
        pytest.param(8.0, 10.0, 0.95, 0.2, id="too high a high quantile is cheap"),
        pytest.param(8.0, 10.0, 0.05, 3.8, id="too high a low quantile is dear"),
        pytest.param(9.0, 9.0, 0.3, 0.0, id="exact"),
    ],
)
def test_quantile_loss(actual: float, quantile: float, level: float, loss: float) -> None:
    got = scores.quantile_loss(np.array([actual]), np.array([[quantile]]), [level])
    assert got == pytest.approx(np.array([[loss]]))


def test_a_missing_actual_does_not_count() -> None:
    actual, history = np.array([10.0, NAN]), np.array([1.0, 5.0])
    assert scores.mase(actual, np.array([8.0, 0.0]), history, season=1) == pytest.approx(0.5)
    assert scores.coverage(actual, np.array([9.0, 0.0]), np.array([11.0, 1.0])) == 1.0
    assert scores.share_above(actual, np.array([11.0, 0.0])) == 0.0


def test_mase_scales_by_the_one_season_error() -> None:
    history = np.array([1.0, 2.0, 3.0, 4.0])  # one season of 2 slots ago: always 2 less
    assert scores.mase(np.array([5.0]), np.array([6.0]), history, season=2) == pytest.approx(0.5)
    assert np.isnan(scores.mase(np.array([5.0]), np.array([6.0]), history, season=4))
    assert np.isnan(scores.mase(np.array([5.0]), np.array([6.0]), np.array([1.0, 2.0, 1.0, 2.0]), season=2))


def test_coverage_and_share_above_count_slots() -> None:
    actual = np.array([1.0, 2.0, 3.0, 4.0])
    assert scores.coverage(actual, np.full(4, 2.0), np.full(4, 3.0)) == 0.5
    assert scores.share_above(actual, np.full(4, 3.0)) == 0.25
