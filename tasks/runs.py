"""Prefect's API about runs: made, ended. Its client is kept: making one takes most of a second."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

import httpx
from prefect import Task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as OfType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Crashed, Pending, Scheduled

from forebay.app.runs import Ending, Kind, Run, Stage
from forebay.domain.errors import OutsideError
from forebay.domain.records import WakeUp

FOR_CHANGES: dict[str, Kind] = {"policy-change": "plan", "shaping-step": "step", "enforce-policy": "enforce"}
# Of the reconciler's own flow only one may be at work: a dead one would turn away all that come after it.
KINDS: dict[str, Kind] = {**FOR_CHANGES, "reconcile": "reconcile"}
AT_WORK = (StateType.PENDING, StateType.RUNNING)
STATES: dict[StateType, Stage] = {
    StateType.SCHEDULED: "scheduled",
    StateType.PENDING: "pending",
    StateType.RUNNING: "running",
}
TAG = "change:"
PAGE = 200  # the most that Prefect's server gives at once, unless it is set up otherwise
# What was asked is wrong, and will be the next time. Who asks (401, 403) and what is not there for now (404, as while a
# deployment is made anew) are an operator's to mend: what waits goes on then.
REFUSALS = frozenset({400, 409, 413, 422})
# Its client has tried again by itself, or has waited in vain.
BUSY = frozenset({408, 429, 502, 503, 504})


class PrefectAway(OutsideError):
    """It did not answer, or had no time to: whoever asks for more would wait as long again."""


@cache
def client() -> SyncPrefectClient:
    """One client a process, its connections kept; safe to share between threads."""
    return get_client(sync_client=True).__enter__()


@cache
def deployment_id(name: str) -> UUID:
    """Of `flow/deployment`. Raises ObjectNotFound."""
    return client().read_deployment_by_name(name).id


@contextmanager
def prefects_errors(what: str) -> Iterator[None]:
    """Raises OutsideError for what Prefect's server or the way to it does, not retryable where it refuses what was
    asked; PrefectAway where it gave no answer.
    """
    try:
        yield
    except (PrefectException, httpx.HTTPError, OSError) as error:
        cause = error.http_exc if isinstance(error, ObjectNotFound) else error
        answer = cause.response if isinstance(cause, httpx.HTTPStatusError) else None
        if answer is None or answer.status_code in BUSY:
            raise PrefectAway(f"Prefect did not {what}: {cause}", retryable=True) from error
        if answer.status_code in REFUSALS:
            raise OutsideError(f"Prefect refuses to {what}: {_words(answer)}", retryable=False) from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            deployment_id.cache_clear()  # deployed anew, maybe under another id
        raise OutsideError(f"Prefect did not {what}: {cause}", retryable=True) from error


def _words(answer: httpx.Response) -> str:
    """Why it refuses, cut: it may repeat all that was asked."""
    try:
        said = answer.json()
    except ValueError:
        said = answer.text
    if isinstance(said, dict):
        said = said.get("detail") or said.get("exception_detail") or said
    return " ".join(str(said).split())[:300] or f"status {answer.status_code}"


def as_it_is(value: Any) -> dict[str, str]:
    """A parameter that Prefect passes on as it is: it carries out what holds `__prefect_kind`, but not in JSON text."""
    return {"__prefect_kind": "json", "value": json.dumps(value, ensure_ascii=False)}


def start_run(
    deployment: str,
    key: str,
    parameters: dict[str, Any],
    name: str | None = None,
    at: datetime | None = None,
    tags: Sequence[str] = (),
    parent: UUID | None = None,
) -> FlowRun:
    """The run of `deployment` under `key`, made for `at` (now, if past or None) if there is none. Raises OutsideError.

    `parent`: the flow run whose child it is to be.
    """
    now = datetime.now(UTC)
    with prefects_errors(f"create the run of {deployment}"):
        return client().create_flow_run_from_deployment(
            deployment_id(deployment),
            parameters={name: as_it_is(value) for name, value in parameters.items()},
            state=Scheduled(scheduled_time=max(at or now, now)),
            name=name,
            tags=list(tags),
            idempotency_key=key,
            parent_task_run_id=_link(deployment, key, parent) if parent else None,
        )


def _link(deployment: str, key: str, parent: UUID) -> UUID:
    """The task run by which Prefect shows one run as another's child."""
    task: Task[Any, Any] = Task(fn=lambda: None, name=deployment)
    task.task_key = f"forebay.wake.{deployment}"
    made = client().create_task_run(task, parent, dynamic_key=key, task_inputs={}, state=Pending())
    return made.id


def tag_of(wake_up: WakeUp) -> str:
    return f"{TAG}{wake_up.change}"


def open_runs() -> list[Run]:
    """Our runs that are being started or at work, and those scheduled for a change. Raises OutsideError.

    Where something hangs, it is among the former: they come first, whatever waits behind them.
    """
    with prefects_errors("tell its open runs"):
        kinds = {deployment_id(f"{name}/{name}"): kind for name, kind in KINDS.items()}
        found = [*_in_states(AT_WORK, KINDS), *_in_states([StateType.SCHEDULED], FOR_CHANGES)]
    return [
        Run(
            id=str(run.id),
            kind=kinds[run.deployment_id],
            state=STATES[run.state.type],
            since=datetime.fromisoformat(run.state.timestamp.isoformat()),
            changes=tuple(sorted(tag.removeprefix(TAG) for tag in run.tags if tag.startswith(TAG))),
            key=run.idempotency_key or "",
        )
        for run in found
        if run.state is not None and run.state.type in STATES and run.deployment_id in kinds
    ]


def _in_states(states: Sequence[StateType], deployments: Iterable[str]) -> Iterator[FlowRun]:
    """Page by page; one that moves on meanwhile may be missed or come twice, and is found right by the next pass."""
    names = DeploymentFilter(name=DeploymentFilterName(any_=list(deployments)))
    filters = FlowRunFilter(state=FlowRunFilterState(type=OfType(any_=list(states))))
    for offset in itertools.count(0, PAGE):
        page = client().read_flow_runs(
            flow_run_filter=filters, deployment_filter=names, sort=FlowRunSort.ID_DESC, limit=PAGE, offset=offset
        )
        yield from page
        if len(page) < PAGE:
            return


def end_run(ending: Ending) -> None:
    """Raises OutsideError."""
    state = Cancelled if ending.how == "cancel" else Crashed
    with prefects_errors(f"end the run {ending.run.id}"):
        client().set_flow_run_state(UUID(ending.run.id), state(message=ending.reason), force=ending.how == "crash")
