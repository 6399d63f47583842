"""Auto Scaling groups of the sandbox, through boto3 against the running server, on the manual clock."""

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from sandbox.testing import START, client, fresh

NAME = {"AutoScalingGroupName": "workers"}


@pytest.fixture
def cloud(tmp_path):
    """4 instances of 2 cores under a constant demand of 4 cores (50 %), tracked at 50 %, at most 10."""
    trace = tmp_path / "flat.csv"
    trace.write_text(
        "timestamp,cpu,memory,network\n2026-01-01T00:00:00Z,0.25,0.5,0.1\n2026-01-01T00:05:00Z,0.25,0.5,0.1\n"
    )
    workload = {
        "name": "workers",
        "asg": "workers",
        "unit": {"cpu_cores": 2, "memory_gib": 8, "network_mbps": 500},
        "peak": {"cpu_cores": 16, "memory_gib": 16, "network_mbps": 400},
        "trace": str(trace),
        "units": 4,
        "min_units": 2,
        "max_units": 10,
        "target_tracking": {"target_percent": 50},
    }
    with fresh({"workloads": [workload], "timing": {"launch_lag_s": 90}}) as sandbox:
        yield sandbox


def group(cloud):
    return client(cloud, "autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["workers"])[
        "AutoScalingGroups"
    ][0]


def states(cloud):
    found = [i["LifecycleState"] for i in group(cloud)["Instances"]]
    return found.count("InService"), found.count("Pending")


def desire(cloud, capacity):
    client(cloud, "autoscaling").set_desired_capacity(**NAME, DesiredCapacity=capacity)


def activities(cloud):
    return client(cloud, "autoscaling").describe_scaling_activities(**NAME)["Activities"]


def test_instances_are_pending_then_in_service(cloud):
    desire(cloud, 7)
    assert states(cloud) == (4, 3)
    desire(cloud, 7)
    assert states(cloud) == (4, 3), "asked twice, launched once"
    cloud.advance(89)
    assert states(cloud) == (4, 3)
    assert activities(cloud)[0]["StatusCode"] == "PreInService"
    cloud.advance(1)
    assert states(cloud) == (7, 0)
    assert [a["StatusCode"] for a in activities(cloud)] == ["Successful"] * 3


def test_fewer_instances_go_at_once_but_protected_ones_stay(cloud):
    ids = [i["InstanceId"] for i in group(cloud)["Instances"]]
    client(cloud, "autoscaling").set_instance_protection(InstanceIds=ids[:3], **NAME, ProtectedFromScaleIn=True)
    desire(cloud, 2)
    assert [i["InstanceId"] for i in group(cloud)["Instances"]] == ids[:3]
    assert group(cloud)["DesiredCapacity"] == 2


@pytest.mark.parametrize("capacity", [11, 1])
def test_a_desired_capacity_out_of_bounds_is_refused(cloud, capacity):
    with pytest.raises(ClientError, match="ValidationError"):
        desire(cloud, capacity)
    assert group(cloud)["DesiredCapacity"] == 4


def test_impossible_bounds_and_unknown_groups_are_refused(cloud):
    asg = client(cloud, "autoscaling")
    with pytest.raises(ClientError, match="ValidationError"):
        asg.update_auto_scaling_group(**NAME, MinSize=11)
    with pytest.raises(ClientError, match="ValidationError"):
        asg.set_desired_capacity(AutoScalingGroupName="nobody", DesiredCapacity=1)
    with pytest.raises(ClientError, match="ValidationError"):
        asg.suspend_processes(**NAME, ScalingProcesses=["Lunch"])


def test_a_floor_lifts_the_desired_capacity_and_a_ceiling_cuts_it(cloud):
    asg = client(cloud, "autoscaling")
    asg.update_auto_scaling_group(**NAME, MinSize=6)
    assert (group(cloud)["DesiredCapacity"], states(cloud)) == (6, (4, 2))
    asg.update_auto_scaling_group(**NAME, MinSize=2, MaxSize=3)
    assert (group(cloud)["DesiredCapacity"], states(cloud)) == (3, (3, 0))


