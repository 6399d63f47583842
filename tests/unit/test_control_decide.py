"""The controller's mind: each decision, each verdict and each limit, as named rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from forebay.control.alignment import misalignment, unverified
from forebay.control.decide import (
    Ask,
    Decision,
    Hold,
    Serving,
    Stop,
    Verified,
    View,
    Wait,
    bounded,
    decide,
    verification_window,
)
from forebay.control.keep import Keep
from forebay.control.verify import judge
from forebay.domain.allocation import Setting, TargetState
from forebay.domain.freeze import FreezeWindow
from forebay.domain.lifecycle import STEPPING, ChangeState, StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import ChangeRecord, Intent, Outcome, Purpose, StepRecord
from forebay.domain.resources import Resource
from forebay.domain.verdict import Verdict
from tests.support.world import MINUTE, NOW, a_plan, a_request, a_workload, count, flat, floor, minutes

POLL = timedelta(seconds=10)
WORK = a_workload()
PLAN = a_plan(demand=flat(2))


def target(
    setting: Setting | None = None, desired: int | None = None, serving: int | None = None, **more: Any
) -> TargetState:
    """A count of 4, all of them serving, unless told otherwise."""
    setting = setting or count(4)
    desired = setting.units if desired is None else desired
    serving = desired if serving is None else serving
    return TargetState(setting=setting, desired=desired, serving=serving, **{"stable": serving == desired} | more)


def records(*updates: Mapping[str, Any], plan: ShapingPlan = PLAN) -> list[StepRecord]:
    """The steps of the plan, each with what is known of it."""
    given = [*updates, *[{}] * (len(plan.steps) - len(updates))]
    return [
        StepRecord(
            change="CHG-1", workload="web", plan_hash=plan.hash, step=step, **{"state": StepState.PENDING, **more}
        )
        for step, more in zip(plan.steps, given, strict=True)
    ]


def asked(at: float = 1, units: int = 6, serving: float | None = None, **more: Any) -> dict[str, Any]:
    since = None if serving is None else minutes(serving)
    return {"state": StepState.ASKED, "asked_units": units, "asked_at": minutes(at), "serving_at": since, **more}


PASSED = asked(serving=2) | {"state": StepState.PASSED}


def wrote(setting: Setting, at: float = 0, purpose: Purpose = Purpose.STEP, old: Setting | None = None) -> Intent:
    """A write that is in effect."""
    return Intent(
        number=1,
        change="CHG-1",
        workload="web",
        sequence=1,
        plan_hash=None,
        units=setting.units,
        old=old or count(4),
        new=setting,
        why="why",
        fencing=1,
        stored_at=minutes(at),
        purpose=purpose,
        outcome=Outcome.DONE,
    )


def view(at: float, *updates: Mapping[str, Any], plan: ShapingPlan = PLAN, **more: Any) -> View:
    change = a_request().accepted(NOW)
    record = ChangeRecord(
        change=change, state=ChangeState.SHAPING, note="why", policy_version=1, received_at=NOW, updated_at=NOW
    )
    base = View(
        now=minutes(at),
        change=record,
        workload=WORK,
        plan=plan,
        steps=records(*updates, plan=plan),
        target=target(count(6)) if updates else target(),
        intents=[wrote(count(6), at=(updates[-1]["asked_at"] - NOW) / MINUTE)] if updates else [],
    )
    return replace(base, **more)


def in_state(state: ChangeState) -> ChangeRecord:
    return view(0).change.model_copy(update={"state": state})


def cores(value: float) -> dict[Resource, float]:
    return {Resource.CPU: value}


def capped(max_units: int) -> ChangeRecord:
    """The change also brings a ceiling."""
    request = a_request(entitlements=[{"workload": "web", "max_units": max_units}])
    return view(1).change.model_copy(update={"change": request.accepted(NOW)})


DOWN = a_plan(((1, 8, 6), (7, 6, 4)), start=8, demand=flat(2))
ROWS: dict[str, tuple[View, type[Decision], str]] = {
    **{
        f"a {state} change stops": (view(1, change=in_state(state)), Stop, f"change is {state}: why")
        for state in sorted(set(ChangeState) - STEPPING)
    },
    "all passed is done": (view(20, PASSED, PASSED), Stop, "every step has passed"),
    "not due yet": (view(0.9), Wait, "step 1 is due at 09:01:00"),
    "due": (view(1), Ask, "cpu binds"),
    "the dwell after a late step": (view(7, PASSED | {"asked_at": minutes(4)}), Wait, "step 2 is due at 09:09:00"),
    "a freeze window": (
        view(1, freezes=[FreezeWindow(start=NOW, end=minutes(9), reason="fair")]),
        Wait,
        "freeze window until 2026-11-24 09:09: fair",
    ),
    "in a freeze window a correction protects the demand": (
        view(
            6,
            asked(serving=2),
            usage=cores(5),
            target=target(count(6)),
            freezes=[FreezeWindow(start=NOW, end=minutes(9), reason="fair")],
        ),
        Ask,
        "correction: ",
    ),
    "and what was set is held": (
        view(
            6,
            asked(serving=2),
            target=target(count(5)),
            workload=a_workload(on_foreign_write="insist"),
            freezes=[FreezeWindow(start=NOW, end=minutes(9), reason="fair")],
        ),
        Keep,
        "changed by another",
    ),
    "a freeze window that has ended": (
        view(9, freezes=[FreezeWindow(start=NOW, end=minutes(9), reason="")]),
        Ask,
        "cpu",
    ),
    "what cannot be shaped is not waited for": (view(1, target=target(refusals=("a DAEMON",))), Hold, "a DAEMON"),
    "a problem is waited for": (view(1, target=target(problems=("deploying",))), Wait, "deploying"),
    "a problem that stays": (view(6, target=target(problems=("deploying", "draining"))), Hold, "deploying; draining"),
    "another hand's value": (
        view(7, PASSED, target=target(count(5))),
        Hold,
        "changed by another: web stands at count 5, we had set count 6",
    ),
    "another hand's value while a step is under way": (view(2, asked(), target=target(count(9))), Hold, "changed by"),
    "not launched yet": (view(2, asked(), target=target(count(6), serving=4)), Wait, "4 of 6 units serve: launching"),
    "never launched": (
        view(7, asked(), target=target(count(6), serving=5, causes=("no capacity",))),
        Hold,
        "5 of 6 units serve since 09:01:00: no capacity",
    ),
    "never launched, resumed just now": (
        view(
            7,
            asked(),
            target=target(count(6), serving=5),
            change=in_state(ChangeState.SHAPING).model_copy(update={"updated_at": minutes(6)}),
        ),
        Wait,
        "5 of 6 units serve: launching",
    ),
    "it serves": (view(2, asked()), Serving, "6 units serve, 6 asked"),
    "it serves under an autoscaler that goes on": (
        view(2, asked(), target=target(floor(6), desired=9, serving=7), intents=[wrote(floor(6))]),
        Serving,
        "7 units serve, 6 asked",
    ),
    "what is on its way out keeps no step up waiting": (
        view(2, asked(), target=target(count(6), stable=False)),
        Serving,
        "6 units",
    ),
    "a count that the cloud has not followed": (
        view(7, asked(), target=target(floor(6), desired=5, serving=6, stable=False), intents=[wrote(floor(6))]),
        Hold,
        "changed by another: web is to run 5 units, and floor 6 (ceiling 20) stands",
    ),
    "the window is not over": (view(3.9, asked(serving=2)), Wait, "verification of step 1 is due at 09:04:00"),
    "on plan": (view(4, asked(serving=2), usage=cores(2)), Verified, "pass: cpu binds: 2 cores, 33%"),
    "below plan goes on": (view(4, asked(serving=2), usage=cores(1)), Verified, "low: cpu 1 cores, forecast from 1.6"),
    "no data is waited for": (view(4, asked(serving=2), usage={}), Wait, "no_data: no data for cpu"),
    "no data for long": (view(9, asked(serving=2), usage={}), Hold, "no_data: no data for cpu"),
    "units lost meanwhile": (
        view(4, asked(serving=2), usage=cores(2), target=target(count(6), serving=5)),
        Wait,
        "error: only 5 of 6 units serve",
    ),
    "high within the dwell": (
        view(4, asked(serving=2), usage=cores(5)),
        Wait,
        "the dwell allows a correction at 09:06",
    ),
    "high": (view(6, asked(serving=2), usage=cores(5)), Ask, "correction: cpu at 83%"),
    "high, a dwell after what another hand took was regained": (
        view(
            6,
            asked(serving=2),
            usage=cores(5),
            intents=[wrote(count(6)), wrote(count(6), 1.5, Purpose.INSIST), wrote(count(6), 3, Purpose.REGAIN)],
        ),
        Wait,
        "the dwell allows a correction at 09:08",
    ),
    "the dwell after a step of the plan before": (
        view(7, intents=[wrote(count(4), at=3)]),
        Wait,
        "step 1 is due at 09:08:00",
    ),
    "high without budget": (
        view(6, asked(serving=2, corrections=2), usage=cores(5)),
        Hold,
        "still high after 2 corrections",
    ),
    "high, and what serves carries it": (
        view(6, asked(serving=2), usage=cores(3), target=target(floor(6), desired=9), intents=[wrote(floor(6))]),
        Verified,
        "high: cpu 3 cores, forecast up to 2.4",
    ),
    "down is due": (view(1, plan=DOWN, target=target(count(8)), change=capped(4), usage=cores(2)), Ask, "cpu binds"),
    "down on a forecast alone shrinks no count": (
        view(1, plan=DOWN, target=target(count(8))),
        Hold,
        "planned for a floor, and no autoscaler is attached any more",
    ),
    "down serves when the last has left": (
        view(2, asked(), plan=DOWN, change=capped(4), target=target(count(6), serving=7)),
        Wait,
        "not every unit above 6 has stopped: stopping",
    ),
    "down serves when what is on its way out has left too": (
        view(7, asked(), plan=DOWN, change=capped(4), target=target(count(6), stable=False)),
        Hold,
        "not every unit above 6 has stopped since 09:01:00: the cloud names no cause",
    ),
    "down, and a unit is lost": (
        view(2, asked(), plan=DOWN, change=capped(4), target=target(count(6), serving=5)),
        Wait,
        "5 of 6 units serve: launching",
    ),
    "down is verified without the units that left": (
        view(4, asked(serving=2), plan=DOWN, usage=cores(2)),
        Verified,
        "pass",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_decide(name: str) -> None:
    seen, kind, words = ROWS[name]
    decision = decide(seen, POLL)
    assert type(decision) is kind
    assert decision.reason.startswith(words) or words in decision.reason


BOUNDS: dict[str, tuple[Setting, int | None, int, bool, int, str]] = {
    # setting, desired, wanted, lower -> units, limit
    "as planned": (count(4), None, 6, False, 6, "the plan"),
    "the soft limit": (count(4), None, 9, False, 6, "the soft limit of 2 units from 4"),
    "a floor under what runs": (floor(4), 9, 6, False, 6, "the plan"),
    "a floor counts from what runs": (floor(4), 9, 12, False, 11, "the soft limit of 2 units from 9"),
    "the ceiling": (count(19), None, 30, False, 20, "the ceiling of 20 units"),
    "a floor is never above the ceiling": (floor(4), 25, 24, False, 20, "the ceiling of 20 units"),
    "a count another has raised": (count(12), None, 8, False, 12, "the count that stands"),
    "a floor another has raised": (floor(12), None, 8, False, 12, "the floor that stands"),
    "a floor just raised, and less runs": (floor(12), 4, 14, False, 12, "the soft limit of 2 units from 4"),
    "a count above the ceiling": (count(25), None, 24, False, 25, "the ceiling of 20 units"),
    "down": (count(8), None, 7, True, 7, "the plan"),
    "down within the soft limit": (count(8), None, 2, True, 6, "the soft limit of 2 units from 8"),
    "down to the minimum": (count(2), None, 0, True, 1, "the plan"),
    "down, and it is lower already": (count(3), None, 6, True, 3, "the plan"),
    "a ceiling down, and less runs": (floor(1), 3, 6, True, 6, "the plan"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounded(name: str) -> None:
    setting, desired, wanted, lower, units, limit = BOUNDS[name]
    assert bounded(view(1, target=target(setting, desired)), wanted, lower=lower) == (units, limit)


def test_only_where_the_plan_falls_a_floor_comes_down() -> None:
    down, up = ((1, 8, 6), (7, 6, 4)), ((1, 5, 6), (7, 6, 8))
    written = [
        decision.setting.units
        for moves in (down, up)
        for decision in [decide(view(1, plan=a_plan(moves, start=8), target=target(floor(8))), POLL)]
        if isinstance(decision, Ask)
    ]
    assert written == [6, 8]


def test_a_falling_step_waits_where_it_would_leave_less_than_policies_in_force_guarantee() -> None:
    down = a_plan(((1, 8, 6), (7, 6, 4)), start=8)

    def decided(guaranteed: int, stands: int = 8) -> Decision:
        return decide(view(1, plan=down, target=target(floor(stands)), guaranteed=guaranteed), POLL)

    waits = decided(7)
    assert isinstance(waits, Wait) and waits.reason == "step 1 to 6 units waits: policies in force guarantee 7"
    assert waits.until > minutes(1) + POLL, "its run ends"
    assert isinstance(decided(6), Ask)
    assert isinstance(decided(7, stands=6), Ask), "it takes nothing of that away"


def test_an_entitlements_ceiling_bounds_too() -> None:
    low = a_plan(((1, 4, 5),), start=4, demand=flat(2))
    assert bounded(view(1, plan=low, change=capped(5)), 6) == (5, "the ceiling of 5 units")


def test_a_plan_may_go_above_a_coming_ceiling_until_its_way_down() -> None:
    peak = a_plan(((1, 4, 6), (7, 6, 5)), start=4, demand=flat(2))
    assert bounded(view(1, plan=peak, change=capped(5)), 6) == (6, "the plan")
    on_its_way_down = view(7, PASSED, plan=peak, change=capped(5))
    assert bounded(on_its_way_down, 7) == (6, "the ceiling of 5 units"), "what stands is not cut by a raise"


def test_high_with_the_ceiling_in_the_way_is_no_pass() -> None:
    """20 of at most 20 units at 99 %: the policy must not be armed on that."""
    full = a_plan(((1, 18, 20),), start=18, demand=flat(2))
    step = {"state": StepState.ASKED, "asked_units": 20, "asked_at": minutes(1), "serving_at": minutes(2)}
    seen = view(9, step, plan=full, target=target(count(20)), intents=[wrote(count(20))], usage=cores(19.8))
    decision = decide(seen, POLL)
    assert isinstance(decision, Hold)
    assert "the ceiling of 20 units is in the way of a correction" in decision.reason


JUDGED: dict[str, tuple[dict[Resource, float], int, Verdict, int]] = {
    # usage, serving (6 asked) -> verdict, required units
    "on plan": (cores(2), 6, Verdict.PASS, 4),
    "within tolerance": (cores(2.64), 6, Verdict.PASS, 6),
    "over the band": (cores(2.65), 9, Verdict.HIGH, 7),
    "nearly saturated": (cores(4.51), 6, Verdict.HIGH, 10),
    "under the band": (cores(1.4), 6, Verdict.LOW, 3),
    "nothing at all": (cores(0), 6, Verdict.LOW, 0),
    "no data": ({}, 6, Verdict.NO_DATA, 6),
    "not a number": (cores(float("nan")), 6, Verdict.NO_DATA, 6),
    "infinite": (cores(float("inf")), 6, Verdict.NO_DATA, 6),
    "too few serve": (cores(2), 5, Verdict.ERROR, 6),
}


@pytest.mark.parametrize("name", JUDGED)
def test_judge(name: str) -> None:
    usage, serving, verdict, required = JUDGED[name]
    judged = judge(WORK, PLAN, start=NOW, end=minutes(1), usage=usage, serving_units=serving, asked_units=6)
    assert (judged.verdict, judged.required_units) == (verdict, required)


def test_beyond_the_plan_only_the_objectives_judge() -> None:
    late = datetime(2027, 1, 1, tzinfo=NOW.tzinfo)
    judged = judge(WORK, PLAN, start=late, end=late + MINUTE, usage=cores(2.9), serving_units=6, asked_units=6)
    assert (judged.verdict, judged.evidence.band) == (Verdict.PASS, {})


def test_an_added_unit_does_not_turn_high_into_pass_by_its_percentage() -> None:
    """5 cores are over the band however many units share them."""
    for serving in (6, 10, 20):
        judged = judge(WORK, PLAN, start=NOW, end=minutes(1), usage=cores(5), serving_units=serving, asked_units=6)
        assert judged.verdict is Verdict.HIGH


ALIGNED: dict[str, tuple[list[StepRecord], TargetState, Setting | None, str | None]] = {
    "aligned": (records(PASSED, PASSED), target(count(8)), count(8), None),
    "nothing was written": (records(PASSED, PASSED), target(count(9)), None, None),
    "steps left": (records({}), target(count(8)), count(8), "web: steps 1, 2 are not verified"),
    "a step left": (records(PASSED), target(count(8)), count(8), "web: step 2 is not verified"),
    "another hand": (
        records(PASSED, PASSED),
        target(count(9)),
        count(8),
        "web: changed by another, it stands at count 9",
    ),
    "units away": (records(PASSED, PASSED), target(count(8), serving=7), count(8), "web: 7 units serve, 8 are needed"),
    "not held": (records(PASSED, PASSED), target(floor(6), desired=9), floor(6), "web: the floor is 6, 8 must be held"),
}


@pytest.mark.parametrize("name", ALIGNED)
def test_misalignment(name: str) -> None:
    steps, state, ours, words = ALIGNED[name]
    missing = unverified(PLAN, steps) or misalignment(PLAN, state, ours)
    assert (missing is None) if words is None else (missing is not None and missing.text.startswith(words))
    if missing is not None:
        assert missing.foreign == (name in {"another hand", "not held"})


def test_the_window_that_judges_moves_on_to_the_latest_that_is_known() -> None:
    verification = WORK.verification
    step = view(4, asked(serving=2)).steps[0]
    first = minutes(2) + verification.window
    known = first + verification.metric_delay
    assert verification_window(WORK, step, minutes(3)) == (minutes(2), first, known)
    assert verification_window(WORK, step, known) == (minutes(2), first, known)
    later = timedelta(minutes=4)
    assert verification_window(WORK, step, known + later) == (minutes(2) + later, first + later, known)
