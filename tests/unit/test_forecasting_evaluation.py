"""The backtest of whole forecasts: honest origins, honest scores, a champion and its reasons."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import count

import numpy as np
import pandas as pd
import pytest

from forebay.domain.accuracy import SeriesBacktest
from forebay.forecasting import History, HistoryError, SeriesKey, models
from forebay.forecasting.evaluation import backtest_many, backtest_series
from forebay.report import accuracy

HOUR = timedelta(hours=1)
KEY = SeriesKey("checkout", "cpu", "")
CHEAP = ("last-value", "time-of-day", "theta")


def load(days: int, seed: int = 0) -> pd.Series:
    n = 24 * days
    values = 20 + 6 * np.sin(2 * np.pi * np.arange(n) / 24) + np.random.default_rng(seed).normal(0, 1, n)
    return pd.Series(values, index=pd.date_range("2026-11-02", periods=n, freq="1h", tz="UTC"))


def run(history: pd.Series, **more: object) -> SeriesBacktest:
    ticks = count()
    chosen = {"horizon": 24, "models": CHEAP, "budget_seconds": 1e9, "monotonic": lambda: next(ticks)} | more
    return backtest_series(KEY, history, step=HOUR, **chosen)  # type: ignore[arg-type]


def test_every_model_and_the_default_are_scored_best_first_from_the_same_origins() -> None:
    got = run(load(10), origins=3)
    assert {score.model for score in got.scores} == {"seasonal-naive", "default", *CHEAP}
    losses = [score.relative_loss for score in got.scores]
    assert losses == sorted(losses)
    assert got.champion == got.scores[0].model
    assert got.reasons[0].startswith(f"{got.champion} did best: {losses[0]:.2f} of seasonal naive's")
    by_name = {score.model: score for score in got.scores}
    assert by_name["seasonal-naive"].relative_loss == 1.0
    assert by_name["last-value"].relative_loss > 1.0 > by_name["time-of-day"].relative_loss
    assert [(b - a) for a, b in zip(got.origins, got.origins[1:], strict=False)] == [24 * HOUR] * 2
    assert got.origins[-1] + 24 * HOUR == load(10).index[-1] + HOUR


def test_a_forecast_knows_nothing_of_what_came_after_its_origin() -> None:
    history = load(8)
    changed = history.copy()
    changed.iloc[-24:] = 500.0
    before, after = run(history, origins=1), run(changed, origins=1)
    assert [(s.low, s.median, s.high) for s in before.shown] == [(s.low, s.median, s.high) for s in after.shown]
    assert {s.actual for s in after.shown} == {500.0}
    assert all(score.coverage == 0 and score.above == 1 for score in after.scores)


def test_a_gap_is_not_judged() -> None:
    history = load(8)
    history.iloc[-20:-8] = np.nan
    got = run(history, origins=1)
    assert sum(slot.actual is None for slot in got.shown) == 12
    assert got.scores[0].coverage in {k / 12 for k in range(13)}


def test_a_gap_across_an_origin_is_neither_filled_from_after_it_nor_judged() -> None:
    half_hourly = pd.date_range("2026-11-02", periods=48 * 8, freq="30min", tz="UTC")
    history = pd.Series(np.repeat(load(8).to_numpy(), 2), index=half_hourly)
    origin = len(history) - 48
    history.iloc[origin - 1 : origin + 1] = np.nan
    changed = history.copy()
    changed.iloc[origin + 1 :] = 500.0
    before, after = (
        backtest_series(KEY, usage, horizon=48, step=HOUR / 2, models=CHEAP, origins=1) for usage in (history, changed)
    )
    assert [(s.low, s.median, s.high) for s in before.shown] == [(s.low, s.median, s.high) for s in after.shown]
    assert [slot.actual is None for slot in before.shown] == [True] + [False] * 47


@pytest.mark.slow
def test_many_series_are_judged_as_each_alone_whatever_the_number_of_processes() -> None:
    history = History({KEY: load(5), KEY._replace(entity="acme"): load(5, seed=1) / 2})
    alone, shared = (
        list(backtest_many(history, 24 * HOUR, models=CHEAP, origins=1, workers=workers)) for workers in (1, 2)
    )
    assert [found.name for found in alone] == ["checkout/cpu", "checkout/cpu/acme"]
    assert [found.shown for found in alone] == [found.shown for found in shared]
    assert alone[0].shown == run(load(5), origins=1).shown


def test_origins_stop_where_too_little_was_known() -> None:
    assert len(run(load(6), origins=5).origins) == 3
    with pytest.raises(HistoryError, match=r"^3 days of history are too short .* 4 days are needed"):
        run(load(3))


def test_a_model_without_time_or_library_is_left_out_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda library: None)
    got = run(load(8), origins=2, models=("theta", "arima", "prophet"), budget_seconds=12.0)
    assert {score.model for score in got.scores} == {"seasonal-naive", "default", "theta"}
    said = "\n".join(got.reasons)
    assert "prophet left out: pip install 'forebay[prophet]'" in said
    assert "arima left out: " in said and "give it more by --budget" in said


def test_where_seasonal_naive_makes_no_error_nothing_tells_the_models_apart() -> None:
    history = load(8)
    history[:] = np.tile(np.arange(24.0), 8)
    got = run(history, origins=2)
    assert got.scores[0].relative_loss is None
    assert got.reasons[0] == "nothing tells the models apart: seasonal naive made no error over 2 origins"
    assert "-" in accuracy.backtest_table([got])


def test_the_reports_hold_the_scores_the_champion_and_the_picture() -> None:
    got = run(load(8), origins=2)
    table, page = accuracy.backtest_table([got]), accuracy.backtest_html([got])
    assert table.startswith(f"checkout/cpu: 2 origins, 1 day ahead; best: {got.champion}")
    assert all(score.model in table and score.model in page for score in got.scores)
    assert max(map(len, table.splitlines()[:9])) <= 100
    assert page.count("<svg") == 1 and "src=" not in page
    (found,) = json.loads(accuracy.backtest_json([got]))["series"]
    assert SeriesBacktest.model_validate(found) == got
    (axes,) = accuracy.backtest_figure(got).axes
    (came,) = [line for line in axes.lines if line.get_label() == "what came"]
    assert list(came.get_ydata()) == [slot.actual for slot in got.shown]
