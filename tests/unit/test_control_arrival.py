"""When a change will be aligned, as named rows; and that what cannot be met is said in time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from forebay.app.people import hold
from forebay.app.pins import pin
from forebay.app.status import change_status
from forebay.control.arrival import arrival
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import Pin, StepRecord
from forebay.targets.causes import named
from tests.support.world import MINUTE, World, a_plan, a_request, a_workload, minutes
from tests.unit.test_control_joint import two

pytestmark = pytest.mark.slow

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
    coming = arrival(a_workload(), PLAN, steps(PASSED), minutes(5), pin.model_copy(update={"until": minutes(27.2)}))
    assert coming is not None and "09:30:12 UTC, after the effective time 09:30" in coming.text, "late by seconds"
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


def test_what_waits_for_a_person_is_told_once_an_hour_ahead_and_at_its_time(world: World) -> None:
    at = minutes(120)
    world.submit(a_request(effective_at=at, on_misalignment="reject"), a_plan(effective_at=at))
    world.run_until(minutes(5))
    hold(world.ctx, "CHG-1", "bob", "the shop runs a campaign")
    world.run_until(minutes(140))
    told = [(e.action, e.at) for e in world.people.events if e.action in ("expected late", "deferred")]
    assert [action for action, _ in told] == ["expected late", "deferred"]
    assert minutes(60) <= told[0][1] <= minutes(62) and at <= told[1][1] <= at + 2 * MINUTE
    assert all("the shop runs a campaign" in e.reason for e in world.people.events if e.action == "deferred")
    assert world.state is ChangeState.HELD, "a person has the last word, whatever it is to do when it is late"


def test_a_hold_that_leaves_no_time_is_told_before_the_last_hour(world: World) -> None:
    """Steps may take hours: what has to be resumed now is said now."""
    at = minutes(240)
    slow = ((10, 4, 6), (150, 6, 8))
    plan = a_plan(slow, effective_at=at)
    steps = [step.model_copy(update={"verified_by": step.due_at + 80 * MINUTE}) for step in plan.steps]
    world.submit(a_request(effective_at=at), plan.model_copy(update={"steps": tuple(steps)}))
    hold(world.ctx, "CHG-1", "bob", "wait")
    world.run_until(minutes(100))
    (late,) = [e for e in world.people.events if e.action == "expected late"]
    assert minutes(80) <= late.at <= minutes(82) and "resumed now, web: the steps that are left" in late.reason


def test_a_change_on_anothers_path_is_expected_late_with_it() -> None:
    with two() as world:
        world.run_until(minutes(6))
        pin(world.ctx, "CHG-1", world.setting().units, minutes(60), "bob", "a broadcast")
        world.run_until(minutes(10))
        late = {e.change: e.reason for e in world.people.events if e.action == "expected late"}
        assert set(late) == {"CHG-1", "CHG-2"} and "pinned by bob" in late["CHG-2"]
        assert change_status(world.ctx, "CHG-2").workloads[0].expected in late["CHG-2"]


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
