"""Faults on demand, met by real clients."""

import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from sandbox.testing import client, fresh

ONE_TRY = {"retries": {"total_max_attempts": 1}}
UNIT = {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100}


@pytest.fixture
def cloud():
    with fresh({"workloads": [{"name": "web", "ecs_service": "prod/web", "unit": UNIT, "peak": UNIT}]}) as sandbox:
        yield sandbox


def update(cloud, desired, **config):
    client(cloud, "ecs", **(config or ONE_TRY)).update_service(cluster="prod", service="web", desiredCount=desired)


def desired(cloud):
    return client(cloud, "ecs").describe_services(cluster="prod", services=["web"])["services"][0]["desiredCount"]


def code(exc):
    return exc.value.response["Error"]["Code"], exc.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_throttling_stops_after_its_count_and_is_retried(cloud):
    cloud.fault(kind="throttle", op="UpdateService", count=1)
    with pytest.raises(ClientError) as exc:
        update(cloud, 5)
    assert code(exc) == ("ThrottlingException", 400)
    assert desired(cloud) == 2
    update(cloud, 5)
    cloud.fault(kind="throttle", op="ecs:Update*", count=1)
    update(cloud, 6, retries={"mode": "standard", "max_attempts": 2})
    assert desired(cloud) == 6


@pytest.mark.parametrize("service", ["autoscaling", "cloudwatch", "ecs"])
def test_server_errors_speak_each_protocol(cloud, service):
    cloud.fault(kind="error", op=f"{service}:*", status=503, code="ServiceUnavailable")
    calls = {"autoscaling": "describe_auto_scaling_groups", "cloudwatch": "list_metrics", "ecs": "list_clusters"}
    with pytest.raises(ClientError) as exc:
        getattr(client(cloud, service, **ONE_TRY), calls[service])()
    assert code(exc) == ("ServiceUnavailable", 503)


def test_throttling_of_a_query_service_has_its_own_code(cloud):
    cloud.fault(kind="throttle", op="DescribeAutoScalingGroups")
    with pytest.raises(ClientError) as exc:
        client(cloud, "autoscaling", **ONE_TRY).describe_auto_scaling_groups()
    assert code(exc) == ("Throttling", 400)


def test_a_lost_answer_was_applied(cloud):
    cloud.fault(kind="lost_answer", op="UpdateService", count=1)
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        update(cloud, 7)
    assert desired(cloud) == 7


def test_a_delay_is_real_time_and_does_not_hold_up_others(cloud):
    desired(cloud)  # its client is made by now
    cloud.fault(kind="delay", op="UpdateService", delay_s=1)
    before = time.perf_counter()
    update(cloud, 3)
    assert time.perf_counter() - before >= 1
    before = time.perf_counter()
    desired(cloud)
    assert time.perf_counter() - before < 1


def test_a_fault_ends_with_its_duration_on_the_sandbox_clock(cloud):
    cloud.fault(kind="throttle", op="UpdateService", duration_s=60)
    cloud.advance(59)
    with pytest.raises(ClientError):
        update(cloud, 5)
    cloud.advance(1)
    update(cloud, 5)


def refusals(cloud, seed):
    cloud.clear_faults()
    cloud.fault(kind="throttle", op="UpdateService", probability=0.5, seed=seed)
    seen = []
    for _ in range(20):
        try:
            update(cloud, 2)
            seen.append(False)
        except ClientError:
            seen.append(True)
    return seen


def test_probability_is_seeded(cloud):
    first = refusals(cloud, seed=7)
    assert refusals(cloud, seed=7) == first
    assert 0 < sum(first) < 20


def test_a_single_fault_is_cleared_by_its_id(cloud):
    kept = cloud.fault(kind="throttle", op="UpdateService")
    gone = cloud.fault(kind="throttle", op="DescribeServices")
    cloud.clear_faults(gone)
    assert desired(cloud) == 2
    with pytest.raises(ClientError):
        update(cloud, 3)
    cloud.clear_faults(kept)
    update(cloud, 3)
    with pytest.raises(KeyError):
        cloud.clear_faults(kept)


def test_a_reset_clears_faults_and_resources(cloud):
    cloud.fault(kind="throttle", op="*")
    client(cloud, "ecs")
    cloud.reset()
    assert desired(cloud) == 2


def test_a_lost_call_was_never_applied(cloud):
    cloud.fault(kind="lost_call", op="UpdateService", count=1, delay_s=0)
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        update(cloud, 7)
    assert desired(cloud) == 2


def test_a_slow_answer_comes_after_it_was_applied(cloud):
    cloud.fault(kind="slow_answer", op="UpdateService", delay_s=0.3)
    before = time.perf_counter()
    update(cloud, 3)
    assert time.perf_counter() - before >= 0.3
    assert desired(cloud) == 3


def test_each_write_is_logged_with_its_value_and_how_it_ended(cloud):
    for kind in ("throttle", "lost_call", "lost_answer"):
        cloud.fault(kind=kind, op="UpdateService", count=1, delay_s=0)
        with pytest.raises((ClientError, ConnectionClosedError, EndpointConnectionError)):
            update(cloud, 5)
    update(cloud, 6)
    desired(cloud)
    log = cloud.world.calls
    assert [(c.operation, c.parameters["desiredCount"], c.state) for c in log.writes] == [
        ("UpdateService", 5, "refused"),
        ("UpdateService", 5, "lost"),
        ("UpdateService", 5, "made"),
        ("UpdateService", 6, "made"),
    ]
    assert log.counts["ecs:DescribeServices"] == 1
    assert log.since(log.writes[-2].number) == log.writes[-1:]
    assert all(call.port for call in log.writes)
