"""ECS services of the sandbox, through boto3 against the running server, on the manual clock."""

import pytest
from botocore.exceptions import ClientError

from sandbox.testing import client, fresh

FLAT = {"cpu_cores": 8.0, "memory_gib": 4.0, "network_mbps": 100.0}


def web(tmp_path, **changes):
    """A workload with a constant demand of 2 cores, 2 GiB, 10 Mbit/s."""
    trace = tmp_path / "flat.csv"
    trace.write_text(
        "timestamp,cpu,memory,network\n" + "".join(f"2026-01-01T00:{m:02}:00Z,0.25,0.5,0.1\n" for m in (0, 5))
    )
    return {
        "name": "web",
        "ecs_service": "prod/web",
        "unit": {"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100},
        "peak": FLAT,
        "trace": str(trace),
        "units": 4,
        "min_units": 1,
        "max_units": 20,
        **changes,
    }


@pytest.fixture
def cloud(tmp_path):
    with fresh({"workloads": [web(tmp_path)], "timing": {"launch_lag_s": 30, "start_rate_per_s": 1}}) as sandbox:
        yield sandbox


def service(cloud, name="web"):
    return client(cloud, "ecs").describe_services(cluster="prod", services=[name])["services"][0]


def counts(cloud):
    found = service(cloud)
    return found["desiredCount"], found["runningCount"], found["pendingCount"]


def primary(cloud):
    return next(d for d in service(cloud)["deployments"] if d["status"] == "PRIMARY")


def register(cloud, cpu, memory, family="web"):
    return client(cloud, "ecs").register_task_definition(
        family=family,
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu=cpu,
        memory=memory,
        containerDefinitions=[{"name": "web", "image": "web"}],
    )["taskDefinition"]["taskDefinitionArn"]


def test_running_follows_desired_at_the_start_rate_after_the_lag(cloud):
    client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=8)
    assert counts(cloud) == (8, 4, 1)
    cloud.advance(3)
    assert counts(cloud) == (8, 4, 4)
    cloud.advance(26)
    assert counts(cloud) == (8, 4, 4), "nothing serves before the lag is over"
    cloud.advance(1)
    assert counts(cloud) == (8, 5, 3), "the first task started 30 s ago"
    cloud.advance(3)
    assert counts(cloud) == (8, 8, 0)


def test_a_lower_count_stops_tasks_at_once_those_that_start_first(cloud):
    ecs = client(cloud, "ecs")
    ecs.update_service(cluster="prod", service="web", desiredCount=6)
    cloud.advance(2)
    assert counts(cloud) == (6, 4, 2)
    ecs.update_service(cluster="prod", service="web", desiredCount=5)
    assert counts(cloud) == (5, 4, 1)
    ecs.update_service(cluster="prod", service="web", desiredCount=2)
    assert counts(cloud) == (2, 2, 0)


def test_a_count_alone_is_no_new_deployment(cloud):
    before = primary(cloud)["id"]
    client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=6)
    assert (primary(cloud)["id"], primary(cloud)["rolloutState"]) == (before, "COMPLETED")


