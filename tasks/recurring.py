"""Which changes schedules in Prefect had to ask for, compared with the changes there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from pydantic import TypeAdapter

from blocks.context import context
from forebay.app.recurring import Occurrences, check_occurrences
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.model import digest, validate
from tasks.runs import client, prefects_errors

logger = logging.getLogger("forebay.reconciler")
FLOW = "policy-change"


def check_recurring() -> int:
    """How many occurrences of all schedules have no change yet. Raises OutsideError if the store or Prefect is away."""
    missing = 0
    for name, parameters, occurrences in _schedules():
        try:
            request = validate(ChangeRequest, parameters.get("change"), f"the parameters of {name}: change")
            missing += 0 if request.change else check_occurrences(context(), name, request, occurrences)
        except InputError as error:
            logger.warning("%s", error)
    return missing


def _schedules() -> Iterator[tuple[str, dict[str, Any], Occurrences | None]]:
    """Name, parameters of its runs, and times (None: switched off) of every schedule that asks for changes."""
    with prefects_errors("tell its schedules"):
        found = client().read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])))
    for deployment in found:
        for entry in deployment.schedules:
            spec = entry.schedule.model_dump_json(exclude_none=True)
            parameters = deployment.parameters | entry.parameters
            # Not Prefect's id: serving a deployment anew makes another schedule of the same words. Its parameters are
            # among them: at the same times another schedule may ask for another change.
            name = f"{deployment.name} {digest([spec, parameters])[:8]}"
            on = entry.active and not deployment.paused
            yield name, parameters, occurrences_of(spec) if on else None


def _times(schedule: Any, after: datetime, until: datetime) -> list[datetime]:
    # Prefect returns times of its own kind, whose zone is lost in arithmetic.
    times = asyncio.run(schedule.get_dates(start=after, end=until))
    return [at for time in times if (at := datetime.fromisoformat(time.isoformat()).astimezone(UTC)) > after]


def occurrences_of(spec: str) -> Occurrences:
    """Of a schedule, as JSON: its times by Prefect's own reckoning, so that ours are never others."""
    from prefect.server.schemas.schedules import SCHEDULE_TYPES

    schedule = TypeAdapter(SCHEDULE_TYPES).validate_json(spec)

    def occurrences(after: datetime, until: datetime) -> list[datetime]:
        found: list[datetime] = []
        # Prefect stops after a thousand times, without saying so.
        while more := _times(schedule, found[-1] if found else after, until):
            found += more
        return found

    return occurrences
