"""The wheel: only `forebay` is in it, all of it, and it works where the checkout is out of reach."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)], out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed into a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--target",
            str(site),
            str(wheel),
        ],
        site,
    )
    return site


def run(argv: list[str], cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def isolated(site: Path, code: str) -> str:
    """Run `code` without site hooks, which would bring the checkout back: the wheel and its dependencies only."""
    paths = [str(site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"], site)


def test_only_forebay_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
    assert top == {"forebay", f"forebay-{wheel.name.split('-')[1]}.dist-info"}


def test_every_file_of_the_package_is_in_it(wheel: Path) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "forebay").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("forebay/")}
    assert ours == packed
    kinds = {Path(name).suffix for name in packed}
    assert {".py", ".html", ".css", ".js", ".svg", ".typed"} <= kinds


def test_every_module_can_be_imported(site: Path) -> None:
    out = isolated(
        site,
        """
import importlib, pkgutil, forebay
names = [m.name for m in pkgutil.walk_packages(forebay.__path__, 'forebay.') if '.migrations' not in m.name]
for name in names:
    importlib.import_module(name)
print(forebay.__file__, len(names), 'prefect' in sys.modules, 'flows' in sys.modules)
""",
    )
    file, count, *unwanted = out.split()
    assert Path(file).is_relative_to(site)
    assert int(count) > 50
    assert unwanted == ["False", "False"]


def test_the_database_can_be_made_from_it(site: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'forebay.db'}"
    isolated(site, f"from forebay.store import migrate, open_store\nmigrate({url!r})\nopen_store({url!r})")
    assert (tmp_path / "forebay.db").stat().st_size > 0


def test_the_pages_and_the_report_find_their_templates(site: Path) -> None:
    out = isolated(
        site,
        """
from forebay.web.answers import templates
from jinja2 import PackageLoader
print(len(templates.env.list_templates()), PackageLoader('forebay.report').list_templates())
""",
    )
    count, names = out.split(maxsplit=1)
    assert int(count) >= 4
    assert "plan.html" in names


def test_the_command_is_installed(site: Path, tmp_path: Path) -> None:
    out = run([str(site / "bin" / "forebay"), "--help"], tmp_path, {"PYTHONPATH": str(site)})
    assert "Draw the plan of a change from files alone" in out
