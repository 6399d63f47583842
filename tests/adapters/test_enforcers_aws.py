"""Pushing a policy in force: to an SSM parameter and an event bus of the simulated cloud."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from forebay.domain.errors import OutsideError
from forebay.domain.policy import PolicyVersion
from forebay.enforcers.eventbridge import EventBridgeEvent
from forebay.enforcers.sns import SnsTopic
from forebay.enforcers.ssm import SsmParameter
from sandbox.testing import fresh
from tests.support.aws import clients

PARAMETER = "/forebay/policies/acme/quota"
NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)


def version(number, **changes):
    given = {
        "entity": "acme",
        "policy": "quota",
        "kind": "quota",
        "version": number,
        "document": {"requests_per_second": 100 * number, "nested": {"a": [1]}},
        "change": f"CHG-{number}",
        "effective_at": NINE,
        "armed_at": NINE,
    }
    return PolicyVersion.model_validate(given | changes)


@pytest.fixture
def cloud():
    with fresh() as sandbox:
        yield sandbox


@pytest.fixture
def aws(cloud, monkeypatch):
    return clients(cloud, monkeypatch)


def stored(aws):
    found = aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]
    return json.loads(found["Value"]), found["Version"]


def test_the_parameter_holds_the_version_in_force(aws):
    SsmParameter(aws).push(version(1))
    assert stored(aws)[0] == {
        "entity": "acme",
        "policy": "quota",
        "version": 1,
        "change": "CHG-1",
        "document": {"requests_per_second": 100, "nested": {"a": [1]}},
        "in_force_from": "2026-03-02T09:00:00+00:00",
    }


def test_pushed_twice_it_is_written_once(aws):
    SsmParameter(aws).push(version(1))
    SsmParameter(aws).push(version(1))
    assert stored(aws)[1] == 1


def test_a_newer_version_replaces_an_older_never_the_reverse(aws):
    SsmParameter(aws).push(version(1))
    SsmParameter(aws).push(version(2))
    SsmParameter(aws).push(version(1))
    content, writes = stored(aws)
    assert (content["version"], writes) == (2, 2)


def test_what_took_force_later_replaces_what_has_a_higher_number(aws):
    """Version 4 set version 2 back; then version 3, planned before that, takes force."""
    back, planned = ({"effective_at": at, "armed_at": at} for at in (NINE, NINE + timedelta(hours=1)))
    SsmParameter(aws).push(version(4, **back))
    SsmParameter(aws).push(version(3, **planned))
    assert stored(aws)[0]["version"] == 3
    SsmParameter(aws).push(version(4, **back))
    assert stored(aws)[0]["version"] == 3


def test_foreign_content_is_not_overwritten(aws):
    aws.ssm.put_parameter(Name=PARAMETER, Value="mine", Type="String")
    with pytest.raises(OutsideError, match="did not write") as caught:
        SsmParameter(aws).push(version(1))
    assert not caught.value.retryable
    assert aws.ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"] == "mine"


@pytest.mark.parametrize(("other", "writes"), [(1, 1), (2, 1)])
def test_two_pushes_at_once_end_with_the_newer_version(aws, other, writes):
    """The parameter comes into being between our read and our write."""
    pushed = []

    def another_push(**_):
        if not pushed:
            pushed.append(other)
            SsmParameter(aws).push(version(other))

    aws.ssm.meta.events.register("before-parameter-build.ssm.PutParameter", another_push)
    SsmParameter(aws).push(version(1))
    content, count = stored(aws)
    assert (content["version"], count) == (other, writes)


@pytest.mark.parametrize("kind", ["throttle", "lost_answer"])
def test_a_disturbed_push_can_be_repeated(cloud, aws, kind):
    cloud.fault(kind=kind, op="PutParameter", count=1)
    with pytest.raises(OutsideError) as caught:
        SsmParameter(aws).push(version(1))
    assert caught.value.retryable
    SsmParameter(aws).push(version(1))
    assert stored(aws)[0]["version"] == 1
    assert stored(aws)[1] == 1


def queue_of(aws, monkeypatch):
    """A queue that gets every event of the default bus."""
    sqs = aws.session.client("sqs", endpoint_url=aws.events.meta.endpoint_url)
    url = sqs.create_queue(QueueName="seen")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.events.put_rule(Name="all", EventPattern=json.dumps({"source": ["forebay"]}))
    aws.events.put_targets(Rule="all", Targets=[{"Id": "queue", "Arn": arn}])
    return lambda: [
        json.loads(message["Body"])
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    ]


def test_the_event_tells_the_version_and_the_same_id_each_time(aws, monkeypatch):
    received = queue_of(aws, monkeypatch)
    EventBridgeEvent(aws).push(version(2))
    EventBridgeEvent(aws).push(version(2))
    events = received()
    assert [event["detail"]["id"] for event in events] == ["acme/quota/2"] * 2
    assert events[0]["detail"]["change"] == "CHG-2"
    assert events[0]["detail"]["document"]["requests_per_second"] == 200
    assert events[0]["detail-type"] == "Policy in force"


def test_an_unknown_bus_is_named(aws):
    with pytest.raises(OutsideError, match="event bus nope"):
        EventBridgeEvent(aws, bus="nope").push(version(1))


class OneFailedEntry:
    """An answer of PutEvents that moto cannot give: the call succeeds, its entry does not."""

    def __init__(self, code):
        self.answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": "told so"}]}

    @property
    def events(self):
        return self

    def put_events(self, Entries):  # noqa: N803 - AWS's spelling
        return self.answer


@pytest.mark.parametrize(("code", "retryable"), [("ThrottlingException", True), ("NotAuthorizedForSource", False)])
def test_a_failed_entry_of_a_call_that_succeeded_is_an_error(code, retryable):
    with pytest.raises(OutsideError, match=f"{code}: told so") as caught:
        EventBridgeEvent(OneFailedEntry(code)).push(version(1))
    assert caught.value.retryable is retryable


@pytest.mark.parametrize("changes", [{"armed_at": None}, {"withdrawn_at": NINE}])
def test_a_version_that_never_takes_force_is_not_pushed(aws, changes):
    for enforcer in (SsmParameter(aws), EventBridgeEvent(aws)):
        with pytest.raises(ValueError, match="only a version in force"):
            enforcer.push(version(1, **changes))


@pytest.mark.parametrize("fifo", [False, True])
def test_a_topic_gets_the_version_with_attributes_to_filter_by(aws, fifo):
    kind = {"FifoTopic": "true"} if fifo else {}
    topic = aws.sns.create_topic(Name="forebay-policies" + ".fifo" * fifo, Attributes=kind)["TopicArn"]
    sqs = aws.session.client("sqs", endpoint_url=aws.events.meta.endpoint_url)
    queue = {"FifoQueue": "true"} if fifo else {}
    url = sqs.create_queue(QueueName="told" + ".fifo" * fifo, Attributes=queue)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    SnsTopic(aws, topic).prepare(version(2))
    SnsTopic(aws, topic).push(version(2))
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    told = json.loads(message["Body"])
    assert json.loads(told["Message"])["document"]["requests_per_second"] == 200
    assert {k: v["Value"] for k, v in told["MessageAttributes"].items()} == {
        "entity": "acme",
        "policy": "quota",
        "kind": "quota",
        "id": "acme/quota/2",
    }


def test_an_unknown_topic_is_named_and_no_use_to_try_again(aws):
    with pytest.raises(OutsideError, match="topic arn:aws:sns") as caught:
        SnsTopic(aws, "arn:aws:sns:us-east-1:123456789012:nope").push(version(1))
    assert not caught.value.retryable
