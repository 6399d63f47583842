"""Secrets stay where they are configured: planted ones are looked for in everything that Forebay writes or says.

Logs are searched from INFO on, and Forebay's own from DEBUG on: at DEBUG the libraries log whole requests.
"""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prefect.blocks.core import Block
from prefect.client.schemas.objects import BlockDocument
from pydantic import SecretStr

from blocks.database import ForebayDatabase
from blocks.push import ForebayPush
from forebay.answering import answer_outlets
from forebay.app.answering import answer
from forebay.app.keys import list_keys
from forebay.app.outbox import unsent
from forebay.app.status import change_status
from forebay.app.tickets import store_ticket, sweep_tickets
from forebay.aws import AwsClients
from forebay.cli import common, main
from forebay.cli.service import web_settings
from forebay.domain.errors import ForebayError, InputError, OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.outbox import Message
from forebay.domain.signature import SIGNATURE_HEADER
from forebay.domain.source import GENERIC, TicketAnswer, TicketSource
from forebay.domain.telling import Notice
from forebay.enforcers.record import to_json
from forebay.notify import notify_outlets
from forebay.oidc import OidcAuthenticator
from forebay.report.markdown import plan_markdown
from forebay.settings import Settings, load_settings
from forebay.store import open_store
from forebay.web.app import create_app
from forebay.web.link import ApprovalLink, token_of
from forebay.web.settings import WebSettings
from forebay.wiring import make_enforcers
from tests.support.api import a_key
from tests.support.issuer import Issuer
from tests.support.stores import sqlite_url
from tests.support.web import a_client, a_delivery, signed
from tests.support.world import World, a_plan, a_request, minutes

CANARY = "canary-Zx9"
LONG = f"{CANARY}-long-enough-for-a-secret"
OIDC = '{"issuer": "https://login.example", "audience": "forebay", "roles": {"staff": ["viewer"]}}'
ROOT = Path(__file__).resolve().parents[2]

