"""What is previewed from files is what production would plan from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from forebay.app.preview import preview
from forebay.domain.allocation import Lever
from forebay.domain.change import ChangeRequest
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.workload import WorkloadCatalog
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
