"""What Prefect is asked for, as its server will read it, and what each of its answers means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

import tasks.runs
from forebay.domain.errors import OutsideError
from tasks.runs import PAGE, TAG, PrefectAway, deployment_id, open_runs, start_run

ROOT = Path(__file__).resolve().parents[2]
ID = "6f0f1f6e-0f3c-4d5e-9a53-2f1f6c1d7a11"
RUN = {"id": ID, "flow_id": ID, "name": "a run"}
VARIABLE = {"__prefect_kind": "workspace_variable", "variable_name": "db_password"}
CARRIED_OUT = [
    VARIABLE,
    VARIABLE | {"variable_name": "there is none of that name"},
    {"__prefect_kind": "jinja", "template": "{{ 6 * 7 }}"},
    {"__prefect_kind": "json", "value": '{"a": 1}'},
    {"__prefect_kind": "json"},
    {"__prefect_kind": "none", "value": VARIABLE},
    {"__prefect_kind": "no kind", "value": 1},
]
Answer = Callable[[httpx.Request], httpx.Response]


class Server:
    """Prefect's API as `answer` gives it to a run that is to be made; `asked`: with which bodies."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked = answer, list[dict[str, Any]]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/create_flow_run"):
            self.asked.append(json.loads(request.content))
            return self.answer(request)
        known = {"id": ID, "flow_id": ID, "name": "policy-change"}
        return httpx.Response(200, json=known) if "/deployments/name/" in request.url.path else httpx.Response(404)


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], None]]:
    """Has whatever asks Prefect's API ask this instead."""

    def reached(server: Answer) -> None:
        settings = {"transport": httpx.MockTransport(server)}
        client = SyncPrefectClient("http://prefect/api", httpx_settings=settings)
        monkeypatch.setattr(tasks.runs, "client", lambda: client)

    deployment_id.cache_clear()
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield reached
    deployment_id.cache_clear()


@pytest.fixture
def serve(reach: Callable[[Answer], None]) -> Callable[[Answer], Server]:
    def served(answer: Answer) -> Server:
        server = Server(answer)
        reach(server)
        return server

    return served


def as_the_server_reads(parameters: dict[str, Any], **jinja: Any) -> dict[str, Any]:
    """Its own reading of parameters, as `create_flow_run` of a deployment does it."""
    context = HydrationContext(
        workspace_variables={"db_password": "hunter2"},
        render_workspace_variables=True,
        render_jinja=True,
        raise_on_error=True,
        jinja_context=jinja,
    )
    return hydrate(parameters, context)


@pytest.mark.parametrize("odd", CARRIED_OUT, ids=str)
def test_a_document_reaches_its_run_as_it_is(serve: Callable[[Answer], Server], odd: dict[str, Any]) -> None:
    """Prefect would put a variable's value in its place, or turn the run down."""
    server = serve(lambda request: httpx.Response(201, json=RUN))
    parameters = {"change": {"document": {"x": odd, "many": [odd], "note": "é {{ 1 }}"}}, "odd": odd, "sequence": 3}
    assert start_run("policy-change/policy-change", "key", parameters).name == "a run"
    assert as_the_server_reads(server.asked[0]["parameters"]) == parameters


@pytest.mark.parametrize("ticket", [{}, {"ticket": "jira OPS-12"}], ids=["of no ticket", "of a ticket"])
@pytest.mark.parametrize("odd", CARRIED_OUT, ids=str)
def test_an_events_change_reaches_its_run_as_it_is(odd: dict[str, Any], ticket: dict[str, str]) -> None:
    """It is read twice: by the automation, and again when that asks for the run."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (trigger,) = next(d for d in deployments if d["name"] == "policy-change")["triggers"]
    change = {"entity": "acme", "document": {"x": odd, "note": "é \" ' < & \\ {{ 1 }}"}}
    event = SimpleNamespace(payload={"change": change} | ticket)
    rendered = as_the_server_reads(trigger["parameters"], event=event)
    assert as_the_server_reads(rendered) == {"ticket": ""} | {"change": change} | ticket


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_what_prefect_refuses_is_not_asked_for_again(serve: Callable[[Answer], Server], status: int) -> None:
    body = {"detail": "Error creating flow run: it is too odd " + 1000 * "x"}
    serve(lambda request: httpx.Response(status, json=body))
    with pytest.raises(OutsideError, match=r"refuses to create the run of .* it is too odd") as caught:
        start_run("policy-change/policy-change", "key", {})
    assert not caught.value.retryable
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_what_an_operator_mends_is_asked_for_again(serve: Callable[[Answer], Server], status: int) -> None:
    serve(lambda request: httpx.Response(status))
    with pytest.raises(OutsideError, match=str(status)) as caught:
        start_run("policy-change/policy-change", "key", {})
    assert caught.value.retryable
    assert not isinstance(caught.value, PrefectAway)
    assert deployment_id.cache_info().currsize == (status != 404), "deployed anew, it has another id"


class Runs:
    """Prefect's API over `runs`, as they are asked for: by state and deployment, page by page."""

    def __init__(self, **runs: list[tuple[str, str]]) -> None:
        self.ids = {name: str(uuid5(UUID(ID), name)) for name in runs}
        self.runs = [(name, state, key) for name, of in runs.items() for state, key in of]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        named = request.url.path.rpartition("/")[2]
        if "/deployments/name/" in request.url.path:
            return httpx.Response(200, json={"id": self.ids[named], "flow_id": ID, "name": named})
        if named != "filter":
            return httpx.Response(404)
        asked = json.loads(request.content)
        states, names = asked["flow_runs"]["state"]["type"]["any_"], asked["deployments"]["name"]["any_"]
        found = [run for run in self.runs if run[0] in names and run[1] in states]
        page = found[asked["offset"] :][: min(asked["limit"], 200)]
        return httpx.Response(200, json=[self.shown(*run) for run in page])

    def shown(self, name: str, state: str, key: str) -> dict[str, Any]:
        made = {"id": str(uuid4()), "deployment_id": self.ids[name], "idempotency_key": key, "tags": [f"{TAG}CHG-1"]}
        at = {"type": state, "timestamp": "2026-11-24T09:00:00Z"}
        return RUN | made | {"state": at}


def test_what_hangs_is_found_behind_any_number_of_runs_that_wait(reach: Callable[[Answer], None]) -> None:
    runs_of = {
        "policy-change": [("PENDING", "a")],
        "shaping-step": [*(("SCHEDULED", f"ab:{n}:1") for n in range(2 * PAGE + 1)), ("RUNNING", "ab:0:1")],
        "enforce-policy": [("COMPLETED", "c")],
        "reconcile": [*(("SCHEDULED", f"minute {n}") for n in range(60)), ("RUNNING", "minute")],
    }
    reach(Runs(**runs_of))
    runs = open_runs()
    assert [(r.kind, r.state, r.key) for r in runs[:3]] == [
        ("plan", "pending", "a"),
        ("step", "running", "ab:0:1"),
        ("reconcile", "running", "minute"),
    ]
    assert [r.key for r in runs[3:]] == [f"ab:{n}:1" for n in range(2 * PAGE + 1)], "and no minute to come"
    assert {r.changes for r in runs} == {("CHG-1",)}


def nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", [nobody, *(lambda request, status=s: httpx.Response(status) for s in (408, 429, 503))]
)
def test_a_prefect_that_gives_no_answer_is_away(serve: Callable[[Answer], Server], answer: Answer) -> None:
    serve(answer)
    with pytest.raises(PrefectAway) as caught:
        start_run("policy-change/policy-change", "key", {})
    assert caught.value.retryable
