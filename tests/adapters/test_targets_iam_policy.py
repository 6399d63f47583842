"""The IAM policy that is shipped allows exactly the calls that the adapters make: no more, no fewer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forebay.aws import AwsClients
from forebay.domain.allocation import Lever, Setting, Span
from forebay.domain.policy import PolicyVersion
from forebay.domain.size import TaskSize
from forebay.enforcers.eventbridge import EventBridgeEvent
from forebay.enforcers.sns import SnsTopic
from forebay.enforcers.ssm import SsmParameter
from forebay.targets.asg import AutoScalingGroup
from forebay.targets.ecs import EcsService
from forebay.targets.quotas import read_quota
from forebay.targets.revisions import Revisions
from forebay.targets.tasks import are_protected, stopped_tasks
from forebay.usage.cloudwatch import CloudWatchUsage
from sandbox.testing import fresh
from tests.support.aws import ASG, ECS, REGION, TIMING, TRACKING, CloudClock, a_workload, an_alarm, clients, played

POLICY = json.loads((Path(__file__).parents[2] / "deployments" / "iam" / "policy.json").read_text())
# Asked for by AWS where a task definition is registered with tags, and with roles of its own.
IMPLIED = {"ecs:RegisterTaskDefinition": {"ecs:TagResource", "iam:PassRole"}}
READS = ("Describe", "Get", "List")
LARGE = TaskSize(cpu_units=2048, memory_mib=4096)
COUNT, FLOOR = Setting(lever=Lever.COUNT, count=5), Setting(lever=Lever.FLOOR, floor=6, ceiling=20)


def actions(statement):
    given = statement["Action"]
    return [given] if isinstance(given, str) else given


@pytest.fixture
def called(tmp_path, monkeypatch):
    """IAM actions of all calls that the adapters made when everything of them was used."""
    ecs = played(tmp_path, target_tracking=TRACKING)
    asg = played(tmp_path, name="group", asg="web")
    with fresh({"workloads": [ecs, asg], "timing": TIMING}) as cloud:
        an_alarm(clients(cloud, monkeypatch), "errors")
        aws, seen = AwsClients(REGION, cloud.url), set()

        def note(model, **_):
            prefix = {"monitoring": "cloudwatch"}.get(
                model.service_model.signing_name, model.service_model.signing_name
            )
            seen.add(f"{prefix}:{model.name}")

        aws.session.events.register("before-call", note)
        cloud.fault(kind="no_metrics", metric="ECS/ContainerInsights/Cpu*")  # so that percentages are used
        clock = CloudClock(cloud)
        for target in (EcsService(ECS, aws, clock), AutoScalingGroup(ASG, aws, clock)):
            for setting in (COUNT, FLOOR):
                target.apply(setting)
                target.observe()
            cloud.fault(kind="tasks_stop")  # so that there are tasks to ask for their reason
            target.apply(FLOOR.model_copy(update={"floor": 7}))
            cloud.advance(40)
            target.observe()
            cloud.clear_faults()
            target.foresee([Span(start=clock.now(), end=clock.now() + timedelta(hours=1), units=5)], 1.0, 4)
        larger = EcsService(ECS, aws, clock, sized=True)
        larger.apply(FLOOR.model_copy(update={"revision": larger.revision(LARGE, "plan")}))
        larger.observe()
        cloud.advance(120, step_s=10)
        for ref in (ECS, ASG):
            usage = CloudWatchUsage(a_workload(ref, alarms=["errors"]), aws, clock)
            assert usage.alarms() == []
            assert usage.measure(cloud.now() - timedelta(minutes=2), cloud.now())
            usage.history(cloud.now() - timedelta(minutes=10), cloud.now(), timedelta(minutes=5))
        at = datetime(2026, 3, 2, tzinfo=UTC)
        version = PolicyVersion(
            entity="acme",
            policy="quota",
            kind="quota",
            version=1,
            document={},
            change=None,
            effective_at=at,
            armed_at=at,
        )
        topic = aws.sns.create_topic(Name="forebay-policies")["TopicArn"]
        seen.discard("sns:CreateTopic")  # the operator's to make
        for enforcer in (SsmParameter(aws), EventBridgeEvent(aws), SnsTopic(aws, topic)):
            enforcer.prepare(version)
            enforcer.push(version)
        yield seen


def test_the_policy_allows_what_is_called_and_nothing_else(called):
    implied = {action for call in called for action in IMPLIED.get(call, ())}
    assert called | implied == {action for statement in POLICY["Statement"] for action in actions(statement)}


def test_a_write_is_allowed_on_named_or_tagged_resources_only():
    for statement in POLICY["Statement"]:
        if not all(action.split(":")[1].startswith(READS) for action in actions(statement)):
            assert statement["Resource"] != "*"
            everything = statement["Resource"].endswith(
                ("service/*", "scalable-target/*", "autoScalingGroupName/*", "task-definition/*", "role/*")
            )
            assert not everything or "Condition" in statement


def test_every_action_is_told_where_it_is_needed():
    docs = " ".join(
        method.__doc__
        for method in (
            EcsService.observe,
            EcsService.apply,
            Revisions.copy,
            AutoScalingGroup.observe,
            read_quota,
            stopped_tasks,
            are_protected,
            AutoScalingGroup.apply,
            CloudWatchUsage,
            SsmParameter.push,
            EventBridgeEvent.push,
            SnsTopic.push,
        )
    )
    for statement in POLICY["Statement"]:
        for action in actions(statement):
            assert action.split(":")[1] in docs
