"""Who may import what from outside: the pure parts next to nothing, everyone only what is declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"forebay", "flows", "tasks", "blocks", "deployments", "sandbox", "tests", "benchmarks", "conftest"}
# Imported under its own name, but a documented part of the declared package that brings it.
COMES_WITH = {
    "botocore": "boto3",
    "markupsafe": "jinja2",
    "starlette": "fastapi",
    "cryptography": "pyjwt",
    "httpx": "prefect",
    "werkzeug": "moto",
    "flask": "moto",
    "responses": "moto",
}


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Top-level names of every package the file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def foreign(path: Path) -> set[str]:
    return set(imports(path)) - set(sys.stdlib_module_names) - OURS


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[Any]) -> set[str]:
    """Distribution names, and those of stub packages that an extra of boto3-stubs stands for."""
    found = set()
    for requirement in requirements:
        if isinstance(requirement, str):
            match = re.match(r"([\w.-]+)(?:\[([^\]]*)\])?", requirement)
            assert match, requirement
            found.add(canonical(match[1]))
            if match[1] == "boto3-stubs" and match[2]:
                found |= {f"mypy-boto3-{extra.strip()}" for extra in match[2].split(",")}
    return found


@pytest.mark.parametrize("path", files("forebay/domain"), ids=lambda path: path.name)
def test_the_domain_imports_next_to_nothing(path: Path) -> None:
    # Cron expressions, calendars and JMESPath are read by libraries that are pure themselves.
    dates = {"cronsim", "icalendar", "recurring_ical_events"} if path.name == "freeze.py" else set()
    selecting = {"jmespath"} if path.name in ("source.py", "mapping.py", "issuer.py") else set()
    assert foreign(path) <= {"pydantic", "numpy", "yaml"} | dates | selecting


@pytest.mark.parametrize("path", files("forebay/planning", "forebay/control"), ids=lambda path: path.name)
def test_planning_and_control_import_numpy_only(path: Path) -> None:
    assert foreign(path) <= {"numpy"}


def test_flows_import_prefect_only() -> None:
    assert set().union(*(foreign(path) for path in files("flows"))) == {"prefect"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folders", "extras", "groups"),
    [
        (["forebay"], ["lstm", "notify", "prophet"], []),
        (["flows", "tasks", "blocks"], ["prefect"], []),
        (["deployments"], ["prefect"], ["sandbox"]),
        (["sandbox"], [], ["sandbox"]),
        (["tests"], ["notify", "prefect"], ["sandbox", "dev"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_every_import_is_declared(
    project: dict[str, Any], folders: list[str], extras: list[str], groups: list[str]
) -> None:
    declared = names(project["project"]["dependencies"])
    for extra in extras:
        declared |= names(project["project"]["optional-dependencies"][extra])
    for group in groups:
        declared |= names(project["dependency-groups"][group])
    # Types have no effect at run time: stubs belong to dev wherever they are imported.
    declared |= {name for name in names(project["dependency-groups"]["dev"]) if name.startswith("mypy-boto3")}
    distributions = packages_distributions()
    missing = {}
    for path in files(*folders):
        for package in foreign(path) - {"support"}:
            known = {canonical(name) for name in distributions.get(package, [package])}
            if not (known | {COMES_WITH.get(package, package)}) & declared:
                missing[package] = path.relative_to(ROOT).as_posix()
    assert not missing, f"imported but not declared in pyproject.toml: {missing}"


def test_every_dependency_is_pinned_and_no_address_is_named(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {match[1] for line in lines if (match := re.match(r"([\w.-]+)(?:\[[^\]]*\])?==", line))}
    assert [line for line in lines if "://" in line or " @ " in line or line.startswith("-")] == []
    direct = names(project["project"]["dependencies"]) | names(project["dependency-groups"]["dev"])
    direct |= names(project["dependency-groups"]["sandbox"]) | names(
        project["project"]["optional-dependencies"]["prefect"]
    )
    assert {name for name in direct if name not in {canonical(pin) for pin in pins}} == set()


def test_the_command_starts_without_heavy_libraries() -> None:
    heavy = {"pmdarima", "pandas", "matplotlib", "boto3", "sqlalchemy", "prefect", "fastapi", "moto", "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", "import forebay.cli, sys; print(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert heavy & set(done.stdout.split()) == set()
