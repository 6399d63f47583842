"""Every example of the documents is executed: shell, Python, YAML and JSON. A fence this runner does not know fails.

`console` blocks hold commands (`$ …`) and what they print; `…` in it stands for anything, a line of it for any lines.
In `console about` blocks any number may stand for another: they show what follows from a forecast.
The blocks of one document share a folder, its variables and one running `forebay serve`, as a reader's would; where one
looks at AWS, the sandbox plays it.
`make` commands are only looked up, as CI runs them (.ci/run), and `prefect` commands, as they need a server.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from forebay.domain.change import ChangeRequest
from forebay.domain.impact import Entitlement, Impact
from forebay.domain.issuer import TrustedIssuer
from forebay.domain.model import validate
from forebay.domain.rules import ChangeRules
from forebay.domain.source import TicketSources
from forebay.domain.ticket import parse_delivery
from forebay.domain.workload import Workload, WorkloadCatalog

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([\w ]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTED_ADDRESS = "127.0.0.1:8080"
FILES = ("examples", "docs", "forebay", "flows", "tasks", "blocks", "deployments", "sandbox", "tests")
FILES += ("Makefile", "pyproject.toml", "prefect.yaml", ".importlinter")
CLOUD = """
workloads:
  - name: checkout
    ecs_service: prod/checkout
    unit: {cpu_cores: 1, memory_gib: 2, network_mbps: 100}
    peak: {cpu_cores: 20, memory_gib: 12, network_mbps: 800}
    units: 20
    min_units: 2
    max_units: 60
    target_tracking: {target_percent: 60}
    trace: smd-1-6
    trace_start: 4032
    history_samples: 4032
    speed: 5  # a sample a minute: a step is verified by these
