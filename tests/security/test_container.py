"""The container image, as far as its recipe can be judged unbuilt (who it runs as, what it takes in and calls), and the
compose file. That the image builds and answers is seen by `deployments/container/check`, where Docker is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from threading import Thread
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from forebay.cli import app
from forebay.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (ROOT / "deployments" / "container" / "Dockerfile").read_text(encoding="utf-8")
STEPS = [
    line.split(maxsplit=1)
    for line in RECIPE.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
LAST_STAGE = STEPS[max(number for number, (word, _) in enumerate(STEPS) if word == "FROM") :]


def arguments(word: str) -> list[str]:
    return [rest for step, rest in STEPS if step == word]


def test_it_runs_as_nobody_who_may_write_what_it_runs() -> None:
    (user,) = [rest for step, rest in LAST_STAGE if step == "USER"]
    uid, gid = map(int, user.split(":"))
    assert uid > 0 and gid > 0
    assert f"useradd --uid {uid} --gid {gid}" in " ".join(rest for _, rest in LAST_STAGE)
    after = LAST_STAGE[LAST_STAGE.index(["USER", user]) :]
    assert not [step for step, _ in after if step in ("RUN", "COPY")]
    assert "--chown" not in RECIPE, "what is copied stays root's"


def test_it_takes_in_what_there_is_and_what_is_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    taken = {name for rest in arguments("COPY") if "--from" not in rest for name in rest.split()[:-1]}
    assert taken == allowed
    assert all((ROOT / name).exists() for name in taken)
    imported = {"flows", "tasks", "blocks", "forebay"}
    assert imported <= taken


def test_versions_are_pinned_and_no_address_is_named() -> None:
    (install,) = [rest for rest in arguments("RUN") if "pip install" in rest]
    assert "--constraint constraints.txt" in install
    assert "://" not in RECIPE.replace("http://127.0.0.1:8080/healthz", "").replace("sqlite:////", "")
    assert "index" not in RECIPE


def test_what_it_starts_and_sets_exists() -> None:
    (command,) = [json.loads(rest) for step, rest in LAST_STAGE if step == "CMD"]
    assert command[0] == "forebay"
    said = CliRunner().invoke(app, [command[1], "--help"], env={"COLUMNS": "200"}).output
    assert all(option in said for option in command if option.startswith("--"))
    variables = set(re.findall(r"FOREBAY_([A-Z_]+)=", RECIPE))
    assert variables and {name.lower() for name in variables} <= set(Settings.model_fields)


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_its_health_is_that_of_the_web_door(status: int, healthy: bool) -> None:
    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    (check,) = arguments("HEALTHCHECK")
    program, option, code = json.loads(check.partition("CMD")[2])
    assert program == "python"
    with HTTPServer(("127.0.0.1", 0), Door) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        code = code.replace("8080", str(server.server_port))
        done = subprocess.run([sys.executable, option, code], capture_output=True, timeout=30)
        server.shutdown()
    assert (done.returncode == 0) == healthy


# The compose file

COMPOSE = yaml.safe_load((ROOT / "deployments" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_composed_services_are_of_known_images_and_wait_for_what_they_need() -> None:
    assert {service["image"] for service in SERVICES.values()} == {"forebay", "postgres:16"}
    needed = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert needed == {"database", "prefect", "web"} <= set(SERVICES)
    healthy = [name for name in needed if SERVICES[name]["image"] == "forebay" or "healthcheck" in SERVICES[name]]
    assert set(healthy) == needed, "the image has a health check of its own, for the web door"


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service["image"] == "forebay"])
def test_what_a_composed_service_runs_and_sets_exists(name: str) -> None:
    service = SERVICES[name]
    match service.get("command"):
        case ["python", "-m", module]:
            assert find_spec(module) is not None
        case ["prefect", "server", "start", *_] | None:
            pass
        case other:
            pytest.fail(f"{other}")
    variables = set(service["environment"])
    ours = {variable.removeprefix("FOREBAY_").lower() for variable in variables if variable.startswith("FOREBAY_")}
    assert ours <= set(Settings.model_fields)
    if handler := service["environment"].get("PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS"):
        resolve_name(handler)(styles={})  # as Prefect makes it: where that fails, no run has logs
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), "nothing listens to the world"
    for mount in service["volumes"]:
        source, target, *_ = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", mount).split(":")
        assert (ROOT / "deployments" / source).exists()
        assert f"={target}/" in RECIPE


def test_no_secret_stands_in_the_compose_file() -> None:
    text = (ROOT / "deployments" / "compose.yaml").read_text(encoding="utf-8")
    passwords = re.findall(r"://forebay:(.*?)@", text) + re.findall(r"PASSWORD: \"(.*)\"", text)
    assert len(passwords) == 3
    assert all(re.fullmatch(r"\$\{POSTGRES_PASSWORD(:\?[^}]*)?\}", password) for password in passwords)
