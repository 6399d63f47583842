"""What is kept of a backtest: when forecasts count as decayed, and how a stored plan's band is judged."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forebay.domain.accuracy import plan_accuracy
from forebay.domain.resources import Resource
from tests.support.samples import an_accuracy
from tests.support.world import EFFECTIVE, NOW, a_plan

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("fields", "decay"),
    [
        pytest.param({}, None, id="as it should be"),
        pytest.param({"relative_loss": 1.004}, "the quantile loss is 1.00 of seasonal naive's", id="worse than naive"),
        pytest.param({"relative_loss": None}, None, id="nothing to compare with"),
        pytest.param({"coverage": 0.74}, "the 90 % band held 74% of the slots", id="too narrow"),
        pytest.param({"coverage": 0.75}, None, id="just wide enough"),
        pytest.param({"above": 0.2}, "20% of the slots were above the 95 % quantile", id="too low"),
        pytest.param({"coverage": 0.1, "slots": 47}, None, id="too few slots to tell"),
        pytest.param(
            {"coverage": 0.1, "above": 0.9},
            "the 90 % band held 10% of the slots; 90% of the slots were above the 95 % quantile",
            id="both",
        ),
    ],
)
def test_decay(fields: dict[str, Any], decay: str | None) -> None:
    assert an_accuracy(**fields).decay == decay


def usage(*values: float) -> list[tuple[Any, float]]:
    """Five-minute means from the plan's first slot on; its band is 1.6 to 2.4 before the effective time, then twice."""
    return [(NOW + timedelta(minutes=5 * number), value) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "in_force", "expected"),
    [
        pytest.param((2.0, 2.0, 3.0, 1.0), False, (4, 0.5, 0.25), id="inside, inside, above, below"),
        pytest.param((2.0,) * 6 + (2.0, 2.0), False, (6, 1.0, 0.0), id="what came without the policy says nothing"),
        pytest.param((2.0,) * 6 + (4.0, 5.0), True, (8, 7 / 8, 1 / 8), id="in force the impact is judged too"),
        pytest.param((), True, None, id="nothing came"),
    ],
)
def test_a_plans_band_against_what_came(values: tuple[float, ...], in_force: bool, expected: Any) -> None:
    got = plan_accuracy(a_plan(), Resource.CPU, usage(*values), NOW - DAY, NOW + DAY, in_force)
    assert timedelta(minutes=30) == EFFECTIVE - NOW
    assert (None if got is None else (got.slots, got.coverage, got.above)) == expected


def test_only_the_asked_days_slots_count() -> None:
    got = plan_accuracy(
        a_plan(), Resource.CPU, usage(2, 2, 9, 9), NOW + timedelta(minutes=5), NOW + timedelta(minutes=15), True
    )
    assert got is not None and (got.slots, got.coverage) == (2, 0.5)
    assert plan_accuracy(a_plan(), Resource.MEMORY, usage(2), NOW - DAY, NOW + DAY, True) is None
