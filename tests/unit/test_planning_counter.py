"""Refusals: the reason in numbers, and counter-proposals that hold when they are followed, and are the least."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.app.outlook import Outlook
from forebay.app.plan import Seen, agree, draw
from forebay.domain.change import PolicyChange
from forebay.domain.freeze import FreezeWindow
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.planning.counter import _span
from forebay.planning.demand import demand_paths
from forebay.planning.draft import Draft, Start
from forebay.planning.plan import draw_plan
from forebay.planning.problem import Clock
from forebay.planning.slots import horizon_slots
from forebay.report.words import explain, moment
from tests.support.planning_cases import EFFECTIVE, NOW, change, demand, drawn, plan, refused, workload

SOON = NOW + timedelta(minutes=28)


@pytest.mark.parametrize(
    ("fields", "reason", "relax"),
    [
        pytest.param(
            {"to_be": change(effective_at=SOON), "start": 4},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 4 units only 10 are within reach in 2 moves of at most 3 units and 100 %, 10 min apart",
            ("limits.soft.units 4 (now 3)",),
            id="too few moves",
        ),
        pytest.param(
            {"work": workload(soft={"units": 9, "percent": 30}), "to_be": change(effective_at=SOON), "start": 6},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 6 units only 9 are within reach in 2 moves of at most 9 units and 30 %, 10 min apart",
            ("limits.soft.percent 50 (now 30)",),
            id="too few percent",
        ),
        pytest.param(
            {"work": workload(soft={"percent": 50}), "to_be": change(effective_at=SOON), "start": 4},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 4 units only 9 are within reach in 2 moves of at most 3 units and 50 %, 10 min apart",
            ("limits.soft.units 4 (now 3) and limits.soft.percent 100 (now 50)",),
            id="too few units and too few percent",
        ),
        pytest.param(
            {"work": workload(soft={"dwell": "PT20M"}), "to_be": change(effective_at=SOON), "start": 8},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 8 units only 11 are within reach in 1 move of at most 3 units and 100 %, 20 min apart",
            ("limits.soft.units 4 (now 3)", "limits.soft.dwell 15 min (now 20 min)"),
            id="too long a dwell",
        ),
        pytest.param(
            {"work": workload(slot="PT15M"), "to_be": change(effective_at=SOON), "start": 8},
            "12 units must serve, verified, at 24 Nov 09:30 UTC to carry the demand with 95 % confidence, "
            "but from 8 units only 11 are within reach in 1 move of at most 3 units and 100 %, 15 min apart",
            ("limits.soft.units 4 (now 3)",),
            id="a coarse grid",
        ),
        pytest.param(
            {"work": workload(limits={"min_units": 2, "max_units": 10, "soft": {"units": 3}})},
            "12 units must serve, verified, at 24 Nov 12:00 UTC to carry the demand with 95 % confidence, "
            "but max_units of its limits is 10; and at 24 Nov 12:05 UTC it would need more than the 10 units "
            "that may be had, so no later time is proposed",
            ("limits.max_units 12 (now 10)",),
            id="too low a bound",
        ),
        pytest.param(
            {"to_be": change(entitlements=[{"workload": "web", "max_units": 9}])},
            "12 units must serve, verified, at 24 Nov 12:00 UTC to carry the demand with 95 % confidence, "
            "but max_units of the policy's entitlement is 9; and at 24 Nov 12:05 UTC it would need more than the 9 "
            "units that may be had, so no later time is proposed",
            ("entitlement max_units 12 (now 9)",),
            id="the policy's own ceiling",
        ),
        pytest.param(
            {"to_be": change(effective_at=SOON, entitlements=[{"workload": "web", "max_units": 14}]), "start": 24},
            "the policy's ceiling of 14 units at 24 Nov 09:30 UTC cannot be met from 24 units "
            "in 2 moves of at most 3 units and 100 %, 10 min apart",
            ("limits.soft.units 5 (now 3)", "entitlement max_units 18 (now 14)"),
            id="too far down",
        ),
        pytest.param(
            {"to_be": change(effective_at=NOW + timedelta(minutes=8))},
            "12 units must serve, verified, at 24 Nov 09:10 UTC to carry the demand with 95 % confidence, "
            "but there is no shaping point left: "
            "a step takes 10 min to be verified, and the effective time is 8 min away",
            (),
            id="too soon",
        ),
        pytest.param(
            {"to_be": change(effective_at=NOW + timedelta(minutes=8)), "start": 12, "floor": 3},
            "12 units must serve, verified, at 24 Nov 09:10 UTC to carry the demand with 95 % confidence, "
            "but there is no shaping point left: "
            "a step takes 10 min to be verified, and the effective time is 8 min away",
            (),
            id="no time to hold the floor",
        ),
        pytest.param(
            {"start": 50},
            "it stands at 50 units, above max_units 40, and a plan does not shrink it",
            ("limits.max_units 50 (now 40)",),
            id="above its own bound",
        ),
    ],
)
def test_refusals(fields: dict[str, Any], reason: str, relax: tuple[str, ...]) -> None:
    refusal = refused(**fields)
    assert refusal.reason == reason
    assert tuple(way.limit for way in refusal.counter_proposal.relax) == relax


def test_the_earliest_effective_time_is_just_late_enough() -> None:
    """From 4 to 12 in steps of 3 takes three moves, 10 minutes apart, the last verified 10 minutes later."""
    refusal = refused(to_be=change(effective_at=SOON), start=4)
    at = NOW.replace(minute=5) + timedelta(minutes=30)
    assert refusal.counter_proposal.earliest_effective_at == at
    assert f"effective_at {at.isoformat()} (" in refusal.text, "that time: of later ones nothing is known"


def test_the_earliest_effective_time_skips_a_freeze_window() -> None:
    freeze = FreezeWindow(start=NOW + timedelta(minutes=30), end=NOW + timedelta(hours=2), reason="release")
    refusal = refused(to_be=change(effective_at=SOON), start=4, freezes=[freeze])
    assert refusal.counter_proposal.earliest_effective_at == NOW.replace(hour=11, minute=5)


def test_a_freeze_that_takes_the_points_is_named() -> None:
    freeze = FreezeWindow(start=NOW, end=EFFECTIVE, reason="release")
    assert "no shaping point left (34 slots until then lie in a freeze window)" in refused(freezes=[freeze]).reason


@pytest.mark.parametrize(
    ("windows", "let"),
    [
        pytest.param([(0, 180)], "freeze 0, 24 Nov 09:02 UTC until 24 Nov 12:02 UTC", id="the only one"),
        pytest.param([(0, 60), (60, 180)], "freeze 0, 24 Nov 09:02 UTC until 24 Nov 10:02 UTC", id="one of two"),
        pytest.param(
            [(0, 180), (0, 175)],
            "freeze 0, 24 Nov 09:02 UTC until 24 Nov 12:02 UTC and freeze 1, 24 Nov 09:02 UTC until 24 Nov 11:57 UTC",
            id="neither alone",
        ),
        pytest.param([(0, 180), (200, 300)], "freeze 0, 24 Nov 09:02 UTC until 24 Nov 12:02 UTC", id="not a later one"),
    ],
)
def test_an_exception_to_the_freeze_that_stands_in_the_way_is_proposed(
    windows: list[tuple[int, int]], let: str
) -> None:
    freezes = [
        FreezeWindow(start=NOW + timedelta(minutes=start), end=NOW + timedelta(minutes=end), reason=f"freeze {number}")
        for number, (start, end) in enumerate(windows)
    ]
    (way,) = refused(freezes=freezes).counter_proposal.relax
    assert way.limit == f"an exception to the freeze ({let})"
    assert drawn(freezes=[f for f in freezes if f.reason not in let]).price.more == way.costs


def test_no_time_helps_against_a_bound() -> None:
    bounded = workload(limits={"min_units": 2, "max_units": 10, "soft": {"units": 3}})
    refusal = refused(bounded)
    assert refusal.counter_proposal.earliest_effective_at is None
    assert refusal.text.endswith("limits.max_units 12 (now 10) (0.19 USD more than leaving it as it is)")


def _followed(refusal: PlanRefusal, soft: dict[str, Any], fields: dict[str, Any]) -> list[Any]:
    """The results of following each proposal, one at a time."""
    results = []
    if at := refusal.counter_proposal.earliest_effective_at:
        results.append(plan(workload(soft=soft), change(effective_at=at), **fields))
    for way in refusal.counter_proposal.relax:
        eased = dict(soft)
        for limit in way.limit.split(" and "):
            name, value = limit.split(" (now")[0].split(" ", 1)
            assert name.startswith("limits.soft."), way
            eased[name.rsplit(".", 1)[1]] = f"PT{value.removesuffix(' min')}M" if "dwell" in name else int(value)
        results.append(plan(workload(soft=eased), change(effective_at=SOON), **fields))
    return results


@pytest.mark.slow
@given(
    start=st.integers(2, 12), units=st.integers(1, 4), percent=st.integers(10, 120), dwell=st.integers(2, 5),
    floor=st.none() | st.integers(1, 10), autoscaled=st.booleans(),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_every_proposal_that_is_followed_gives_a_plan(
    start: int, units: int, percent: int, dwell: int, floor: int | None, autoscaled: bool
) -> None:
    soft: dict[str, Any] = {"units": units, "percent": percent, "dwell": f"PT{5 * dwell}M"}
    fields: dict[str, Any] = {"start": start, "floor": floor, "autoscaled": autoscaled and floor is not None}
    result = plan(workload(soft=soft), change(effective_at=SOON), **fields)
    if isinstance(result, PlanRefusal):
        assert result.counter_proposal.earliest_effective_at
        assert all(isinstance(again, ShapingPlan) for again in _followed(result, soft, fields))


def test_each_way_has_its_price_and_it_is_the_price_of_the_plan_that_follows() -> None:
    soft: dict[str, Any] = {"dwell": "PT20M"}
    refusal = refused(workload(soft=soft), change(effective_at=SOON), start=8)
    counter = refusal.counter_proposal
    costs = [counter.earliest_costs, *(way.costs for way in counter.relax)]
    followed = [result.price for result in _followed(refusal, soft, {"start": 8})]
    assert len(costs) == 3 and costs == [price.shaped.money - price.left_alone.money for price in followed]
    assert len({*costs}) > 1, "they differ"
    assert f"limits.soft.units 4 (now 3) ({costs[1]:.2f} USD more than leaving it as it is)" in refusal.text


def _rising(at: datetime, **soft: int) -> ShapingPlan | PlanRefusal:
    """Demand trebles at 10:00, and an autoscaler has what it needs from 10:10 on; the change at `at` adds 5 %."""
    work = workload(soft={"units": 1} | soft)
    to_be = change(effective_at=at, impacts=[{"workload": "web", "factor": 1.1}])
    index = horizon_slots(to_be, work, NOW)
    path = [4.0 if slot < NOW.replace(hour=10, minute=0) else 12.0 for slot in index]
    paths = demand_paths(work, to_be, {Resource.CPU: np.tile(path, (2, 1))}, index, np.random.default_rng(1))
    return draw_plan(Draft(to_be, work, paths, Start(8, 2, autoscaled=True), Clock(NOW, NOW)), {})


def test_under_an_autoscaler_the_earliest_time_counts_on_what_it_brings() -> None:
    """One unit a move, 10 minutes apart: from 8 to 26 is three hours' climb, but from 24 it is two moves."""
    asked = NOW.replace(minute=55)
    refusal = _rising(asked)
    assert isinstance(refusal, PlanRefusal)
    at = refusal.counter_proposal.earliest_effective_at
    later = [asked + timedelta(minutes=5 * slot) for slot in range(1, 20)]
    followed = {at: result for at in later if isinstance(result := _rising(at), ShapingPlan)}
    assert at == min(followed) < NOW.replace(hour=11)
    assert refusal.counter_proposal.earliest_costs == followed[at].price.more