def test_a_new_service_is_in_progress_until_its_tasks_run(cloud):
    arn = register(cloud, "256", "512", "api")
    client(cloud, "ecs").create_service(cluster="prod", serviceName="api", taskDefinition=arn, desiredCount=2)
    assert service(cloud, "api")["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    cloud.advance(40)
    found = service(cloud, "api")
    assert (found["runningCount"], found["deployments"][0]["rolloutState"]) == (2, "COMPLETED")
    assert "steady state" in found["events"][0]["message"]


def test_a_new_task_definition_rolls_and_completes(cloud):
    arn = register(cloud, "2048", "4096")
    answer = client(cloud, "ecs").update_service(cluster="prod", service="web", taskDefinition="web:2")["service"]
    assert answer["taskDefinition"] == arn, "AWS answers the ARN, whatever was sent"
    assert [(d["status"], d["rolloutState"]) for d in answer["deployments"]] == [
        ("PRIMARY", "IN_PROGRESS"),
        ("ACTIVE", "COMPLETED"),
    ]
    cloud.advance(31)
    found = service(cloud)
    assert len(found["deployments"]) == 2
    assert found["runningCount"] >= 4, "100 % stay healthy while it rolls"
    cloud.advance(20)
    found = service(cloud)
    assert [(d["rolloutState"], d["runningCount"]) for d in found["deployments"]] == [("COMPLETED", 4)]


def test_new_tasks_serve_with_their_own_size(cloud):
    register(cloud, "2048", "4096")
    client(cloud, "ecs").update_service(cluster="prod", service="web", taskDefinition="web:2")
    cloud.advance(120)
    assert cloud.report()["web"]["now"]["capacity_cpu"] == 8


def broken_deployment(cloud, rollback):
    cloud.fault(kind="deployment_fails", target="prod/web", threshold=2)
    register(cloud, "2048", "4096")
    client(cloud, "ecs").update_service(
        cluster="prod",
        service="web",
        taskDefinition="web:2",
        deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": rollback}},
    )
    cloud.advance(40)


def test_the_circuit_breaker_fails_a_deployment_whose_tasks_die(cloud):
    broken_deployment(cloud, rollback=False)
    assert primary(cloud)["rolloutState"] == "FAILED"
    assert primary(cloud)["failedTasks"] >= 2
    assert service(cloud)["runningCount"] == 4, "the old tasks go on"


def test_the_circuit_breaker_rolls_back_to_the_last_completed_deployment(cloud):
    before = primary(cloud)
    broken_deployment(cloud, rollback=True)
    cloud.advance(5)
    assert (primary(cloud)["id"], primary(cloud)["rolloutState"]) == (before["id"], "COMPLETED")
    assert service(cloud)["taskDefinition"] == before["taskDefinition"]


def test_capacity_that_never_arrives_shows_its_cause_in_the_events(cloud):
    cloud.fault(kind="capacity", target="prod/*", max_running=5, cause="Capacity is unavailable at this time")
    client(cloud, "ecs").update_service(cluster="prod", service="web", desiredCount=8)
    cloud.advance(300)
    assert counts(cloud) == (8, 5, 0)
    assert any(
        "unable to place a task. Reason: Capacity is unavailable at this time" in e["message"]
        for e in service(cloud)["events"]
    )
    cloud.clear_faults()
    cloud.advance(60)
    assert counts(cloud) == (8, 8, 0)


@pytest.mark.parametrize(("cpu", "memory"), [("300", "777"), ("256", "8192"), ("1024", "9216"), ("8192", "17408")])
def test_fargate_sizes_off_the_lattice_are_refused(cloud, cpu, memory):
    with pytest.raises(ClientError, match="No Fargate configuration exists"):
        register(cloud, cpu, memory)


@pytest.mark.parametrize(("cpu", "memory"), [("256", "512"), ("1024", "8192"), ("8192", "20480"), ("16384", "122880")])
def test_fargate_sizes_on_the_lattice_are_taken(cloud, cpu, memory):
    assert register(cloud, cpu, memory).endswith(":2")


def test_calls_that_aws_refuses_are_refused(cloud):
    ecs = client(cloud, "ecs")
    with pytest.raises(ClientError, match="InvalidParameterException"):
        ecs.update_service(cluster="prod", service="web", desiredCount=-1)
    with pytest.raises(ClientError, match="ServiceNotFoundException"):
        ecs.update_service(cluster="prod", service="nobody", desiredCount=1)
    with pytest.raises(ClientError, match="idempotent"):
        ecs.create_service(cluster="prod", serviceName="web", taskDefinition="web:1", desiredCount=1)
    with pytest.raises(ClientError, match="more than 10"):
        ecs.describe_services(cluster="prod", services=[f"s{i}" for i in range(11)])


def test_service_quotas_are_answered(cloud):
    quota = client(cloud, "service-quotas").get_service_quota(ServiceCode="fargate", QuotaCode="L-3032A538")
    assert quota["Quota"]["Value"] == 256


def test_tasks_that_stop_before_they_serve_are_listed_for_an_hour_with_their_reason(cloud):
    ecs = client(cloud, "ecs")
    where = {"cluster": "prod", "serviceName": "web"}
    cloud.fault(kind="tasks_stop", target="prod/web", reason="CannotPullContainerError: not found", duration_s=50)
    ecs.update_service(cluster="prod", service="web", desiredCount=6)
    assert ecs.list_tasks(**where, desiredStatus="STOPPED")["taskArns"] == []
    cloud.advance(40)
    arns = ecs.list_tasks(**where, desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster="prod", tasks=arns)["tasks"]
    assert {(t["stopCode"], t["stoppedReason"]) for t in tasks} == {
        ("TaskFailedToStart", "CannotPullContainerError: not found")
    }
    assert len(tasks) == 2 and counts(cloud)[:2] == (6, 4), "they are started anew at once"
    cloud.advance(60)
    assert counts(cloud) == (6, 6, 0) and len(ecs.list_tasks(**where)["taskArns"]) == 6
    cloud.advance(3600, step_s=60)
    assert ecs.list_tasks(**where, desiredStatus="STOPPED")["taskArns"] == []


def test_the_protection_of_a_task_is_kept_until_it_is_taken_back(cloud):
    ecs = client(cloud, "ecs")
    first, *rest = ecs.list_tasks(cluster="prod", serviceName="web")["taskArns"]
    for on in (True, False):
        ecs.update_task_protection(cluster="prod", tasks=[first], protectionEnabled=on)
        told = ecs.get_task_protection(cluster="prod", tasks=[first, *rest])["protectedTasks"]
        assert [t["protectionEnabled"] for t in told] == [on, *[False] * len(rest)]
