"""When what is left of a plan is drawn anew: each reason for it, and each against it, as named rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from forebay.control.renewal import BUDGET, PlanView, Renewal, patience, renewal
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import StepRecord
from forebay.domain.verdict import Verdict
from tests.support.world import MINUTE, NOW, a_plan, a_workload, flat, minutes

WORK = a_workload()
PLAN = a_plan(demand=flat(2))
EFFECTIVE = minutes(24 * 60)  # so that a plan is left alone for half an hour
BEGAN = {"state": ChangeState.SETTLING, "in_force_from": EFFECTIVE, "steps": []}
ARMED = {"state": ChangeState.ARMED, "steps": []}


def steps(state: StepState) -> list[StepRecord]:
    return [
        StepRecord(change="CHG-1", workload="web", plan_hash=PLAN.hash, step=step, state=state) for step in PLAN.steps
    ]


def view(at: float, **seen: Any) -> PlanView:
    """At minute `at`, half way: a plan with steps left, of which nothing was seen and nobody has said anything."""
    usual: dict[str, Any] = {
        "state": ChangeState.SHAPING,
        "effective_at": EFFECTIVE,
        "plan": PLAN,
        "steps": steps(StepState.PENDING),
        "looks": [],
        "asked": False,
        "answered": False,
        "in_force_from": None,
        "above": None,
        "turn": False,
        "joined": False,
        "riders": [],
        "pinned": False,
    }
    return PlanView(now=minutes(at), **usual | seen)


LATE = 24 * 60 - 5  # minutes: of two steps the second could not be verified any more

DUE = [
    ("after a high", view(1), Verdict.HIGH, "verdict high"),
    ("left alone for its time", view(31), None, "the forecast of 09:00"),
    ("left alone for its time, after a low", view(31), Verdict.LOW, "verdict low"),
    ("left alone for its time, since a look", view(111, looks=[minutes(80)]), None, "the forecast of 10:20"),
    ("its turn", view(1, turn=True, plan=PLAN.model_copy(update={"after": ["CHG-0"]})), None, "CHG-0 over"),
    ("its turn, without steps left", view(1, turn=True, steps=[]), None, " over"),
    ("somebody joins it", view(1, joined=True, riders=["CHG-2"]), None, "one path with CHG-2"),
    ("who joined it has left", view(1, joined=True), None, "one path with nobody any more"),
    ("what was asked is approved", view(1, asked=True, answered=True), None, "the forecast of 09:00"),
    ("armed, and demand rises", view(9, **ARMED, above=minutes(5)), None, "demand above what serves"),
    (
        "armed, and a forecast did not know all of the rise",
        view(35, **ARMED, above=minutes(5), looks=[minutes(20)]),
        None,
        "demand above what serves",
    ),
    ("in force, something was seen", view(24 * 60 + 120, **BEGAN), None, "what was seen since the effective time"),
]

LEFT = [
    ("nothing was seen", view(29), None),
    ("what was seen is right", view(1), Verdict.PASS),
    ("cheaper would do, and it was just drawn", view(1), Verdict.LOW),
    ("a step is under way", view(112, steps=steps(StepState.ASKED)), Verdict.HIGH),
    ("no steps are left before the effective time", view(112, steps=[]), None),
    ("held", view(112, state=ChangeState.HELD), Verdict.HIGH),
    ("it is too late", view(LATE), Verdict.HIGH),
    ("a person has just been asked", view(112, looks=[minutes(1)], asked=True), None),
    ("a day of it", view(150, looks=[minutes(n) for n in range(BUDGET)]), Verdict.HIGH),
    ("armed, and all is well", view(112, **ARMED), Verdict.HIGH),
    (
        "armed, and a forecast that knows of the rise is new",
        view(29, **ARMED, above=minutes(5), looks=[minutes(20)]),
        None,
    ),
    ("armed, and others are on the same steps", view(9, **ARMED, above=minutes(5), riders=["CHG-2"]), None),
    ("armed, and a person keeps it where it is", view(9, **ARMED, above=minutes(5), pinned=True), None),
    ("in force, and nothing can be seen yet", view(24 * 60 + 5, **BEGAN), Verdict.HIGH),
    ("in force for others too", view(24 * 60 + 120, **BEGAN, riders=["CHG-2"]), Verdict.HIGH),
    ("settling without a version in force", view(24 * 60 + 120, state=ChangeState.SETTLING), Verdict.HIGH),
]


@pytest.mark.parametrize("seen, verdict, why", [row[1:] for row in DUE], ids=[row[0] for row in DUE])
def test_it_is_drawn_anew(seen: PlanView, verdict: Verdict | None, why: str) -> None:
    assert renewal(seen, WORK, verdict) == Renewal(why, late=False)


@pytest.mark.parametrize("seen, verdict", [row[1:] for row in LEFT], ids=[row[0] for row in LEFT])
def test_it_is_left_as_it_is(seen: PlanView, verdict: Verdict | None) -> None:
    assert renewal(seen, WORK, verdict) is None


def test_who_has_its_turn_too_late_is_told() -> None:
    found = renewal(view(LATE, turn=True, steps=[]), WORK, None)
    assert found is not None
    assert found.late


def test_a_plan_is_left_alone_the_longer_the_farther_its_effective_time_but_never_for_long_once_in_force() -> None:
    assert patience(NOW, NOW + timedelta(days=6)) == timedelta(hours=3)
    assert patience(NOW, NOW + 20 * MINUTE) == timedelta(minutes=30)
    assert patience(NOW, NOW - 20 * MINUTE) == timedelta(minutes=15)
    assert patience(NOW, NOW - timedelta(days=1)) == timedelta(hours=2)
