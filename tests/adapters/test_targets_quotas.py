"""What is found ahead of a change: bounds, the vCPU quota it counts against, and scheduled actions while it holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.domain.allocation import Foreseen, Span
from forebay.domain.workload import EcsTarget
from forebay.targets.asg import AutoScalingGroup
from forebay.targets.ecs import EcsService
from forebay.targets.quotas import EC2_STANDARD, FARGATE, Quota, is_standard, read_quota
from sandbox.testing import fresh
from tests.support.aws import ASG, ECS, TIMING, TRACKING, CloudClock, clients, played, track_group

KINDS = pytest.mark.parametrize("kind", ["ecs", "asg"])
CODES = {"ecs": FARGATE, "asg": EC2_STANDARD}
SERVICE = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/prod/web",
    "ScalableDimension": "ecs:service:DesiredCount",
}
MENDED = "raise it in Service Quotas first"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that makes the cloud with a target of 4 units of a core, under a quota of 10 vCPUs, for 1 to 20."""
    stack = []

    def make(kind, others=0.0, *, autoscaled=True):
        where = {"asg": "web"} if kind == "asg" else ({"target_tracking": TRACKING} if autoscaled else {})
        code = "/".join(CODES[kind])
        given = {"quotas": {code: 10.0}, "used_by_others": {code: others}, "timing": TIMING}
        stack.append(fresh({"workloads": [played(tmp_path, **where)], **given}))
        cloud = stack[-1].__enter__()
        aws = clients(cloud, monkeypatch)
        if kind == "asg" and autoscaled:
            track_group(aws)
        of = EcsService(ECS, aws, CloudClock(cloud)) if kind == "ecs" else AutoScalingGroup(ASG, aws, CloudClock(cloud))
        return cloud, aws, of

    yield make
    for one in stack:
        one.__exit__(None, None, None)


def held(cloud, units, start=1, end=24):
    now = cloud.now()
    return Span(start=now + timedelta(hours=start), end=now + timedelta(hours=end), units=units)


def schedule(kind, aws, at, low=None, high=None):
    """The scheduled action `nightly`."""
    if kind == "ecs":
        wanted = {"MinCapacity": low, "MaxCapacity": high}
        aws.application_autoscaling.put_scheduled_action(
            **SERVICE,
            ScheduledActionName="nightly",
            Schedule=f"at({at:%Y-%m-%dT%H:%M:%S})",
            ScalableTargetAction={name: value for name, value in wanted.items() if value is not None},
        )
    else:
        wanted = {"MinSize": low, "MaxSize": high}
        aws.autoscaling.put_scheduled_update_group_action(
            AutoScalingGroupName="web",
            ScheduledActionName="nightly",
            StartTime=at,
            **{name: value for name, value in wanted.items() if value is not None},
        )


@KINDS
def test_a_peak_above_the_quota_is_refused_and_one_beside_what_others_use_is_warned_of(made, kind):
    cloud, _, target = made(kind, others=2)
    (refusal,) = target.foresee([held(cloud, 4), held(cloud, 11)], 1.0, 4).refusals
    assert refusal.startswith("11 units of 1 vCPU need 11, and the quota ")
    assert f"({CODES[kind][1]}) is 10 vCPU" in refusal and refusal.endswith(MENDED)
    assert target.foresee([held(cloud, 9)], 1.0, 4) == Foreseen(), "nothing is known of others"
    cloud.advance(180)
    assert target.foresee([held(cloud, 8)], 1.0, 4) == Foreseen(), "2 are of others"
    (warning,) = target.foresee([held(cloud, 9)], 1.0, 4).warnings
    assert "of which others use 2 now" in warning
    assert target.foresee([held(cloud, 99)], 0.0, 4) == Foreseen(), "units of no known CPU"


