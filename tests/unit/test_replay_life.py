"""Whole replays: production's decisions on a virtual clock, the replans among them, the files they leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from forebay.cli import app
from forebay.domain.allocation import Lever
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.resources import Resource
from forebay.domain.rules import ChangeRules
from forebay.domain.workload import WorkloadCatalog
from forebay.replay.run import Replayed, Scenario, Summary, replay, summary_text, write
from tests.support.planning_cases import workload

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
EFFECTIVE = NOW + timedelta(hours=3)
CPU = Resource.CPU


def series(start: datetime, hours: float, *levels: float) -> pd.Series:
    """Cores every 5 minutes; each of `levels` for as long as the others."""
    index = pd.date_range(start, periods=int(hours * 12), freq="5min")
    return pd.Series([levels[i * len(levels) // len(index)] for i in range(len(index))], index=index)


def request(**fields: Any) -> ChangeRequest:
    given = {
        "change": "CHG-1", "entity": "acme", "policy": "quota", "effective_at": EFFECTIVE, "requested_by": "ann",
        "impacts": [{"workload": "web", "factor": 2.0}], "settle": "PT30M",
    }  # fmt: skip
    return ChangeRequest.model_validate(given | fields)


def replayed(
    *levels: float,
    lever: Lever = Lever.COUNT,
    scale: float = 1.0,
    work: Any = None,
    hours: float = 5,
    rules: Mapping[str, Any] = {},
    **fields: Any,
) -> Replayed:
    """4 cores (8 units) for three days, then `levels` for `hours`."""
    work = work or workload()
    past = {"web": {CPU: series(NOW - timedelta(days=3), 72, 4.0)}}
    actual = {"web": {CPU: series(NOW, hours, *levels or (4.0,))}}
    catalog = WorkloadCatalog(workloads=(work,))
    return replay(
        request(**fields), catalog, past, actual, NOW, Scenario(scale, lever, rules=ChangeRules.model_validate(rules))
    )


@pytest.mark.parametrize("lever", list(Lever))
def test_a_whole_life(lever: Lever) -> None:
    done = replayed(lever=lever)
    summary, outcome = done.summary, done.summary.workloads["web"]
    assert (summary.state, summary.activation_at) == ("closed", EFFECTIVE)
    assert summary.replans == 0  # demand is as thought, before and after
    assert (outcome.short_unit_hours, outcome.slots_under_target) == (0, 0)
    assert 0 < outcome.largest_move <= workload().limits.soft.units
    decisions = [d.decision for d in done.decisions]
    assert [d for d in decisions if d in ("scheduled", "armed", "settling", "closed")] == [
        "scheduled", "armed", "settling", "closed",
    ]  # fmt: skip
    assert decisions.count("ask") == decisions.count("verified")
    before, from_then_on = (
        {p.demand[CPU] for p in done.services["web"].periods if (p.at >= EFFECTIVE) == later} for later in (False, True)
    )
    assert (before, from_then_on) == ({4.0}, {6.0})


def test_the_change_rules_hold_in_a_replay_and_their_approvals_are_given() -> None:
    """Without the freeze the last steps are made in it; with it all of them before, and nobody is asked."""
    asked = [d.at for d in replayed().decisions if d.decision == "ask"]
    frozen = {"start": EFFECTIVE - timedelta(hours=1), "end": EFFECTIVE - timedelta(minutes=1), "reason": "a release"}
    careful = {"name": "careful", "approval": {"approvers": ["boss"]}}
    done = replayed(rules={"freezes": [frozen], "rules": [careful]})
    moved = [d.at for d in done.decisions if d.decision == "ask"]
    assert frozen["start"] <= max(asked) < frozen["end"]
    assert moved and all(at < frozen["start"] for at in moved)
    assert (done.summary.state, done.summary.activation_at) == ("closed", EFFECTIVE)


@pytest.mark.parametrize("lever", list(Lever))
def test_twice_the_impact_is_seen_and_made_good(lever: Lever) -> None:
    """4 units are missing at the effective time. Left at that until it has settled they would be 2 unit-hours."""
    outcome = replayed(lever=lever, scale=2).summary.workloads["web"]
    assert 0 < outcome.short_unit_hours <= 1
    assert replayed(lever=lever).summary.workloads["web"].short_unit_hours == 0


def test_half_the_impact_is_seen_and_only_a_floor_goes_down() -> None:
    """What the customer does not use is left to the autoscaler; a count never shrinks on what was forecast (rule 7)."""
    long = {"scale": 0.5, "settle": "PT2H", "hours": 6}
    floor, count = (replayed(lever=lever, **long).services["web"] for lever in (Lever.FLOOR, Lever.COUNT))
    last = EFFECTIVE + timedelta(minutes=119)
    serving = [next(p.serving for p in service.periods if p.at == last) for service in (floor, count)]
    assert serving[0] < serving[1] == max(p.serving for p in count.periods)


LATE = NOW + timedelta(hours=9)


def shifted(**limits: Any) -> Replayed:
    """An hour after the plan was drawn demand is half as much again, and before long little else is remembered."""
    work = workload(
        history="PT5H", limits={"min_units": 2, "max_units": 40, "soft": {"units": 3, "dwell": "PT10M"}} | limits
    )
    return replayed(*[4.0] + [6.0] * 10, work=work, hours=11, effective_at=LATE)


def test_a_plan_that_no_longer_fits_is_drawn_anew() -> None:
    done = shifted()
    replans = [d for d in done.decisions if d.decision == "replanned"]
    assert len(replans) == done.summary.replans >= 1
    assert replans[0].reason.startswith("the forecast of 10:00: 2 steps to 13 units were left, now")
    assert replans[0].at < LATE - timedelta(hours=2)
    at_effect = next(p for p in done.services["web"].periods if p.at == LATE)
    assert at_effect.serving >= 18
    assert (done.summary.state, done.summary.activation_at) == ("closed", LATE)
    assert done.summary.workloads["web"].largest_move <= 3


def test_demand_that_has_fallen_makes_the_rest_cheaper_and_shrinks_nothing() -> None:
    """An hour after the plan was drawn demand is less by a third: `low` goes on, and the next plan asks for less."""
    work = workload(history="PT5H", limits={"min_units": 2, "max_units": 40, "soft": {"units": 3, "dwell": "PT10M"}})
    as_planned, done = (
        replayed(*[4.0] + [cores] * 10, work=work, hours=11, effective_at=LATE, lever=Lever.COUNT)
        for cores in (4.0, 2.7)
    )
    assert done.summary.replans >= 1
    ahead = [[p for p in seen.services["web"].periods if p.at < LATE] for seen in (as_planned, done)]
    asked_before, asked = (max(p.asked for p in periods) for periods in ahead)
    assert asked < asked_before
    assert all(later.asked >= p.asked for p, later in pairwise(ahead[1])), "a forecast takes nothing away"
    assert (done.summary.state, done.summary.activation_at) == ("closed", LATE)
    hours = [seen.summary.workloads["web"].unit_hours for seen in (as_planned, done)]
    assert hours[1] < hours[0]


def test_a_refused_replan_keeps_the_old_plan_and_says_so() -> None:
    """What is needed now lies above max_units: the plan to 13 stays."""
    done = shifted(max_units=14)
    assert done.summary.replans == 0
    refused = [e for e in done.audit if e.event.action == "replan refused"]
    assert refused and "max_units of its limits is 14" in refused[0].event.reason
    assert refused[0].event.reason.endswith("the plan of 09:00 stays")
    assert max(p.serving for p in done.services["web"].periods) <= 14


def test_a_step_after_the_effective_time_does_not_delay_it() -> None:
    ramp = [{"workload": "web", "factor": 2.0, "adoption": {"shape": "ramp", "over": "PT1H"}}]
    done = replayed(impacts=ramp, settle="PT1H")
    assert done.summary.activation_at == EFFECTIVE
    asked = [d.at for d in done.decisions if d.decision == "ask"]
    assert min(asked) < EFFECTIVE < max(asked)
    assert done.summary.workloads["web"].short_unit_hours == 0


def test_what_is_not_verified_by_its_time_is_rejected_if_it_says_so() -> None:
    """Demand that rises before it has more units asked for, whose verdict is due minutes after the effective time."""
    rising, late = [4.0] * 3 + [4.8] * 20, NOW + timedelta(minutes=45)
    taken = {
        said: replayed(*rising, hours=23 / 12, effective_at=late, on_misalignment=said, lever=Lever.FLOOR).summary
        for said in ("defer", "reject")
    }
    assert taken["defer"].activation_at is not None and taken["defer"].activation_at > late
    assert (taken["reject"].state, taken["reject"].activation_at) == ("rolled back", None)


def test_a_change_that_cannot_be_met_is_denied() -> None:
    done = replayed(effective_at=NOW + timedelta(minutes=12), impacts=[{"workload": "web", "factor": 9.0}])
    assert (done.summary.state, done.summary.activation_at) == ("denied", None)
    assert "What would do" in done.summary.note


def test_the_same_input_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(replayed(lever=Lever.FLOOR), tmp_path / name)
    for file in ("slots.csv", "decisions.jsonl", "summary.json"):
        assert (tmp_path / "one" / file).read_text() == (tmp_path / "two" / file).read_text()
    slots = pd.read_csv(tmp_path / "one" / "slots.csv")
    columns = ["timestamp", "workload", "demand_cpu", "units_asked", "units_serving", "size", "usage_cpu"]
    assert slots.columns.tolist() == columns and slots["size"].isna().all()
    assert len(slots) == 5 * 60


def test_a_record_that_ends_before_the_effective_time_is_an_input_error() -> None:
    with pytest.raises(InputError, match="before the effective time"):
        replayed(effective_at=NOW + timedelta(hours=6))


def test_the_command(tmp_path: Path) -> None:
    def tidy(values: pd.Series, name: str) -> Path:
        table = pd.DataFrame({"timestamp": values.index.strftime("%Y-%m-%dT%H:%M:%SZ"), "value": values.to_numpy()})
        table = table.assign(workload="web", entity="", resource="cpu", unit="cores")
        table.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    past, actual = tidy(series(NOW - timedelta(days=3), 72, 4.0), "past.csv"), tidy(series(NOW, 5, 4.0), "actual.csv")
    change, works = tmp_path / "change.yaml", tmp_path / "workloads.yaml"
    change.write_text(request().model_dump_json(exclude_none=True))
    works.write_text(WorkloadCatalog(workloads=(workload(),)).model_dump_json())
    arguments = ["replay", str(change), "--workloads", str(works), "--history", str(past), "--actual", str(actual)]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out"), "--lever", "count"])
    assert done.exit_code == 0, done.output
    assert "CHG-1: closed, in force since 24 Nov 12:00:00 UTC; 0 replans" in done.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "; 1 replan\n" in summary_text(Summary.model_validate(summary | {"replans": 1}))
    assert summary["workloads"]["web"]["short_unit_hours"] == 0
    lines = (tmp_path / "out" / "decisions.jsonl").read_text().splitlines()
    assert {"at", "decision", "reason"} <= json.loads(lines[0]).keys()


def test_what_was_held_over_gaps_is_said() -> None:
    past = {"web": {CPU: series(NOW - timedelta(days=3), 72, 4.0)}}
    whole = series(NOW, 5, 4.0)
    catalog = WorkloadCatalog(workloads=(workload(),))
    told = [
        replay(request(), catalog, past, {"web": {CPU: actual}}, NOW, Scenario(lever=Lever.COUNT)).summary
        for actual in (whole, whole.drop(whole.index[6:21]))
    ]
    assert [summary.workloads["web"].held_over_gaps for summary in told] == [0, 0.25]
    assert ["25.0% of its demand held over gaps of the record" in summary_text(summary) for summary in told] == [
        False, True,
    ]  # fmt: skip


def test_a_life_with_a_resize(tmp_path: Path) -> None:
    """10 units at most: only tasks of two cores carry what comes. They are deployed in time, and nothing is short."""
    large = {"unit": {"cpu_cores": 2, "memory_gib": 4}, "price": {"per_unit_hour": "0.10"}}
    limits = {"min_units": 2, "max_units": 10, "soft": {"units": 3, "dwell": "PT10M"}}
    work = workload(unit={"cpu_cores": 1, "memory_gib": 2}, sizes=[large], limits=limits)
    done = replayed(work=work)
    outcome, cloud = done.summary.workloads["web"], done.services["web"]
    assert (done.summary.state, done.summary.activation_at) == ("closed", EFFECTIVE)
    assert outcome.short_unit_hours == 0
    *_, resize = cloud.writes
    assert (resize.moved, resize.setting.revision, str(cloud.sized.size)) == (0, "web:2", "2 vCPU, 4 GiB")
    assert cloud.serving <= 10 < 12
    assert sum(1 for p in cloud.periods if p.beside) == 9, "lead time 4 and drain 5 minutes"
    small = sum(max(p.serving, p.desired) for p in cloud.periods if str(p.size) == "1 vCPU, 2 GiB")
    larger = sum(max(p.serving, p.desired) for p in cloud.periods if str(p.size) == "2 vCPU, 4 GiB")
    larger += 9 * cloud.serving
    write(done, tmp_path)
    slots = pd.read_csv(tmp_path / "slots.csv")
    assert slots["size"].tolist() == [str(p.size) for p in cloud.periods]
    assert slots["size"].unique().tolist() == ["1 vCPU, 2 GiB", "2 vCPU, 4 GiB"]
    expected = (small * Decimal("0.05") + larger * Decimal("0.10")) / 60
    assert outcome.money == pytest.approx(expected, abs=Decimal("0.001"))
