"""When a change will be aligned, as named rows; and that what cannot be met is said in time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from forebay.app.status import change_status
from forebay.control.arrival import arrival
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import Pin, StepRecord
from forebay.targets.causes import named
from tests.support.world import MINUTE, World, a_plan, a_request, a_workload, minutes

PLAN = a_plan()


def steps(first: dict[str, Any], second: dict[str, Any] | None = None) -> list[StepRecord]:
    base = {"change": "CHG-1", "workload": "web", "plan_hash": PLAN.hash, "state": StepState.PENDING}
    given = [first, second or {}]
    return [StepRecord.model_validate(base | {"step": s} | more) for s, more in zip(PLAN.steps, given, strict=True)]


def asked(serving: int, at: float = 1, **more: Any) -> dict[str, Any]:
    return {
        "state": StepState.ASKED,
        "asked_units": 6,
        "asked_at": minutes(at),
        "serving_before": 4,
        "seen_units": serving,
    } | more


PASSED = asked(6) | {"state": StepState.PASSED}
# Minute of the look, the first and second step, when it is aligned (None: no unit comes). A step takes 3 minutes: one
# of lead time, one of window, one until its data is there. The plan's second step is due at minute 7.
ROWS: dict[str, tuple[float, list[StepRecord], float | None]] = {
    "on plan": (0, steps({}), 10),
    "the first step is late": (20, steps({}), 28),
    "launching within the lead time": (1.5, steps(asked(4)), 10),
    "a moment after the lead time": (2.2, steps(asked(4)), 10),
    "half of it came, at this rate as long again": (11, steps(asked(5)), 11 + 10 + 2 + 3),
    "nothing came within the lead time": (11, steps(asked(4)), None),
    "all serves, the verdict is awaited": (12, steps(asked(6, serving_at=minutes(11))), 16),
    "the second step waits for the dwell": (3.5, steps(PASSED | {"asked_at": minutes(3)}), 11),
    "both are late at once": (29, steps({}, {}), 37),
}


@pytest.mark.parametrize("name", ROWS)
def test_arrival(name: str) -> None:
    at, records, aligned = ROWS[name]
    coming = arrival(a_workload(), PLAN, records, minutes(at))
    assert coming is not None
    expected: datetime | None = None if aligned is None else minutes(aligned)
    assert (coming.at, coming.late) == (expected, aligned is None or aligned > 30)


def test_a_pin_moves_it_and_nothing_is_expected_once_all_have_passed() -> None:
    pin = Pin(change="CHG-1", workload="web", units=6, until=minutes(28), actor="bob", reason="why")
    coming = arrival(a_workload(), PLAN, steps(PASSED), minutes(5), pin)
    assert coming is not None and (coming.at, coming.late) == (minutes(31), True)
    assert "pinned by bob: aligned at 2026-11-24 09:31 UTC, after the effective time 09:30" in coming.text
    assert arrival(a_workload(), PLAN, steps(PASSED, PASSED), minutes(5)) is None


@pytest.mark.parametrize("on_misalignment", ["defer", "reject"])
def test_what_cannot_be_met_is_said_once_and_before_the_effective_time(on_misalignment: str) -> None:
    work = a_workload(verification={"metric_delay": "PT1M", "window": "PT1M", "patience": "PT2H"})
    with World(work) as world:
        world.cloud.services["web"].arrives = 7
        world.submit(a_request(on_misalignment=on_misalignment))
        seen: list[tuple[ChangeState, str | None]] = []
        for minute in range(9, 29):  # the reconciler looks beside the run that waits for the units
            world.clock.at(minutes(minute), world.reconcile)
        shown = lambda: change_status(world.ctx, "CHG-1").workloads[0].expected  # noqa: E731
        world.clock.at(minutes(28.5), lambda: seen.append((world.state, shown())))
        world.run_until(minutes(29))
        late = [e for e in world.people.events if e.action == "expected late"]
        assert len(late) == 1 and late[0].at < minutes(30) - MINUTE
        assert ("rejected" in late[0].reason) is (on_misalignment == "reject")
        ((state, expected),) = seen
        assert state is ChangeState.SHAPING and expected is not None and "aligned at 2026-11-24 09:" in expected


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("You have requested more vCPU capacity than your current vCPU limit of 64 allows.", "vCPU quota 64 reached"),
        (
            "We do not have sufficient m5.large capacity in the Availability Zone you requested (eu-west-1a).",
            "insufficient capacity in eu-west-1a",
        ),
        ("CannotPullContainerError: pull image manifest has been retried", "image pull failed"),
        ("You've reached the limit on the number of vCPUs you can run concurrently", "quota of vcpus reached"),
        ("(service web) was unable to place a task because no container instance met", "no room for a task"),
    ],
)
def test_a_cause_is_named_before_the_clouds_own_words(message: str, name: str) -> None:
    assert named(message) == f"{name}: {message}"
    assert named("something else failed") == "something else failed"