def test_under_an_autoscaler_a_limit_need_not_do_what_it_brings() -> None:
    """At 10:15 24 units stand: two more in one move would do, while from 8 it would take three in each of many."""
    at = NOW.replace(hour=10, minute=25)
    refusal = _rising(at)
    assert isinstance(refusal, PlanRefusal)
    assert "only 25 are within reach" in refusal.reason
    assert [way.limit for way in refusal.counter_proposal.relax] == ["limits.soft.units 2 (now 1)"]
    assert isinstance(_rising(at, units=2), ShapingPlan)


def _two(first: Workload, second: Workload, at: datetime) -> list[ShapingPlan | PlanRefusal]:
    """The results of one change for two workloads of flat demand, as they agree on a time."""
    to_be = change(
        effective_at=at, impacts=[{"workload": "web", "factor": 2}, {"workload": "api", "factor": 2}], settle="PT10M"
    )

    def drawn(one: Seen, to_be: PolicyChange) -> ShapingPlan | PlanRefusal:
        return draw(one.workload, to_be, one.outlook, Start(8, None), Clock(NOW, NOW))

    seen = []
    for work in (first, second):
        index = horizon_slots(to_be, work, NOW)
        seen.append(Seen(work, {}, Outlook(index, {Resource.CPU: np.full((10, len(index)), 4.0)}, {}), NOW))
    return agree(to_be, seen, [drawn(one, to_be) for one in seen], drawn)