# What an operator may mistype, secret and all, and what the refusal has to say of it.
MISTYPED = {
    "webhook secret without its list": ({"WEBHOOK_SECRETS": f'{{"generic": "{CANARY}"}}'}, "WEBHOOK_SECRETS.generic"),
    "webhook secret without JSON": ({"WEBHOOK_SECRETS": CANARY}, "webhook_secrets"),
    "webhook secrets as a list": ({"WEBHOOK_SECRETS": f'["{LONG}"]'}, "FOREBAY_WEBHOOK_SECRETS: "),
    "webhook secret too short": ({"WEBHOOK_SECRETS": f'{{"generic": ["{CANARY}"]}}'}, "shorter than 16"),
    "webhook secret of no source": ({"WEBHOOK_SECRETS": f'{{"gneric": ["{LONG}"]}}'}, "no source gneric"),
    "link secret without its list": ({"LINK_SECRETS": f'"{CANARY}"'}, "FOREBAY_LINK_SECRETS: "),
    "link secret without JSON": ({"LINK_SECRETS": CANARY}, "link_secrets"),
    "link secret too short": ({"LINK_SECRETS": f'["{CANARY}"]'}, "shorter than 16"),
    "link secret in a list too many": ({"LINK_SECRETS": f'[["{CANARY}"]]'}, "LINK_SECRETS.0"),
    "database of no kind": ({"DATABASE_URL": CANARY}, "cannot be read"),
    "database of another kind": ({"DATABASE_URL": f"mysql://u:{CANARY}@db/f"}, "cannot be kept in 'mysql'"),
    "database file with a password": ({"DATABASE_URL": f"sqlite://u:{CANARY}@db"}, "has no file"),
    "database port that is none": ({"DATABASE_URL": f"postgresql://u:{CANARY}@db:nine/f"}, "cannot be read"),
    "database password with an at": ({"DATABASE_URL": f"postgresql://u:x@{CANARY}@db/f"}, "@ as %40"),
    "database away": ({"DATABASE_URL": f"postgresql://u:{CANARY}@127.0.0.1:1/f"}, "u:***@127.0.0.1"),
    "database away, password apart": ({"DATABASE_URL": f"postgresql://u@127.0.0.1:1/f?password={CANARY}"}, "127.0.0.1"),
    "database option that is none": ({"DATABASE_URL": f"postgresql://u@127.0.0.1:1/f?pasword={CANARY}"}, "127.0.0.1"),
    "issuer with a password": ({"OIDC": OIDC.replace("https://", f"https://u:{CANARY}@")}, "OIDC: issuer: write it as"),
    "issuer without JSON": ({"OIDC": CANARY}, "FOREBAY_OIDC: "),
    "issuer's client secret among its fields": ({"OIDC": OIDC[:-1] + f', "secret": "{CANARY}"}}'}, "OIDC.secret"),
    "callback with a password": ({"CALLBACK_URL": f"https://u:{CANARY}@h/"}, "leave name, password"),
    "callback not encrypted": ({"CALLBACK_URL": f"http://h/?key={CANARY}"}, "'h' is not encrypted"),
    "callback of no scheme": ({"CALLBACK_URL": f"htps://h/{CANARY}"}, "is no address"),
    "callback port that is none": ({"CALLBACK_URL": f"https://h:x/{CANARY}"}, "is no address"),
    "callback port in a password": ({"CALLBACK_URL": f"https://u:{CANARY}"}, "is no address"),
    "callback without a secret": ({"CALLBACK_URL": f"https://h/{CANARY}", "CALLBACK_SECRET": ""}, "needs a secret"),
    "callback secret too short": ({"CALLBACK_URL": "https://h/", "CALLBACK_SECRET": CANARY}, "needs a secret"),
    "notifications without JSON": ({"NOTIFY": f"json://u:{CANARY}@host"}, "notify"),
    "inside hosts without JSON": ({"CALLBACK_INSIDE": CANARY}, "callback_inside"),
}


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with which everything would start."""
    monkeypatch.setenv("FOREBAY_DATABASE_URL", sqlite_url(tmp_path))
    monkeypatch.setenv("FOREBAY_WORKLOADS", str(ROOT / "examples" / "workloads.yaml"))
    monkeypatch.setenv("FOREBAY_CALLBACK_SECRET", LONG)
    return monkeypatch


def nowhere(secrets: Collection[str], **places: str) -> None:
    for place, text in places.items():
        assert not [secret for secret in secrets if secret in text], f"a secret is in the {place}"


@pytest.mark.parametrize("case", MISTYPED)
def test_a_mistyped_secret_is_not_quoted_by_the_refusal_or_its_traceback(
    configured: pytest.MonkeyPatch, case: str
) -> None:
    variables, words = MISTYPED[case]
    for name, value in variables.items():
        configured.setenv(f"FOREBAY_{name}", value)
    with pytest.raises((InputError, OutsideError)) as caught:
        common.context()
        web_settings(load_settings())
    assert words in str(caught.value)
    others = {name.upper() for name in Settings.model_fields} - set(variables)
    assert len([name for name in others if f"FOREBAY_{name}" in str(caught.value)]) < 2, "the one at fault, and a mend"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_the_configuration_that_the_mistyped_ones_start_from_is_sound(configured: pytest.MonkeyPatch) -> None:
    common.context()
    assert CANARY not in repr(web_settings(load_settings())) + repr(load_settings()) + load_settings().model_dump_json()


@pytest.mark.parametrize("case", ["webhook secret without JSON", "database port that is none", "database away"])
def test_nor_by_the_command_line(configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str) -> None:
    variables, words = MISTYPED[case]
    for name, value in variables.items():
        configured.setenv(f"FOREBAY_{name}", value)
    configured.setattr(sys, "argv", ["forebay", "status"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = "".join(capsys.readouterr())
    assert ended.value.code in (2, 4)
    assert words in said and CANARY not in said


@pytest.mark.parametrize(
    "address",
    [
        CANARY,
        f"nosuch://{CANARY}@127.0.0.1",
        f"json://u:{CANARY}@127.0.0.1:1/{CANARY}?key={CANARY}",
        f"mailtos://u:{CANARY}@127.0.0.1:1?smtp=127.0.0.1&from=a@b.c&to=d@e.f",
    ],
)
def test_nor_by_a_notification_that_cannot_be_sent(address: str, caplog: pytest.LogCaptureFixture) -> None:
    ((outlet, send),) = notify_outlets([SecretStr(address)], AwsClients()).items()
    notice = Notice(key="1", title="held", text="a person must look", change="CHG-1")
    message = Message(
        outlet=outlet, lane="", key="1", body=notice.model_dump_json(), made_at=minutes(0), due_at=minutes(0)
    )
    listener = logging.getLogger("apprise")
    listener.addHandler(caplog.handler)  # propagating or not
    try:
        with pytest.raises((InputError, OutsideError)) as failed:
            send(message)
    finally:
        listener.removeHandler(caplog.handler)
    assert CANARY not in outlet + caplog.text + "".join(traceback.format_exception(failed.value))


# A whole life


class _Deaf(BaseHTTPRequestHandler):
    """Whoever is called: remembers the paths and what proved the call, and answers no, showing what it was sent."""

    paths: ClassVar[list[str]] = []
    signatures: ClassVar[list[str]] = []
    authorizations: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        self.paths.append(self.path)
        self.signatures += self.headers.get_all(SIGNATURE_HEADER, [])
        self.authorizations.update(self.headers.get_all("Authorization", []))
        self.send_response(500)
        self.end_headers()
        self.wfile.write(f"{self.headers}".encode())  # as some proxies do, for whoever looks for what went wrong

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def deaf() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Deaf)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_whole_life_with_every_failure_tells_no_secret(
    deaf: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, LONG)
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "forebay")
    said: list[str] = []
    with World() as world:
        # Nobody listens on port 1: every call of AWS fails.
        enforcers = make_enforcers(
            AwsClients("us-east-1", "http://127.0.0.1:1", total_max_attempts=1),
            ssm_prefix="/forebay",
            event_bus="default",
            sns_topic="arn:aws:sns:us-east-1:123456789012:forebay",
            callback_url=f"http://localhost:{deaf.server_port}/hook?key={CANARY}",
            callback_secret=SecretStr(LONG),
            callback_inside=["localhost"],
        )
        desks = [TicketAnswer(url=f"http://127.0.0.1:{deaf.server_port}", token="T", unencrypted=True)]
        desks.append(desks[0].model_copy(update={"user": "forebay"}))
        asking = tuple(TicketSource(name=f"jira{n}", kind="jira", answer=desk) for n, desk in enumerate(desks))
        outlets = answer_outlets(asking, {"T": LONG})
        world.ctx = replace(world.ctx, enforcers=enforcers, outlets=outlets)
        answer(world.ctx)  # answering begins
        for source in asking:
            late = a_delivery(f"T-{source.name}", effective_in=None, effective_at="2026-11-24T08:00:00Z")
            store_ticket(world.ctx, source.name, json.dumps(late))
        sweep_tickets(world.ctx, lambda key, parameters: f"run of {key}")
        web = a_client(world.ctx, webhook_secrets={"generic": (SecretStr(LONG),)}, link_secrets=(SecretStr(LONG),))
        now = world.clock.now()
        for secret in (LONG, "not the secret of this source"):
            ticket = signed(a_delivery(effective_in="P2D"), now, secret)
            said.append(web.post("/v1/tickets/generic", **ticket).text)
        link = ApprovalLink(change="CHG-1", person="ann", asked="0" * 64, expires=minutes(90), nonce="1")
        world.submit()
        said += [web.get(f"/approvals/{token_of(link, secret)}").text for secret in (LONG, "another secret, as long")]
        world.run_until(minutes(40))
        for enforcer in enforcers:
            with pytest.raises(OutsideError) as failed:
                enforcer.push(world.store.versions("acme", "quota")[-1])
            said.append("".join(traceback.format_exception(failed.value)))
        assert world.state in (ChangeState.SETTLING, ChangeState.CLOSED, ChangeState.IN_FORCE)
        assert f"/hook?key={CANARY}" in _Deaf.paths, "the secret was used, so it could have leaked"

        world.store.away = True
        with suppress(ForebayError):
            world.reconcile()
        said += [web.get(path).text for path in ("/changes", "/healthz", "/metrics")]
        world.store.away = False
        paths = (
            "/changes",
            "/changes/CHG-1",
            "/v1/changes/CHG-1",
            "/metrics",
            "/openapi.json",
            "/healthz",
            "/changes/none",
        )
        said += [web.get(path).text for path in paths]
        said += [web.get("/changes/CHG-1/web.svg").text, plan_markdown(world.record().change, a_plan())]
        said += [to_json(v) for v in world.store.versions("acme", "quota")]
        said += [change_status(world.ctx, "CHG-1").model_dump_json(), *world.troubles, *map(str, world.decisions)]
        said += [event.model_dump_json() for event in world.people.events]
        said += [repr(world.ctx), repr(enforcers), *map(str, enforcers), *map(repr, (asking, unsent(world.ctx)))]
        with sqlite3.connect(world.folder / "forebay.db") as database:
            dump = "\n".join(database.iterdump())
        with suppress(ForebayError):
            open_store(f"postgresql://u:{CANARY}@127.0.0.1:1/f")
    assert "callback to localhost answered 500" in dump and "got no answer" in dump, "the failures are on record"
    assert "/comment answered 500: " in dump and len(_Deaf.authorizations) == 2, "those of the answers too"
    assert "CHG-1" in caplog.text
    secrets = [CANARY, *_Deaf.signatures, *(sent.partition(" ")[2] for sent in _Deaf.authorizations)]
    output = "".join(capfd.readouterr())
    nowhere(secrets, store=dump, log=caplog.text, output=output, answers="".join(said))


@pytest.mark.parametrize("user", [None, "forebay"])
def test_a_token_that_no_header_can_carry_is_refused_at_the_start_and_not_told(user: str | None) -> None:
    desk = TicketAnswer(url="https://jira.example", user=user, token="T")
    jira = TicketSource(name="jira", kind="jira", answer=desk)
    with pytest.raises(InputError, match="is a line end in it") as refused:
        answer_outlets((jira,), {"T": f"{LONG}\n"})
    assert CANARY not in "".join(traceback.format_exception(refused.value))


# Blocks


def loaded(block: Block) -> Any:
    """As it comes back from Prefect's server, to which it goes with its secrets."""
    ids = {"block_schema_id": uuid4(), "block_type_id": uuid4()}
    document = block._to_block_document("forebay", **ids, include_secrets=True)
    kind, schema = block._to_block_type(), block._to_block_schema(block_type_id=ids["block_type_id"])
    belonging = {"block_type": kind.model_dump(mode="json"), "block_schema": schema.model_dump(mode="json")}
    sent = document.model_dump(mode="json", context={"include_secrets": True}) | belonging
    return type(block)._from_block_document(BlockDocument.model_validate(sent))


