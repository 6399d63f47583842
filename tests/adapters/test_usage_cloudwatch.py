"""Absolute usage from CloudWatch, against the simulated cloud: a constant 2 cores, 2 GiB, 10 Mbit/s."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

import pandas as pd
import pytest

from forebay.app.context import Context
from forebay.app.outlook import Others, forecast_live, read_history
from forebay.aws_tasks import reservation
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.impact import Impact
from forebay.domain.resources import Resource
from forebay.domain.workload import WorkloadCatalog
from forebay.usage.cloudwatch import CloudWatchUsage
from sandbox.testing import fresh
from tests.support.aws import ASG, ECS, TIMING, CloudClock, a_workload, an_alarm, clients, played
from tests.support.samples import a_change

DEMAND = {Resource.CPU: 2.0, Resource.MEMORY: 2.0, Resource.NETWORK: 10.0}
INSIGHTS = "ECS/ContainerInsights"
DIMENSIONS = {"ClusterName": "prod", "ServiceName": "web"}
MINUTE = timedelta(minutes=1)
KINDS = pytest.mark.parametrize("kind", ["ecs", "asg"])


@pytest.fixture
def cloud(tmp_path):
    with fresh({"workloads": [played(tmp_path)], "timing": TIMING}) as sandbox:
        yield sandbox


@pytest.fixture
def aws(cloud, monkeypatch):
    return clients(cloud, monkeypatch)


@pytest.fixture
def usage(cloud, aws):
    return CloudWatchUsage(a_workload(ECS), aws, CloudClock(cloud))


def played_by(kind, tmp_path, **changes):
    return played(tmp_path, **({"asg": "web"} if kind == "asg" else {}), **changes)


def last(cloud, minutes):
    return cloud.now() - minutes * MINUTE, cloud.now()


@KINDS
def test_usage_is_absolute_whatever_runs(tmp_path, monkeypatch, kind):
    target = ECS if kind == "ecs" else ASG
    with fresh({"workloads": [played_by(kind, tmp_path)], "timing": TIMING}) as cloud:
        aws = clients(cloud, monkeypatch)
        usage = CloudWatchUsage(a_workload(target), aws, CloudClock(cloud))
        cloud.advance(180, step_s=10)
        assert usage.measure(*last(cloud, 3)) == pytest.approx(DEMAND)
        if kind == "ecs":
            aws.ecs.update_service(cluster="prod", service="web", desiredCount=10)
        else:
            aws.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=10)
        cloud.advance(300, step_s=10)
        assert usage.measure(*last(cloud, 3)) == pytest.approx(DEMAND), "the percentage fell from 50 to 20"


def test_while_tasks_arrive_only_the_minute_of_the_change_is_blurred(cloud, usage, aws):
    cloud.advance(180, step_s=10)
    aws.ecs.update_service(cluster="prod", service="web", desiredCount=10)
    cloud.advance(180, step_s=10)
    assert usage.measure(*last(cloud, 5)) == pytest.approx(DEMAND)


def hide(cloud, pattern):
    cloud.fault(kind="no_metrics", target="prod/web", metric=pattern)


def test_without_container_insights_numbers_percentages_do_with_the_reservation(cloud, usage):
    hide(cloud, f"{INSIGHTS}/CpuUtilized")
    hide(cloud, f"{INSIGHTS}/MemoryUtilized")
    cloud.advance(180, step_s=10)
    assert usage.measure(*last(cloud, 3)) == pytest.approx(DEMAND)


def test_the_reservation_is_the_task_definitions_not_the_units(cloud, aws):
    hide(cloud, f"{INSIGHTS}/Cpu*")
    workload = a_workload(ECS, unit={"cpu_cores": 0.5, "memory_gib": 2, "network_mbps": 100})
    cloud.advance(180, step_s=10)
    measured = CloudWatchUsage(workload, aws, CloudClock(cloud)).measure(*last(cloud, 3))
    assert measured[Resource.CPU] == pytest.approx(2.0)


def test_percentages_relate_to_the_size_that_tasks_had_at_the_time(cloud, aws, usage):
    hide(cloud, f"{INSIGHTS}/CpuUtilized")
    cloud.advance(300, step_s=10)
    before = last(cloud, 3)
    larger = {"cpu": "2048", "memory": "4096", "containerDefinitions": [{"name": "web", "image": "web"}]}
    aws.ecs.register_task_definition(family="web", **larger)
    aws.ecs.update_service(cluster="prod", service="web", taskDefinition="web:2")
    cloud.advance(600, step_s=10)
    for window in (before, last(cloud, 3)):
        assert usage.measure(*window)[Resource.CPU] == pytest.approx(2.0), "50 % of 4 cores, then 25 % of 8"


def test_no_data_is_left_out_and_said_never_zero(cloud, usage, caplog):
    hide(cloud, "*/C[Pp][Uu]*")
    cloud.advance(180, step_s=10)
    with caplog.at_level(logging.WARNING):
        measured = usage.measure(*last(cloud, 3))
    assert set(measured) == {Resource.MEMORY, Resource.NETWORK}
    assert "no cpu data: 0 of 3 datapoints" in caplog.text
    assert "turn on Container Insights" in caplog.text


def test_without_a_running_count_there_is_no_usage(cloud, usage):
    hide(cloud, f"{INSIGHTS}/RunningTaskCount")
    cloud.advance(180, step_s=10)
    assert usage.measure(*last(cloud, 3)) == {}


@pytest.mark.parametrize(("minutes", "measured"), [(4, False), (5, True)])
def test_half_of_the_datapoints_is_enough_less_is_no_data(cloud, usage, minutes, measured):
    cloud.advance(minutes * 60, step_s=10)
    start = cloud.now() - minutes * MINUTE
    assert bool(usage.measure(start, start + 10 * MINUTE)) is measured


def test_a_window_without_a_whole_period_has_no_data(cloud, usage):
    cloud.advance(180, step_s=10)
    assert usage.measure(cloud.now() - timedelta(seconds=50), cloud.now() - timedelta(seconds=10)) == {}


@KINDS
def test_high_resolution_data_is_used_where_the_workload_says_so(tmp_path, monkeypatch, kind):
    target = ECS if kind == "ecs" else ASG
    timing = TIMING | {"metric_period_s": 5}
    with fresh({"workloads": [played_by(kind, tmp_path)], "timing": timing}) as cloud:
        workload = a_workload(target, metric_period="PT5S", verification={"window": "PT15S"})
        usage = CloudWatchUsage(workload, clients(cloud, monkeypatch), CloudClock(cloud))
        cloud.advance(20)
        start = cloud.now() - timedelta(seconds=15)
        assert usage.measure(start, cloud.now()) == pytest.approx(DEMAND)
        cloud.advance(60)
        coarse = CloudWatchUsage(a_workload(target), clients(cloud, monkeypatch), CloudClock(cloud))
        assert coarse.measure(cloud.now() - timedelta(seconds=80), cloud.now()) == pytest.approx(DEMAND)


def test_a_verification_window_shorter_than_a_period_is_refused(cloud, aws):
    workload = a_workload(ECS, verification={"window": "PT30S"})
    with pytest.raises(InputError, match="metric_period"):
        CloudWatchUsage(workload, aws, CloudClock(cloud))


@KINDS
def test_the_history_read_by_default_is_whole_right_and_fast(tmp_path, monkeypatch, kind):
    days = a_workload(ECS).history
    samples = days // (5 * MINUTE)
    workload = played_by(kind, tmp_path, trace_start=samples, history_samples=samples)
    with fresh({"workloads": [workload], "timing": TIMING}) as cloud:
        target = ECS if kind == "ecs" else ASG
        usage = CloudWatchUsage(a_workload(target), clients(cloud, monkeypatch), CloudClock(cloud))
        began = time.perf_counter()
        history = usage.history(cloud.now() - days, cloud.now(), 5 * MINUTE)
        assert time.perf_counter() - began < 10
        expected = pd.date_range(cloud.now() - days, periods=samples, freq="5min")
        for resource, amount in DEMAND.items():
            series = history[resource]
            assert (series.index == expected).all()
            assert series.to_numpy() == pytest.approx(amount)


def test_a_gap_in_history_stays_a_gap(cloud, usage):
    for name, value, samples in (("RunningTaskCount", 4, 1), ("CpuUtilized", 2048, 4)):
        for minutes in (30, 20, 5):
            cloud.put_metric(INSIGHTS, name, DIMENSIONS, value, cloud.now() - minutes * MINUTE, samples)
    series = usage.history(cloud.now() - 30 * MINUTE, cloud.now(), 5 * MINUTE)[Resource.CPU]
    assert series.to_dict() == {pd.Timestamp(cloud.now() - minutes * MINUTE): 2.0 for minutes in (30, 20, 5)}


def test_a_step_is_the_mean_over_its_minutes_not_their_sum(cloud, usage):
    for minutes, cores in ((5, 1), (4, 2), (3, 3)):  # two of five minutes are missing
        at = cloud.now() - minutes * MINUTE
        cloud.put_metric(INSIGHTS, "RunningTaskCount", DIMENSIONS, 4, at)
        cloud.put_metric(INSIGHTS, "CpuUtilized", DIMENSIONS, cores * 1024, at, 4)
    series = usage.history(cloud.now() - 5 * MINUTE, cloud.now(), 5 * MINUTE)[Resource.CPU]
    assert list(series) == pytest.approx([2.0])


def test_history_that_cannot_be_in_minutes_any_more_comes_as_coarse_as_it_is_kept(cloud, usage):
    for day in (20, 70):
        at = cloud.now() - timedelta(days=day)
        cloud.put_metric(INSIGHTS, "RunningTaskCount", DIMENSIONS, 4, at)
        cloud.put_metric(INSIGHTS, "CpuUtilized", DIMENSIONS, day * 1024, at, 4)
    series = usage.history(cloud.now() - timedelta(days=80), cloud.now(), MINUTE)[Resource.CPU]
    assert list(series) == [70.0, 20.0]


def test_the_busier_direction_is_the_network_usage(cloud, usage):
    at = cloud.now() - MINUTE
    for name, value in (("RunningTaskCount", 1), ("NetworkTxBytes", 1e6), ("NetworkRxBytes", 3e6)):
        cloud.put_metric(INSIGHTS, name, DIMENSIONS, value, at)
    assert usage.measure(at, cloud.now())[Resource.NETWORK] == pytest.approx(24.0)


@pytest.mark.parametrize(("kind", "retryable"), [("throttle", True), ("error", True)])
def test_a_disturbed_read_is_an_outside_error(cloud, usage, kind, retryable):
    cloud.fault(kind=kind, op="GetMetricData", count=1)
    with pytest.raises(OutsideError, match="GetMetricData on the metrics of web") as caught:
        usage.measure(*last(cloud, 3))
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        pytest.param({"cpu": "512", "memory": "1024", "containerDefinitions": []}, (512, 1024), id="task size"),
        pytest.param(
            {"containerDefinitions": [{"cpu": 256, "memory": 512}, {"cpu": 256, "memory": 1024}]},
            (512, 1536),
            id="containers add up",
        ),
        pytest.param(
            {"containerDefinitions": [{"cpu": 0, "memory": 2048, "memoryReservation": 512}]},
            (0, 512),
            id="the soft memory limit counts first",
        ),
    ],
)
def test_what_a_task_reserves(definition, expected):
    assert reservation(definition) == expected


PER_TENANT = {
    "cpu": {"namespace": "Shop", "metric": "CpuCores", "dimension": "Tenant", "unit": "cores"},
    "network": {
        "namespace": "Shop",
        "metric": "Bytes",
        "dimensions": {"Service": "web"},
        "dimension": "Tenant",
        "stat": "Sum",
        "unit": "bytes/s",
    },
}


def test_a_customers_own_usage_comes_from_the_metric_named_for_it(cloud, aws):
    usage = CloudWatchUsage(a_workload(ECS, entity_usage=PER_TENANT), aws, CloudClock(cloud))
    for minutes in (15, 10, 5):
        at = cloud.now() - minutes * MINUTE
        cloud.put_metric("Shop", "CpuCores", {"Tenant": "acme"}, 0.5, at)
        cloud.put_metric("Shop", "CpuCores", {"Tenant": "bolt"}, 1.5, at)
        cloud.put_metric("Shop", "Bytes", {"Service": "web", "Tenant": "acme"}, 300 * 1e6 / 8, at)
    found = usage.entity_history("acme", cloud.now() - 15 * MINUTE, cloud.now(), 5 * MINUTE)
    assert {r: list(series) for r, series in found.items()} == {
        Resource.CPU: pytest.approx([0.5] * 3),
        Resource.NETWORK: pytest.approx([1.0] * 3),  # 300 Mbit in the 5 minutes asked for
    }
    assert usage.entity_history("nobody", cloud.now() - 15 * MINUTE, cloud.now(), 5 * MINUTE) == {}


def test_the_live_forecast_is_of_the_entity_and_of_the_rest(tmp_path, monkeypatch):
    samples = 2 * 288
    workload = a_workload(ECS, objectives={"cpu": 0.6}, entity_usage=PER_TENANT)
    with fresh({"workloads": [played(tmp_path, trace_start=samples, history_samples=samples)]}) as cloud:
        clock = CloudClock(cloud)
        for back in range(1, samples + 1):
            cloud.put_metric("Shop", "CpuCores", {"Tenant": "acme"}, 0.5, clock.now() - back * 5 * MINUTE)
        usage = CloudWatchUsage(workload, clients(cloud, monkeypatch), clock)
        ctx = Context(clock, None, WorkloadCatalog(workloads=(workload,)), None, lambda _: usage, None)
        to_be = a_change().model_copy(
            update={
                "entity": "acme",
                "impacts": (Impact(workload="web", factor=2.0),),
                "effective_at": clock.now() + timedelta(hours=2),
            }
        )
        history = read_history(ctx, workload)
        outlook = forecast_live(ctx, workload, to_be, history, clock.now(), timedelta(seconds=10), Others())
    assert outlook.entity["acme"][Resource.CPU].mean() == pytest.approx(0.5, rel=0.05)
    assert outlook.paths[Resource.CPU].mean() == pytest.approx(2.0, rel=0.05)
    assert any("acme, measured" in note for note in outlook.notes["cpu"])


def test_named_alarms_that_are_in_alarm(cloud, aws):
    usage = CloudWatchUsage(a_workload(ECS, alarms=["errors", "latency"]), aws, CloudClock(cloud))
    for name in ("errors", "latency", "nobody asked"):
        an_alarm(aws, name)
        aws.cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="test")
    assert usage.alarms() == []
    for name in ("latency", "nobody asked"):
        aws.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    assert usage.alarms() == ["latency"]


def test_an_alarm_that_does_not_exist_is_named(cloud, aws):
    usage = CloudWatchUsage(a_workload(ECS, alarms=["errors"]), aws, CloudClock(cloud))
    with pytest.raises(OutsideError, match="errors found nothing of that name"):
        usage.alarms()
