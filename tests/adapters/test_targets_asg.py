"""Auto Scaling groups through AutoScalingGroup, against the simulated cloud on its manual clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forebay.domain.allocation import Lever, Setting, setting_for
from forebay.domain.errors import OutsideError
from forebay.domain.workload import AsgTarget
from forebay.targets.asg import AutoScalingGroup, causes, group_state
from sandbox.testing import fresh
from tests.support.aws import ASG, TIMING, CloudClock, clients, played, track_group

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def floor(units, ceiling=20):
    return Setting(lever=Lever.FLOOR, floor=units, ceiling=ceiling)


@pytest.fixture
def cloud(tmp_path):
    with fresh({"workloads": [played(tmp_path, asg="web")], "timing": TIMING}) as sandbox:
        yield sandbox


@pytest.fixture
def bare(cloud, monkeypatch):
    """Clients at a group without a policy."""
    return clients(cloud, monkeypatch)


@pytest.fixture
def aws(bare):
    track_group(bare)
    return bare


@pytest.fixture
def target(cloud, aws):
    return AutoScalingGroup(ASG, aws, CloudClock(cloud))


def test_attached_policies_make_the_minimum_the_lever(target):
    state = target.observe()
    assert (state.setting, state.desired, state.serving, state.stable) == (floor(1), 4, 4, True)
    assert (state.problems, state.causes) == ((), ())


def test_without_a_policy_the_desired_capacity_is_the_lever(cloud, bare):
    target = AutoScalingGroup(ASG, bare, CloudClock(cloud))
    assert target.observe().setting == Setting(lever=Lever.COUNT, count=4)
    target.apply(Setting(lever=Lever.COUNT, count=6))
    cloud.advance(60)
    state = target.observe()
    assert (state.setting.count, state.serving, state.stable) == (6, 6, True)


def test_a_raised_floor_lifts_the_group_and_is_not_stable_before_instances_serve(cloud, target):
    target.apply(floor(8))
    state = target.observe()
    assert (state.setting, state.desired, state.serving, state.stable) == (floor(8), 8, 4, False)
    cloud.advance(60)
    state = target.observe()
    assert (state.desired, state.serving, state.stable) == (8, 8, True)


def test_a_ceiling_in_the_way_is_lifted_with_the_floor(cloud, target):
    target.apply(setting_for(target.observe().setting, 25))
    cloud.advance(60)
    state = target.observe()
    assert (state.setting, state.serving) == (floor(25, 25), 25)


def test_a_naive_capacity_is_undone_by_the_policy_the_floor_holds(cloud, target, aws):
    aws.autoscaling.set_desired_capacity(AutoScalingGroupName="web", DesiredCapacity=8)
    cloud.advance(20 * 60, step_s=10)
    assert target.observe().desired < 8, "25 % CPU is far below the policy's 60 %: it takes the instances away"
    target.apply(floor(8))
    cloud.advance(20 * 60, step_s=10)
    assert target.observe().serving == 8


@pytest.mark.parametrize("count", [0, 21])
def test_a_capacity_outside_the_bounds_is_final_and_changes_nothing(target, count):
    with pytest.raises(OutsideError, match=r"SetDesiredCapacity on Auto Scaling group web") as caught:
        target.apply(Setting(lever=Lever.COUNT, count=count))
    assert not caught.value.retryable
    assert target.observe().desired == 4


def test_an_unknown_group_is_final_and_named(cloud, aws):
    target = AutoScalingGroup(AsgTarget(type="asg", group="nope"), aws, CloudClock(cloud))
    for call in (target.observe, lambda: target.apply(floor(2))):
        with pytest.raises(OutsideError, match=r"Auto Scaling group nope found nothing of that name") as caught:
            call()
        assert not caught.value.retryable


@pytest.mark.parametrize("kind", ["throttle", "error", "lost_answer"])
def test_after_a_disturbed_write_the_state_can_be_read_and_the_write_repeated(cloud, target, kind):
    cloud.fault(kind=kind, op="UpdateAutoScalingGroup", count=1)
    with pytest.raises(OutsideError, match="UpdateAutoScalingGroup on Auto Scaling group web") as caught:
        target.apply(floor(8))
    assert caught.value.retryable
    assert target.observe().setting == (floor(8) if kind == "lost_answer" else floor(1))
    target.apply(floor(8))
    assert target.observe().setting == floor(8)


def test_a_change_under_way_is_retryable(cloud, target):
    cloud.fault(kind="error", op="UpdateAutoScalingGroup", count=1, code="ScalingActivityInProgress", status=400)
    with pytest.raises(OutsideError, match="being changed") as caught:
        target.apply(floor(8))
    assert caught.value.retryable


def test_capacity_that_does_not_arrive_gives_its_cause(cloud, target):
    cloud.fault(kind="capacity", target="web", max_running=5, cause="You have requested more vCPU than your limit")
    target.apply(floor(8))
    cloud.advance(120)
    state = target.observe()
    assert (state.desired, state.serving, state.stable) == (8, 5, False)
    assert len(state.causes) == 1
    assert "You have requested more vCPU than your limit" in state.causes[0]


@pytest.mark.parametrize("process", ["Launch", "AddToLoadBalancer", "HealthCheck", "AlarmNotification"])
def test_a_suspended_process_that_a_step_needs_is_a_problem(target, aws, process):
    aws.autoscaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=[process])
    problems = target.observe().problems
    assert len(problems) == 1
    assert process in problems[0]


def test_a_suspended_process_that_no_step_needs_is_none(target, aws):
    aws.autoscaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["AZRebalance"])
    assert target.observe().problems == ()


@pytest.mark.parametrize(
    ("after", "sizes", "suspended", "is_problem"),
    [
        pytest.param(timedelta(minutes=30), {"MinSize": 2}, False, True, id="lowers the floor soon"),
        pytest.param(timedelta(minutes=30), {"MinSize": 1, "MaxSize": 3}, False, True, id="lowers both"),
        pytest.param(timedelta(hours=3), {"MinSize": 2}, False, False, id="lowers it much later"),
        pytest.param(timedelta(minutes=30), {"MinSize": 9}, False, False, id="raises it"),
        pytest.param(timedelta(minutes=30), {"MinSize": 2}, True, False, id="is suspended"),
    ],
)
def test_a_scheduled_action(cloud, target, aws, after, sizes, suspended, is_problem):
    target.apply(floor(4))
    aws.autoscaling.put_scheduled_update_group_action(
        AutoScalingGroupName="web", ScheduledActionName="night", StartTime=cloud.now() + after, **sizes
    )
    if suspended:
        aws.autoscaling.suspend_processes(AutoScalingGroupName="web", ScalingProcesses=["ScheduledActions"])
    problems = target.observe().problems
    assert bool(problems) == is_problem
    assert all("'night'" in problem and "below 4 units" in problem for problem in problems)


def instance(state="InService", health="Healthy", weight=None):
    return {"InstanceId": "i", "LifecycleState": state, "HealthStatus": health} | (
        {"WeightedCapacity": weight} if weight else {}
    )


def group(*instances, desired, **changes):
    return {"MinSize": 0, "MaxSize": 20, "DesiredCapacity": desired, "Instances": list(instances), **changes}


@pytest.mark.parametrize(
    ("instances", "desired", "serving", "stable"),
    [
        pytest.param([instance(weight="2"), instance(weight="4")], 6, 6, True, id="weights count"),
        pytest.param([instance(weight="4"), instance(weight="4")], 6, 8, True, id="weights may overshoot"),
        pytest.param([instance(), instance("Pending")], 2, 1, False, id="one is starting"),
        pytest.param([instance(), instance(health="Unhealthy")], 2, 1, False, id="one is about to be replaced"),
        pytest.param([instance(), instance("Terminating")], 1, 1, False, id="one is stopping"),
        pytest.param([instance(), instance("Standby"), instance("Warmed:Stopped")], 1, 1, True, id="some are parked"),
        pytest.param([instance("Pending:Wait")], 1, 0, False, id="one waits for a hook"),
    ],
)
def test_what_serves(instances, desired, serving, stable):
    state = group_state(group(*instances, desired=desired), False, (), NOW)
    assert (state.serving, state.stable) == (serving, stable)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"Status": "Delete in progress"}, "being deleted", id="being deleted"),
        pytest.param({"Tags": [{"Key": "AmazonECSManaged", "Value": ""}]}, "capacity provider manages", id="managed"),
    ],
)
def test_a_group_that_is_not_ours_to_shape_is_refused(fields, words):
    state = group_state(group(desired=0, **fields), False, (), NOW)
    assert words in state.refusals[0]


@pytest.mark.parametrize(
    ("instances", "fields", "words"),
    [
        pytest.param([instance()], {}, [], id="nothing"),
        pytest.param([instance() | {"ProtectedFromScaleIn": True}, instance()], {}, ["1 of 2 instances"], id="one"),
        pytest.param(
            [instance()], {"NewInstancesProtectedFromScaleIn": True}, ["new instances are pro"], id="new ones"
        ),
        pytest.param(
            [instance()], {"DefaultInstanceWarmup": 61}, ["after 61 s of warm-up, and lead_time is 60 s"], id="warm-up"
        ),
        pytest.param([instance()], {"DefaultInstanceWarmup": 60}, [], id="a warm-up within the lead time"),
        pytest.param(
            [instance()], {"SuspendedProcesses": [{"ProcessName": "Terminate"}]}, ["until it is resumed"], id="stop"
        ),
        pytest.param([instance(weight="2")], {}, ["units are capacity units"], id="weights"),
    ],
)
def test_what_people_should_know_of_a_group(instances, fields, words):
    state = group_state(group(*instances, desired=1, **fields), False, (), NOW, timedelta(seconds=60))
    assert len(state.warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, state.warnings, strict=True))


def test_failed_activities_of_the_last_minutes_are_causes_newest_first():
    def activity(minutes, status, message):
        return {"StartTime": NOW - timedelta(minutes=minutes), "StatusCode": status, "StatusMessage": message}

    activities = [
        activity(9, "Failed", "older"),
        activity(1, "Failed", "newest"),
        activity(20, "Failed", "too old"),
        activity(2, "Successful", "fine"),
    ]
    assert causes(activities, NOW) == ("newest", "older")


def test_a_scheduled_action_that_wrote_over_ours_is_named(cloud, target, aws):
    target.apply(floor(8))
    at = cloud.now() + timedelta(minutes=2)
    aws.autoscaling.put_scheduled_update_group_action(
        AutoScalingGroupName="web",
        ScheduledActionName="nightly",
        Recurrence=f"{at.minute} {at.hour} * * *",
        MinSize=2,
        MaxSize=20,
    )
    assert target.who(floor(2)) is None, "it has not run yet"
    cloud.advance(180, step_s=10)
    live = target.observe().setting
    assert live == floor(2)
    assert target.who(live) == "the scheduled action 'nightly'"


@pytest.mark.parametrize(
    ("cause", "tells"),
    [
        ("At 2026-03-02T00:00:00Z a user request explicitly set group desired capacity from 4 to 9.", True),
        ("At 2026-03-02T00:00:00Z an instance was taken out of service in response to a health check.", False),
    ],
)
def test_an_activity_tells_who_asked_for_another_size(cause, tells):
    from forebay.targets.causes import changes_size

    assert changes_size(cause) is tells
