"""What is previewed from files is what production would plan from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from forebay.app.outlook import luck_of, seed_for
from forebay.app.preview import preview
from forebay.domain.allocation import Lever
from forebay.domain.change import ChangeRequest
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload, WorkloadCatalog
from forebay.replay.run import Scenario, replay
from tests.support.planning_cases import workload

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def busy_mornings(start: datetime, hours: int) -> pd.Series:
    """Cores every 5 minutes: 4, and 9 from ten until eleven."""
    index = pd.date_range(start, periods=hours * 12, freq="5min")
    return pd.Series([9.0 if at.hour == 10 else 4.0 for at in index], index=index)


@pytest.mark.parametrize("lever", list(Lever))
def test_it_is_the_plan_that_a_replay_draws(lever: Lever) -> None:
    request = ChangeRequest.model_validate(
        {
            "change": "CHG-1", "entity": "acme", "policy": "quota", "effective_at": NOW + timedelta(hours=3),
            "requested_by": "ann", "impacts": [{"workload": "web", "factor": 2.0}], "settle": "PT30M",
        }
    )  # fmt: skip
    catalog = WorkloadCatalog(workloads=(workload(),))
    past = {"web": {Resource.CPU: busy_mornings(NOW - timedelta(days=3), 72)}}
    actual = {"web": {Resource.CPU: busy_mornings(NOW, 4)}}
    (shown,) = preview(request.accepted(NOW), catalog, past, NOW, timedelta(minutes=1), lever=lever)
    done = replay(request, catalog, past, actual, NOW, Scenario(lever=lever))
    first = next(entry.event for entry in done.audit if entry.event.action == "plan stored")
    assert isinstance(shown.plan, ShapingPlan)
    assert shown.plan.model_copy(update={"preflight": ()}).hash == first.plan_hash


def noisy(start: datetime, hours: int) -> pd.Series:
    """Cores every 5 minutes: a wave over the day, and noise that persists."""
    index = pd.date_range(start, periods=hours * 12, freq="5min")
    day = 6 + 3 * np.sin(np.arange(len(index)) / 288 * 2 * np.pi)
    noise = pd.Series(np.random.default_rng(3).normal(0, 1, len(index))).rolling(6, min_periods=1).mean()
    return pd.Series(day + noise.to_numpy(), index=index)


PAST = {"web": {Resource.CPU: noisy(NOW - timedelta(days=6), 144)}}
ASKED = {
    "change": "CHG-1", "entity": "acme", "policy": "quota", "effective_at": NOW + timedelta(minutes=20),
    "requested_by": "ann", "impacts": [{"workload": "web", "factor": 2.0, "low": 1.5, "high": 3.0}],
}  # fmt: skip


def previewed(work: Workload | None = None, **fields: object) -> ShapingPlan | PlanRefusal:
    request = ChangeRequest.model_validate(ASKED | fields)
    catalog = WorkloadCatalog(workloads=(work or workload(),))
    (shown,) = preview(request.accepted(NOW), catalog, PAST, NOW, timedelta(minutes=1))
    return shown.plan


def test_the_time_that_is_proposed_is_the_first_at_which_there_is_a_plan_once_one_asks_for_it() -> None:
    refusal = previewed()
    assert isinstance(refusal, PlanRefusal)
    counter = refusal.counter_proposal
    at = counter.earliest_effective_at
    assert at is not None
    plan = previewed(effective_at=at)
    assert isinstance(plan, ShapingPlan) and plan.price.more == counter.earliest_costs
    sooner = [NOW + timedelta(minutes=m) for m in range(25, 240, 5) if NOW + timedelta(minutes=m) < at]
    assert sooner, "it is not the first one looked at"
    assert all(isinstance(previewed(effective_at=other), PlanRefusal) for other in sooner)


def test_where_a_shortfall_costs_nothing_it_is_no_reason() -> None:
    """A step at 15:30, where more stands than later, saves one: all of them are for what must serve at 17:00."""
    careless = workload(risk={"shortfall_per_unit_hour": "0"}, soft={"percent": 15})
    at = NOW + timedelta(hours=8)
    plan = previewed(careless, effective_at=at)
    assert isinstance(plan, ShapingPlan)
    assert len(plan.steps) > 2 and all(step.reason.forced_by >= at for step in plan.steps)


def test_the_name_of_a_change_makes_no_difference() -> None:
    first, second = (previewed(change=name, effective_at=NOW + timedelta(hours=3)) for name in ("A", "Z7"))
    assert isinstance(first, ShapingPlan)
    assert second == first.model_copy(update={"change": "Z7"})


def test_one_path_for_two_changes_keeps_the_size_however_cheap_another_is() -> None:
    """As in production: what the earlier one needs is counted in units of the size that stands."""
    large = {"unit": {"cpu_cores": 2, "memory_gib": 4}, "price": {"per_unit_hour": "0.01"}}
    limits = {"min_units": 2, "max_units": 90, "soft": {"units": 9}}
    work = workload(unit={"cpu_cores": 1, "memory_gib": 2}, sizes=[large], risk={"resize": "0"}, limits=limits)
    earlier, later = (
        ChangeRequest.model_validate(ASKED | {"change": name, "policy": name, "effective_at": NOW + timedelta(hours=h)})
        for name, h in (("tier", 4), ("quota", 5))
    )
    alone, joint = (
        preview(
            later.accepted(NOW), WorkloadCatalog(workloads=(work,)), PAST, NOW, timedelta(minutes=1), pending=pending
        )[0].plan
        for pending in ([], [earlier.accepted(NOW)])
    )
    assert isinstance(alone, ShapingPlan) and alone.resize is not None
    assert isinstance(joint, ShapingPlan) and joint.resize is None
    carried = [step for step in joint.steps if step.due_at < earlier.accepted(NOW).effective_at]
    assert carried[-1].to_units >= joint.carries["tier"]


def test_each_change_that_acts_has_its_own_luck() -> None:
    """As of two of one policy, where the second is not what the first has turned out to be."""
    first, second = (ChangeRequest.model_validate(ASKED | {"change": name}).accepted(NOW) for name in ("A", "B"))
    other = second.model_copy(update={"change": "C", "policy": "tier"})
    luck = luck_of(workload(), (first, second, other))
    drawn = [luck(one).random() for one in (first, second, other)]
    assert len({*drawn, np.random.default_rng(seed_for("web")).random()}) == 4, "nor is it the forecast's"
    assert luck_of(workload(), (second,))(second).random() == drawn[0], "whatever it is called"