BLOCKS: dict[str, tuple[Block, Callable[[Any], object], str]] = {
    "database away": (
        ForebayDatabase(url=SecretStr(f"postgresql://u:{CANARY}@127.0.0.1:1/f")),
        lambda block: block.store(),
        "u:***@127.0.0.1",
    ),
    "database mistyped": (
        ForebayDatabase(url=SecretStr(f"postgresql://u:{CANARY}@db:nine/f")),
        lambda block: block.store(),
        "cannot be read",
    ),
    "callback secret too short": (
        ForebayPush(callback_url="https://h/", callback_secret=SecretStr(CANARY)),
        lambda block: block.enforcers(AwsClients()),
        "needs a secret",
    ),
    "callback to where none may go": (
        ForebayPush(callback_url="http://h/", callback_secret=SecretStr(LONG)),
        lambda block: block.enforcers(AwsClients()),
        "'h' is not encrypted",
    ),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_a_block_that_was_saved_and_loaded_tells_no_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    caplog.set_level(logging.INFO)
    saved, use, words = BLOCKS[case]
    block = loaded(saved)
    assert CANARY in block.model_dump_json(context={"include_secrets": True}), "it was loaded, so it could leak"
    with pytest.raises((InputError, OutsideError)) as failed:
        use(block)
    assert words in str(failed.value)
    error = "".join(traceback.format_exception(failed.value))
    shown = repr(block) + str(block) + block.model_dump_json()
    nowhere([CANARY], shown=shown, error=error, log=caplog.text, output="".join(capfd.readouterr()))


# Keys and tokens


def test_no_key_token_or_signing_secret_is_kept_or_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    signing_token = "whsec_" + base64.b64encode(LONG.encode()).decode()
    gitlab = TicketSource(name="gitlab", kind="gitlab")
    with World() as world, Issuer() as issuer:
        now = world.clock.now()
        key, ended = a_key(world, "zoe", "admin"), a_key(world, "ann", "viewer", valid=timedelta(minutes=1))
        token = issuer.token(now, groups=["staff", "capacity"])
        for_others, forged = issuer.token(now, aud="others"), issuer.token(now)[:-8] + "AAAAAAAA"
        settings = WebSettings(
            sources=(GENERIC, gitlab),
            webhook_secrets={"gitlab": (SecretStr(signing_token), SecretStr(LONG)), "generic": (SecretStr(LONG),)},
        )
        tokens = OidcAuthenticator(issuer.trusted(), world.clock)
        web = TestClient(create_app(world.ctx, settings, tokens=tokens), raise_server_exceptions=False)
        world.clock.step(timedelta(minutes=2))
        body = a_request(change="CHG-K").model_dump(mode="json", exclude={"requested_by"})

        def ask(carried: str) -> None:
            bearer = {"Authorization": f"Bearer {carried}"}
            answers = [
                web.post("/v1/changes", json=body, headers=bearer),
                web.post("/v1/changes/CHG-K/hold", json={"reason": "a look"}, headers=bearer),
                web.get("/v1/audit", headers=bearer),
                web.get("/changes", auth=("zoe", carried)),
                web.get("/changes", headers={"Authorization": carried}),
            ]
            said.extend(answer.text + str(answer.headers) for answer in answers)

        carried = [key, ended, f"{key}0", token, for_others, forged]
        for one in carried:
            ask(one)
        for header in ("X-Gitlab-Token", "webhook-signature"):
            for secret in (signing_token, LONG, f"{LONG}-not"):
                said.append(web.post("/v1/tickets/gitlab", content=b"{}", headers={header: secret}).text)
        world.store.away = True
        ask(key)
        world.store.away = False
        issuer.status = 500
        world.clock.step(timedelta(hours=2))
        ask(token)
        with pytest.raises(OutsideError) as failed:
            tokens.principal(token)
        said += [repr(settings), settings.model_dump_json(), repr(tokens), *traceback.format_exception(failed.value)]
        said += [change_status(world.ctx, "CHG-K").model_dump_json(), *map(repr, list_keys(world.ctx))]
        said += [event.model_dump_json() for event in world.people.events]
        with sqlite3.connect(world.folder / "forebay.db") as database:
            dump = "\n".join(database.iterdump())
    assert "CHG-K" in dump and "key created" in dump, "they were used, so they could have leaked"
    signatures = [one.rpartition(".")[2] for one in (token, for_others, forged)]
    secrets = [CANARY, signing_token, key.rpartition("_")[2], ended.rpartition("_")[2], *signatures]
    output = "".join(capfd.readouterr())
    nowhere(secrets, store=dump, log=caplog.text, output=output, answers="".join(said))
