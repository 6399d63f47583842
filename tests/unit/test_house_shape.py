"""The shape of the house: small files, thin flows, nothing half done, nothing swallowed without a reason."""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("forebay", "flows", "tasks", "blocks", "deployments", "sandbox")
LONGEST, LONGEST_FLOW = 500, 100


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FLOWS = [path for path in sources("flows") if path.name != "__init__.py"]


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_long_and_most_are_short() -> None:
    lengths = {short(path): length(path) for path in sources(*CODE, "tests")}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
    assert statistics.median(lengths.values()) < 200


@pytest.mark.parametrize("flow", FLOWS, ids=lambda path: path.stem)
def test_a_flow_orchestrates_only(flow: Path) -> None:
    tree = ast.parse(flow.read_text(encoding="utf-8"))
    assert length(flow) < LONGEST_FLOW
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)], "models live in forebay"
    decorated = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    assert [node.name for node in decorated] == [flow.stem], "one flow a file, called like the file"


def test_no_flow_is_called_like_a_package() -> None:
    # Prefect loads a flow file as a top-level module: a flow `yaml.py` would stand in for PyYAML everywhere.
    taken = set(packages_distributions()) | set(CODE)
    assert {flow.stem for flow in FLOWS} & taken == set()


def test_nothing_is_left_to_do() -> None:
    stubs = []
    for path in sources(*CODE):
        text = path.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and {"TO" + "DO", "FIX" + "ME", "X" * 3} & set(token.string.split()):
                stubs.append(f"{short(path)}:{token.start[0]}")
            if token.type == tokenize.NAME and token.string == "NotImplemented" + "Error":
                stubs.append(f"{short(path)}:{token.start[0]}")
    assert stubs == []


def test_a_broad_except_gives_its_reason() -> None:
    bare = []
    for path in sources(*CODE):
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node) and "#" not in lines[node.lineno - 1]:
                bare.append(f"{short(path)}:{node.lineno}")
    assert bare == []


def _is_broad(handler: ast.ExceptHandler) -> bool:
    """Catches everything, and does not end by raising it again."""
    broad = isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
    return (handler.type is None or broad) and not isinstance(handler.body[-1], ast.Raise)


def test_no_test_is_skipped() -> None:
    marks = {"skip", "skipif", "xfail", "importorskip"}
    found = []
    for path in sources("tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in marks:
                owner = ast.unparse(node.value)
                if owner in {"pytest", "pytest.mark"}:
                    found.append(f"{short(path)}:{node.lineno}")
    assert found == []


def test_every_folder_of_code_is_a_package() -> None:
    for folder in ("flows", "tasks", "blocks", "deployments", "sandbox", "forebay"):
        assert (ROOT / folder / "__init__.py").is_file(), f"without it an installed package {folder!r} would win"
