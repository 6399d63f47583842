"""Pushing to an HTTP callback: signed, to where it may go only, and honest about what was answered."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.push import ForebayPush
from forebay.aws import AwsClients
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.signature import BadSignature, check_signature
from forebay.enforcers.callback import HttpCallback
from forebay.enforcers.outward import address_of, is_public
from forebay.settings import load_settings
from forebay.wiring import make_enforcers
from tests.support.samples import NOW, a_version
from tests.support.web import SECRET, HandClock

VERSION = a_version(2, armed_at=NOW)
INSIDE = ("127.0.0.1", "localhost")


class Receiver:
    """Answers as it is told and remembers what it got."""

    def __init__(self) -> None:
        self.status, self.headers, self.got = 200, {}, []
        outer: Any = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers), body))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/policies?from=forebay"
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


def a_callback(url: str, inside: tuple[str, ...] = INSIDE) -> HttpCallback:
    return HttpCallback(url, SECRET, HandClock(), inside)


def test_what_is_posted_is_signed_and_names_its_delivery(receiver: Receiver) -> None:
    callback = a_callback(receiver.url)
    callback.prepare(VERSION)
    assert receiver.got == []
    callback.push(VERSION)
    callback.push(VERSION)
    (path, headers, body), again = receiver.got
    assert (path, again[2]) == ("/policies?from=forebay", body)
    assert headers["Host"] == f"127.0.0.1:{receiver.server.server_port}"
    content = json.loads(body)
    assert (content["id"], content["version"], content["document"]) == ("acme/quota/2", 2, dict(VERSION.document))
    check_signature(headers, body, [SECRET], NOW, timedelta(seconds=1))
    with pytest.raises(BadSignature):
        check_signature(headers, body + b" ", [SECRET], NOW, timedelta(seconds=1))


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(500, True), (503, True), (429, True), (408, True), (404, False), (401, False), (302, False), (307, False)],
)
def test_an_answer_that_is_no_success_says_whether_to_try_again(
    receiver: Receiver, status: int, retryable: bool
) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}
    with pytest.raises(OutsideError, match=str(status)) as caught:
        a_callback(receiver.url).push(VERSION)
    assert caught.value.retryable is retryable
    assert len(receiver.got) == 1, "a redirect is not followed"


def test_nobody_there_is_worth_another_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(OutsideError, match="not answered") as caught:
        a_callback(f"http://127.0.0.1:{port}/").push(VERSION)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/x", "use https"),
        ("ftp://example.com/x", "https://host/path"),
        ("https:///x", "https://host/path"),
        ("https://u:p@example.com/", "leave name, password"),
        ("https://example.com:99999/", "no address"),
    ],
)
def test_an_address_that_may_not_be_called_is_refused_when_configured(url: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        a_callback(url)


def test_a_name_that_leads_inside_is_not_called(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    port = receiver.server.server_port
    with pytest.raises(OutsideError, match="not public") as caught:
        a_callback(f"https://localhost:{port}/", inside=()).push(VERSION)
    assert not caught.value.retryable
    both = [(2, 1, 6, "", (ip, 443)) for ip in ("93.184.216.34", "10.0.0.5")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: both)
    with pytest.raises(OutsideError, match=r"10\.0\.0\.5"):
        address_of("rebinding.example", 443, inside=False)
    assert receiver.got == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_block_names_them_as_well() -> None:
    block = ForebayPush(ssm_prefix="/p", callback_url="https://example.com/", callback_secret=SecretStr(SECRET))
    assert [e.name for e in block.enforcers(AwsClients("us-east-1"))] == ["ssm", "callback"]
    with pytest.raises(InputError, match="not encrypted"):
        block.model_copy(update={"callback_url": "http://example.com/"}).enforcers(AwsClients("us-east-1"))


def test_settings_name_the_enforcers(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = AwsClients("us-east-1")
    for name, value in {"SSM_PREFIX": "/p", "EVENT_BUS": "b", "SNS_TOPIC": "arn:t", "CALLBACK_INSIDE": '["x"]'}.items():
        monkeypatch.setenv(f"FOREBAY_{name}", value)
    monkeypatch.setenv("FOREBAY_CALLBACK_URL", "http://x/")
    monkeypatch.setenv("FOREBAY_CALLBACK_SECRET", SECRET)
    given = load_settings().model_dump(
        include={"ssm_prefix", "event_bus", "sns_topic", "callback_url", "callback_secret", "callback_inside"}
    )
    assert [e.name for e in make_enforcers(aws, **given)] == ["ssm", "eventbridge", "sns", "callback"]
    with pytest.raises(InputError, match="needs a secret"):
        make_enforcers(aws, **(given | {"callback_secret": None}))
