"""The load of the sandbox: demand from a trace and entities' factors, what is published, the score, the history."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.config import Amount, ConfigError
from sandbox.load import Load, Trace, read_trace, served, units_for
from sandbox.testing import START, client, fresh

UNIT = {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100}
PEAK = {"cpu_cores": 8, "memory_gib": 4, "network_mbps": 100}


@pytest.fixture
def trace(tmp_path):
    """Three samples of 5 minutes: CPU 0.25, 0.5, 1.0 of 8 cores."""
    path = tmp_path / "steps.csv"
    rows = "".join(f"2026-01-01T00:{5 * i:02}:00Z,{cpu},0.5,0.1\n" for i, cpu in enumerate((0.25, 0.5, 1.0)))
    path.write_text("timestamp,cpu,memory,network\n" + rows)
    return str(path)


def web(trace, **changes):
    base = {"name": "web", "ecs_service": "prod/web", "unit": UNIT, "peak": PEAK, "trace": trace, "units": 4}
    return {**base, "entities": {"acme": 0.4, "others": 0.6}, **changes}


def series(cloud, namespace, name, dimensions, statistic="Average", start=START, minutes=60, period=60):
    found = client(cloud, "cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": n, "Value": v} for n, v in dimensions.items()],
        StartTime=start,
        EndTime=start + timedelta(minutes=minutes),
        Period=period,
        Statistics=[statistic],
    )
    return [p[statistic] for p in found["Datapoints"]]


SERVICE = {"ClusterName": "prod", "ServiceName": "web"}


def test_metrics_of_a_service(trace):
    with fresh({"workloads": [web(trace)]}) as cloud:
        cloud.advance(60)

        def one(namespace, name, statistic="Average"):
            (value,) = series(cloud, namespace, name, SERVICE, statistic)
            return value

        assert one("AWS/ECS", "CPUUtilization") == pytest.approx(50)
        assert one("AWS/ECS", "MemoryUtilization") == pytest.approx(25)
        insights = "ECS/ContainerInsights"
        assert one(insights, "CpuUtilized", "Sum") == pytest.approx(2 * 1024)
        assert one(insights, "CpuUtilized") == pytest.approx(512), "a sample a task"
        assert one(insights, "CpuReserved", "Sum") == pytest.approx(4 * 1024)
        assert one(insights, "MemoryUtilized", "Sum") == pytest.approx(2 * 1024)
        assert one(insights, "MemoryReserved", "Sum") == pytest.approx(8 * 1024)
        assert one(insights, "NetworkTxBytes", "Sum") * 8 / 1e6 == pytest.approx(10)
        assert one(insights, "RunningTaskCount") == 4
        assert one(insights, "DesiredTaskCount") == 4
        assert one(insights, "PendingTaskCount") == 0


def test_a_load_waits_for_a_service_that_the_client_creates(trace):
    with fresh({"workloads": [web(trace, create=False)], "timing": {"launch_lag_s": 10}}) as cloud:
        ecs = client(cloud, "ecs")
        cloud.advance(60)
        assert cloud.report()["web"]["seconds"] == 0
        ecs.create_cluster(clusterName="prod")
        ecs.register_task_definition(
            family="own", cpu="1024", memory="2048", containerDefinitions=[{"name": "web", "image": "web"}]
        )
        ecs.create_service(cluster="prod", serviceName="web", taskDefinition="own", desiredCount=4)
        cloud.advance(120)
        assert series(cloud, "AWS/ECS", "CPUUtilization", SERVICE)[-1] == pytest.approx(50)


def test_usage_is_capped_by_what_runs_and_the_rest_is_unmet(trace):
    with fresh({"workloads": [web(trace, speed=5)]}) as cloud:
        cloud.advance(180)
        assert series(cloud, "AWS/ECS", "CPUUtilization", SERVICE) == pytest.approx([50, 100, 100], rel=0.02)
        unmet = series(cloud, "Forebay/Sandbox", "UnmetDemand", {"Workload": "web", "Resource": "cpu"})
        assert unmet == pytest.approx([0, 0, 4], abs=0.1)


def test_an_entity_is_measurable_and_its_factor_moves_the_whole(trace):
    with fresh({"workloads": [web(trace)]}) as cloud:
        acme = {"Workload": "web", "Entity": "acme", "Resource": "cpu"}
        others = {**acme, "Entity": "others"}
        cloud.set_factor("web", "acme", 2.0)
        cloud.advance(60)
        assert series(cloud, "Forebay/Sandbox", "EntityUsage", acme) == pytest.approx([1.6])
        assert series(cloud, "Forebay/Sandbox", "EntityUsage", others) == pytest.approx([1.2])


def test_a_ramped_factor_moves_linearly(trace):
    with fresh({"workloads": [web(trace)]}) as cloud:
        cloud.set_factor("web", "acme", 2.0, ramp_s=100)
        cloud.advance(200)
        wanted = [tick["demand_cpu"] for tick in cloud.ticks("web")]
        assert wanted[50] == pytest.approx(2 * 1.2)
        assert wanted[100] == wanted[199] == pytest.approx(2 * 1.4)


def test_nothing_is_said_of_utilisation_while_nothing_runs(trace):
    with fresh({"workloads": [web(trace, min_units=0)]}) as cloud:
        client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=0)
        cloud.advance(120)
        assert series(cloud, "AWS/ECS", "CPUUtilization", SERVICE) == []
        assert series(cloud, "ECS/ContainerInsights", "CpuUtilized", SERVICE) == []
        assert series(cloud, "ECS/ContainerInsights", "RunningTaskCount", SERVICE) == [0, 0]
        assert cloud.report()["web"]["share_ticks_unmet"] == 1


def test_datapoints_are_seen_after_the_metric_delay(trace):
    timing = {"metric_period_s": 60, "metric_delay_s": 90}
    with fresh({"workloads": [web(trace, timing=timing)]}) as cloud:
        cloud.advance(149)
        assert series(cloud, "AWS/ECS", "CPUUtilization", SERVICE) == []
        cloud.advance(1)
        assert len(series(cloud, "AWS/ECS", "CPUUtilization", SERVICE)) == 1


def test_absent_metrics_stay_absent_and_others_come(trace):
    with fresh({"workloads": [web(trace)]}) as cloud:
        cloud.fault(kind="no_metrics", target="prod/web", metric="AWS/ECS/CPU*")
        cloud.advance(120)
        assert series(cloud, "AWS/ECS", "CPUUtilization", SERVICE) == []
        assert len(series(cloud, "AWS/ECS", "MemoryUtilization", SERVICE)) == 2


def test_the_report_adds_up(trace):
    with fresh({"workloads": [web(trace)]}) as cloud:
        client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=2)
        cloud.advance(900)
        report = cloud.report()["web"]
    assert report["demand"]["cpu"] == pytest.approx(300 * (2 + 4 + 8), rel=0.01)
    assert report["served"]["cpu"] == pytest.approx(900 * 2, rel=0.01)
    assert report["unmet"]["cpu"] == pytest.approx(report["demand"]["cpu"] - report["served"]["cpu"])
    assert report["unmet"]["units"] == pytest.approx(300 * (2 + 6), rel=0.01)
    assert report["share_ticks_unmet"] == pytest.approx(2 / 3, abs=0.01)
    assert report["share_ticks_over_target"] == 1
    assert report["unit_hours_running"] == pytest.approx(0.5)
    assert (report["max_move"], report["moves"]) == (2, 1)


def test_twins_meet_the_same_demand_at_the_same_time(trace):
    twin = web(trace, name="twin", ecs_service="prod/twin", units=2)
    with fresh({"workloads": [web(trace), twin]}) as cloud:
        client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=8)
        cloud.advance(900)
        report = cloud.report()
        demands = [[t["demand_cpu"] for t in cloud.ticks(name)] for name in ("web", "twin")]
    assert demands[0] == demands[1]
    assert report["web"]["unmet"]["cpu"] < report["twin"]["unmet"]["cpu"]


def test_history_is_what_adequate_capacity_would_have_shown():
    samples = 14 * 288
    config = web("smd-2-1", trace_start=samples, history_samples=samples, max_units=50)
    with fresh({"workloads": [config]}) as cloud:
        used = series(
            cloud, "ECS/ContainerInsights", "CpuUtilized", SERVICE, "Sum", START - timedelta(days=1), 24 * 60, 300
        )
        percent = series(
            cloud, "AWS/ECS", "MemoryUtilization", SERVICE, "Average", START - timedelta(days=1), 24 * 60, 300
        )
        oldest = series(
            cloud, "ECS/ContainerInsights", "CpuUtilized", SERVICE, "Sum", START - timedelta(days=14), 60, 300
        )
    trace = read_trace("smd-2-1")
    expected = [trace.at(i)[0] * 8 * 1024 for i in range(samples - 288, samples)]
    assert used == pytest.approx(expected)
    assert max(percent) <= 60 + 1e-6, "the target utilisation of the history"
    assert len(oldest) == 12


def test_the_size_of_tasks_counts_not_only_their_number(trace):
    with fresh({"workloads": [web(trace)]}) as cloud:
        ecs = client(cloud, "ecs")
        ecs.register_task_definition(
            family="web", cpu="512", memory="2048", containerDefinitions=[{"name": "web", "image": "web"}]
        )
        ecs.update_service(cluster="prod", service="web", taskDefinition="web:2")
        cloud.advance(120)
        assert cloud.report()["web"]["now"]["capacity_cpu"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entities": {"acme": 0.5}}, "entities' shares must add up to 1"),
        ({"asg": "both"}, "either ecs_service"),
        ({"units": 200}, "units"),
        ({"history_samples": 5}, "trace_start"),
        ({"trace": "nowhere"}, "known traces: .*smd-2-1"),
        ({"unit": {**UNIT, "cpu_cores": 0}}, "unit.cpu_cores"),
    ],
)
def test_wrong_workloads_say_what_is_wrong(trace, changes, message):
    with fresh() as cloud, pytest.raises(ConfigError, match=message):
        cloud.add_workload({**web(trace), **changes})


amounts = st.floats(0, 1e6, allow_nan=False)
vectors = st.tuples(amounts, amounts, amounts)


@given(vectors, vectors)
def test_served_is_within_demand_and_capacity(demand, capacity):
    got = served(demand, capacity)
    assert all(g in (d, c) for g, d, c in zip(got, demand, capacity, strict=True))
    assert all(g <= min(d, c) for g, d, c in zip(got, demand, capacity, strict=True))


@given(vectors, st.floats(0.1, 100))
def test_enough_units_serve_everything(demand, size):
    unit = (size, 2 * size, 50 * size)
    n = math.ceil(units_for(demand, unit) + 1e-6)
    assert served(demand, (n * unit[0], n * unit[1], n * unit[2])) == demand


@given(st.floats(0.05, 0.95), st.floats(0, 5), st.floats(0, 1e4), st.floats(0, 1e3))
def test_demand_is_the_trace_times_the_weighted_factors(share, factor, time, ramp_s):
    load = Load(
        Trace(300, ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))),
        Amount(cpu_cores=10, memory_gib=10, network_mbps=10),
        {"acme": share, "others": 1 - share},
        start=0,
    )
    load.set_factor("acme", factor, 0, ramp_s)
    low, high = sorted((1.0, factor))
    weight = load.demand(time)[0] / (10 * (0.5 if int(time // 300) % 2 == 0 else 1.0))
    assert share * low + (1 - share) - 1e-9 <= weight <= share * high + (1 - share) + 1e-9
    assert load.demand(ramp_s + 1)[1] == load.demand(ramp_s + 1)[0]
