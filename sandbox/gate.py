"""The door of the server: one request at a time, faults applied, control calls answered, the rest goes to moto."""

from __future__ import annotations

import gzip
import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4
from xml.sax.saxutils import escape

from sandbox.config import ApiFault
from sandbox.world import World

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]
QUERY_SERVICES = ("autoscaling", "ec2", "sns", "sts", "elasticloadbalancing", "iam")
SIGNING_NAMES = {"monitoring": "cloudwatch"}
USUAL = {"throttle": ("ThrottlingException", 400), "error": ("InternalFailure", 500)}


class Gate:
    """A WSGI application around moto's. moto's models are not thread safe, so calls go through one by one."""

    def __init__(self, world: Callable[[], World], lock: Any, moto: App, control: App) -> None:
        self.world = world  # asked for at each call: a reset makes a new one
        self.lock = lock
        self.moto = moto
        self.control = control

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith("/_sandbox/"):
            with self.lock:
                return self.control(environ, start_response)
        service, operation = operation_of(environ)
        with self.lock:
            now = self.world().now()
            met = self.world().faults.meet(service, operation, now)
            port = int(environ.get("REMOTE_PORT", 0))
            call = self.world().calls.arrived(now, service, operation, port, _parameters(environ))
        for fault in met:
            if fault.kind in ("delay", "lost_call"):
                time.sleep(fault.delay_s)
            if fault.kind == "lost_call":
                call.state = "lost"
                _hang_up(environ, "the call was lost on purpose")
            if fault.kind in USUAL:
                call.state = "refused"
                return _refuse(fault, service, start_response)

        def started(status: str, *rest: Any) -> Any:
            call.state = "made" if status < "4" else "refused"
            return start_response(status, *rest)

        with self.lock:
            answer = list(self.moto(environ, started))
        for fault in met:
            if fault.kind == "slow_answer":
                time.sleep(fault.delay_s)
            elif fault.kind == "lost_answer":
                _hang_up(environ, "the answer was lost on purpose")
        return answer


def _hang_up(environ: Environ, why: str) -> None:
    """The caller sees the connection die before a single byte of an answer. Raises ConnectionResetError."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError(why)


def operation_of(environ: Environ) -> tuple[str, str]:
    """Service and operation of a signed AWS call, e.g. ("ecs", "UpdateService")."""
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    service = scope.group(1) if scope else ""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        operation = target.rsplit(".", 1)[-1]
    else:
        operation = parse_qs(_body(environ).decode("utf-8", "replace")).get("Action", [""])[0]
    return SIGNING_NAMES.get(service, service), operation or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"


def _parameters(environ: Environ) -> dict[str, Any]:
    """What was asked, by parameter; empty where the body is in a form that no call logged here has."""
    data = _body(environ)
    # botocore packs long bodies.
    body = (gzip.decompress(data) if environ.get("HTTP_CONTENT_ENCODING") == "gzip" else data).decode(
        "utf-8", "replace"
    )
    if "json" not in environ.get("CONTENT_TYPE", ""):
        return {name: values[-1] for name, values in parse_qs(body).items()}
    return dict(json.loads(body or "{}"))


def _body(environ: Environ) -> bytes:
    """The body, left readable for whoever comes next."""
    data: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(data)
    return data


def _refuse(fault: ApiFault, service: str, start_response: Any) -> Iterable[bytes]:
    code, status = USUAL[fault.kind]
    if fault.kind == "throttle" and service in QUERY_SERVICES:
        code = "Throttling"
    code, status = fault.code or code, fault.status or status
    message = "Rate exceeded" if fault.kind == "throttle" else "The sandbox was told to fail this call."
    if service in QUERY_SERVICES:
        kind = "text/xml"
        body = (
            f"<ErrorResponse><Error><Type>{'Sender' if status < 500 else 'Receiver'}</Type><Code>{escape(code)}</Code>"
            f"<Message>{message}</Message></Error><RequestId>{uuid4()}</RequestId></ErrorResponse>"
        )
    else:
        kind = "application/x-amz-json-1.1"
        body = f'{{"__type": "{code}", "message": "{message}"}}'
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("x-amzn-RequestId", str(uuid4()))]
    start_response(f"{status} {'Refused' if status < 500 else 'Failed'}", headers)
    return [body.encode()]
