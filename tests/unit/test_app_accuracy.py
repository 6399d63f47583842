"""The daily backtest: it records what it finds, replaces it when run again, and warns once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.app import accuracy as daily
from forebay.app.context import Context
from forebay.domain.accuracy import Judged
from forebay.domain.resources import Resource
from forebay.forecasting import evaluation
from forebay.report.accuracy import recorded_json, recorded_table
from tests.support.world import NOW, World, a_workload

pytestmark = pytest.mark.slow

HOURLY = a_workload(slot="PT1H")
MIDNIGHT = NOW.replace(hour=0)


@dataclass
class Measured:
    """A usage port over one series."""

    series: pd.Series

    def history(self, start: datetime, end: datetime, step: timedelta) -> Mapping[Resource, pd.Series]:
        return {Resource.CPU: self.series[(self.series.index >= start) & (self.series.index < end)]}

    def measure(self, start: datetime, end: datetime) -> Mapping[Resource, float]:
        raise AssertionError("the backtest judges slots, not moments")


def load(jump: float = 0.0, days: int = 14) -> pd.Series:
    """Hourly up to NOW; in the last six days each hour is `jump` higher than the one a day before."""
    index = pd.date_range(end=NOW, periods=24 * days, freq="1h")
    hours = np.arange(len(index))
    rising = jump * np.maximum(0, hours - (len(index) - 144)) / 24
    noise = np.random.default_rng(0).normal(0, 0.2, len(index))
    return pd.Series(5 + np.sin(2 * np.pi * hours / 24) + noise + rising, index=index)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "DEFAULT", ("simple",))


def context(world: World, series: pd.Series) -> Context:
    return dataclasses.replace(world.ctx, usage=lambda workload: Measured(series))


def test_a_forecast_is_judged_with_the_calendar_of_its_workload(world: World) -> None:
    free = MIDNIGHT - timedelta(days=1)
    assert free.weekday() == 0
    series = load()
    index = pd.DatetimeIndex(series.index)
    series[(index.dayofweek == 6) | (index.normalize() == pd.Timestamp(free))] *= 0.3
    known = a_workload(slot="PT1H", holidays=[free.date().isoformat()])
    losses = []
    for workload in (HOURLY, known):
        daily.backtest_workload(context(world, series), workload)
        losses.append(daily.recorded(world.ctx)[-1].relative_loss)
    assert losses[1] < 0.95 < 1.2 < losses[0], "the holiday is forecast like the Sundays before, not like a working day"


def test_what_it_finds_is_recorded_and_run_again_replaced(world: World) -> None:
    ctx = context(world, load())
    said = daily.backtest_workload(ctx, HOURLY)
    (found,) = daily.recorded(ctx)
    assert said.startswith("web: cpu backtest: the 90 % band held ")
    assert (found.workload, found.resource, found.judged) == ("web", Resource.CPU, Judged.BACKTEST)
    assert (found.until, found.since, found.slots) == (MIDNIGHT, MIDNIGHT - timedelta(days=7), 168)
    assert 0.75 <= found.coverage <= 1 and found.relative_loss is not None and found.relative_loss < 1
    daily.backtest_workload(ctx, HOURLY)
    assert daily.recorded(ctx) == [found]
    assert world.people.events == []


def test_what_decays_is_warned_of_once_and_again_after_it_was_right(world: World) -> None:
    """Every day 30 % higher than the one before is what no seasonal model foresees."""
    decaying = context(world, load(jump=6.0))
    daily.backtest_workload(decaying, HOURLY)
    daily.backtest_workload(decaying, HOURLY)
    (event,) = world.people.events
    assert (event.action, event.workload) == ("forecast decayed", "web")
    assert "of the slots were above the 95 % quantile" in event.reason
    assert world.actions(None).count("forecast decayed") == 1
    table = recorded_table(daily.recorded(decaying))
    assert "DECAYED" in table and '"decay": "' in recorded_json(daily.recorded(decaying))
    for series, days, told in ((load(), 1, 1), (load(jump=6.0), 2, 2)):
        world.clock.sleep(NOW + timedelta(days=days) - world.clock.now())
        shifted = pd.Series(series.to_numpy(), index=series.index + pd.Timedelta(days=days))
        daily.backtest_workload(context(world, shifted), HOURLY)
        assert len(world.people.events) == told


def test_the_bands_of_stored_plans_are_judged(world: World) -> None:
    world.submit()
    world.clock.sleep(timedelta(days=1))
    minutes = pd.date_range(NOW, periods=30, freq="5min")
    series = pd.Series(np.where(np.arange(30) < 3, 2.0, 9.0), index=minutes)
    said = daily.backtest_workload(context(world, series), a_workload())
    (found,) = daily.recorded(world.ctx)
    assert (found.judged, found.change, found.slots, found.coverage, found.above) == (Judged.PLAN, "CHG-1", 6, 0.5, 0.5)
    assert "too short to judge forecasts" in said and "cpu plan CHG-1: the 90 % band held 50% of 6 slots" in said
    assert found.decay is None, "six slots are too few to tell"


def test_a_resource_that_was_not_measured_is_said_and_nothing_recorded(world: World) -> None:
    said = daily.backtest_workload(world.ctx, HOURLY)
    assert said == "web: cpu was not measured"
    assert daily.recorded(world.ctx) == []
    assert recorded_table([]).startswith("nothing was recorded yet")
