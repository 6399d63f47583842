"""Runs that are over are removed from Prefect's database: `reconcile` alone makes 1,440 a day."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

from deployments.up import ROOT, Stack

NAME = "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"


def by_make_up() -> dict[str, str]:
    return Stack(Path("/tmp")).child_env


def by_compose() -> dict[str, str]:
    services = yaml.safe_load((ROOT / "deployments" / "compose.yaml").read_text())["services"]
    environment: dict[str, str] = services["prefect"]["environment"]
    return environment


@pytest.mark.parametrize("environment", [by_make_up, by_compose], ids=lambda where: where.__name__)
def test_the_server_removes_old_runs(environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, environment()[NAME])
    assert {"events", "flow_runs"} <= ServerServicesDBVacuumSettings().enabled_vacuum_types
