"""The words of the audit log: stored as they always were, and written nowhere but in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from forebay.domain.audit import GENESIS, AuditEvent, Deed, DeedOn, chained
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import Outcome
from tests.support.world import NOW

ROOT = Path(__file__).resolve().parents[2]


def an_event(action: str) -> AuditEvent:
    return AuditEvent(at=NOW, actor="ana", action=action, reason="because")


def test_a_deed_is_stored_and_hashed_as_its_bare_words() -> None:
    by_name, by_word = an_event(Deed.HELD), an_event("held")
    assert type(by_name.action) is str
    assert by_name.model_dump_json() == by_word.model_dump_json()
    assert chained(1, by_name, GENESIS) == chained(1, by_word, GENESIS)


def test_what_is_named_before_a_deed_does_not_hide_it() -> None:
    assert DeedOn.VERIFIED.of("step 3") == "step 3 verified"
    verified = ("step 3 verified", Deed.SETTLING_VERIFIED, Deed.GIVE_BACK_VERIFIED)
    assert all(DeedOn.VERIFIED.ends(action) for action in verified)
    assert not DeedOn.VERIFIED.ends("step 3 serving")


@pytest.mark.parametrize("word", [*(f"write {outcome}" for outcome in Outcome), ChangeState.CLOSED, "rolled back"])
def test_what_is_called_by_how_it_ended_has_its_deed(word: str) -> None:
    assert Deed(word) == word


def test_no_action_is_written_out() -> None:
    """One that is worded where it is written is matched by nobody once either is reworded."""
    found = []
    for path in [*(ROOT / "forebay" / "app").glob("*.py"), *(ROOT / "forebay" / "replay").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if any(isinstance(action, ast.Constant | ast.JoinedStr) for action in actions(node)):
                found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    assert found == []


def actions(node: ast.AST) -> list[ast.expr]:
    """What `node` writes as an event's action, or compares one with."""
    if isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(".action"):
        return [part for side in node.comparators for part in (side.elts if isinstance(side, ast.Tuple) else [side])]
    if not isinstance(node, ast.Call):
        return []
    called = ast.unparse(node.func)
    if called == "AuditEvent":
        return [keyword.value for keyword in node.keywords if keyword.arg == "action"]
    return node.args[1:2] if called.endswith((".event", "_event")) else []