def test_capacity_that_never_arrives_is_a_failed_activity_with_its_cause(cloud):
    cause = "You have requested more vCPU capacity than your current vCPU limit of 10 allows"
    cloud.fault(kind="capacity", target="workers", max_running=5, cause=cause)
    desire(cloud, 8)
    cloud.advance(200)
    assert states(cloud) == (5, 0)
    failed = [a for a in activities(cloud) if a["StatusCode"] == "Failed"]
    assert len(failed) == 4, "tried again each minute"
    assert failed[0]["StatusMessage"] == f"{cause}. Launching EC2 instance failed."
    cloud.clear_faults()
    cloud.advance(100)
    assert states(cloud) == (8, 0)


def test_suspended_launch_launches_nothing_until_it_is_resumed(cloud):
    asg = client(cloud, "autoscaling")
    asg.suspend_processes(**NAME, ScalingProcesses=["Launch"])
    desire(cloud, 6)
    cloud.advance(300)
    assert states(cloud) == (4, 0)
    asg.resume_processes(**NAME, ScalingProcesses=["Launch"])
    cloud.advance(100)
    assert states(cloud) == (6, 0)


def test_target_tracking_undoes_a_naive_capacity_and_a_floor_holds(cloud):
    desire(cloud, 8)
    cloud.advance(20 * 60)
    assert group(cloud)["DesiredCapacity"] == 4
    client(cloud, "autoscaling").update_auto_scaling_group(**NAME, MinSize=8)
    cloud.advance(40 * 60)
    assert states(cloud) == (8, 0)


def test_more_load_scales_out_unless_alarms_are_suspended(cloud):
    asg = client(cloud, "autoscaling")
    asg.suspend_processes(**NAME, ScalingProcesses=["AlarmNotification"])
    cloud.set_factor("workers", "all", 1.8)
    cloud.advance(600)
    assert group(cloud)["DesiredCapacity"] == 4
    asg.resume_processes(**NAME, ScalingProcesses=["AlarmNotification"])
    cloud.advance(60)
    assert group(cloud)["DesiredCapacity"] == 8


def test_scheduled_actions_fire_unless_suspended(cloud):
    asg = client(cloud, "autoscaling")
    asg.put_scheduled_update_group_action(
        **NAME, ScheduledActionName="once", StartTime=START + timedelta(minutes=5), MinSize=6
    )
    asg.put_scheduled_update_group_action(
        **NAME, ScheduledActionName="daily", Recurrence="20 0 * * 1", DesiredCapacity=9
    )
    cloud.advance(299)
    assert group(cloud)["DesiredCapacity"] == 4
    cloud.advance(1)
    assert (group(cloud)["MinSize"], group(cloud)["DesiredCapacity"]) == (6, 6)
    asg.suspend_processes(**NAME, ScalingProcesses=["ScheduledActions"])
    cloud.advance(20 * 60)
    assert group(cloud)["DesiredCapacity"] == 6


def test_a_recurring_action_fires_on_its_weekday(cloud):
    client(cloud, "autoscaling").put_scheduled_update_group_action(
        **NAME, ScheduledActionName="monday", Recurrence="20 0 * * 1", DesiredCapacity=9
    )
    cloud.advance(20 * 60)
    assert group(cloud)["DesiredCapacity"] == 9


def test_metrics_of_a_group(cloud):
    cloud.advance(120)
    cloudwatch = client(cloud, "cloudwatch")

    def last(namespace, metric, statistic):
        points = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": "AutoScalingGroupName", "Value": "workers"}],
            StartTime=START,
            EndTime=START + timedelta(minutes=2),
            Period=60,
            Statistics=[statistic],
        )["Datapoints"]
        return points[-1][statistic]

    assert last("AWS/EC2", "CPUUtilization", "Average") == pytest.approx(50)
    assert last("AWS/EC2", "CPUUtilization", "SampleCount") == 4
    assert last("AWS/EC2", "NetworkOut", "Sum") * 8 / 60 / 1e6 == pytest.approx(40), "40 Mbit/s of the whole group"
    assert last("CWAgent", "mem_used_percent", "Average") == pytest.approx(25)
    assert last("AWS/AutoScaling", "GroupInServiceInstances", "Average") == 4
    assert last("AWS/AutoScaling", "GroupDesiredCapacity", "Average") == 4


def test_a_minimum_keeps_no_group_from_being_deleted(cloud):
    autoscaling = client(cloud, "autoscaling")
    autoscaling.delete_auto_scaling_group(**NAME, ForceDelete=True)
    assert autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["workers"])["AutoScalingGroups"] == []
