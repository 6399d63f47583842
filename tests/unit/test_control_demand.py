"""Demand is looked at where no step is under way too: as a change has settled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.app.demand import verify_settled
from forebay.domain.allocation import Lever
from forebay.domain.errors import OutsideError
from forebay.domain.lifecycle import ChangeState
from tests.support.world import EFFECTIVE, MINUTE, World, a_request, a_workload, count, doubling, flat, floor, minutes

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

        monkeypatch.setattr("forebay.app.demand.measured", lost)
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
