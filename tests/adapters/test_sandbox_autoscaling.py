"""Application Auto Scaling in the sandbox: floors that move at once, target tracking that fights, scheduled actions."""

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from sandbox.testing import START, client, fresh

TARGET = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/prod/web",
    "ScalableDimension": "ecs:service:DesiredCount",
}


@pytest.fixture
def cloud(tmp_path):
    """4 tasks of 1 core under a constant demand of 2 cores (50 %), tracked at 50 %."""
    trace = tmp_path / "flat.csv"
    trace.write_text(
        "timestamp,cpu,memory,network\n2026-01-01T00:00:00Z,0.25,0.5,0.1\n2026-01-01T00:05:00Z,0.25,0.5,0.1\n"
    )
    workload = {
        "name": "web",
        "ecs_service": "prod/web",
        "unit": {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100},
        "peak": {"cpu_cores": 8, "memory_gib": 4, "network_mbps": 100},
        "trace": str(trace),
        "units": 4,
        "min_units": 2,
        "max_units": 20,
        "target_tracking": {"target_percent": 50},
    }
    with fresh({"workloads": [workload], "timing": {"launch_lag_s": 30}}) as sandbox:
        yield sandbox


def counts(cloud):
    found = client(cloud, "ecs").describe_services(cluster="prod", services=["web"])["services"][0]
    return found["desiredCount"], found["runningCount"]


def floor(cloud, **changes):
    client(cloud, "application-autoscaling").register_scalable_target(**TARGET, **changes)


def test_a_naive_desired_count_is_undone_after_15_minutes(cloud):
    client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=8)
    cloud.advance(15 * 60 - 1)
    assert counts(cloud) == (8, 8), "15 low datapoints are needed"
    cloud.advance(1)
    assert counts(cloud) == (4, 4)
    activity = client(cloud, "application-autoscaling").describe_scaling_activities(ServiceNamespace="ecs")
    assert activity["ScalingActivities"][0]["Description"] == "Setting desired count to 4."


def test_a_floor_moves_the_count_at_once_and_holds_it(cloud):
    floor(cloud, MinCapacity=8)
    assert counts(cloud) == (8, 4)
    cloud.advance(40 * 60)
    assert counts(cloud) == (8, 8)


def test_a_lower_floor_lets_the_policy_drain(cloud):
    floor(cloud, MinCapacity=8)
    cloud.advance(20 * 60)
    floor(cloud, MinCapacity=2)
    assert counts(cloud) == (8, 8), "lowering the floor stops nothing by itself"
    cloud.advance(60)
    assert counts(cloud) == (4, 4)


def test_a_ceiling_below_the_count_cuts_it_at_once(cloud):
    floor(cloud, MaxCapacity=3)
    assert counts(cloud) == (3, 3)


def test_more_load_scales_out_in_proportion_after_3_datapoints(cloud):
    cloud.set_factor("web", "all", 1.8)
    cloud.advance(3 * 60 - 1)
    assert counts(cloud)[0] == 4
    cloud.advance(61)
    assert counts(cloud)[0] == 8, "4 tasks at 90 % of their CPU, tracked at 50 %: ceil(7.2)"


def test_missing_datapoints_never_scale_in(cloud):
    client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=8)
    cloud.advance(10 * 60)
    cloud.fault(kind="no_metrics", target="prod/web", metric="AWS/ECS/*", duration_s=90)
    cloud.advance(14 * 60)
    assert counts(cloud)[0] == 8, "one of the last 15 datapoints is missing"
    cloud.advance(3 * 60)
    assert counts(cloud)[0] == 4


@pytest.mark.parametrize(("state", "factor"), [("DynamicScalingOutSuspended", 1.8), ("DynamicScalingInSuspended", 0.2)])
def test_suspended_scaling_does_nothing(cloud, state, factor):
    floor(cloud, SuspendedState={state: True})
    cloud.set_factor("web", "all", factor)
    cloud.advance(30 * 60)
    assert counts(cloud)[0] == 4
    floor(cloud, SuspendedState={state: False})
    cloud.advance(2 * 60)
    assert counts(cloud)[0] != 4


