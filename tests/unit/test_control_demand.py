"""Demand is looked at where no step is under way too: while a change is armed, and as it has settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from forebay.app.demand import verify_settled
from forebay.app.pins import pin
from forebay.domain.allocation import Lever
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize
from tests.support.world import (
    EFFECTIVE,
    MINUTE,
    World,
    a_plan,
    a_request,
    a_workload,
    count,
    doubling,
    flat,
    floor,
    minutes,
)

pytestmark = pytest.mark.slow

S = ChangeState
HIGH = "high: cpu at 88%, objective 50%; 8 units serve, 14 are needed"


@pytest.mark.parametrize("lever", [Lever.COUNT, Lever.FLOOR])
def test_what_was_raised_has_its_verdict_under_the_new_policy_before_it_goes_back(lever: Lever) -> None:
    with World(lever=lever) as world:
        world.submit()
        world.run_until(minutes(50))
        assert world.state is S.CLOSED
        done = world.actions()
        assert done.count("settling verified") == 1
        assert lever is Lever.COUNT or done.index("settling verified") < done.index("give back asked")
        assert world.told("settled in doubt") == []
        assert lever is Lever.FLOOR or world.told("closed") == [
            "web: count 8 stays: pass: cpu binds: 4 cores, 50% of what serves; no autoscaler is attached to lower it"
        ]


def test_demand_that_no_limit_allowed_for_is_told_once_and_the_closing_words_are_true() -> None:
    limits = {"min_units": 1, "max_units": 8, "soft": {"units": 2, "dwell": "PT5M"}}
    demand = doubling()
    with World(a_workload(limits=limits), demand=lambda at: demand(at) if at < EFFECTIVE else flat(7)(at)) as world:
        world.submit()
        world.run_until(minutes(50))
        assert (world.state, world.told("settled in doubt")) == (S.CLOSED, [HIGH])
        assert world.told("closed") == [f"web: count 8 stays: {HIGH}; no autoscaler is attached to lower it"]


def test_where_nothing_is_measured_it_is_told_after_the_patience_and_closes_all_the_same() -> None:
    with World() as world:
        world.submit()
        world.run_until(minutes(29))
        world.cloud.services["web"].metrics = False
        world.run_until(minutes(44))
        assert (world.state, world.told("settled in doubt")) == (S.SETTLING, [])
        world.run_until(minutes(47))
        assert (world.state, world.setting()) == (S.CLOSED, count(8))
        assert world.told("settled in doubt") == ["no_data: no data for cpu"]
        assert "no_data" in world.told("closed")[0]


def test_metrics_that_cannot_be_asked_for_keep_nothing_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(39))

        def lost(*_: object) -> object:
            raise OutsideError("credentials have expired", retryable=False)

        monkeypatch.setattr("forebay.app.observe.measured", lost)
        world.run_until(minutes(50))
        assert world.setting() == floor(1)
        assert world.told("settled in doubt") == ["no_data: no data for cpu: credentials have expired"]


def test_one_verdict_whatever_is_in_the_way_of_giving_back() -> None:
    """The next passes, and a process that is started anew, find it in the audit log."""
    with World(lever=Lever.FLOOR, demand=doubling()) as world:
        world.submit()
        world.run_until(minutes(32))
        world.put_rules(freezes=[{"start": minutes(35).isoformat(), "end": minutes(50).isoformat(), "reason": "sale"}])
        world.cloud.services["web"].demand = flat(9)
        world.run_until(minutes(45))
        assert (world.state, len(world.told("settled in doubt"))) == (S.SETTLING, 1)
        workload, target = world.ctx.workload("web"), world.cloud.target(a_workload()).observe()
        assert verify_settled(world.ctx, world.record(), workload, target)[1] == world.told("settled in doubt")[0]
        world.run_until(minutes(54))
        assert (world.state, len(world.told("settled in doubt"))) == (S.CLOSED, 1)


def test_nothing_seen_before_the_policy_is_a_verdict_under_it() -> None:
    with World() as world:
        world.submit(a_request(settle="PT0S"))
        world.run_until(EFFECTIVE + MINUTE)
        assert (world.state, "settling verified" in world.actions()) == (S.SETTLING, False)
        world.run_until(EFFECTIVE + 3 * MINUTE, timedelta(seconds=20))
        assert world.state is S.CLOSED


LIMITS = {"min_units": 1, "max_units": 40, "soft": {"units": 4, "dwell": "PT5M"}}
NOON = minutes(180)
WARNED = "demand above what serves"


@contextmanager
def armed_for_noon(*, past: bool = True) -> Iterator[tuple[World, Callable[[float], None]]]:
    """An armed world with 8 units for 2 cores, and what sets its demand, as if it had always been so.

    `past`: it has a history to forecast from.
    """
    cores = [2.0]
    with World(a_workload(limits=LIMITS, shares={"acme": 0.5}), demand=lambda at: {Resource.CPU: cores[0]}) as world:
        world.cloud.remembers = past
        world.submit(a_request(effective_at=NOON), a_plan(effective_at=NOON, demand=flat(2)))
        world.run_until(minutes(15))
        assert world.state is S.ARMED
        yield world, lambda now: cores.__setitem__(0, now)


def test_demand_above_what_serves_an_armed_change_is_told_once() -> None:
    with armed_for_noon(past=False) as (world, demand):
        demand(7)
        world.run_until(minutes(40))
        assert world.told(WARNED) == [
            "high: cpu at 88%, objective 50%; 8 units serve, 14 are needed; if no new plan can be made in time it "
            "takes force so: see its page"
        ]
        assert world.state is S.ARMED, "where no plan can be drawn it goes on as it is"
        assert "replan refused" in world.actions()


def test_a_pin_keeps_an_armed_change_from_steps_that_it_would_not_let_it_make() -> None:
    with armed_for_noon() as (world, demand):
        pin(world.ctx, "CHG-1", 8, NOON + 60 * MINUTE, "ann", "keep it there")
        world.run_until(minutes(20))
        demand(7)
        world.run_until(NOON + MINUTE)
        assert len(world.told(WARNED)) == 1
        assert (world.state, "replanned" in world.actions()) == (S.SETTLING, False)


def test_what_was_said_of_fewer_units_disarms_nothing_once_it_is_armed_again() -> None:
    """The climb takes longer than a quarter of an hour: what was said before it is old as it is over."""
    limits = {"min_units": 1, "max_units": 40, "soft": {"units": 2, "dwell": "PT5M"}}
    cores = [2.0]
    with World(a_workload(limits=limits, shares={"acme": 0.01}), demand=lambda at: {Resource.CPU: cores[0]}) as world:
        world.cloud.remembers = True
        world.submit(a_request(effective_at=NOON), a_plan(effective_at=NOON, demand=flat(2)))
        world.run_until(minutes(15))
        cores[0] = 6.5
        world.run_until(minutes(33))
        assert world.actions().count("disarmed") == 1
        cores[0] = 7.2  # half of what the 14 units can do
        world.run_until(minutes(45))
        assert (world.state, world.actions().count("disarmed")) == (S.ARMED, 1)


def test_units_of_a_size_that_is_not_listed_keep_nothing_raised() -> None:
    """No verdict can be had of them: what is judged is that nothing is known."""
    with World(lever=Lever.FLOOR) as world:
        world.submit()
        world.run_until(minutes(38))
        assert world.state is S.SETTLING
        small, large = {"cpu_cores": 1, "memory_gib": 2}, {"cpu_cores": 2, "memory_gib": 8}
        price = {"per_unit_hour": "0.12"}
        sized = a_workload(unit=small, sizes=[{"unit": large, "price": price}])
        other = TaskSize(cpu_units=4096, memory_mib=8192)
        target = world.cloud.target(a_workload()).observe()
        odd = target.model_copy(update={"setting": target.setting.model_copy(update={"size": other})})
        world.clock.sleep(20 * MINUTE)
        known, words = verify_settled(world.ctx, world.record(), sized, odd)
        assert known and words.startswith("no_data: ")


def test_it_is_told_again_only_after_it_was_well_in_between_and_no_more_than_once_an_hour() -> None:
    with armed_for_noon(past=False) as (world, demand):
        told = []
        for until, cores in ((20, 7), (25, 2), (75, 7), (90, 7), (95, 2), (160, 7)):
            demand(cores)
            world.run_until(minutes(until))
            told.append(len(world.told(WARNED)))
        assert told == [1, 1, 1, 2, 2, 3]


def test_demand_above_the_band_that_is_served_is_no_news() -> None:
    with armed_for_noon() as (world, demand):
        demand(3)
        world.run_until(minutes(30))
        assert (world.state, world.told(WARNED)) == (S.ARMED, [])


def test_missing_data_says_nothing_of_demand_and_disarms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with armed_for_noon(past=False) as (world, demand):
        demand(7)
        world.run_until(minutes(18))
        before = world.told(WARNED)
        world.cloud.services["web"].metrics = False
        world.run_until(minutes(30))
        world.cloud.services["web"].metrics = True

        def lost(*_: object) -> object:
            raise OutsideError("the metrics are away", retryable=True)

        monkeypatch.setattr("forebay.app.observe.measured", lost)
        world.run_until(minutes(45))
        assert "the metrics are away" in world.troubles
        assert (len(before), world.told(WARNED)) == (1, before)
        assert not world.told("not looked at")


def test_the_plan_is_drawn_anew_for_it_and_armed_once_that_is_verified() -> None:
    with armed_for_noon() as (world, demand):
        demand(6.5)
        world.run_until(minutes(30))
        (again,) = world.told("shaping again")
        assert again == "web: demand above what serves, and the plan was drawn anew"
        assert (world.state, world.version_at(NOON)) == (S.SHAPING, None)
        world.run_until(NOON + MINUTE)
        assert (world.state, world.version_at(NOON), world.told("deferred")) == (S.SETTLING, 1, [])
        assert world.setting().units > 20, "13 for the demand seen, and half of it doubles"


def test_where_it_is_too_late_for_another_plan_it_is_told_and_takes_force() -> None:
    with armed_for_noon() as (world, demand):
        world.run_until(minutes(171))
        demand(7)
        world.run_until(minutes(181))
        assert (len(world.told(WARNED)), world.told("shaping again")) == (1, [])
        assert world.state is S.SETTLING
        assert world.version_at(NOON) == 1
