"""What is given back next, by table."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.control.restore import GiveBack, Leave, LookAgain, next_restore
from tests.support.world import count, floor, minutes
from tests.unit.test_control_decide import WORK, target

BACK: dict[str, tuple[dict[str, Any], GiveBack | LookAgain | Leave]] = {
    "nothing was moved": ({"ours": None}, Leave("nothing was moved")),
    "another hand": (
        {"target": target(count(9))},
        Leave("changed by another: left at count 9, we had set count 8", blocked=True),
    ),
    "another hand has set it back": (
        {"target": target(count(4))},
        Leave("another hand has set it back to count 4 already"),
    ),
    "there already": ({"target": target(count(4)), "ours": count(4)}, Leave("restored to count 4")),
    "within the soft limit": ({}, GiveBack(count(6), "count back from 8 to 6")),
    "the demand seen": ({"required_units": 7}, GiveBack(count(7), "count back from 8 to 7")),
    "the demand needs all": ({"required_units": 11}, LookAgain("the demand seen needs 11 units: 8 stay for now")),
    "no data": ({"required_units": None}, LookAgain("no usage data: nothing shrinks")),
    "the dwell": ({"last_write_at": minutes(17)}, LookAgain("the dwell allows the next move at 09:22:00")),
    "a lowered count goes up again": (
        {"target": target(count(2)), "ours": count(2), "required_units": None},
        GiveBack(count(4), "count back from 2 to 4"),
    ),
    "after settling a count stays": (
        {"keep_count": True, "verified": "pass: cpu binds"},
        Leave("count 8 stays: pass: cpu binds; no autoscaler is attached to lower it"),
    ),
    "a floor goes back at once": (
        {
            "target": target(floor(8)),
            "ours": floor(8),
            "original": floor(1),
            "required_units": None,
            "keep_count": True,
        },
        GiveBack(floor(1), "floor back from 8 to 1; the autoscaler keeps what demand needs"),
    ),
    "a lowered floor goes up within the soft limit": (
        {"target": target(floor(10, 10)), "ours": floor(10, 10), "original": floor(20, 40), "required_units": None},
        GiveBack(floor(12, 40), "floor back from 10 to 12"),
    ),
    "to no more than it was": (
        {"target": target(floor(10, 40), desired=19), "ours": floor(10, 40), "original": floor(20, 40)},
        GiveBack(floor(20, 40), "floor back from 10 to 20"),
    ),
    "and waits for its dwell": (
        {
            "target": target(floor(10, 10)),
            "ours": floor(10, 10),
            "original": floor(20, 40),
            "last_write_at": minutes(17),
        },
        LookAgain("the dwell allows the next move at 09:22:00"),
    ),
    "and for what was asked to serve": (
        {"target": target(floor(12, 40), serving=10), "ours": floor(12, 40), "original": floor(20, 40)},
        LookAgain("the last move is still under way: 10 of 12 units serve"),
    ),
    "a raised ceiling stays while more run": (
        {"target": target(floor(8, 30), desired=22), "ours": floor(8, 30), "original": floor(1)},
        GiveBack(floor(1, 30), "floor back from 8 to 1; the autoscaler keeps what demand needs"),
    ),
    "and comes back once fewer run": (
        {"target": target(floor(1, 30), desired=22), "ours": floor(1, 30), "original": floor(1)},
        LookAgain("floor restored; ceiling stays at 30, not 20, while 22 units run"),
    ),
    "as now": (
        {"target": target(floor(1, 30), desired=20), "ours": floor(1, 30), "original": floor(1)},
        GiveBack(floor(1), "ceiling back from 30 to 20"),
    ),
    "unless another change begins": (
        {
            "target": target(floor(1, 30), desired=22),
            "ours": floor(1, 30),
            "original": floor(1),
            "next_waits": True,
        },
        Leave(
            "floor restored; ceiling stays at 30, not 20, while 22 units run, and another change begins", blocked=True
        ),
    ),
}


@pytest.mark.parametrize("name", BACK)
def test_next_restore(name: str) -> None:
    given, expected = BACK[name]
    base: dict[str, Any] = {
        "workload": WORK,
        "target": target(count(8)),
        "original": count(4),
        "ours": count(8),
        "last_write_at": minutes(7),
        "required_units": 3,
        "keep_count": False,
        "now": minutes(20),
    }
    assert next_restore(**base | given) == expected