@KINDS
def test_the_cause_of_units_that_do_not_come_has_the_quotas_figures(made, kind):
    cloud, _, target = made(kind)
    cause = "You have requested more vCPU capacity than your current vCPU limit of 10 allows"
    cloud.fault(kind="capacity", target="prod/web" if kind == "ecs" else "web", max_running=5, cause=cause)
    target.apply(target.observe().setting.model_copy(update={"floor": 8}))
    cloud.advance(240)
    causes = target.observe().causes
    assert "vCPU limit of 10" in causes[0]
    assert causes[-1].endswith(f"({CODES[kind][1]}) is 10 vCPU, 5 in use")


@KINDS
@pytest.mark.parametrize(
    ("hours", "low", "found"),
    [
        pytest.param(20, 3, True, id="while it is held"),
        pytest.param(20, 6, False, id="but not below it"),
        pytest.param(30, 3, False, id="once it is handed back"),
        pytest.param(0.5, 3, False, id="before the first step"),
    ],
)
def test_scheduled_actions_are_found_as_long_as_units_are_held(made, kind, hours, low, found):
    cloud, aws, target = made(kind)
    schedule(kind, aws, cloud.now() + timedelta(hours=hours), low, 20)
    warnings = target.foresee([held(cloud, 5, end=2), held(cloud, 6, start=2)], 1.0, 4).warnings
    assert len(warnings) == found
    assert not found or ("'nightly'" in warnings[0] and "below the 6 units that are held from" in warnings[0])
    assert target.observe().problems == (), "it is not soon"


@KINDS
@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        pytest.param(8, None, "would set the minimum 8 while 5 units are held from", id="a higher minimum"),
        pytest.param(5, 15, "would set the maximum 15 while 5 units", id="a lower maximum that is high enough"),
        pytest.param(None, 40, "would set the maximum 40 while 5 units", id="a higher maximum"),
        pytest.param(3, 40, "below the 5 units", id="what goes below is said before anything else"),
        pytest.param(5, 20, None, id="what stands then"),
    ],
)
def test_scheduled_actions_that_set_other_values_are_found_too(made, kind, low, high, words):
    cloud, aws, target = made(kind)
    schedule(kind, aws, cloud.now() + timedelta(hours=2), low, high)
    warnings = target.foresee([held(cloud, 5)], 1.0, 4).warnings
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]
    assert target.observe().problems == (), "4 units are no more than what is asked for"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        pytest.param(2, None, None, id="a lower minimum"),
        pytest.param(None, 40, None, id="a higher maximum"),
        pytest.param(8, None, "would set the minimum 8", id="a minimum above it"),
        pytest.param(None, 3, "below the 5 units", id="a maximum below it"),
    ],
)
def test_what_a_scheduled_action_does_to_a_count(made, low, high, words):
    cloud, aws, target = made("ecs", autoscaled=False)
    schedule("ecs", aws, cloud.now() + timedelta(hours=1.5), low, high)
    warnings = target.foresee([held(cloud, 5)], 1.0, 4).warnings
    assert len(warnings) == (words is not None) and (words is None or words in warnings[0])
    assert bool(target.observe().problems) == (high == 3), "a lower minimum takes nothing from a count"


@KINDS
def test_without_an_autoscaler_a_count_outside_the_bounds_is_refused_before_anything_is_moved(made, kind):
    cloud, _, target = made(kind, autoscaled=False)
    (refusal,) = target.foresee([held(cloud, 6), held(cloud, 21)], 0.0, 4).refusals
    assert "a count of 21 lies outside the bounds 1 to 20 of" in refusal and "attach a scaling policy" in refusal
    (refusal,) = target.foresee([held(cloud, 6), held(cloud, 0)], 0.0, 4).refusals
    assert "a count of 0 lies outside" in refusal
    assert target.foresee([held(cloud, 1), held(cloud, 20)], 0.0, 4) == Foreseen()


@KINDS
def test_under_an_autoscaler_the_bounds_are_moved_and_refuse_nothing(made, kind):
    cloud, _, target = made(kind)
    assert target.foresee([held(cloud, 21)], 0.0, 4) == Foreseen()


