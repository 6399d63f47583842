"""The replay benchmark's own arithmetic: its table, its services, and what a peer may do with a count."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.replay import _unmet_unit_hours
from benchmarks.replay_cases import SHORT, Case, Service, cases, services
from benchmarks.replay_run import FOREBAY, ORACLE, peers, run_oracle, run_peer
from benchmarks.replay_table import summary, views
from forebay.domain.allocation import Lever
from forebay.domain.resources import Resource

SANDBOX = Path(__file__).resolve().parents[2] / "sandbox/traces"


def row(policy: str, headroom: float, short: float, unit_hours: float, lever: str = "floor") -> dict[str, Any]:
    return {
        "service": "s", "pattern": "daily", "lever": lever, "kind": "increase", "truth": 1.0, "now": 0,
        "policy": policy, "headroom": headroom, "short": short, "unmet": 0.0, "under": 0.1, "unit_hours": unit_hours,
        "money": unit_hours / 20, "objective": short + unit_hours / 20, "moves": 2, "on_time": True, "limit": 1.0,
    }  # fmt: skip


TABLE = pd.DataFrame(
    [
        row(ORACLE, 1.0, 1, 100),
        row(FOREBAY, 1.0, 5, 110),
        row("peer", 1.0, 20, 100),
        row("peer", 1.5, 10, 120),
        row("poor", 1.0, 40, 90),
        row("poor", 1.5, 8, 130),
    ]
)


def test_a_peer_is_moved_along_its_own_curve_until_it_spends_as_much_or_is_as_little_short() -> None:
    shown = summary(TABLE)
    assert shown.loc["peer", "short at our unit-h"] == 15
    assert shown.loc["poor", "short at our unit-h"] == 24
    # Neither is ever as little short as 5: no head-room looked at buys that.
    assert shown.loc[["peer", "poor"], "cost at our short / ours"].tolist() == [float("inf")] * 2
    dear = TABLE.replace({"short": {5: 9}})
    assert summary(dear).loc["poor", "cost at our short / ours"] == pytest.approx(128.75 / 110)


def test_demand_that_nothing_served_stands_beside_the_units_short_of_target() -> None:
    shown = summary(TABLE.assign(unmet=TABLE.short / 4))
    assert shown.loc[[ORACLE, FOREBAY, "peer"], "unmet unit-h"].tolist() == [0.25, 1.25, 5]


def test_a_count_has_a_table_of_its_own() -> None:
    both = pd.concat([TABLE, pd.DataFrame([row(FOREBAY, 1.0, 1, 1, "count")])])
    names = {name: len(part) for name, part in views(both)}
    assert names["all in force on time, under an autoscaler: 1 cases"] == len(TABLE)
    assert names["count lever: 1 cases"] == 1


def test_a_policy_that_was_held_back_is_not_counted_as_capacity_saved() -> None:
    held = TABLE.assign(now=1, on_time=TABLE.policy != FOREBAY)
    names = dict(views(pd.concat([TABLE, held], ignore_index=True)))
    assert set(names["all in force on time, under an autoscaler: 1 cases"].now) == {0}
    assert set(names["increase: 1 cases"].now) == {0}
    assert set(names["held back: 1 cases"].now) == {1}


def test_the_sandboxs_services_have_three_resources_and_their_cases_one_unless_said() -> None:
    (service, _) = services(SANDBOX)
    assert list(service.demand) == list(Resource)
    kinds = {case.kind: case for case in cases(service, 1)}
    assert kinds["3 resources, 3 h"].workload().resources == tuple(Resource)
    assert kinds["increase, 3 h"].workload().resources == (Resource.CPU,)
    assert kinds["count, 3 h"].lever is Lever.COUNT
    assert all(case.now == kinds["increase, 3 h"].now for case in kinds.values())


def flat(lever: Lever) -> Case:
    """16 units' worth of demand, always."""
    index = pd.date_range("2026-11-01", periods=12 * 24 * 16, freq="5min", tz="UTC")
    service = Service("flat", "steady", {Resource.CPU: pd.Series(1.0, index=index)})
    return Case(service, index[12 * 24 * 15].to_pydatetime(), "increase, 3 h", SHORT, lever=lever)


def test_a_count_stays_until_the_schedule_says_more_and_the_jump_is_made_in_time() -> None:
    case = flat(Lever.COUNT)
    assert set(peers(case)) == {"hand-made jump", "hand-made 4 steps"}
    run = run_peer(case, peers(case)["hand-made jump"])
    serving = {p.at: p.serving for p in run.service.periods}
    assert {serving[at] for at in serving if at < case.effective_at - timedelta(minutes=15)} == {16}
    assert {serving[at] for at in serving if at >= case.effective_at} == {24}
    assert run.outcome.short_unit_hours == _unmet_unit_hours(run) == 0


@pytest.mark.parametrize("lever", list(Lever))
def test_who_knows_the_future_is_never_short(lever: Lever) -> None:
    assert run_oracle(flat(lever)).outcome.short_unit_hours == 0


def test_unmet_demand_is_counted_in_units_whatever_a_trace_counts() -> None:
    """1 core needs 16 units at 60 %: 9.6 full ones. Two resources that lack half of it lack no more than one does."""
    run = run_peer(flat(Lever.COUNT), peers(flat(Lever.COUNT))["hand-made jump"])
    one = run.service.workload
    both = one.model_copy(
        update={
            "unit": one.unit.model_copy(update={"memory_gib": 4.0}),
            "objectives": {Resource.CPU: 0.6, Resource.MEMORY: 0.6},
        }
    )
    run.service.workload = both
    outcome = run.outcome.model_copy(update={"unmet_demand": {"cpu_core_hours": 0.5, "memory_gib_hours": 8.0}})
    assert _unmet_unit_hours(replace(run, outcome=outcome)) == pytest.approx(0.5 * 9.6)


def test_what_nobody_can_know_of_does_not_happen_to_who_knows_the_future() -> None:
    """An outage from 75 minutes before the effective time until 15 after it, in which every step of its plan lies."""
    hindered = replace(flat(Lever.FLOOR), outage=timedelta(minutes=90))
    assert run_oracle(hindered).outcome.short_unit_hours == 0
    assert run_peer(hindered, peers(hindered)["hand-made jump"]).outcome.short_unit_hours > 0
