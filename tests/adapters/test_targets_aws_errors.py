"""What an AWS failure becomes: each row is a real answer of the simulated cloud, or a real failure to get one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call
from forebay.domain.errors import OutsideError
from forebay.targets.asg import AutoScalingGroup
from forebay.targets.ecs import EcsService
from forebay.wiring import make_target, make_usage
from sandbox.testing import fresh
from tests.support.aws import ASG, ECS, REGION, CloudClock, a_workload, clients, played


@pytest.fixture
def cloud(tmp_path):
    with fresh({"workloads": [played(tmp_path)]}) as sandbox:
        yield sandbox


@pytest.fixture
def aws(cloud, monkeypatch):
    return clients(cloud, monkeypatch)


@pytest.mark.parametrize(
    ("code", "status", "retryable", "mend"),
    [
        pytest.param("ThrottlingException", 400, True, "wait and try again", id="throttled"),
        pytest.param("ServerException", 500, True, "AWS health page", id="server error"),
        pytest.param("ServiceUnavailable", 503, True, "AWS health page", id="unavailable"),
        pytest.param("SomethingNew", 503, True, "AWS health page", id="unknown code, by status"),
        pytest.param("SomethingNew", 400, False, "mend what the message names", id="unknown refusal"),
        pytest.param("UpdateInProgressException", 400, True, "the change under way has ended", id="busy"),
        pytest.param("AccessDeniedException", 400, False, "deployments/iam/policy.json", id="denied"),
        pytest.param("ExpiredTokenException", 400, False, "renew the AWS credentials", id="expired"),
        pytest.param("UnrecognizedClientException", 400, False, "renew the AWS credentials", id="unknown key"),
        pytest.param("RequestTimeTooSkewed", 403, False, "this machine's clock", id="clock is off"),
        pytest.param("LimitExceededException", 400, False, "Service Quotas", id="quota"),
        pytest.param("ServiceNotFoundException", 400, False, "the region and the account", id="not found"),
    ],
)
def test_an_error_code_has_one_consequence(cloud, aws, code, status, retryable, mend):
    cloud.fault(kind="error", op="DescribeServices", code=code, status=status)
    with pytest.raises(OutsideError) as caught:
        EcsService(ECS, aws, CloudClock(cloud)).observe()
    assert caught.value.retryable is retryable
    for part in ("ecs:DescribeServices", "ECS service prod/web", code, mend):
        assert part in str(caught.value)


def test_a_query_service_speaks_xml_and_means_the_same(cloud, aws):
    cloud.fault(kind="throttle", op="DescribeAutoScalingGroups")
    with pytest.raises(OutsideError, match="was throttled") as caught:
        AutoScalingGroup(ASG, aws, CloudClock(cloud)).observe()
    assert caught.value.retryable


def test_an_answer_that_is_a_web_page_is_retryable(cloud, aws):
    with (
        pytest.raises(OutsideError, match="not an AWS answer") as caught,
        aws_call("autoscaling:DescribeInstanceRefreshes", "Auto Scaling group web"),
    ):
        aws.autoscaling.describe_instance_refreshes(AutoScalingGroupName="web")  # moto lacks it: HTML
    assert caught.value.retryable


def test_a_lost_answer_is_retryable(cloud, aws):
    cloud.fault(kind="lost_answer", op="DescribeServices", count=1)
    with pytest.raises(OutsideError, match="got no answer") as caught:
        EcsService(ECS, aws, CloudClock(cloud)).observe()
    assert caught.value.retryable


def test_the_sdk_bridges_a_hiccup_up_to_its_attempts(cloud, monkeypatch):
    target = EcsService(ECS, clients(cloud, monkeypatch, total_max_attempts=2), CloudClock(cloud))
    cloud.fault(kind="error", op="DescribeServices", count=1)
    assert target.observe().serving == 4
    cloud.fault(kind="error", op="DescribeServices", count=2)
    with pytest.raises(OutsideError):
        target.observe()


def test_nobody_at_the_endpoint_is_retryable(cloud, aws):
    nowhere = AwsClients(REGION, "http://127.0.0.1:9", total_max_attempts=1)
    with pytest.raises(OutsideError, match="AWS_ENDPOINT_URL") as caught:
        EcsService(ECS, nowhere, CloudClock(cloud)).observe()
    assert caught.value.retryable


@pytest.fixture
def without_settings(cloud, monkeypatch, tmp_path):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


def test_a_missing_region_is_final_and_told(cloud, monkeypatch, without_settings):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(OutsideError, match=r"must specify a region.*set the AWS credentials and region") as caught:
        EcsService(ECS, AwsClients(None, cloud.url), CloudClock(cloud)).observe()
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("given", "variables", "region"),
    [
        (None, {"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        (None, {"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        (None, {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        (None, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ("eu-west-3", {"AWS_REGION": "eu-west-1"}, "eu-west-3"),
    ],
)
def test_the_region_may_come_from_either_variable(monkeypatch, without_settings, given, variables, region):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert AwsClients(given).ecs.meta.region_name == region


def test_a_metadata_service_that_does_not_answer_is_retryable(cloud, monkeypatch, without_settings):
    """Without any metadata service it looks the same to the SDK."""
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9/")
    with pytest.raises(OutsideError, match=r"Unable to locate credentials.*set the AWS credentials") as caught:
        EcsService(ECS, AwsClients(REGION, cloud.url), CloudClock(cloud)).observe()
    assert caught.value.retryable


def test_the_endpoint_may_come_from_the_environment(cloud, monkeypatch):
    clients(cloud, monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    assert EcsService(ECS, AwsClients(REGION), CloudClock(cloud)).observe().serving == 4


def test_threads_share_one_client(cloud, monkeypatch):
    clients(cloud, monkeypatch)
    shared = AwsClients(REGION, cloud.url)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: shared.ecs, range(8)))
    assert all(client is made[0] for client in made)


def test_a_workload_is_looked_at_in_its_own_region(cloud, monkeypatch):
    """In the environment's there may be a service of the same name, which is not to be shaped."""
    clients(cloud, monkeypatch)
    aws, regions = AwsClients(REGION, cloud.url), {}
    aws.session.events.register(
        "before-call", lambda model, context, **_: regions.update({model.name: context["client_region"]})
    )
    for region in ("eu-central-1", None):
        workload = a_workload(ECS.model_copy(update={"region": region}))
        regions.clear()
        with suppress(OutsideError):  # the sandbox plays one region
            make_target(workload, aws, CloudClock(cloud)).observe()
        with suppress(OutsideError):
            make_usage(workload, aws, CloudClock(cloud)).measure(cloud.now() - timedelta(minutes=3), cloud.now())
        assert regions["DescribeServices"] == regions["GetMetricData"] == (region or REGION)
    assert aws.in_region("eu-central-1") is aws.in_region("eu-central-1"), "clients are made once"
