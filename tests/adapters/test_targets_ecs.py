"""ECS services through EcsService, against the simulated cloud on its manual clock."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay.domain.allocation import Lever, Setting, TargetState, setting_for
from forebay.domain.errors import OutsideError
from forebay.domain.workload import EcsTarget
from forebay.targets.ecs import EcsService, service_state
from sandbox.testing import fresh
from tests.support.aws import ECS, TIMING, TRACKING, CloudClock, clients, played

RESOURCE = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/prod/web",
    "ScalableDimension": "ecs:service:DesiredCount",
}


def floor(units, ceiling=20):
    return Setting(lever=Lever.FLOOR, floor=units, ceiling=ceiling)


@pytest.fixture
def cloud(tmp_path):
    with fresh({"workloads": [played(tmp_path, target_tracking=TRACKING)], "timing": TIMING}) as sandbox:
        yield sandbox


@pytest.fixture
def without_autoscaler(tmp_path):
    with fresh({"workloads": [played(tmp_path)], "timing": TIMING}) as sandbox:
        yield sandbox


@pytest.fixture
def aws(cloud, monkeypatch):
    return clients(cloud, monkeypatch)


@pytest.fixture
def target(cloud, aws):
    return EcsService(ECS, aws, CloudClock(cloud))


def test_an_attached_autoscaler_makes_its_minimum_the_lever(target):
    assert target.observe() == TargetState(setting=floor(1), desired=4, serving=4, stable=True)


def test_without_a_policy_the_count_is_the_lever(without_autoscaler, monkeypatch):
    target = EcsService(ECS, clients(without_autoscaler, monkeypatch), CloudClock(without_autoscaler))
    assert target.observe().setting == Setting(lever=Lever.COUNT, count=4)
    target.apply(Setting(lever=Lever.COUNT, count=6))
    without_autoscaler.advance(60)
    state = target.observe()
    assert (state.setting.count, state.serving, state.stable) == (6, 6, True)


def test_a_raised_floor_lifts_the_count_and_is_not_stable_before_the_tasks_serve(cloud, target):
    target.apply(floor(8))
    state = target.observe()
    assert (state.setting, state.desired, state.serving, state.stable) == (floor(8), 8, 4, False)
    cloud.advance(60)
    state = target.observe()
    assert (state.desired, state.serving, state.stable, state.problems) == (8, 8, True, ())


def test_the_same_write_twice_equals_once(cloud, target):
    target.apply(floor(8))
    once = target.observe()
    target.apply(floor(8))
    assert target.observe() == once


def test_a_ceiling_in_the_way_is_lifted_with_the_floor(cloud, target):
    target.apply(setting_for(target.observe().setting, 25))
    cloud.advance(60)
    state = target.observe()
    assert (state.setting, state.serving) == (floor(25, 25), 25)


def test_a_lower_floor_leaves_it_to_the_autoscaler_when_tasks_stop(cloud, target):
    target.apply(floor(8))
    cloud.advance(60)
    target.apply(floor(2))
    state = target.observe()
    assert (state.setting, state.desired, state.serving) == (floor(2), 8, 8)


def test_a_naive_count_is_undone_by_the_autoscaler_the_floor_holds(cloud, target, aws):
    aws.ecs.update_service(cluster="prod", service="web", desiredCount=8)
    cloud.advance(20 * 60, step_s=10)
    assert target.observe().desired < 8, "25 % CPU is far below the autoscaler's 60 %: it takes the tasks away"
    target.apply(floor(8))
    cloud.advance(20 * 60, step_s=10)
    assert target.observe().serving == 8


def test_a_count_outside_the_scalable_target_is_refused_and_not_written(without_autoscaler, monkeypatch):
    target = EcsService(ECS, clients(without_autoscaler, monkeypatch), CloudClock(without_autoscaler))
    with pytest.raises(OutsideError, match=r"count of 21 lies outside the bounds 1 to 20") as caught:
        target.apply(Setting(lever=Lever.COUNT, count=21))
    assert not caught.value.retryable
    assert target.observe().setting.count == 4


def test_a_service_without_a_scalable_target_takes_any_count(cloud, aws):
    arn = aws.ecs.describe_services(cluster="prod", services=["web"])["services"][0]["taskDefinition"]
    aws.ecs.create_service(cluster="prod", serviceName="plain", taskDefinition=arn, desiredCount=1)
    target = EcsService(EcsTarget(type="ecs", cluster="prod", service="plain"), aws, CloudClock(cloud))
    target.apply(Setting(lever=Lever.COUNT, count=3))
    cloud.advance(60)
    state = target.observe()
    assert (state.setting.count, state.serving) == (3, 3)


@pytest.mark.parametrize(("cluster", "service"), [("prod", "nope"), ("nope", "web")])
def test_an_unknown_service_or_cluster_is_final_and_named(cloud, aws, cluster, service):
    target = EcsService(EcsTarget(type="ecs", cluster=cluster, service=service), aws, CloudClock(cloud))
    with pytest.raises(OutsideError, match=f"{cluster}/{service}") as caught:
        target.observe()
    assert not caught.value.retryable


@pytest.mark.parametrize("kind", ["throttle", "error", "lost_answer"])
def test_after_a_disturbed_write_the_state_can_be_read_and_the_write_repeated(cloud, target, kind):
    cloud.fault(kind=kind, op="RegisterScalableTarget", count=1)
    with pytest.raises(OutsideError, match="RegisterScalableTarget on ECS service prod/web") as caught:
        target.apply(floor(8))
    assert caught.value.retryable
    assert target.observe().setting == (floor(8) if kind == "lost_answer" else floor(1))
    target.apply(floor(8))
    assert target.observe().setting == floor(8)


def test_a_disturbed_read_is_retryable(cloud, target):
    cloud.fault(kind="throttle", op="DescribeServices", count=1)
    with pytest.raises(OutsideError, match="was throttled") as caught:
        target.observe()
    assert caught.value.retryable
    assert target.observe().serving == 4


def test_capacity_that_does_not_arrive_gives_its_cause(cloud, target):
    cloud.fault(kind="capacity", target="prod/web", max_running=5, cause="You have reached your vCPU quota")
    target.apply(floor(8))
    cloud.advance(120)
    state = target.observe()
    assert (state.desired, state.serving, state.stable) == (8, 5, False)
    assert len(state.causes) == 2, "the repeated event is told once, and the quota's figures with it"
    assert "unable to place a task. Reason: You have reached your vCPU quota" in state.causes[0]
    cloud.clear_faults()
    cloud.advance(60)
    assert target.observe().causes == (), "what has arrived needs no cause"


def test_tasks_that_stop_before_they_serve_give_their_reason(cloud, target):
    cloud.fault(kind="tasks_stop", target="prod/web", duration_s=100)
    target.apply(floor(8))
    assert target.observe().causes == (), "nothing has stopped yet"
    cloud.advance(90)
    state = target.observe()
    (cause,) = state.causes
    assert (state.desired, state.serving) == (8, 4)
    assert cause.startswith("image pull failed: CannotPullContainerError: pull image manifest")
    cloud.advance(60)
    assert (target.observe().serving, target.observe().causes) == (8, ())


def test_a_right_to_look_at_tasks_that_is_missing_is_told_and_keeps_nobody_from_looking(cloud, target):
    cloud.fault(kind="capacity", target="prod/web", max_running=5)
    cloud.fault(kind="error", op="ListTasks", code="AccessDeniedException", status=400)
    target.apply(floor(8))
    cloud.advance(60)
    full, denied = target.observe().causes
    assert "why tasks stopped cannot be read: ecs:ListTasks" in denied
    assert "unable to place a task" in full
    cloud.clear_faults()
    cloud.fault(kind="capacity", target="prod/web", max_running=5)
    cloud.fault(kind="throttle", op="ListTasks")
    assert len(target.observe().causes) == 1, "a hiccup is no news"


def test_old_trouble_is_no_cause(cloud, target):
    fault = cloud.fault(kind="capacity", target="prod/web", max_running=5)
    target.apply(floor(8))
    cloud.advance(60)
    cloud.clear_faults(fault)
    cloud.advance(60)
    cloud.advance(15 * 60, step_s=10)
    target.apply(floor(10))
    assert target.observe().causes == ()


def new_revision(aws):
    return aws.ecs.register_task_definition(
        family="web", cpu="1024", memory="2048", containerDefinitions=[{"name": "web", "image": "web"}]
    )["taskDefinition"]["taskDefinitionArn"]


def test_a_deployment_under_way_is_a_problem_until_it_is_complete(cloud, target, aws):
    aws.ecs.update_service(cluster="prod", service="web", taskDefinition=new_revision(aws))
    state = target.observe()
    assert state.problems == ("a deployment is in progress: wait for its end",)
    assert (state.stable, state.serving) == (False, 4), "tasks of the old revision go on until others have come"
    cloud.advance(120)
    state = target.observe()
    assert (state.problems, state.stable, state.serving) == ((), True, 4)


def test_a_failed_deployment_is_a_problem_with_its_cause(cloud, target, aws):
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    cloud.fault(kind="deployment_fails", target="prod/web", threshold=3)
    aws.ecs.update_service(
        cluster="prod", service="web", taskDefinition=new_revision(aws), deploymentConfiguration=breaker
    )
    cloud.advance(120)
    state = target.observe()
    assert "the last deployment failed" in state.problems[0]
    assert any("circuit breaker" in cause for cause in state.causes)


def test_suspended_scaling_in_is_told(target, aws):
    aws.application_autoscaling.register_scalable_target(**RESOURCE, SuspendedState={"DynamicScalingInSuspended": True})
    state = target.observe()
    (warning,) = state.warnings
    assert "scaling in is suspended" in warning and state.problems == ()


def test_suspended_scaling_out_is_a_problem(target, aws):
    aws.application_autoscaling.register_scalable_target(
        **RESOURCE, SuspendedState={"DynamicScalingOutSuspended": True}
    )
    assert target.observe().problems == ("scaling out is suspended on the scalable target: resume DynamicScalingOut",)


@pytest.mark.parametrize(
    ("after", "bounds", "suspended", "is_problem"),
    [
        pytest.param(timedelta(minutes=30), {"MinCapacity": 2}, False, True, id="lowers the floor soon"),
        pytest.param(timedelta(minutes=30), {"MaxCapacity": 3}, False, True, id="lowers the ceiling below the floor"),
        pytest.param(timedelta(hours=3), {"MinCapacity": 2}, False, False, id="lowers it much later"),
        pytest.param(timedelta(minutes=30), {"MinCapacity": 9}, False, False, id="raises it"),
        pytest.param(timedelta(minutes=30), {"MinCapacity": 2}, True, False, id="is suspended"),
    ],
)
def test_a_scheduled_action(cloud, target, aws, after, bounds, suspended, is_problem):
    target.apply(floor(4))
    aws.application_autoscaling.put_scheduled_action(
        **RESOURCE,
        ScheduledActionName="night",
        Schedule=f"at({cloud.now() + after:%Y-%m-%dT%H:%M:%S})",
        ScalableTargetAction=bounds,
    )
    aws.application_autoscaling.register_scalable_target(
        **RESOURCE, SuspendedState={"ScheduledScalingSuspended": suspended}
    )
    problems = target.observe().problems
    assert bool(problems) == is_problem
    assert all("'night'" in problem and "below 4 units" in problem for problem in problems)


def test_one_observation_costs_four_calls(target, aws, calls):
    target.observe()
    assert calls == [
        "DescribeServices",
        "DescribeScalableTargets",
        "DescribeScalingPolicies",
        "DescribeScheduledActions",
    ]


@pytest.fixture
def calls(aws):
    seen = []

    def note(model, **_):
        seen.append(model.name)

    aws.ecs.meta.events.register("before-call", note, unique_id="note")
    aws.application_autoscaling.meta.events.register("before-call", note, unique_id="note")
    yield seen
    aws.ecs.meta.events.unregister("before-call", unique_id="note")
    aws.application_autoscaling.meta.events.unregister("before-call", unique_id="note")


SERVICE = {"status": "ACTIVE", "desiredCount": 3, "runningCount": 3, "pendingCount": 0, "events": []}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        pytest.param({"status": "DRAINING"}, "DRAINING", id="a service that goes away"),
        pytest.param({"schedulingStrategy": "DAEMON"}, "DAEMON", id="a service without a count"),
    ],
)
def test_a_service_nothing_can_be_added_to_is_refused(cloud, changes, word):
    state = service_state(SERVICE | changes, None, has_policies=False, scheduled=(), now=cloud.now())
    assert (len(state.refusals), state.problems) == (1, ())
    assert word in state.refusals[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"launchType": "FARGATE"}, [], id="fargate"),
        pytest.param({"launchType": "EC2"}, ["until container instances have room"], id="instances"),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "nodes"}]},
            ["until instances of the capacity provider nodes have room"],
            id="a capacity provider",
        ),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE"}, {"capacityProvider": "FARGATE_SPOT"}]},
            ["may run on FARGATE_SPOT"],
            id="spot",
        ),
    ],
)
def test_what_people_should_know_of_a_service(cloud, changes, words):
    state = service_state(SERVICE | changes, None, has_policies=False, scheduled=(), now=cloud.now())
    assert len(state.warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, state.warnings, strict=True))


def test_a_service_whose_deployments_another_controls_serves_what_runs(cloud):
    state = service_state(SERVICE, None, has_policies=False, scheduled=(), now=cloud.now())
    assert (state.serving, state.stable) == (3, True)


@pytest.mark.parametrize(
    ("running", "new", "resized", "serving"),
    [
        pytest.param(11, 3, False, 8, id="more than are to stay"),
        pytest.param(7, 3, False, 7, id="one is missing"),
        pytest.param(11, 3, True, 3, id="those of another size are no units"),
    ],
)
def test_what_serves_while_a_deployment_replaces_it(cloud, running, new, resized, serving):
    rolling = [
        {"status": "PRIMARY", "rolloutState": "IN_PROGRESS", "runningCount": new},
        {"status": "ACTIVE", "rolloutState": "COMPLETED", "runningCount": running - new},
    ]
    service = SERVICE | {"desiredCount": 8, "runningCount": running, "deployments": rolling}
    state = service_state(service, None, has_policies=False, scheduled=(), now=cloud.now(), resized=resized)
    assert (state.serving, state.stable) == (serving, False)
    assert state.problems == ("a deployment is in progress: wait for its end",)


def test_a_blue_green_deployment_by_codedeploy_is_a_deployment_too(cloud):
    """It lists task sets where ECS lists deployments, and both of them run."""
    sets = [{"status": "PRIMARY", "runningCount": 3}, {"status": "ACTIVE", "runningCount": 3}]
    service = SERVICE | {"runningCount": 6, "taskSets": sets}
    state = service_state(service, None, has_policies=False, scheduled=(), now=cloud.now())
    assert (state.serving, state.stable) == (3, False)
    assert state.problems == ("a deployment is in progress: wait for its end",)


def test_a_floor_the_count_has_not_followed_yet_is_not_stable(cloud):
    scalable = {"MinCapacity": 5, "MaxCapacity": 9}
    state = service_state(SERVICE, scalable, has_policies=True, scheduled=(), now=cloud.now())
    assert not state.stable


def test_a_scheduled_action_that_wrote_over_ours_is_named(cloud, target, aws):
    target.apply(floor(8))
    at = cloud.now() + timedelta(minutes=2)
    aws.application_autoscaling.put_scheduled_action(
        **RESOURCE,
        ScheduledActionName="nightly",
        Schedule=f"cron({at.minute} {at.hour} * * ? *)",
        ScalableTargetAction={"MinCapacity": 2, "MaxCapacity": 20},
    )
    assert target.who(floor(2)) is None, "it has not run yet"
    cloud.advance(180, step_s=10)
    live = target.observe().setting
    assert live == floor(2)
    assert target.who(live) == "the scheduled action 'nightly'"
    assert target.who(floor(3)) is None, "that is not what it sets"
