"""Earlier changes whose effective time has passed: in force, closed since, or deferred, a later plan still has them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from forebay.app.learn import draw_rest
from forebay.app.others import SEASONS_UNTIL_KNOWN, others_on
from forebay.app.outlook import Others, forecast_workload
from forebay.app.people import cancel
from forebay.app.plan import plan_change
from forebay.app.receive import receive
from forebay.domain.allocation import Lever
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.resources import Resource
from forebay.forecasting.cleaning.levels import SEASONS_EACH_SIDE
from forebay.store import snapshot
from tests.support.cloud import Demand
from tests.support.world import EFFECTIVE, NOW, World, a_request, a_workload, doubling, flat, minutes

pytestmark = pytest.mark.slow

S = ChangeState
DAY = timedelta(days=1)
LATER = minutes(120)
LIMITS = {"min_units": 1, "max_units": 40, "soft": {"units": 2, "dwell": "PT5M"}}


def bolts(**fields: Any) -> ChangeRequest:
    """One core more at 11:00, whatever bolt has by then."""
    impacts = [{"workload": "web", "add": 1, "unit": "cores", "resource": "cpu"}]
    return a_request(**({"change": "CHG-2", "entity": "bolt", "effective_at": LATER, "impacts": impacts} | fields))


def world_of(demand: Demand, settle: str, lever: Lever = Lever.COUNT) -> World:
    """All of the demand is acme's, 2 cores; it is said to double at 9:30. Nothing is drawn anew by a hidden hand."""
    world = World(a_workload(shares={"acme": 1.0}, limits=LIMITS), lever=lever, demand=demand)
    world.cloud.remembers = True
    world.submit(a_request(settle=settle))
    return world


def planned(world: World) -> ShapingPlan:
    receive(world.ctx, bolts())
    assert plan_change(world.ctx, "CHG-2").state is S.SCHEDULED, world.record("CHG-2").note
    with world.sql.transaction() as tx:
        plan = tx.plan("CHG-2", "web")
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("settle", "asked", "state"),
    [
        pytest.param("PT1H", 70, S.SETTLING, id="in force"),
        pytest.param("PT10M", 60, S.CLOSED, id="closed"),
    ],
)
@pytest.mark.parametrize(
    ("cores", "units"), [(4.0, 10), (5.0, 12), (3.0, 8)], ids=["as estimated", "stronger", "weaker"]
)
def test_what_came_into_force_of_late_is_in_the_demand_as_it_was_seen(
    settle: str, asked: float, state: ChangeState, cores: float, units: int
) -> None:
    """Forty minutes of it in fourteen days of history; the plan needs what was seen and bolt's core beside it."""

    def demand(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 2.0 if at < EFFECTIVE else cores}

    with world_of(demand, settle) as world:
        world.run_until(minutes(asked))
        assert world.state is state
        plan = planned(world)
        assert units <= plan.aligned_units <= units + 1, "one for what is not certain yet"
        assert any("CHG-1 is in force since 24 Nov 09:30 UTC" in note for note in plan.forecast["cpu"])


def test_what_was_closed_is_in_the_rest_of_what_came_after_it() -> None:
    def demand(at: datetime) -> dict[Resource, float]:
        return {Resource.CPU: 2.0 + 2.0 * (at >= EFFECTIVE) + 1.0 * (at >= LATER)}

    with world_of(demand, "PT10M") as world:
        world.run_until(minutes(60))
        planned(world)
        world.run_until(LATER + timedelta(minutes=3))
        assert world.record("CHG-2").state in (S.IN_FORCE, S.SETTLING)
        change, web = world.record("CHG-2").change, world.ctx.workload("web")
        world.clock.sleep(timedelta(minutes=10))
        rest = draw_rest(world.ctx, web, change, LATER, timedelta(seconds=20), timedelta(0))
        assert isinstance(rest, ShapingPlan)
        assert any("CHG-1 is in force since" in note for note in rest.forecast["cpu"])
        assert rest.slots[-1].demand[Resource.CPU].median == pytest.approx(5.0, rel=0.03)


