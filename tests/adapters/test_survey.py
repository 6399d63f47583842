"""`forebay check` and `forebay history` against the simulated cloud: a constant 2 cores, 2 GiB, 10 Mbit/s, 4 tasks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from forebay.app.past import measured_past
from forebay.app.survey import survey
from forebay.domain.allocation import Lever
from forebay.domain.resources import Resource
from forebay.forecasting.history import history_csv, read_history
from forebay.report.survey import survey_text
from forebay.wiring import make_target, make_usage
from sandbox.testing import fresh
from tests.support.aws import ASG, ECS, REGION, TIMING, TRACKING, CloudClock, a_workload, an_alarm, clients, played
from tests.unit.test_cli import forebay  # noqa: F401

DAY = 288
SLOT = timedelta(minutes=5)
EIGHT_CORES = {"quotas": {"fargate/L-3032A538": 8.0, "ec2/L-1216C47A": 256.0}}


def ten_minutes_ago():
    """In whole slots."""
    now = datetime.now(UTC)
    return now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0) - 2 * SLOT


def with_history(tmp_path, **changes):
    """What `played` plays, and two days of it before."""
    wanted = played(tmp_path, trace_start=2 * DAY, history_samples=2 * DAY, **changes)
    times = (datetime(2026, 1, 1, tzinfo=UTC) + i * SLOT for i in range(3 * DAY))
    rows = "".join(f"{at:%Y-%m-%dT%H:%M:%SZ},0.25,0.5,0.1\n" for at in times)
    (tmp_path / "flat.csv").write_text("timestamp,cpu,memory,network\n" + rows)
    return wanted


@pytest.fixture
def cloud(tmp_path, request):
    """Ten minutes after two days of history. Parameter `unmeasured`: nothing is published in these minutes."""
    wanted = with_history(tmp_path, target_tracking=TRACKING)
    with fresh({"workloads": [wanted], "timing": TIMING, "start": ten_minutes_ago()}) as sandbox:
        if getattr(request, "param", "") == "unmeasured":
            sandbox.fault(kind="no_metrics", target="prod/web", metric="*")
        sandbox.advance(600, step_s=60)
        yield sandbox


def look(cloud, monkeypatch, workload):
    aws, clock = clients(cloud, monkeypatch), CloudClock(cloud)
    target = make_target(workload, aws, clock)
    reserved = getattr(target, "reserved", None)
    return survey(workload, target, make_usage(workload, aws, clock), cloud.now(), reserved)


def test_what_is_there_and_measured_is_ready(cloud, monkeypatch):
    found = look(cloud, monkeypatch, a_workload(ECS, seasons=["PT12H"]))
    assert (found.faults, found.unread, found.notes) == ((), (), ())
    assert found.state.setting.lever is Lever.FLOOR and found.state.serving == 4
    assert found.needed == 4  # 2 cores of 1 at 60 %
    assert [(one.resource, one.latest, one.complete) for one in found.usage] == [
        (Resource.CPU, pytest.approx(2), 1),
        (Resource.MEMORY, pytest.approx(2), 1),
        (Resource.NETWORK, pytest.approx(10), 1),
    ]
    assert all(one.until - one.since == (2 * DAY + 2) * SLOT for one in found.usage)
    assert survey_text(found).startswith("web: ready\n  target: floor 1 (ceiling 20), an autoscaler is in charge")


def test_what_is_missing_for_the_seasons_is_said_once(cloud, monkeypatch):
    found = look(cloud, monkeypatch, a_workload(ECS))
    (note,) = found.notes
    assert note.startswith("cpu, memory, network: 2 days of usage; ")
    assert note.endswith("1 day from 3 days on and 7 days from 21 days on")


@pytest.mark.parametrize("target", [ECS.model_copy(update={"service": "ghost"}), ASG.model_copy(update={"group": "x"})])
def test_a_target_that_is_not_there_is_not_read(cloud, monkeypatch, target):
    found = look(cloud, monkeypatch, a_workload(target))
    (unread,) = found.unread
    assert "found nothing of that name" in unread and found.state is None
    assert found.faults[0].startswith("no cpu usage in the last 28 days: check the metric's name")
    assert survey_text(found).startswith("web: not ready for a change\n  not read: ")


def test_a_unit_that_is_not_what_a_task_reserves_is_said(cloud, monkeypatch):
    other = {"cpu_cores": 2, "memory_gib": 2, "network_mbps": 100}
    notes = look(cloud, monkeypatch, a_workload(ECS, seasons=["PT12H"], unit=other)).notes
    assert notes == ("a task reserves cpu_cores 1 by its task definition, and unit.cpu_cores says 2",)
    sizes = [{"unit": {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100}, "price": {"per_unit_hour": "0.05"}}]
    sized = a_workload(ECS, seasons=["PT12H"], unit=other | {"memory_gib": 4}, sizes=sizes)
    assert look(cloud, monkeypatch, sized).notes == ()


def test_usage_too_late_to_verify_a_step_by_is_wrong(cloud, monkeypatch):
    cloud.fault(kind="no_metrics", target="prod/web", metric="ECS/ContainerInsights/*")
    cloud.fault(kind="no_metrics", target="prod/web", metric="AWS/ECS/*")
    cloud.advance(20 * 60, step_s=60)
    found = look(cloud, monkeypatch, a_workload(ECS, seasons=["PT12H"]))
    assert len(found.usage) == len(found.faults) == 3
    assert found.faults[0].startswith("cpu: no usage in the 3 min that ended 3 min ago, so that a step could not be")


def test_what_else_people_should_know(tmp_path, monkeypatch):
    wanted = with_history(tmp_path, units=3)
    start = ten_minutes_ago()
    with fresh({"workloads": [wanted], "timing": TIMING, "start": start, **EIGHT_CORES}) as cloud:
        cloud.advance(600, step_s=60)
        aws = clients(cloud, monkeypatch)
        an_alarm(aws, "errors")
        aws.cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
        found = look(cloud, monkeypatch, a_workload(ECS, seasons=["PT12H"], alarms=["errors"]))
    quota, alarm, too_small = found.notes
    assert quota.startswith("with all max_units: 20 units of 1 vCPU need 20, and the quota")
    assert alarm == "the alarm errors is in ALARM: no step is made until it is not"
    assert too_small.startswith("the latest usage needs 4 units at the objectives, and 3 serve")
    assert found.faults == ()


def test_the_past_is_whole_slots_and_reads_back(tmp_path, cloud, monkeypatch):
    cloud.advance(4 * 60, step_s=60)  # into a slot
    per_tenant = {
        "cpu": {
            "namespace": "Forebay/Sandbox",
            "metric": "EntityUsage",
            "dimension": "Entity",
            "dimensions": {"Workload": "web", "Resource": "cpu"},
            "unit": "cores",
        }
    }
    workload = a_workload(ECS, entity_usage=per_tenant, verification={"metric_delay": "PT1M"})
    usage = make_usage(workload, clients(cloud, monkeypatch), CloudClock(cloud))
    past = measured_past(workload, usage, cloud.now(), ["nobody"])
    file = tmp_path / "history.csv"
    file.write_text(history_csv(past))
    read = read_history(file)
    assert set(read) == {("web", "cpu", ""), ("web", "memory", ""), ("web", "network", "")}
    for key in read:
        assert read.series[key].to_list() == pytest.approx(past.series[key].to_list())
        assert read.series[key].index[-1] + SLOT == cloud.now() - timedelta(minutes=4)
    cloud.advance(60, step_s=60)  # the slot is over, and not yet published
    late = measured_past(workload, usage, cloud.now())
    assert late.get("web", "cpu").index[-1] == past.get("web", "cpu").index[-1]


@pytest.fixture
def file(tmp_path, cloud, monkeypatch):
    clients(cloud, monkeypatch)
    cloud.advance((datetime.now(UTC) - cloud.now()).total_seconds(), step_s=60)  # the commands look by the real clock
    for name, value in {"AWS_ENDPOINT_URL": cloud.url, "AWS_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    here = a_workload(ECS, seasons=["PT12H"], verification={"metric_delay": "PT0S"}).model_dump(mode="json")
    there = here | {"name": "ghost", "target": here["target"] | {"service": "ghost"}}
    (tmp_path / "workloads.yaml").write_text(yaml.safe_dump({"workloads": [here, there]}))
    return tmp_path


def test_check_looks_at_all_or_at_those_named(file, forebay):  # noqa: F811
    code, out, err = forebay("check")
    assert code == 4 and "web: ready" in out and "ghost: not ready" in out
    assert err == "forebay: could not look at everything of ghost\n"
    code, out, _ = forebay("check", "web", "--json")
    assert code == 0 and [one["workload"] for one in json.loads(out)] == ["web"]
    code, _, err = forebay("check", "wbe")
    assert code == 2 and "'wbe' is not in the workloads file. Known: web, ghost" in err


@pytest.mark.parametrize("cloud", ["unmeasured"], indirect=True)
def test_check_ends_with_3_where_any_change_would_be_denied(file, forebay):  # noqa: F811
    text = (file / "workloads.yaml").read_text().replace("P28D", "PT5M")
    (file / "short.yaml").write_text(text)
    code, out, err = forebay("check", "web", "--workloads", "short.yaml")
    assert code == 3 and "wrong: " in out
    assert err == "forebay: any change would be denied or held: web\n"


def test_without_credentials_one_message_is_enough(file, monkeypatch, forebay):  # noqa: F811
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    code, out, err = forebay("check")
    assert code == 4 and not out and err.count("set the AWS credentials") == 1


def test_a_history_is_written_for_a_plan_to_be_drawn_from(file, forebay):  # noqa: F811
    code, out, err = forebay("history", "--out", "history.csv")
    assert code == 0 and out == "wrote history.csv\n"
    assert "no usage of ghost/cpu, ghost/memory, ghost/network: `forebay check` looks closer" in err
    code, out, _ = forebay(
        "forecast", "history.csv", "--horizon", "1h", "--format", "json", "--workloads", "workloads.yaml"
    )
    assert code == 0 and out.count('"web"') == 3
    code, _, err = forebay("history", "--entity", "nobody", "--out", "again.csv")
    assert code == 0 and "no usage of their own of nobody: by no workload's entity_usage is anything measured" in err
    code, _, err = forebay("history", "ghost")
    assert code == 4 and "CloudWatch has no usage of ghost/cpu" in err
