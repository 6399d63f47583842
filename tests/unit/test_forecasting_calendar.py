"""Clock changes and holidays: the forecast follows the wall clock, and a holiday is not a working day."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.forecasting import Forecast, forecast_series
from forebay.forecasting.calendar import Calendar, WallClock
from forebay.forecasting.models import DEFAULT
from tests.support.world import a_workload

HOUR = timedelta(hours=1)
BERLIN = "Europe/Berlin"


def office(index: pd.DatetimeIndex, zone: str = BERLIN, sundays: float = 1.0, saturdays: float = 1.0) -> pd.Series:
    """A load that works from eight to six on the wall clock of a zone."""
    local = index.tz_convert(zone)
    busy = (local.hour >= 8) & (local.hour < 18)
    rest = np.select([local.dayofweek == 6, local.dayofweek == 5], [sundays, saturdays], 1.0)
    noise = np.random.default_rng(0).normal(0, 0.1, len(index))
    return pd.Series((10 + 30 * busy) * rest + noise, index=index)


def ahead(
    origin: str, calendar: Calendar | None, days: int = 14, models: tuple[str, ...] = DEFAULT, **more: float
) -> tuple[Forecast, pd.Series]:
    end = pd.Timestamp(origin)
    history = office(pd.date_range(end - pd.Timedelta(days=days), end, freq="1h", inclusive="left"), **more)  # type: ignore[arg-type]
    got = forecast_series(history, horizon=48, step=HOUR, budget_seconds=0, calendar=calendar, models=models)
    return got, office(got.index, **more)  # type: ignore[arg-type]


CHANGES = {
    "back, a day ago": "2026-10-26T00:00Z",
    "back, within the horizon": "2026-10-24T12:00Z",
    "forward, a day ago": "2026-03-30T00:00Z",
    "forward, within the horizon": "2026-03-28T06:00Z",
}


@pytest.mark.parametrize("origin", CHANGES.values(), ids=CHANGES.keys())
def test_the_pattern_follows_the_wall_clock_across_a_change(origin: str) -> None:
    on, actual = ahead(origin, Calendar(BERLIN))
    off, _ = ahead(origin, None)
    assert on.index.equals(off.index)
    assert np.abs(on.quantiles[0.5] - actual).max() < 3
    assert np.abs(off.quantiles[0.5] - actual).max() > 10
    assert any("clock change on" in reason and BERLIN in reason for reason in on.reasons)


def test_what_is_said_of_a_history_across_a_change_is_in_utc_and_true() -> None:
    end = pd.Timestamp("2026-03-31T00:00Z")
    history = office(pd.date_range(end - pd.Timedelta(days=21), end, freq="1h", inclusive="left"))
    history[pd.Timestamp("2026-03-20T12:00Z")] = 400
    history[pd.Timestamp("2026-03-24T13:00Z")] = 0
    got = forecast_series(history, horizon=24, step=HOUR, budget_seconds=0, calendar=Calendar(BERLIN))
    said = "; ".join(got.reasons)
    assert "clock change on 29 Mar" in said
    assert "from usual on 20 Mar 12:00 UTC" in said
    assert "near zero for 1 h on 24 Mar 13:00 UTC" in said
    assert "filled" not in said and "left out" not in said.split("arima")[0]


@pytest.mark.parametrize(
    ("anchor", "time"),
    [
        ("2026-03-31T00:00Z", "2026-03-20T12:00Z"),
        ("2026-03-31T00:00Z", "2026-03-30T12:00Z"),
        ("2026-11-02T00:00Z", "2026-10-25T00:00Z"),
        ("2026-11-02T00:00Z", "2026-10-24T23:00Z"),
    ],
)
def test_a_wall_clock_time_is_brought_back_to_utc(anchor: str, time: str) -> None:
    clock, moment = WallClock(BERLIN, pd.Timestamp(anchor)), pd.Timestamp(time)
    assert clock.utc(clock.of(pd.DatetimeIndex([moment]))[0]) == moment


def test_without_a_change_in_sight_a_zone_changes_nothing() -> None:
    on, _ = ahead("2026-11-20T00:00Z", Calendar(BERLIN))
    off, _ = ahead("2026-11-20T00:00Z", None)
    assert on.quantiles.equals(off.quantiles)
    assert on.reasons == off.reasons


THANKSGIVING = Calendar(holidays=(date(2026, 11, 26),))


def test_a_holiday_is_forecast_like_sundays() -> None:
    got, usual = ahead("2026-11-26T00:00Z", THANKSGIVING, zone="UTC", sundays=0.4)  # type: ignore[arg-type]
    assert np.allclose(got.quantiles[0.5][:24], 0.4 * usual[:24], atol=2.5)
    assert np.allclose(got.quantiles[0.5][24:], usual[24:], atol=2.5)
    assert any("holiday on 26 Nov 2026: like Sundays, 40% of a working day" in reason for reason in got.reasons)


@pytest.mark.parametrize("saturdays", [1.0, 0.3])
@pytest.mark.parametrize("models", [DEFAULT, ("seasonal-naive",)], ids=["default", "seasonal naive"])
def test_a_holiday_after_a_day_of_rest_is_discounted_once(models: tuple[str, ...], saturdays: float) -> None:
    monday = Calendar(holidays=(date(2026, 11, 23),))
    got, usual = ahead("2026-11-23T00:00Z", monday, models=models, zone="UTC", sundays=0.3, saturdays=saturdays)  # type: ignore[arg-type]
    assert np.allclose(got.quantiles[0.5][:24], 0.3 * usual[:24], atol=2.5)
    assert np.allclose(got.quantiles[0.5][24:], usual[24:], atol=2.5), "and Tuesday is a working day"


def test_a_weekend_ahead_of_a_holiday_is_one_too() -> None:
    monday = Calendar(holidays=(date(2026, 11, 30),))
    history = office(
        pd.date_range("2026-11-14T12:00Z", "2026-11-28T12:00Z", freq="1h", inclusive="left"), "UTC", 0.3, 0.6
    )
    got = forecast_series(history, horizon=84, step=HOUR, budget_seconds=0, calendar=monday)
    coming = office(got.index, "UTC", 0.3, 0.6)
    coming[-24 - 24 : -24] *= 0.3
    assert np.allclose(got.quantiles[0.5], coming, atol=3)


def test_the_night_of_a_day_that_is_not_over_is_no_quiet_day() -> None:
    """Ten at night is less than a Sunday's mean: counted as a working day's, Sundays would look like any other."""
    got, usual = ahead("2026-11-25T06:00Z", THANKSGIVING, zone="UTC", sundays=0.5)  # type: ignore[arg-type]
    assert np.allclose(got.quantiles[0.5][18:42], 0.5 * usual[18:42], atol=2.5)


def test_a_workload_read_by_default_keeps_its_week() -> None:
    """On Saturday noon: a Sunday is no Saturday, and Monday morning is none of both."""
    days, seasons = a_workload().history, a_workload().seasons
    end = pd.Timestamp("2026-11-21T12:00Z")
    history = office(pd.date_range(end - days, end, freq="1h", inclusive="left"), "UTC", sundays=0.3, saturdays=0.6)
    got = forecast_series(history, horizon=60, step=HOUR, seasons=seasons, budget_seconds=0)
    assert np.allclose(got.quantiles[0.5], office(got.index, "UTC", sundays=0.3, saturdays=0.6), atol=2.5)


def test_a_holiday_of_a_load_without_a_week_is_any_day() -> None:
    got, usual = ahead("2026-11-26T00:00Z", THANKSGIVING, zone="UTC")  # type: ignore[arg-type]
    assert np.allclose(got.quantiles[0.5], usual, atol=2.5)
    assert any("like any day" in reason for reason in got.reasons)


def test_holidays_before_teach_the_next_and_nothing_else() -> None:
    index = pd.date_range("2026-11-10T00:00Z", "2026-11-24T00:00Z", freq="1h", inclusive="left")
    history = office(index, "UTC")
    history[history.index.normalize() == pd.Timestamp("2026-11-23T00:00Z")] = 5.0
    calendar = Calendar(holidays=(date(2026, 11, 23), date(2026, 11, 25)))
    got = forecast_series(history, horizon=48, step=HOUR, budget_seconds=0, calendar=calendar)
    assert np.allclose(got.quantiles[0.5][:24], office(got.index, "UTC")[:24], atol=2.5)
    assert got.quantiles[0.5][24:].max() < 7
    assert any("like the holidays before" in reason for reason in got.reasons)