def test_a_count_below_the_floor_is_repaired_by_a_scale_out_only(cloud):
    floor(cloud, MinCapacity=4)
    client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=3)
    cloud.set_factor("web", "all", 0.2)
    cloud.advance(30 * 60)
    assert counts(cloud) == (3, 3)
    cloud.set_factor("web", "all", 0.9)
    cloud.advance(5 * 60)
    assert counts(cloud) == (4, 4)


def test_a_partial_registration_keeps_the_rest(cloud):
    floor(cloud, MinCapacity=3)
    floor(cloud, SuspendedState={"ScheduledScalingSuspended": True})
    found = client(cloud, "application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs")
    target = found["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 20)
    assert target["SuspendedState"]["ScheduledScalingSuspended"] is True


def test_impossible_bounds_are_refused(cloud):
    with pytest.raises(ClientError, match="ValidationException"):
        floor(cloud, MinCapacity=21)
    with pytest.raises(ClientError, match="ValidationException"):
        client(cloud, "application-autoscaling").register_scalable_target(
            **{**TARGET, "ResourceId": "service/prod/other"}, MinCapacity=1
        )
    assert counts(cloud) == (4, 4)


def schedule(cloud, expression, **action):
    client(cloud, "application-autoscaling").put_scheduled_action(
        **TARGET, ScheduledActionName="raise", Schedule=expression, ScalableTargetAction=action
    )


def test_a_scheduled_action_fires_once_at_its_time(cloud):
    at = START + timedelta(minutes=5)
    schedule(cloud, f"at({at:%Y-%m-%dT%H:%M:%S})", MinCapacity=6, MaxCapacity=12)
    cloud.advance(299)
    assert counts(cloud)[0] == 4
    cloud.advance(1)
    assert counts(cloud)[0] == 6
    aas = client(cloud, "application-autoscaling")
    target = aas.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (6, 12)
    assert aas.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"] == []


def test_a_cron_action_fires_again_and_again(cloud):
    schedule(cloud, "cron(0/10 * * * ? *)", MinCapacity=6)
    cloud.advance(600)
    assert counts(cloud)[0] == 6
    floor(cloud, MinCapacity=2)
    client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=3)
    cloud.advance(600)
    assert counts(cloud)[0] == 6


def test_suspended_scheduled_scaling_does_not_fire(cloud):
    floor(cloud, SuspendedState={"ScheduledScalingSuspended": True})
    schedule(cloud, "rate(1 minute)", MinCapacity=6)
    cloud.advance(180)
    assert counts(cloud)[0] == 4


def test_wrong_schedules_are_refused(cloud):
    with pytest.raises(ClientError, match="ValidationException"):
        schedule(cloud, "tomorrow", MinCapacity=6)
    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        client(cloud, "application-autoscaling").put_scheduled_action(
            **{**TARGET, "ResourceId": "service/prod/other"},
            ScheduledActionName="raise",
            Schedule="rate(1 minute)",
            ScalableTargetAction={"MinCapacity": 1},
        )


def test_more_than_a_page_of_targets_is_paged(cloud):
    ecs, aas = client(cloud, "ecs"), client(cloud, "application-autoscaling")
    for i in range(60):
        ecs.create_service(cluster="prod", serviceName=f"s{i}", taskDefinition="web:1", desiredCount=0)
        aas.register_scalable_target(**{**TARGET, "ResourceId": f"service/prod/s{i}"}, MinCapacity=0, MaxCapacity=1)
    pages = aas.get_paginator("describe_scalable_targets").paginate(ServiceNamespace="ecs")
    assert len({t["ResourceId"] for page in pages for t in page["ScalableTargets"]}) == 61