@pytest.mark.parametrize(("slowest", "other"), [(1, "PT4M"), (1, "PT25M"), (2, "PT25M")])
def test_one_time_would_do_for_all_workloads_and_none_before_it(slowest: int, other: str) -> None:
    works = workload(soft={"units": slowest}), workload(name="api", lead_time=other)
    results = _two(*works, SOON)
    refusals = [r for r in results if isinstance(r, PlanRefusal)]
    (at,) = {r.counter_proposal.together_at for r in refusals}
    assert at is not None
    followed = [result for result in _two(*works, at) if isinstance(result, ShapingPlan)]
    assert len(followed) == 2
    assert any(isinstance(result, PlanRefusal) for result in _two(*works, at - timedelta(minutes=5)))
    costs = f"{sum(result.price.more for result in followed):.2f} USD more than leaving it as it is"
    assert PlanRefusal.texts(refusals).endswith(f"all workloads together: effective_at {at.isoformat()} ({costs})")
    assert explain(refusals[0]).endswith(f"an effective time of {moment(at)}: {costs}.")


def _with_hours(
    times: float, first: datetime, last: datetime, to_be: PolicyChange, most: int, start: int, days: int = 1
) -> Any:
    """The result for flat demand that is so many times as large from `first` until `last`, on each of so many days."""
    work = workload(limits={"min_units": 2, "max_units": most, "soft": {"units": 3, "dwell": "PT10M"}})
    paths = demand(work, to_be)
    for day in map(timedelta, range(days)):
        hours = slice(paths.index.first_from(first + day), paths.index.first_from(last + day))
        for of in (*paths.with_change.values(), *paths.without_change.values()):
            of[:, hours] *= times
    return draw_plan(Draft(to_be, work, paths, Start(start, None), Clock(NOW, NOW)), {})


