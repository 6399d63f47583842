"""The import contracts hold, and each of them can fail: a planted import is reported under the contract's name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("forebay", "flows", "tasks", "blocks", "deployments", "sandbox")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages to plant faults in."""
    copy = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "*.csv"))
    shutil.copy(ROOT / ".importlinter", copy)
    return copy


def lint(house: Path) -> tuple[int, str]:
    """Exit code and report, on one line so that wrapping hides nothing."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=house,
        env={**os.environ, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_the_house_as_it_is(house: Path) -> None:
    code, report = lint(house)
    assert code == 0, report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "planted", "broken"),
    [
        ("tasks/policy.py", "import flows.reconcile", "Flows use tasks"),
        ("blocks/aws.py", "import tasks.wake", "Flows use tasks"),
        ("forebay/planning/plan.py", "import forebay.ports", "Inside forebay"),
        ("forebay/app/plan.py", "import forebay.store", "Inside forebay"),
        ("forebay/targets/ecs.py", "import forebay.usage.cloudwatch", "Inside forebay"),
        ("forebay/wiring.py", "import forebay.web.app", "Inside forebay"),
        ("forebay/app/arm.py", "import prefect", "does without Prefect"),
        ("forebay/cli/common.py", "import sandbox.clock", "does without Prefect"),
        ("forebay/domain/change.py", "import sqlalchemy", "pure parts"),
        ("forebay/planning/optimum.py", "import pandas", "pure parts"),
        ("forebay/control/decide.py", "import boto3", "pure parts"),
        ("tasks/reconcile.py", "import deployments.up", "Nothing imports the way"),
        ("sandbox/ecs.py", "import forebay.domain.errors", "simulated cloud"),
    ],
)
def test_a_planted_import_breaks_its_contract(house: Path, module: str, planted: str, broken: str) -> None:
    path = house / module
    sound = path.read_text()
    path.write_text(f"{sound}\n{planted}\n")
    try:
        code, report = lint(house)
    finally:
        path.write_text(sound)
    assert code == 1
    verdicts = report.split("BROKEN")[:-1]
    assert any(broken in verdict.rsplit("KEPT", 1)[-1] for verdict in verdicts), report


def test_a_new_module_needs_its_place(house: Path) -> None:
    stray = house / "forebay" / "helpers.py"
    stray.write_text("")
    try:
        code, report = lint(house)
    finally:
        stray.unlink()
    assert code == 1
    assert "helpers" in report