"""
TEXT = {"text"}  # drawings and formulas: there is nothing to run


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in FENCE.finditer(text)
    ]


@dataclass
class Desk:
    """Where a document's examples run: a folder with the repository's files, and variables that last."""

    folder: Path
    address: str
    aws: str = ""

    def shell(self, script: str) -> str:
        """What `script` prints. Fails unless it ends with 0."""
        variables = self.folder / ".variables"
        loaded = f"source {shlex.quote(str(variables))}; " if variables.exists() else ""
        kept = f"set -a; trap 'export -p > {shlex.quote(str(variables))}' EXIT\n"
        script = script.replace(DOCUMENTED_ADDRESS, self.address)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", loaded + kept + script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return (done.stdout + done.stderr).replace(self.address, DOCUMENTED_ADDRESS)

    @property
    def env(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FOREBAY_", "AWS_"))},
            "PATH": path,
            "COLUMNS": "100",
            "FOREBAY_DATABASE_URL": f"sqlite:///{self.folder / 'forebay.db'}",
            "FOREBAY_WORKLOADS": "examples/workloads.yaml",
            "FOREBAY_WEBHOOK_SECRETS": '{"generic": ["0123456789abcdef0123456789abcdef"]}',
            "AWS_REGION": "us-east-1",  # the one the sandbox plays
            **(dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x") if self.aws else {}),
            **({"AWS_ENDPOINT_URL": self.aws} if self.aws else {}),
        }


@pytest.fixture(scope="module", params=DOCUMENTS, ids=lambda path: path.name)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Desk]]:
    folder = tmp_path_factory.mktemp("desk")
    # A copy: an example may write over any file of it.
    for name in FILES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    text = request.param.read_text(encoding="utf-8")
    with ExitStack() as running:
        desk = Desk(folder, free_address(), f"http://{free_address()}" if "$ forebay check" in text else "")
        if desk.aws:
            (folder / "cloud.yaml").write_text(CLOUD)
            play = ["-m", "sandbox", "--config", "cloud.yaml", "--port", desk.aws.rpartition(":")[2]]
            running.enter_context(started(play, desk, f"{desk.aws}/_sandbox/health"))
        if DOCUMENTED_ADDRESS in text:
            serve = ["-m", "forebay.cli", "serve", "--migrate", "--port", desk.address.partition(":")[2]]
            running.enter_context(started(serve, desk, f"http://{desk.address}/healthz"))
        yield request.param, desk


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def started(words: list[str], desk: Desk, ready: str) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, *words], cwd=desk.folder, env=desk.env, stdout=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(ready)
            yield
        finally:
            process.terminate()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)
        else:
            return


def test_the_examples_of_a_document(desk: tuple[Path, Desk]) -> None:
    document, at = desk
    for block in blocks(document):
        try:
            run(block, at)
        except Exception as error:  # whatever an example raises, say where it stands
            raise AssertionError(f"{block} ({block.language}): {error}") from error


def run(block: Block, desk: Desk) -> None:
    match block.language:
        case "console":
            run_console(block.text, desk)
        case "console about":
            run_console(block.text, desk, numbers=False)
        case "python":
            (desk.folder / "example.py").write_text(block.text.replace(DOCUMENTED_ADDRESS, desk.address))
            desk.shell("python example.py")
        case "yaml":
            check_yaml(yaml.safe_load(block.text))
        case "json":
            check_json(block.text)
        case other:
            assert other in TEXT, f"a fence of language {other!r} cannot be checked: use one the runner knows"


def run_console(text: str, desk: Desk, *, numbers: bool = True) -> None:
    for command, expected in sessions(text):
        if command.startswith("prefect "):
            look_up(command)
            continue
        if command.startswith("make"):
            subprocess.run(
                ["make", "-n", *shlex.split(command, comments=True)[1:]], cwd=ROOT, check=True, capture_output=True
            )
            continue
        printed = desk.shell(command)
        assert matches(expected, printed, numbers=numbers), (
            f"$ {command}\nprinted\n{printed}\nbut the document says\n{expected}"
        )


def look_up(command: str) -> None:
    """That the `prefect` command exists, with every option it is given."""
    words = shlex.split(command)
    manual = manual_of(*(word for word in words[:3] if not word.startswith("-")))
    assert {word for word in words if word.startswith("--") and word not in manual} == set(), command


@cache
def manual_of(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sessions(text: str) -> list[tuple[str, str]]:
    """(command, expected output) pairs; a command goes on while its lines end with a backslash."""
    pairs: list[tuple[str, str]] = []
    command = expected = ""
    going_on = False
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                pairs.append((command, expected))
            command, expected = line[2:], ""
        elif going_on:
            command += "\n" + line
        else:
            assert command, f"a console block begins with `$ `: {line!r}"
            expected += line + "\n"
            continue
        going_on = line.endswith("\\")
    return [*pairs, (command, expected)]


def matches(expected: str, printed: str, *, numbers: bool = True) -> bool:
    """Line by line, trailing blanks aside; `…` is any text of a line, a line of it alone any lines.

    Without `numbers` any number stands for another, and columns may be of another width.
    """
    if not numbers:
        expected, printed = (re.sub(r"[ \t]+", " ", re.sub(r"\d[\d.]*", "0", text)) for text in (expected, printed))
    parts = []
    for line in expected.rstrip().splitlines():
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.rstrip().split("…")) + r"[ \t]*\n")
    return re.fullmatch("".join(parts), printed.rstrip() + "\n" if printed.strip() else "") is not None


def check_yaml(data: Any) -> None:
    """By its top-level names: whatever else stands there is refused by the model itself."""
    names = set(data)
    if "workloads" in names:
        validate(WorkloadCatalog, data, "example")
    elif "rules" in names or "freezes" in names:
        validate(ChangeRules, data, "example")
    elif "sources" in names:
        validate(TicketSources, data, "example")
    elif names <= {"impacts", "entitlements"}:
        for impact in data.get("impacts", []):
            validate(Impact, impact, "example")
        for entitlement in data.get("entitlements", []):
            validate(Entitlement, entitlement, "example")
    elif names <= set(Workload.model_fields) and "name" not in names:
        base = yaml.safe_load((ROOT / "examples" / "workloads.yaml").read_text())["workloads"][0]
        validate(Workload, base | data, "example")
    else:
        validate(ChangeRequest, data, "example")


def check_json(text: str) -> None:
    data = json.loads(text)
    if "issuer" in data:
        validate(TrustedIssuer, data, "example")
        return
    assert "ticket" in data, "JSON is a ticket or an issuer; show answers as the output of a command"
    parse_delivery(text)


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a …\n", "a 12 c\n", True),
        ("a\n…\nz\n", "a\nb\nc\nz\n", True),
        ("a\n…\nz\n", "a\nb\n", False),
        ("", "", True),
        ("", "noise\n", False),
        ("(1) a.b\n", "(1) a.b   \n", True),
        ("a.b\n", "axb\n", False),
    ],
)
def test_the_comparison(expected: str, printed: str, fits: bool) -> None:
    assert matches(expected, printed) is fits


def test_numbers_may_differ_where_they_are_said_to() -> None:
    assert matches("12 units, 3.50 USD\n", "9   units, 3.1 USD\n", numbers=False)
    assert not matches("12 units\n", "12 moves\n", numbers=False)


def test_a_command_may_go_on() -> None:
    assert sessions("$ a \\\n  b\nout\n$ c\n") == [("a \\\n  b", "out\n"), ("c", "")]


def test_a_wrong_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="document says"):
        run_console("$ echo yes\nno\n", Desk(tmp_path, "127.0.0.1:1"))
    with pytest.raises(ValueError, match="min_unit"):
        check_yaml({"entitlements": [{"workload": "checkout", "min_unit": 4}]})
