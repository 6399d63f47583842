"""The outbox on the command line, and a serving process among several."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from forebay.cli import common, service
from forebay.domain.outbox import Message, MessageState
from tests.unit.test_cli import files, forebay  # noqa: F401


def test_what_was_given_up_is_shown_tried_again_and_shown_still(
    files: Path,  # noqa: F811
    forebay,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert forebay("outbox", "show") == (0, "everything was sent\n", "")
    now, ctx = datetime.now(UTC), common.context()
    message = Message(outlet="push to ssm", lane="acme/quota", key="1", body="{}", made_at=now, due_at=now)
    with ctx.store.transaction() as tx:
        stored = tx.add_message(message)
        assert stored is not None
        tx.put_message(stored.claimed(now).failed("refused", now, retryable=False))
    code, shown, _ = forebay("outbox", "show")
    assert (code, "push to ssm: acme/quota 1" in shown, "refused" in shown) == (0, True, True)
    assert "not sent: 1, see `forebay outbox show`" in forebay("status")[1]
    assert MessageState.DEAD in forebay("outbox", "show", "--json")[1]

    code, _, error = forebay("outbox", "retry", "1", "--by", "ann", "--reason", "try")
    assert (code, "'push to ssm' is not configured here" in error) == (2, True)
    assert forebay("outbox", "show")[1] == shown
    monkeypatch.setenv("FOREBAY_SSM_PREFIX", "/forebay")
    code, said, _ = forebay("outbox", "retry", "1", "--by", "ann", "--reason", "try")
    assert (code, said.startswith("push to ssm: acme/quota 1: dead: ")) == (0, True), "its body is none"
    assert forebay("outbox", "retry", "7", "--by", "ann", "--reason", "try")[0] == 2

    monkeypatch.delenv("FOREBAY_SSM_PREFIX")
    assert "`forebay outbox discard 1` drops" in forebay("outbox", "retry", "1", "--by", "ann", "--reason", "try")[2]
    said = forebay("outbox", "discard", "1", "--by", "ann", "--reason", "the parameter is gone")
    assert said == (0, "push to ssm: acme/quota 1: discarded\n", "")
    assert forebay("outbox", "show") == (0, "everything was sent\n", "")
    assert "not sent" not in forebay("status")[1]
    (entry,) = [line for line in forebay("audit", "show")[1].splitlines() if "push to ssm discarded" in line]
    assert "acme/quota 1: the parameter is gone" in entry
    assert forebay("outbox", "discard", "1", "--by", "ann", "--reason", "again")[0] == 2


def test_what_only_another_process_can_send_is_seen_here(files: Path, forebay) -> None:  # noqa: F811
    now, ctx = datetime.now(UTC), common.context()
    for key, due_at in (("1", now - timedelta(minutes=5)), ("2", now)):
        with ctx.store.transaction() as tx:
            message = Message(outlet="push to ssm", lane=key, key=key, body="{}", made_at=now, due_at=due_at)
            tx.add_message(message)
    assert forebay("outbox", "show")[1].count("not configured here") == 2
    assert "not sent: 1, see `forebay outbox show`" in forebay("status")[1], "the other was due a moment ago"


def test_a_try_of_telling_nobody_is_wrong_input(files: Path, forebay) -> None:  # noqa: F811
    assert forebay("outbox", "try") == (2, "", "forebay: nobody is told: set FOREBAY_NOTIFY\n")


def test_a_try_that_fails_says_so_without_the_address(
    files: Path,  # noqa: F811
    forebay,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOREBAY_NOTIFY", '["mmost://127.0.0.1:9/3ccdd113474722377935511fc85d3dd4"]')
    code, _, said = forebay("outbox", "try")
    assert code == 4
    assert "was not told" in said
    assert "3ccdd" not in said


def test_a_try_of_an_address_that_is_none_is_wrong_input_and_leaves_nothing(
    files: Path,  # noqa: F811
    forebay,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOREBAY_NOTIFY", '["foo://3ccdd"]')
    code, _, said = forebay("outbox", "try")
    assert (code, "is none that Apprise knows" in said, "3ccdd" in said) == (2, True, False)
    assert forebay("outbox", "show")[1] == "everything was sent\n"


def test_each_of_several_serving_processes_has_an_application_of_its_own(files: Path) -> None:  # noqa: F811
    assert TestClient(service.worker()).get("/healthz").json() == {"status": "ok"}