def test_what_is_deferred_may_come_at_any_moment() -> None:
    """CHG-1 finds no capacity at 9:30 and waits: neither the history holds its impact, nor is its time ahead."""
    with world_of(flat(2.0), "PT10M") as world:
        world.cloud.services["web"].arrives = 4
        world.run_until(minutes(40))
        assert world.state in (S.SHAPING, S.HELD) and world.version_at(minutes(40)) is None
        world.cloud.services["web"].arrives = 100
        others = _others(world)
        assert [(one.change, one.effective_at) for one in others[1]] == [("CHG-1", minutes(40))]
        plan = planned(world)
        assert 10 <= plan.aligned_units <= 11, "2 cores, as many more with CHG-1, and one"


def test_what_was_cancelled_does_not_come() -> None:
    with world_of(flat(2.0), "PT10M") as world:
        world.run_until(minutes(3))
        cancel(world.ctx, "CHG-1", "ann", "not needed")
        assert world.state is S.CANCELLED
        assert _others(world) == ([], [])


@pytest.mark.parametrize(
    ("adoption", "days", "counted"),
    [
        pytest.param(None, 2.9, True, id="not three days"),
        pytest.param(None, 3.1, False, id="three days at the new level"),
        pytest.param({"shape": "ramp", "over": "P2D"}, 4.9, True, id="not three days since it was taken up"),
        pytest.param({"shape": "ramp", "over": "P2D"}, 5.1, False, id="taken up for three days"),
    ],
)
def test_it_counts_until_the_history_tells_it_by_itself(adoption: Any, days: float, counted: bool) -> None:
    impact = {"workload": "web", "factor": 2} | ({"adoption": adoption} if adoption else {})
    with World(a_workload(shares={"acme": 1.0}), demand=doubling()) as world:
        world.submit(a_request(impacts=[impact]))
        world.run_until(minutes(60))
        world.clock.sleep(EFFECTIVE + days * DAY - world.clock.now())
        in_force, _ = _others(world)
        assert [one.effective_at for one in in_force] == [EFFECTIVE] * counted
    assert SEASONS_EACH_SIDE == SEASONS_UNTIL_KNOWN


def test_what_was_closed_before_the_history_began_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are nearly all changes there ever were, and a plan is drawn while the workload's lease is held."""
    read: list[ChangeRecord] = []

    def noted(row: Any) -> ChangeRecord:
        read.append(as_ever(row))
        return read[-1]

    as_ever = snapshot._change
    with world_of(doubling(), "PT10M") as world:
        world.run_until(minutes(60))
        assert world.state is S.CLOSED
        world.clock.sleep(world.ctx.workload("web").history)
        monkeypatch.setattr(snapshot, "_change", noted)
        assert (_others(world), read) == (([], []), [])


def _others(world: World) -> tuple[list[PolicyChange], list[PolicyChange]]:
    now = world.clock.now()
    with world.sql.transaction() as tx:
        later = bolts(effective_at=now + DAY).accepted(now)
        others = others_on(tx, later, world.ctx.workload("web"), now)
    return list(others.in_force), list(others.to_come)


@pytest.mark.parametrize(("hours", "counted"), [(4, True), (2, False)])
def test_a_history_hardly_older_than_the_change_is_forecast_as_a_whole(hours: float, counted: bool) -> None:
    """acme's is in force for an hour and a half."""
    web, now = a_workload(shares={"acme": 1.0}), EFFECTIVE + timedelta(minutes=90)
    times = pd.date_range(now - timedelta(hours=hours), now, freq="5min", inclusive="left")
    history = {Resource.CPU: pd.Series([2.0 + 2.0 * (at >= EFFECTIVE) for at in times], index=times)}
    others = Others(in_force=(a_request().accepted(NOW),))
    outlook = forecast_workload(web, bolts().accepted(now), history, now, timedelta(seconds=20), None, others)
    assert [one.change for one in outlook.in_force] == ["CHG-1"] * counted
    assert outlook.rest.start == now and outlook.passed == 18 * counted
