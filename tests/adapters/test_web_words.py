"""How the pages put times, spans, impacts and next steps."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.domain.impact import Adoption, Entitlement, Impact
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.records import ChangeRecord, StepRecord
from forebay.web.words import demands, from_now, next_step, span
from tests.support.samples import NOW, a_change, a_plan


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(milliseconds=999), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=61, seconds=1), "1 h 1 min"),
        (timedelta(hours=2, seconds=5), "2 h"),
        (timedelta(days=3, hours=4, minutes=5), "3 d 4 h"),
        (-timedelta(seconds=75), "1 min 15 s"),
    ],
)
def test_a_span_names_its_two_largest_units(duration: timedelta, text: str) -> None:
    assert span(duration) == text


@pytest.mark.parametrize(
    ("off", "text"),
    [
        (timedelta(seconds=1), "in 1 s"),
        (timedelta(milliseconds=999), "now"),
        (-timedelta(milliseconds=999), "now"),
        (-timedelta(seconds=1), "1 s ago"),
    ],
)
def test_from_now_knows_both_directions(off: timedelta, text: str) -> None:
    assert from_now(NOW + off, NOW) == text


@pytest.mark.parametrize(
    ("impact", "text"),
    [
        (Impact(workload="web", factor=2.0), "web: demand of the entity's share times 2"),
        (
            Impact(workload="web", resource="cpu", add=4, unit="cores", add_low=3, scope="workload"),
            "web: cpu demand of the whole workload +4 cores (3 to 4)",
        ),
        (
            Impact(
                workload="web",
                resource="memory",
                factor=1.5,
                high=2,
                add=-512,
                unit="MiB",
                adoption=Adoption(shape="ramp", over=timedelta(minutes=30)),
            ),
            "web: memory demand of the entity's share times 1.5 (1.5 to 2), -512 MiB within 30 min",
        ),
    ],
)
def test_an_impact_is_one_sentence(impact: Impact, text: str) -> None:
    assert demands(a_change().model_copy(update={"impacts": (impact,)})) == [text]


def test_an_entitlement_is_one_sentence() -> None:
    bounds = (Entitlement(workload="web", min_units=2, max_units=9), Entitlement(workload="db", max_units=3))
    change = a_change().model_copy(update={"impacts": (), "entitlements": bounds})
    assert demands(change) == ["web: at least 2 units, at most 9 units", "db: at most 3 units"]


def _record(state: ChangeState) -> ChangeRecord:
    return ChangeRecord(change=a_change(), state=state, note="", policy_version=2, received_at=NOW, updated_at=NOW)


def _steps(*states: StepState) -> list[StepRecord]:
    steps = a_plan(steps=len(states)).steps
    return [
        StepRecord(change="CHG-1", workload="web", plan_hash="f", step=step, state=state)
        for step, state in zip(steps, states, strict=True)
    ]


@pytest.mark.parametrize(
    ("states", "text", "due"),
    [
        (("pending", "pending"), "step 1/2: web 4 → 5 units", timedelta(hours=1)),
        (("asked", "pending"), "step 1/2: web 4 → 5 units, to be verified", timedelta(hours=1, minutes=10)),
        (("passed", "pending"), "step 2/2: web 5 → 6 units", timedelta(hours=2)),
        (("passed", "dropped"), "it is armed once every workload is aligned", None),
    ],
)
def test_the_next_step_of_a_moving_change(states: tuple[str, ...], text: str, due: timedelta | None) -> None:
    expected = text, None if due is None else NOW + due
    assert next_step(_record(ChangeState.SHAPING), _steps(*map(StepState, states))) == expected


@pytest.mark.parametrize("state", list(ChangeState))
def test_every_state_says_what_is_next_and_only_final_ones_say_nothing(state: ChangeState) -> None:
    final = {ChangeState.DENIED, ChangeState.CLOSED, ChangeState.ROLLED_BACK, ChangeState.SUPERSEDED}
    text, due = next_step(_record(state), [])
    assert (text == "nothing") == (state in final)
    assert due == (a_change().effective_at if state is ChangeState.ARMED else None)
