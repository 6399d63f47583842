"""One process that serves every deployment of prefect.yaml, tuned so that a timed run starts on time.

Prefect's defaults (poll 10 s, prefetch 10 s, limit 5) start a due run up to a minute late.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentTriggerTypes
from prefect.runner import Runner
from prefect.settings import get_current_settings
from pydantic import TypeAdapter

from deployments.processes import answers

ROOT = Path(__file__).resolve().parent.parent
# A run begins half a minute early and takes 107 MB while it waits, so 5 GB where all are at work. With 24 at a time
# twenty changes at once left no room for the runs that bring their policies into force.
QUERY_S, PREFETCH_S, LIMIT = 2, 30, 48


def served_deployments(path: Path) -> list[RunnerDeployment]:
    """The deployments of prefect.yaml, to be served: without work pool and pull steps, which only workers need."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [_deployment(entry) for entry in document["deployments"]]


def _deployment(entry: dict[str, Any]) -> RunnerDeployment:
    triggers = TypeAdapter(list[DeploymentTriggerTypes]).validate_python(entry.get("triggers", []))
    schedules = [
        DeploymentScheduleCreate(schedule=_schedule(s), active=s.get("active", True))
        for s in entry.get("schedules", [])
    ]
    return RunnerDeployment.from_entrypoint(
        entry["entrypoint"],
        name=entry["name"],
        description=entry.get("description"),
        tags=entry.get("tags"),
        parameters=entry.get("parameters"),
        schedules=schedules,
        triggers=triggers,
    )


def _schedule(entry: dict[str, Any]) -> CronSchedule | RRuleSchedule:
    timezone = entry.get("timezone", "UTC")
    if "rrule" in entry:
        return RRuleSchedule(rrule=entry["rrule"], timezone=timezone)
    return CronSchedule(cron=entry["cron"], timezone=timezone)


async def serve() -> None:
    """Until told to stop."""
    runner = Runner(
        name="forebay", query_seconds=QUERY_S, prefetch_seconds=PREFETCH_S, limit=LIMIT, pause_on_shutdown=False
    )
    deployments = served_deployments(ROOT / "prefect.yaml")
    await _server_answers()
    for deployment in deployments:
        await runner.add_deployment(deployment)
    print("serving", flush=True)
    await runner.start()


async def _server_answers() -> None:
    """Until the Prefect server does: the two are started together, and it takes longest."""
    url = f"{get_current_settings().api.url}/health"
    while not await asyncio.to_thread(answers, url):
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(serve())
