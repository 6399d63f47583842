"""The sandbox's own API under `/_sandbox/`, JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from sandbox.config import ConfigError

if TYPE_CHECKING:
    from sandbox.sandbox import Sandbox

Query = dict[str, str]
Body = dict[str, Any]


class Control:
    """GET health, report, calls, ticks, faults; POST workloads, factors, faults, advance, reset; DELETE faults."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._routes: dict[tuple[str, str], Callable[[Query, Body], Any]] = {
            ("GET", "health"): self._health,
            ("GET", "report"): lambda query, body: sandbox.report(),
            ("GET", "ticks"): lambda query, body: sandbox.ticks(query["workload"], int(query.get("every", 1))),
            ("GET", "calls"): self._calls,
            ("GET", "faults"): self._faults,
            ("POST", "workloads"): lambda query, body: sandbox.add_workload(body),
            ("POST", "factors"): lambda query, body: sandbox.set_factor(**body),
            ("POST", "faults"): lambda query, body: {"id": sandbox.fault(**body)},
            ("DELETE", "faults"): lambda query, body: sandbox.clear_faults(query.get("id")),
            ("POST", "advance"): lambda query, body: sandbox.advance(float(body["seconds"])),
            ("POST", "reset"): lambda query, body: sandbox.reset(),
        }

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix("/_sandbox/").strip("/")
        status, answer = self._answer(method, path, environ)
        payload = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(payload)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [payload]

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> tuple[HTTPStatus, Any]:
        route = self._routes.get((method, path))
        if route is None:
            known = ", ".join(f"{m} {p}" for m, p in self._routes)
            return HTTPStatus.NOT_FOUND, {"error": f"no {method} /_sandbox/{path}; there is: {known}"}
        try:
            query = {k: v[-1] for k, v in parse_qs(environ.get("QUERY_STRING", "")).items()}
            raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = json.loads(raw) if raw else {}
            if not isinstance(body, dict):
                raise ConfigError("the body must be a JSON object")
            answer = route(query, body)
        except KeyError as exc:
            return HTTPStatus.NOT_FOUND, {"error": f"unknown or missing: {exc.args[0]}"}
        except (ValueError, TypeError, RuntimeError) as exc:
            return HTTPStatus.BAD_REQUEST, {"error": str(exc)}
        return HTTPStatus.OK, {"ok": True} if answer is None else answer

    def _health(self, query: Query, body: Body) -> Any:
        sandbox = self._sandbox
        return {"ok": True, "now": sandbox.now().isoformat(), "workloads": list(sandbox.stage.plays)}

    def _calls(self, query: Query, body: Body) -> Any:
        log = self._sandbox.world.calls
        writes = [asdict(call) | {"at": call.at.timestamp()} for call in log.since(int(query.get("since", 0)))]
        return {"counts": log.counts, "writes": writes}

    def _faults(self, query: Query, body: Body) -> Any:
        active = self._sandbox.world.faults.active(self._sandbox.now())
        return {fault_id: fault.model_dump() for fault_id, fault in active.items()}
