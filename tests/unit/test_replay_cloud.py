"""The simulated cloud of a replay: lags, the autoscaler, failures, and usage as it is published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from forebay.domain.allocation import Lever, Setting
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.resources import Resource
from forebay.replay.cloud import Outage, SimulatedService
from forebay.replay.outcome import outcome_of
from forebay.replay.recorded import RecordedDemand, truth
from forebay.replay.tracking import tracked_units
from tests.support.planning_cases import workload

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CPU = Resource.CPU


def after(minutes: float) -> datetime:
    return START + minutes * MINUTE


def cores(levels: Mapping[int, float], minutes: int = 120) -> dict[Resource, pd.Series]:
    """`levels`: from minute -> cores. One sample a minute."""
    index = pd.date_range(START, periods=minutes, freq="1min")
    values = pd.Series([levels[max(m for m in levels if m <= i)] for i in range(minutes)], index=index)
    return {CPU: values}


def service(levels: Mapping[int, float], *, floor: int | None = None, units: int = 8, **more: Any) -> SimulatedService:
    """One unit is one core at 50 %: 4 cores need 8 units. Lead time 4 minutes, metric delay 3."""
    work = workload()
    past = {CPU: pd.Series([4.0, 4.0], index=pd.date_range(START - 10 * MINUTE, periods=2, freq="5min"))}
    setting = (
        Setting(lever=Lever.COUNT, count=units)
        if floor is None
        else Setting(lever=Lever.FLOOR, floor=floor, ceiling=40)
    )
    recorded = RecordedDemand(work, past, cores(levels), START)
    return SimulatedService(work, recorded, setting, units, work.objectives, **more)


def test_units_serve_after_the_lead_time() -> None:
    cloud = service({0: 4.0})
    cloud.apply(Setting(lever=Lever.COUNT, count=10))
    cloud.run_until(after(3))
    assert (cloud.observe().desired, cloud.observe().serving, cloud.observe().stable) == (10, 8, False)
    cloud.run_until(after(4))
    assert (cloud.observe().serving, cloud.observe().stable) == (10, True)


def test_what_is_under_way_goes_first_when_less_is_asked() -> None:
    cloud = service({0: 4.0})
    cloud.apply(Setting(lever=Lever.COUNT, count=12))
    cloud.apply(Setting(lever=Lever.COUNT, count=9))
    assert cloud.observe().serving == 8
    cloud.run_until(after(5))
    assert cloud.observe().serving == 9
    cloud.apply(Setting(lever=Lever.COUNT, count=6))
    assert cloud.observe().serving == 6


def test_the_autoscaler_acts_on_three_published_datapoints() -> None:
    """Demand doubles at minute 10: three datapoints until 13, published at 16, served at 20."""
    cloud = service({0: 3.6, 10: 7.2}, floor=2)
    desired = []
    for minute in range(10, 22):
        cloud.run_until(after(minute))
        desired.append(cloud.observe().desired)
    assert desired[:6] == [8] * 6 and desired[6] == 15
    assert [p.serving for p in cloud.periods[18:21]] == [8, 8, 15]


def test_it_scales_in_after_fifteen_and_never_below_the_floor() -> None:
    cloud = service({0: 1.0}, floor=5)
    cloud.run_until(after(17))
    assert cloud.observe().desired == 8
    cloud.run_until(after(18))
    assert cloud.observe().desired == 5


def test_a_count_lever_has_no_autoscaler() -> None:
    cloud = service({0: 7.9})
    cloud.run_until(after(60))
    assert cloud.observe().desired == 8


def test_a_raised_floor_lifts_and_a_lowered_one_takes_nothing() -> None:
    cloud = service({0: 4.0}, floor=2)
    cloud.apply(Setting(lever=Lever.FLOOR, floor=11, ceiling=40))
    cloud.run_until(after(5))
    assert cloud.observe().serving == 11
    cloud.apply(Setting(lever=Lever.FLOOR, floor=3, ceiling=40))
    assert cloud.observe().serving == 11
    assert [write.moved for write in cloud.writes] == [3, 0]


def test_launches_in_an_outage_start_anew_and_say_why() -> None:
    cloud = service({0: 4.0}, outages=(Outage(after(0), after(10)),))
    cloud.apply(Setting(lever=Lever.COUNT, count=9))
    cloud.run_until(after(8))
    assert (cloud.observe().serving, cloud.observe().causes) == (8, ("insufficient capacity",))
    cloud.run_until(after(12))
    assert (cloud.observe().serving, cloud.observe().causes) == (9, ())


def test_of_a_launch_a_part_may_arrive_and_the_rest_starts_anew() -> None:
    cloud = service({0: 4.0}, outages=(Outage(after(0), after(10), arrives=0.5),))
    cloud.apply(Setting(lever=Lever.COUNT, count=11))
    served = {}
    for minute in (1, 8, 12, 20):
        cloud.run_until(after(minute))
        served[minute] = cloud.observe().serving
    # Of 3 one arrives; of the 2 left one; the last one, too few to be halved, once the outage is over.
    assert served[1] == 8 and 8 < served[8] < 11 and served[20] == 11
    assert cloud.observe().causes == ()


def test_usage_is_what_serves_and_is_published_late() -> None:
    cloud = service({0: 12.0})
    cloud.run_until(after(8))
    assert cloud.measure(after(0), after(5)) == {CPU: 8.0}
    assert cloud.measure(after(5), after(8)) == {}
    history = cloud.history(START - 10 * MINUTE, after(8), timedelta(minutes=5))[CPU]
    assert history.tolist() == [4.0, 4.0, 8.0]


def test_the_outcome_counts_what_was_missing() -> None:
    """12 cores on 8 units for an hour: 24 units are needed, 4 cores cannot be carried at all."""
    cloud = service({0: 12.0})
    cloud.run_until(after(60))
    outcome = outcome_of(cloud)
    assert outcome.short_unit_hours == pytest.approx(16)
    assert outcome.unmet_demand == {"cpu_core_hours": pytest.approx(4.0)}
    assert (outcome.slots_under_target, outcome.unit_hours, str(outcome.money)) == (1.0, pytest.approx(8), "0.4000")
    assert outcome.objective == pytest.approx(0.4 + 16)


@pytest.mark.parametrize(
    ("points", "serving", "desired", "expected"),
    [
        pytest.param([0.9, 0.9], 4, 4, 4, id="two datapoints are not enough"),
        pytest.param([0.9, 0.9, 0.9], 4, 4, 8, id="out in proportion"),
        pytest.param([0.4, 0.9, 0.9], 4, 4, 4, id="one of three is not above"),
        pytest.param([0.2] * 15, 10, 10, 4, id="in after fifteen"),
        pytest.param([0.46] * 15, 10, 10, 10, id="not within ten percent of the target"),
        pytest.param([0.9, 0.9, 0.9], 4, 9, 9, id="never in on a scale-out"),
    ],
)
def test_target_tracking(points: list[float], serving: int, desired: int, expected: int) -> None:
    assert tracked_units([{CPU: p} for p in points], {CPU: 0.5}, serving, desired) == expected


def test_the_true_impact_scales_the_estimated_effect() -> None:
    change = ChangeRequest.model_validate(
        {"change": "C", "entity": "acme", "policy": "q", "effective_at": after(60), "requested_by": "ann",
         "impacts": [{"workload": "web", "factor": 2.0, "low": 1.5, "high": 3.0}]}
    ).accepted(START)  # fmt: skip
    assert [truth(change, scale).impacts[0].factor for scale in (0.5, 1, 2)] == [1.5, 2.0, 3.0]
    recorded = service({0: 4.0}).recorded
    recorded.come_into_force(truth(change, 2), after(30))
    # Half of the demand is acme's: it becomes three times as much, from minute 30 on.
    assert [recorded.at(after(m))[CPU] for m in (29, 30)] == [4.0, 8.0]
    recorded.come_into_force(truth(change, 2), None)
    assert recorded.at(after(30))[CPU] == 4.0


def test_a_record_that_ends_too_early_is_an_input_error() -> None:
    with pytest.raises(InputError, match="web: the actual demand ends at"):
        RecordedDemand(workload(), {}, cores({0: 1.0}), after(500))
    with pytest.raises(InputError, match="no cpu in the actual demand"):
        RecordedDemand(workload(), {}, {}, START)


def samples(minutes: Mapping[float, float]) -> dict[Resource, pd.Series]:
    """Minute -> cores."""
    return {CPU: pd.Series(list(minutes.values()), index=pd.DatetimeIndex([after(m) for m in minutes]))}


def every_5(until: int, *, without: range = range(0)) -> dict[Resource, pd.Series]:
    return samples({m: 4.0 for m in range(0, until, 5) if m not in without})


def test_a_record_that_begins_long_after_the_replay_is_not_made_up() -> None:
    late = samples(dict.fromkeys(range(300, 360, 5), 4.0))
    with pytest.raises(InputError, match=r"of cpu begins at 2026-11-24 14:00.*, 5 h after .* from 2026-11-24 09:00"):
        RecordedDemand(workload(), {}, late, START)
    a_slot_late = RecordedDemand(workload(), {}, samples(dict.fromkeys(range(5, 65, 5), 4.0)), START)
    assert a_slot_late.held_over_gaps == pytest.approx(5 / 65), "of its first slot nothing is known"


def test_what_is_held_over_gaps_is_counted_and_most_of_a_record_is_needed() -> None:
    assert RecordedDemand(workload(), {}, every_5(360), START).held_over_gaps == 0
    gap = RecordedDemand(workload(), {}, every_5(360, without=range(60, 150)), START)
    assert gap.held_over_gaps == pytest.approx(90 / 360)
    with pytest.raises(InputError, match=r"of cpu is missing in 94% .* known every 5 min else: .* at least half"):
        RecordedDemand(workload(), {}, every_5(360, without=range(10, 350)), START)
    with pytest.raises(InputError, match=r"of cpu is sampled every 5.9 h: a replay needs values at most 1 h apart"):
        RecordedDemand(workload(), {}, samples({0: 4.0, 355: 4.0}), START)


def test_samples_that_come_a_little_late_leave_no_gap() -> None:
    late = samples({m + 0.5 * (m % 20 == 10): 4.0 for m in range(0, 360, 5)})
    assert RecordedDemand(workload(), {}, late, START).held_over_gaps == 0


def test_a_customers_own_record_is_not_made_up_either() -> None:
    total, own = every_5(360), every_5(360, without=range(120, 180))
    assert RecordedDemand(workload(), total, total, START, own, own).held_over_gaps == pytest.approx(60 / 360)
    since = samples(dict.fromkeys(range(120, 360, 5), 1.0))
    with pytest.raises(InputError, match="of cpu of the change's entity begins at"):
        RecordedDemand(workload(), total, total, START, own, since)


def test_a_share_is_taken_where_a_customer_is_sampled_between_the_totals() -> None:
    total, own = every_5(360), samples({m + 2: 1.0 for m in range(0, 360, 5)})
    recorded = RecordedDemand(workload(), total, total, START, own)
    assert recorded._own_without[CPU][0].tolist() == [1.0] * len(recorded.index)
    elsewhere = samples(dict.fromkeys(range(-900, -800, 5), 1.0))
    with pytest.raises(InputError, match="no time at which both cpu and the entity's part of it are known"):
        RecordedDemand(workload(), total, total, START, elsewhere)