def test_the_forecast_is_that_of_the_proposed_time() -> None:
    """Demand that only falls after 12:30 lets the change in then, although 12 units stay out of reach."""
    falls = EFFECTIVE + timedelta(minutes=30)
    refusal = _with_hours(0.5, falls, falls + timedelta(days=2), change(), 10, 8)
    assert refusal.counter_proposal.earliest_effective_at == falls


@pytest.mark.parametrize("minutes", [10, 60, 600])
def test_a_lull_is_no_time_to_propose(minutes: int) -> None:
    """12 units are needed again once it is over, and 10 is all there may be."""
    lull = EFFECTIVE + timedelta(hours=2)
    refusal = _with_hours(0.5, lull, lull + timedelta(minutes=minutes), change(), 10, 8)
    assert refusal.counter_proposal.earliest_effective_at is None
    assert [way.limit for way in refusal.counter_proposal.relax] == ["limits.max_units 12 (now 10)"]


@pytest.mark.parametrize("entitlements", [(), ({"workload": "web", "max_units": 14},)])
def test_a_peak_that_comes_again_after_the_forecast_is_no_time_to_propose_either(entitlements: Any) -> None:
    """Out of reach is the asked time only; but at ten 24 units are needed, both days and so on the third, when none
    looks.
    """
    to_be = change(effective_at=SOON, entitlements=entitlements)
    ten = NOW.replace(hour=10, minute=0)
    peak = _with_hours(2.0, ten, ten + timedelta(hours=1), to_be, 40 if entitlements else 14, 4, days=2)
    assert isinstance(peak, PlanRefusal)
    if entitlements:
        assert peak.counter_proposal.earliest_effective_at is None
        assert "; and at 24 Nov 10:00 UTC it would need more than the 14 units" in peak.reason
    else:  # 16 of the 14 are needed at ten without the change too
        assert peak.counter_proposal.earliest_effective_at == NOW.replace(minute=35)
    none = _with_hours(1.0, ten, ten + timedelta(hours=1), to_be, 40 if entitlements else 14, 4)
    assert none.counter_proposal.earliest_effective_at == NOW.replace(minute=35)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90, "90 s"), (780, "13 min"), (3600, "1 h"), (5400, "1 h 30 min"), (0, "0 min"), (601, "10 min")],
)
def test_spans_in_words(seconds: int, text: str) -> None:
    assert _span(timedelta(seconds=seconds)) == text