def test_a_resize_that_would_take_capacity_away_is_refused_when_it_is_planned(made):
    cloud, aws, target = made("ecs")
    aws.ecs.update_service(
        cluster="prod", service="web", deploymentConfiguration={"minimumHealthyPercent": 50, "maximumPercent": 200}
    )
    plain = held(cloud, 5)
    (refusal,) = target.foresee([plain, plain.model_copy(update={"resized": True})], 1.0, 4).refusals
    assert "minimumHealthyPercent is 50" in refusal
    assert target.foresee([plain], 1.0, 4) == Foreseen(), "what is not resized is not replaced"


def test_protected_tasks_are_told_once_whatever_their_number(made):
    cloud, aws, target = made("ecs")
    running = aws.ecs.list_tasks(cluster="prod", serviceName="web")["taskArns"]
    assert len(running) == 4
    for task in running[:2]:
        aws.ecs.update_task_protection(cluster="prod", tasks=[task], protectionEnabled=True)
        (warning,) = target.foresee([held(cloud, 5)], 1.0, 4).warnings
        assert warning.startswith("tasks are protected from scale-in")
    cloud.fault(kind="error", op="GetTaskProtection", code="AccessDeniedException", status=400)
    (warning,) = target.foresee([held(cloud, 5)], 1.0, 4).warnings
    assert "cannot be read: ecs:GetTaskProtection" in warning, "what else is foreseen does not depend on it"


def recurs_in_a_group(cloud, aws, days):
    """An action in half an hour, and at that time on `days` (a recurrence's last three fields) from then on."""
    first = cloud.now() + timedelta(minutes=30)
    aws.autoscaling.put_scheduled_update_group_action(
        AutoScalingGroupName="web",
        ScheduledActionName="release",
        Recurrence=f"{first:%M} {first:%H} {days}",
        StartTime=first,
        MinSize=1,
    )


@pytest.mark.parametrize(
    ("days", "found"),
    [
        pytest.param("{tomorrow:%d} * *", 1, id="that day of the month"),
        pytest.param("{last:%d} * *", 0, id="another day of the month"),
        pytest.param("{last:%d} * {tomorrow:%w}", 1, id="cron runs on either: another day of the month, that weekday"),
    ],
)
def test_on_which_days_a_recurring_action_of_a_group_counts(made, days, found):
    cloud, aws, target = made("asg")
    now = cloud.now()
    days = days.format(tomorrow=now + timedelta(days=1, minutes=30), last=now - timedelta(days=1))
    recurs_in_a_group(cloud, aws, days)
    assert len(target.foresee([held(cloud, 5, start=1, end=25)], 1.0, 4).warnings) == found


def test_a_recurring_action_of_a_group_counts_on_every_later_day_too(made):
    cloud, aws, target = made("asg")
    recurs_in_a_group(cloud, aws, "* * *")
    assert target.foresee([held(cloud, 5, start=1, end=23)], 1.0, 4).warnings == ()
    assert len(target.foresee([held(cloud, 5, start=1, end=25)], 1.0, 4).warnings) == 1


def test_tasks_on_instances_or_spot_count_against_no_quota_that_is_read(made):
    cloud, aws, _ = made("ecs")
    on_instances = EcsService(EcsTarget(**ECS.model_dump() | {"launch_type": "ec2"}), aws, CloudClock(cloud))
    assert on_instances.foresee([held(cloud, 11)], 1.0, 4) == Foreseen()


def test_the_usage_is_that_of_the_metric_the_quota_names(made):
    cloud, aws, _ = made("ecs", others=1.5)
    assert read_quota(aws, FARGATE, cloud.now()).used is None
    cloud.advance(180)
    assert read_quota(aws, FARGATE, cloud.now()) == Quota(
        "'Fargate On-Demand vCPU resource count' (L-3032A538)", 10.0, 5.5
    )


@pytest.mark.parametrize(
    ("name", "standard"),
    [("m5.large", True), ("t3a.nano", True), ("im4gn.large", True), ("g5.xlarge", False), ("x2idn.metal", False)],
)
def test_the_families_of_the_standard_quota(name, standard):
    assert is_standard(name) is standard
