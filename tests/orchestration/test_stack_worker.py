"""The production way, on the same server: prefect.yaml deployed to a work pool, and a worker that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deployments.up import ROOT
from tests.support.stack import LiveStack


def _schedule(told: dict[str, Any]) -> tuple[str, str, bool]:
    when = told.get("cron") or told["rrule"].splitlines()[-1]  # Prefect puts a DTSTART before a rule
    return when, told.get("timezone") or "UTC", told.get("active", True)


def test_prefect_yaml_deploys_to_a_work_pool_and_a_worker_runs_it(stack: LiveStack, tmp_path: Path) -> None:
    """The production way: only the folder of the image is another one here."""
    stack.kill("runner")  # what is served and what is deployed have the same names
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    document["pull"] = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump(document))
    pool = {"name": "forebay", "type": "process"}
    assert stack.prefect.post("/work_pools/", json=pool).status_code == 201
    done = stack.python("-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    for entry in document["deployments"]:
        found = stack.deployment(entry["name"])
        queue = (found["work_pool_name"], found["work_queue_name"])
        assert queue == ("forebay", entry["work_pool"]["work_queue_name"])
        assert found["entrypoint"] == entry["entrypoint"]
        assert found["parameters"] == entry.get("parameters", {})
        schedules = [s["schedule"] | {"active": s["active"]} for s in found["schedules"]]
        assert [_schedule(s) for s in schedules] == [_schedule(s) for s in entry.get("schedules", [])]
    automations = stack.prefect.post("/automations/filter", json={}).json()
    [automation] = [a for a in automations if a["name"].startswith("policy-change")]
    assert automation["trigger"]["expect"] == ["forebay.ticket.accepted"]
    stack.processes.start(
        "worker", ["-m", "prefect", "worker", "start", "--pool", "forebay", "--name", "test"], stack.stack.child_env
    )
    # Its schedule's own run may be under way: then one sent by hand is cancelled, as the deployment says.
    runs = (stack.start_run("reconcile", {}).raise_for_status().json() for _ in range(3))
    ended = next(r for r in (stack.ended(sent["id"], 90) for sent in runs) if r["state_type"] != "CANCELLED")
    assert ended["state_type"] == "COMPLETED", ended["state"]
