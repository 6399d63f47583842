"""What was measured of a total's parts: apart, as a share, or in contradiction to it; the total loses no history."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.app.outlook import Others, Outlook, forecast_workload, recently_needed
from forebay.domain.errors import InputError
from forebay.domain.resources import Resource
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.parts import Parts, parted
from tests.support.world import NOW, a_request, a_workload

SLOT, SEASONS = timedelta(minutes=15), (timedelta(days=1), timedelta(days=7))
TIMES = pd.date_range(end=NOW - SLOT, periods=14 * 96, freq="15min")
HOUR_OF_DAY = np.asarray(TIMES.hour + TIMES.minute / 60)
OWN = pd.Series(3 - 2 * np.cos(2 * np.pi * HOUR_OF_DAY / 24), index=TIMES)
TOTAL = OWN + 4.0
LAST_TWO_DAYS = TIMES[-2 * 96 :]


def of(total: pd.Series, **measured: pd.Series) -> Parts:
    return parted(total, measured, SLOT, SEASONS)


def mean_of(series: pd.Series, interval: str) -> pd.Series:
    return series.groupby(pd.DatetimeIndex(series.index).floor(interval)).mean()


def test_what_is_measured_all_along_is_apart() -> None:
    parts = of(TOTAL, acme=OWN, bolt=OWN * 0 + 1)
    assert list(parts.apart) == ["acme", "bolt"] and not parts.shares and not parts.notes
    assert parts.apart["acme"] is OWN
    assert parts.rest.index.equals(TIMES) and parts.rest.to_numpy() == pytest.approx(3)


def test_a_coarser_part_leaves_the_total_all_its_samples() -> None:
    parts = of(TOTAL, acme=mean_of(OWN, "1h"))
    assert list(parts.apart) == ["acme"]
    assert parts.rest.index.equals(TIMES)
    assert mean_of(parts.rest, "1h").to_numpy() == pytest.approx(4)


def test_of_a_finer_part_the_mean_is_taken_from_the_total() -> None:
    parts = of(mean_of(TOTAL, "1h"), acme=OWN)
    assert parts.rest.to_numpy() == pytest.approx(4) and len(parts.rest) == len(mean_of(TOTAL, "1h"))


def test_a_part_known_for_a_short_while_is_a_share_of_the_total_by_the_time_of_day() -> None:
    parts = of(TOTAL, acme=OWN[LAST_TWO_DAYS])
    assert not parts.apart and parts.rest.index.equals(TIMES)
    share = parts.shares["acme"]
    assert share.at(TIMES) == pytest.approx((OWN / TOTAL).to_numpy(), abs=0.03)
    assert share.said == (
        "measured for 2 days of 14 days: taken for its share of the total then, 20% to 55% by the time of the season"
    )


def test_a_part_without_a_shape_of_the_day_is_the_same_share_at_all_times() -> None:
    """Its mean of a day is above the total of a night: no contradiction."""
    parts = of(OWN + 1, acme=mean_of(OWN, "24h"))
    assert not parts.apart and not parts.notes
    assert parts.shares["acme"].at(TIMES) == pytest.approx(0.75, abs=0.01)
    assert parts.shares["acme"].said == "measured every 1 day: taken for its share of the total then, 75%"


def test_a_share_is_one_of_what_is_left_of_those_apart() -> None:
    parts = of(TOTAL, acme=OWN, bolt=pd.Series(1.0, index=LAST_TWO_DAYS))
    assert list(parts.apart) == ["acme"] and parts.rest.to_numpy() == pytest.approx(4)
    assert parts.shares["bolt"].at(TIMES) == pytest.approx(0.25)
    assert "share of the rest then, 25%" in parts.shares["bolt"].said


def test_a_part_above_its_total_for_a_while_is_said_and_makes_no_zeros() -> None:
    wrong = OWN.copy()
    wrong.iloc[500:520] = 12.0
    parts = of(TOTAL, acme=wrong)
    assert len(parts.rest) == len(TIMES) - 20 and parts.rest.to_numpy() == pytest.approx(4)
    (note,) = parts.notes
    worst = TOTAL[500:520].idxmin()
    assert note == (
        f"acme is measured above the total 1.49 % of the time, most on {worst:%d %b %H:%M} UTC (12 of "
        f"{TOTAL[worst]:.3g}): one of the two is wrong, and the rest is taken for unknown then"
    )


def test_parts_mostly_above_their_total_are_refused() -> None:
    with pytest.raises(HistoryError, match=r"acme and bolt are together measured above the total .* state shares"):
        of(TOTAL, acme=OWN, bolt=OWN + 2)


def test_a_part_that_ends_before_the_total_is_a_share_of_it_and_costs_it_nothing() -> None:
    """A metric that is late by some minutes is none: it is forecast apart, as ever."""
    late = of(TOTAL, acme=OWN[:-4])
    assert list(late.apart) == ["acme"] and not late.shares
    gone = of(TOTAL, acme=OWN[:-8])
    assert not gone.apart and gone.rest.equals(TOTAL)
    assert gone.shares["acme"].said.startswith(f"measured until {OWN.index[-8]:%d %b %H:%M} UTC: taken for its share")


def test_a_part_that_is_late_by_some_minutes_leaves_the_rest_its_newest_slots() -> None:
    """What the rest did since is not lost: it may just have doubled."""
    total = TOTAL.copy()
    total.iloc[-3:] *= 2
    parts = of(total, acme=OWN[:-3])
    assert list(parts.apart) == ["acme"] and parts.apart["acme"].index[-1] == TIMES[-4]
    assert parts.rest.index.equals(TIMES) and parts.rest[:-3].to_numpy() == pytest.approx(4)
    share = OWN[-7:-3].sum() / TOTAL[-7:-3].sum()
    assert parts.rest[-3:].to_numpy() == pytest.approx(total[-3:].to_numpy() * (1 - share))
    (note,) = parts.notes
    assert note == (
        f"acme: measured until {TIMES[-3]:%d %b %H:%M} UTC: of the total since then it is taken for its share of the "
        f"1 h before, {share:.0%}"
    )


def test_what_a_late_part_was_before_is_no_more_than_the_total() -> None:
    parts = of(OWN, acme=(1.05 * OWN)[:-3])
    assert parts.rest.index.equals(TIMES) and (parts.rest == 0).all()
    idle = OWN.copy()
    idle.iloc[-12:] = 0.0
    assert of(idle, acme=idle[:-3]).rest.index.equals(TIMES)


def test_too_little_to_compare_refuses_nothing() -> None:
    parts = of(TOTAL, acme=3 * OWN[-8:])
    assert len(parts.rest) == len(TOTAL) - 8 and parts.notes[0].startswith("acme is measured above the total 100 %")
    with pytest.raises(HistoryError, match="acme is measured above the total"):
        of(TOTAL[-8:], acme=3 * OWN[-8:])


def test_only_the_part_that_is_above_the_total_by_itself_is_blamed() -> None:
    with pytest.raises(HistoryError, match=r"^bolt is measured above the total .* leave the usage of bolt out"):
        of(TOTAL, acme=0.3 * TOTAL, bolt=2 * TOTAL)


def test_two_measurements_of_one_thing_may_differ() -> None:
    noise = 1 + 0.02 * np.random.default_rng(0).standard_normal(len(OWN))
    parts = of(OWN, acme=OWN * noise)
    assert not parts.notes and (parts.rest >= 0).all() and len(parts.rest) == len(OWN)


def test_what_was_never_known_together_is_said() -> None:
    parts = of(TOTAL[LAST_TWO_DAYS], acme=OWN[:96])
    assert not parts.apart and not parts.shares and len(parts.rest) == len(LAST_TWO_DAYS)
    assert parts.notes == ("acme: measured at no time at which the total is",)


def outlook_of(own: pd.Series) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    entity = {"acme": {Resource.CPU: own}}
    web, change = a_workload(), a_request().accepted(NOW)
    outlook = forecast_workload(web, change, {Resource.CPU: TOTAL}, NOW, timedelta(seconds=20), entity)
    return outlook.paths[Resource.CPU], outlook.entity["acme"][Resource.CPU], outlook.notes["cpu"]


def test_a_customer_measured_lately_leaves_the_plan_all_history_of_the_workload() -> None:
    paths, own, notes = outlook_of(OWN[LAST_TWO_DAYS])
    whole, apart, _ = outlook_of(OWN)
    assert not any("only 2 days of history" in note for note in notes)
    assert any(note.startswith("acme, measured for 2 days of 14 days: taken for its share") for note in notes)
    assert np.median(paths, axis=0) == pytest.approx(np.median(whole, axis=0), rel=0.05)
    assert np.median(own, axis=0) == pytest.approx(np.median(apart, axis=0), rel=0.1)
    assert (own <= paths).all()


def test_a_plan_on_a_customer_above_the_whole_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"^web: cpu usage: acme is measured above the total .* leave the usage of"):
        outlook_of(3 * OWN)


@pytest.mark.parametrize(("known", "assumed"), [(95, True), (96, False)])
def test_a_stated_share_holds_until_a_day_was_measured(known: int, assumed: bool) -> None:
    web, change = a_workload(shares={"acme": 0.5}), a_request().accepted(NOW)
    entity = {"acme": {Resource.CPU: 0 * OWN[-known:]}}
    outlook = forecast_workload(web, change, {Resource.CPU: TOTAL}, NOW, timedelta(seconds=20), entity)
    assert ("acme" in outlook.entity) is not assumed
    said = [note for note in outlook.notes["cpu"] if note.startswith("acme")]
    assert said == [
        "acme: assumed share 50%, measured for 23.8 h only"
        if assumed
        else "acme, measured for 1 day of 14 days: taken for its share of the total then, 0%"
    ]


def test_a_customer_measured_until_days_ago_is_still_the_share_it_was() -> None:
    _, own, notes = outlook_of(OWN[: -3 * 96])
    _, apart, _ = outlook_of(OWN)
    assert np.median(own, axis=0) == pytest.approx(np.median(apart, axis=0), rel=0.1)
    (said,) = [note for note in notes if note.startswith("acme")]
    assert said.startswith(
        f"acme, measured until {OWN.index[-3 * 96]:%d %b %H:%M} UTC: taken for its share of the total"
    )


def after_bolts_change(usage: pd.Series, began: timedelta = 8 * SLOT) -> Outlook:
    """What is known two hours before acme's change, of `usage` that bolt's has been acting on since `began` ago."""
    others = Others(in_force=(a_request(change="CHG-0", entity="bolt", effective_at=NOW - began).accepted(TIMES[0]),))
    change = a_request(effective_at=NOW + timedelta(hours=2)).accepted(NOW)
    workload, budget = a_workload(slot="PT15M"), timedelta(seconds=0)
    return forecast_workload(workload, change, {Resource.CPU: usage}, NOW, budget, None, others)


def shifted(by: timedelta) -> pd.Series:
    return pd.Series(TOTAL.to_numpy(), index=TIMES + pd.Timedelta(by))


@pytest.mark.parametrize("late", [timedelta(seconds=3), SLOT / 2], ids=str)
def test_samples_that_begin_within_slots_are_seen_as_those_that_begin_with_them(late: timedelta) -> None:
    """None would be at the beginning of a slot: nothing would be learned, nor be known to be needed of late."""
    expected = after_bolts_change(TOTAL).seen[Resource.CPU]
    seen = after_bolts_change(shifted(late)).seen[Resource.CPU]
    assert len(expected) == 8 and np.isfinite(expected).all()
    assert seen[:-1] == pytest.approx(expected[:-1])
    assert np.isnan(seen[-1]), "that sample's interval is not over"
    web = a_workload(slot="PT15M")
    needed, on_time = (recently_needed(web, {Resource.CPU: usage}, NOW) for usage in (shifted(late), TOTAL))
    assert needed is not None and on_time is not None and needed.tolist() == [on_time[0]] * len(needed)


def test_of_a_sample_in_the_middle_of_which_a_change_came_into_force_nothing_is_seen() -> None:
    """It is a mean of before and after: the slot it begins in is not known to be without the impact."""
    seen = after_bolts_change(shifted(SLOT / 2), 7 * SLOT - SLOT / 4).seen[Resource.CPU]
    assert np.flatnonzero(np.isnan(seen)).tolist() == [0, 6]


def test_samples_coarser_than_slots_are_seen_in_all_their_slots() -> None:
    hourly = mean_of(TOTAL, "1h")
    seen = after_bolts_change(hourly).seen[Resource.CPU]
    assert seen == pytest.approx(np.repeat(hourly.iloc[-2:], 4))
    half_an_hour_before = after_bolts_change(hourly, 6 * SLOT).seen[Resource.CPU]
    assert half_an_hour_before == pytest.approx([*[np.nan] * 2, *[hourly.iloc[-1]] * 4], nan_ok=True)
