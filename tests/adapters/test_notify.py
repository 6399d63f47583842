"""Telling people for real: a Slack-compatible webhook, e-mail over SMTP, an SNS topic; secrets stay secret."""

from __future__ import annotations

import email
import email.policy
import json
import socketserver
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from apprise.plugins.slack import NotifySlack
from pydantic import SecretStr

from forebay.aws import AwsClients
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.outbox import Message
from forebay.domain.telling import Notice
from forebay.notify import notify_outlets
from forebay.settings import load_settings
from sandbox.testing import fresh
from tests.support.aws import clients
from tests.support.samples import NOW

NOTICE = Notice(key="1-2", title="CHG-7: held", text="09:30 held by ann: größer\n<b>no markup</b>", change="CHG-7")


def tell(address: str, aws: AwsClients | None = None) -> str:
    [(name, send)] = notify_outlets([SecretStr(address)], aws or AwsClients("us-east-1")).items()
    body = NOTICE.model_dump_json()
    send(Message(outlet=name, lane="1-2", key="1", body=body, made_at=NOW, due_at=NOW))
    return name


class Hook(BaseHTTPRequestHandler):
    got: list[Any]
    status: int

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.got.append((self.path, body))
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hook() -> Iterator[tuple[type[Hook], int]]:
    handler = type("Hooked", (Hook,), {"got": [], "status": 200})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield handler, server.server_port
    server.shutdown()
    server.server_close()


def test_slack(hook: tuple[type[Hook], int], monkeypatch: pytest.MonkeyPatch) -> None:
    handler, port = hook
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{port}/services")
    tell("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    [(path, body)] = handler.got
    assert path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert "CHG-7: held" in json.dumps(body)
    assert "größer" in json.dumps(body, ensure_ascii=False)


def test_what_speaks_like_slack(hook: tuple[type[Hook], int]) -> None:
    handler, port = hook
    name = tell(f"mmost://127.0.0.1:{port}/3ccdd113474722377935511fc85d3dd4")
    [(path, body)] = handler.got
    assert path == "/hooks/3ccdd113474722377935511fc85d3dd4"
    assert "CHG-7: held" in body["text"]
    assert name.startswith("notify mmost ")
    assert "3ccdd" not in name


def test_a_failure_says_why_without_the_secret(hook: tuple[type[Hook], int]) -> None:
    handler, port = hook
    handler.status = 403
    with pytest.raises(OutsideError, match="403") as caught:
        tell(f"mmost://127.0.0.1:{port}/3ccdd113474722377935511fc85d3dd4")
    assert caught.value.retryable
    assert "3ccdd" not in str(caught.value)


def test_an_address_that_is_none_is_told_so_without_repeating_it() -> None:
    with pytest.raises(InputError, match="none that Apprise knows") as caught:
        tell("nonsense://secret-token@host/")
    assert "secret-token" not in str(caught.value)


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as taking one letter needs."""

    letters: list[bytes]

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.letters.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")
            if verb == b"QUIT":
                return


def test_e_mail() -> None:
    handler = type("Mailbox", (Mail,), {"letters": []})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        port = server.server_address[1]
        tell(f"mailto://127.0.0.1:{port}?from=forebay@example.com&to=ops@example.com&mode=insecure")
        server.shutdown()
    [letter] = handler.letters
    message = email.message_from_bytes(letter, policy=email.policy.default)
    assert (message["Subject"], message["To"]) == ("CHG-7: held", "ops@example.com")
    text = message.get_body(("plain", "html"))
    assert text is not None
    assert "größer" in text.get_content()


def test_nobody_at_home_is_worth_another_try() -> None:
    with pytest.raises(OutsideError) as caught:
        tell("mailto://127.0.0.1:9?from=forebay@example.com&to=ops@example.com&mode=insecure")
    assert caught.value.retryable


def test_an_sns_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh() as cloud:
        aws = clients(cloud, monkeypatch)
        topic = aws.sns.create_topic(Name="forebay-people")["TopicArn"]
        sqs = aws.session.client("sqs", endpoint_url=cloud.url)
        url = sqs.create_queue(QueueName="people")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        aws.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        tell(topic, aws)
        told = json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert (told["Subject"], told["Message"]) == (NOTICE.title, NOTICE.text)


def test_an_unknown_topic_of_events_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_NOTIFY_TOPICS", '["held", "everything"]')
    with pytest.raises(InputError, match="no topic everything: choose from submitted"):
        load_settings()
