"""An ECS service resized through EcsService: revisions, rolling deployments, and what goes wrong with them."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from forebay.domain.errors import OutsideError
from forebay.domain.size import TaskSize
from forebay.targets.ecs import EcsService
from forebay.targets.revisions import in_size
from sandbox.testing import fresh
from tests.support.aws import ECS, TIMING, TRACKING, CloudClock, clients, played

SMALL, LARGE = TaskSize(cpu_units=1024, memory_mib=2048), TaskSize(cpu_units=2048, memory_mib=4096)
PLAN = "a" * 64


@pytest.fixture(params=[True, False], ids=["floor", "count"])
def cloud(tmp_path, request):
    tracking = {"target_tracking": TRACKING} if request.param else {}
    with fresh({"workloads": [played(tmp_path, **tracking)], "timing": TIMING}) as sandbox:
        yield sandbox


@pytest.fixture
def aws(cloud, monkeypatch):
    return clients(cloud, monkeypatch)


@pytest.fixture
def target(cloud, aws):
    return EcsService(ECS, aws, CloudClock(cloud), sized=True)


def revisions(aws):
    arns = aws.ecs.list_task_definitions(familyPrefix="web")["taskDefinitionArns"]
    return [arn.rsplit("/", 1)[-1] for arn in arns]


def resize(target, key=PLAN):
    """Deploy the large size; returns what is then set."""
    live = target.observe().setting
    wanted = live.model_copy(update={"size": LARGE, "revision": target.revision(LARGE, key)})
    target.apply(wanted)
    return wanted


def service(aws):
    return aws.ecs.describe_services(cluster="prod", services=["web"])["services"][0]


def test_the_size_that_stands_is_read_from_the_task_definition(target):
    setting = target.observe().setting
    assert (setting.size, setting.revision.rsplit("/", 1)[-1]) == (SMALL, "web:1")


def test_a_revision_is_made_once_under_its_key_and_deploys_nothing(target, aws):
    before = target.observe()
    made = {target.revision(LARGE, PLAN) for _ in range(3)}
    assert len(made) == 1 and revisions(aws) == ["web:1", "web:2"]
    assert target.observe() == before
    tags = aws.ecs.describe_task_definition(taskDefinition="web:2", include=["TAGS"])["tags"]
    assert {"key": "forebay:plan", "value": PLAN} in tags


def test_another_plan_or_another_source_makes_a_copy_of_its_own(target, aws):
    """What others deployed meanwhile must be in the copy: an older copy would undo their deployment."""
    target.revision(LARGE, PLAN)
    target.revision(LARGE, "b" * 64)
    image = {"name": "web", "image": "web:v2", "cpu": 1024, "memory": 2048}
    aws.ecs.register_task_definition(family="web", cpu="1024", memory="2048", containerDefinitions=[image])
    aws.ecs.update_service(cluster="prod", service="web", taskDefinition="web:4")
    copy = target.revision(LARGE, PLAN)
    assert copy.endswith("web:5")
    container = aws.ecs.describe_task_definition(taskDefinition=copy)["taskDefinition"]["containerDefinitions"][0]
    assert container["image"] == "web:v2"


def test_where_the_size_stands_already_nothing_is_made(target, aws):
    assert target.revision(SMALL, PLAN).endswith("web:1")
    assert revisions(aws) == ["web:1"]


@pytest.mark.parametrize("kind", ["lost_answer", "error"])
def test_after_a_disturbed_registration_it_is_found_or_made_once(cloud, target, aws, kind):
    cloud.fault(kind=kind, op="RegisterTaskDefinition", count=1)
    with pytest.raises(OutsideError, match="RegisterTaskDefinition") as caught:
        target.revision(LARGE, PLAN)
    assert caught.value.retryable
    assert target.revision(LARGE, PLAN).endswith("web:2")
    assert revisions(aws) == ["web:1", "web:2"]


def test_registering_is_never_repeated_by_the_client_itself(cloud, monkeypatch):
    aws = clients(cloud, monkeypatch, total_max_attempts=3)
    cloud.fault(kind="lost_answer", op="RegisterTaskDefinition", count=1)
    with pytest.raises(OutsideError):
        EcsService(ECS, aws, CloudClock(cloud), sized=True).revision(LARGE, PLAN)
    assert revisions(aws) == ["web:1", "web:2"]


def test_a_resize_rolls_without_losing_a_task_and_completes(cloud, target, aws):
    wanted = resize(target)
    state = target.observe()
    assert (state.setting, state.serving) == (wanted, 0), "what runs of the other size is no unit of this one"
    while not (state := target.observe()).stable:
        assert service(aws)["runningCount"] >= 4, "the old tasks go on"
        cloud.advance(5)
    assert (state.setting, state.serving, state.failures) == (wanted, 4, ())
    cloud.advance(60)
    assert cloud.report()["web"]["now"]["capacity_cpu"] == 8


@pytest.mark.parametrize(
    ("sizes", "serving"),
    [
        pytest.param({"cpu": "1024", "memory": "2048"}, 4, id="the same size"),
        pytest.param({"cpu": "2048", "memory": "4096"}, 0, id="another size"),
    ],
)
def test_what_serves_while_another_deploys(target, aws, sizes, serving):
    image = {"name": "web", "image": "web:v2"}
    aws.ecs.register_task_definition(family="web", containerDefinitions=[image], **sizes)
    aws.ecs.update_service(cluster="prod", service="web", taskDefinition="web:2")
    assert target.observe().serving == serving


def test_where_the_former_revision_does_not_say_its_size_its_tasks_do_not_count(cloud, target, aws):
    bare = {"containerDefinitions": [{"name": "web", "image": "web", "memory": 128}]}
    aws.ecs.register_task_definition(family="web", **bare)
    aws.ecs.update_service(cluster="prod", service="web", taskDefinition="web:2")
    cloud.advance(120)
    aws.ecs.update_service(cluster="prod", service="web", taskDefinition="web:1")
    assert target.observe().serving == 0


def test_the_same_resize_twice_is_one_deployment(cloud, target, aws):
    wanted = resize(target)
    first = service(aws)["deployments"][0]["id"]
    target.apply(wanted)
    cloud.advance(120)
    target.apply(wanted)
    assert [d["id"] for d in service(aws)["deployments"]] == [first]


def break_the_new_revision(cloud, aws, *, rollback):
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": rollback}}
    aws.ecs.update_service(cluster="prod", service="web", deploymentConfiguration=breaker)
    cloud.fault(kind="deployment_fails", target="prod/web", revision="web:2", threshold=2)


def test_a_circuit_breaker_that_rolls_back_is_seen_with_its_cause(cloud, target, aws):
    before = target.observe().setting
    break_the_new_revision(cloud, aws, rollback=True)
    resize(target)
    cloud.advance(120)
    state = target.observe()
    assert (state.setting, state.serving) == (before, 4), "ECS has undone the resize without a word to us"
    assert any("deployment failed: tasks failed to start" in failure for failure in state.failures)
    cloud.advance(16 * 60, step_s=10)
    assert target.observe().failures == (), "what is old is no news"


def test_a_failed_deployment_that_is_not_rolled_back_is_seen_with_its_cause(cloud, target, aws):
    break_the_new_revision(cloud, aws, rollback=False)
    wanted = resize(target)
    cloud.advance(120)
    state = target.observe()
    assert (state.setting, state.stable) == (wanted, False)
    assert "circuit breaker" in " ".join(state.failures)


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"minimumHealthyPercent": 50, "maximumPercent": 200}, "minimumHealthyPercent is 50"),
        ({"minimumHealthyPercent": 100, "maximumPercent": 100}, "maximumPercent is 100"),
    ],
)
def test_a_service_that_would_lose_capacity_is_not_resized(target, aws, configuration, words):
    aws.ecs.update_service(cluster="prod", service="web", deploymentConfiguration=configuration)
    with pytest.raises(OutsideError, match=words) as caught:
        target.revision(LARGE, PLAN)
    assert not caught.value.retryable
    assert revisions(aws) == ["web:1"]


def test_a_size_that_fargate_does_not_offer_is_refused_by_aws_and_final(target):
    with pytest.raises(OutsideError, match="No Fargate configuration exists") as caught:
        target.revision(TaskSize(cpu_units=1024, memory_mib=1024), PLAN)
    assert not caught.value.retryable and isinstance(caught.value.__cause__, ClientError)


def test_containers_get_their_limits_in_proportion_and_what_is_not_asked_is_dropped():
    definition = {
        "family": "web",
        "revision": 7,
        "status": "ACTIVE",
        "cpu": "1024",
        "memory": "2048",
        "containerDefinitions": [
            {"name": "web", "cpu": 900, "memory": 1500, "memoryReservation": 1000},
            {"name": "sidecar", "cpu": 0, "memory": 101},
        ],
    }
    call = in_size(
        definition, TaskSize(cpu_units=2048, memory_mib=3072), {"family", "cpu", "memory", "containerDefinitions"}
    )
    assert call == {
        "family": "web",
        "cpu": "2048",
        "memory": "3072",
        "containerDefinitions": [
            {"name": "web", "cpu": 1800, "memory": 2250, "memoryReservation": 1500},
            {"name": "sidecar", "cpu": 0, "memory": 151},
        ],
    }


def test_a_definition_that_does_not_say_its_size_is_named(cloud, target, aws):
    bare = {"containerDefinitions": [{"name": "web", "image": "web", "memory": 128}]}
    aws.ecs.register_task_definition(family="web", **bare)
    aws.ecs.update_service(cluster="prod", service="web", taskDefinition="web:2")
    with pytest.raises(OutsideError, match="does not say how much CPU"):
        target.observe()


def test_without_sizes_the_task_definition_is_not_ours_to_read(cloud, aws):
    setting = EcsService(ECS, aws, CloudClock(cloud)).observe().setting
    assert (setting.size, setting.revision) == (None, None)
