"""A web door to knock at: the application over a real store, with a clock that only the test moves."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from fastapi.testclient import TestClient
from pydantic import SecretStr

from forebay.app.context import Context
from forebay.app.tickets import StartRun
from forebay.domain.audit import AuditEvent
from forebay.domain.signature import signed_headers
from forebay.domain.source import GENERIC
from forebay.domain.workload import Workload, WorkloadCatalog
from forebay.ports import Store
from forebay.web.app import create_app
from forebay.web.settings import WebSettings
from tests.support.samples import NOW

SECRET = "a secret for tests, long enough"
OLD_SECRET = "the one before it, still valid"
CATALOG = WorkloadCatalog.parse(
    """
    workloads:
      - name: web
        target: {type: ecs, cluster: demo, service: web}
        unit: {cpu_cores: 1}
        objectives: {cpu: 0.6}
        limits: {min_units: 1, max_units: 40, soft: {units: 4}}
        lead_time: PT1M
        price: {per_unit_hour: 0.05}
    """
)


class HandClock:
    """Stands still until it is set."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def sleep(self, duration: timedelta) -> None:
        raise AssertionError("nothing behind a web door may sleep")


class Silent:
    def notify(self, event: AuditEvent) -> None:
        pass


def no_cloud(workload: Workload) -> Any:
    raise AssertionError(f"a web request must not touch the cloud (here: {workload.name})")


def a_context(store: Store, clock: HandClock) -> Context:
    return Context(clock=clock, store=store, catalog=CATALOG, target=no_cloud, usage=no_cloud, notifier=Silent())


def a_client(
    ctx: Context, start_run: StartRun | None = None, address: str = "203.0.113.7", **settings: Any
) -> TestClient:
    sources = settings.get("sources", (GENERIC.model_copy(update={"deliveries_per_minute": 10_000}),))
    secrets = {source.name: (SecretStr(OLD_SECRET), SecretStr(SECRET)) for source in sources}
    app = create_app(ctx, WebSettings(**{"sources": sources, "webhook_secrets": secrets, **settings}), start_run)
    return TestClient(app, follow_redirects=False, client=(address, 50_000))


def a_delivery(ticket: str = "CHG-7", revision: str = "1", **change: Any) -> dict[str, Any]:
    asked = {
        "entity": "acme",
        "policy": "quota",
        "effective_in": "PT2H",
        "impacts": [{"workload": "web", "factor": 2}],
        "requested_by": "ann",
        "reason": "more customers",
    }
    return {"ticket": ticket, "revision": revision, "change": asked | change}


def signed(delivery: Any, now: datetime = NOW, secret: str = SECRET) -> dict[str, Any]:
    """Arguments for `client.post`: the body of `delivery`, and the headers that sign it."""
    body = delivery if isinstance(delivery, bytes) else json.dumps(delivery).encode()
    return {"content": body, "headers": signed_headers(secret, body, now)}


def stored_tickets(store: Store) -> list[tuple[str, str]]:
    """Ticket and revision of every delivery that waits for its run."""
    with store.transaction() as tx:
        return [(t.ticket, t.revision) for t in tx.tickets_without_run()]
