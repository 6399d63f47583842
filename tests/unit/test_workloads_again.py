"""The workloads file is edited under processes that work on: they go by it, and a slip in it stops nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from prefect.client.schemas.objects import BlockDocument

import blocks.context
import tasks.reconcile
from blocks.context import Workloads
from blocks.workloads import ForebayWorkloads
from deployments.reconciler import one_pass
from forebay.app.tickets import store_ticket
from forebay.cli.service import worker
from forebay.domain.errors import InputError, OutsideError
from forebay.store import migrate
from forebay.wiring import CatalogFile
from tests.support.web import SECRET, a_delivery, signed
from tests.support.world import World
from tests.unit.test_control_tickets import Prefect, delivery

SLIP = "workloads: [{name: web}]"
SAVED = blocks.context.saved


def listing(*names: str, most: int = 40) -> str:
    return "workloads:\n" + "".join(
        f"  - name: {name}\n"
        f"    target: {{type: ecs, cluster: demo, service: {name}}}\n"
        "    unit: {cpu_cores: 1}\n"
        "    objectives: {cpu: 0.6}\n"
        f"    limits: {{min_units: 1, max_units: {most}, soft: {{units: 4}}}}\n"
        "    lead_time: PT1M\n"
        "    price: {per_unit_hour: 0.05}\n"
        for name in names
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "workloads.yaml"
    path.write_text(listing("web"))
    return path


def test_an_edited_file_is_seen_and_what_was_held_stays_as_it_was(file: Path) -> None:
    catalog = CatalogFile(file)
    held = catalog.get("web")
    assert held is not None and catalog.get("db") is None
    file.write_text(listing("web", "db", most=60))
    again = catalog.get("web")
    assert again is not None and (held.limits.max_units, again.limits.max_units) == (40, 60)
    assert [workload.name for workload in catalog.workloads] == ["web", "db"]
    assert catalog.get("web") is again, "parsed once"


@pytest.mark.parametrize("slip", [SLIP, "workloads: [", None])
def test_a_slip_is_told_and_what_was_read_before_is_kept(
    file: Path, caplog: pytest.LogCaptureFixture, slip: str | None
) -> None:
    catalog = CatalogFile(file)
    known = catalog.get("web")
    file.write_text(slip) if slip else file.unlink()
    assert catalog.get("web") == known and len(catalog.workloads) == 1
    (told,) = caplog.records
    assert told.levelno == logging.ERROR and str(file) in told.message and "goes on by" in told.message
    with pytest.raises(OutsideError, match=r"workloads\.yaml"):
        catalog.get("db")  # nobody knows whether it is there by now
    file.write_text(listing("web", "db"))
    assert catalog.get("db") is not None


def test_a_file_that_never_could_be_read_is_said_to_whoever_asks(tmp_path: Path) -> None:
    catalog = CatalogFile(tmp_path / "none.yaml")
    for _ in range(2):
        with pytest.raises(InputError, match="there is no workloads file"):
            catalog.get("web")


@pytest.fixture
def answer(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """What a process of `forebay serve` answers to a ticket for the workload of that name."""
    address = f"sqlite:///{tmp_path / 'forebay.db'}"
    migrate(address)
    monkeypatch.setenv("FOREBAY_DATABASE_URL", address)
    monkeypatch.setenv("FOREBAY_WORKLOADS", str(file))
    monkeypatch.setenv("FOREBAY_WEBHOOK_SECRETS", f'{{"generic": ["{SECRET}"]}}')
    client = TestClient(worker())

    def asked(workload: str) -> int:
        ticket = a_delivery(impacts=[{"workload": workload, "factor": 2}])
        return client.post("/v1/tickets/generic", **signed(ticket, datetime.now(UTC))).status_code

    return asked


def test_serve_takes_a_ticket_for_a_workload_that_was_added(file: Path, answer: Callable[[str], int]) -> None:
    assert answer("db") == 422
    file.write_text(listing("web", "db"))
    assert answer("db") == 202


def test_serve_goes_on_where_the_file_breaks_before_it_was_ever_asked(file: Path, answer: Callable[[str], int]) -> None:
    file.write_text(SLIP)
    assert answer("web") == 202
    assert answer("db") == 503, "nobody knows whether it is there by now"


class Saved:
    """The block *Forebay workloads*, where one is saved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.block: ForebayWorkloads | None = None
        monkeypatch.setattr(blocks.context, "saved", lambda kind: self.block)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Saved:
    return Saved(monkeypatch)


@pytest.fixture
def passing(world: World, file: Path, saved: Saved, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose reconciler goes by the file."""
    Prefect(world, monkeypatch, {})
    monkeypatch.setattr(tasks.reconcile, "start_run", lambda deployment, key, parameters: SimpleNamespace(name=key))
    catalog = Workloads(file)
    catalog.refresh()
    world.ctx = replace(world.ctx, catalog=catalog)
    return world


def test_the_reconciler_sweeps_the_ticket_of_a_workload_that_was_added(passing: World, file: Path) -> None:
    file.write_text(listing("web", "db"))
    serving = replace(passing.ctx, catalog=CatalogFile(file))
    store_ticket(serving, "jira", delivery(impacts=[{"workload": "db", "factor": 2}]))
    assert one_pass(set(), False, "") == ""
    assert passing.record("T-1").state == "received"


def test_nothing_changes_under_a_pass_and_a_run(passing: World, file: Path) -> None:
    file.write_text(listing("web", most=60))
    assert passing.ctx.workload("web").limits.max_units == 40


def test_a_slip_stops_no_pass_and_is_told_once_an_hour(
    passing: World, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(SLIP)
    store_ticket(passing.ctx, "jira", delivery())
    failing = ""
    for _ in range(3):
        failing = one_pass(set(), True, failing)
    assert str(file) in failing
    assert passing.record("T-1").state == "received", "by what was read before"
    (told,) = passing.told("workloads not read")
    assert str(file) in told and len([r for r in caplog.records if "a pass failed" in r.message]) == 1
    file.write_text(listing("web"))
    assert one_pass(set(), True, failing) == ""


def test_a_ticket_waits_for_what_cannot_be_read_now(passing: World, file: Path, saved: Saved) -> None:
    file.write_text(listing("web", "db"))
    serving = replace(passing.ctx, catalog=CatalogFile(file))
    store_ticket(serving, "jira", delivery(impacts=[{"workload": "db", "factor": 2}]))
    saved.block = ForebayWorkloads(yaml=SLIP)
    assert "block forebay-workloads" in one_pass(set(), False, "")
    saved.block = ForebayWorkloads(yaml=listing("web", "db"))
    assert one_pass(set(), False, "") == "", "the block is asked for as long as a ticket waits"
    assert passing.record("T-1").state == "received"


def test_a_block_that_cannot_be_read_stops_no_pass_and_is_told(passing: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of an older version, to whose fields another was added since."""
    older = BlockDocument(name="forebay", data={}, block_schema_id=uuid4(), block_type_id=uuid4())
    monkeypatch.setattr(blocks.context, "saved", SAVED)
    monkeypatch.setattr(ForebayWorkloads, "load", lambda name, _sync: ForebayWorkloads._load_from_block_document(older))
    store_ticket(passing.ctx, "jira", delivery())
    assert "the block forebay of type 'Forebay workloads' cannot be read: save it anew" in one_pass(set(), True, "")
    assert passing.record("T-1").state == "received", "by what was read before"
    assert len(passing.told("workloads not read")) == 1


def test_a_block_that_is_saved_or_changed_is_seen_by_the_next_pass_that_looks(
    passing: World, file: Path, saved: Saved
) -> None:
    for names in (("web", "db"), ("web", "db", "search")):
        saved.block = ForebayWorkloads(yaml=listing(*names))
        one_pass(set(), True, "")
        assert tuple(workload.name for workload in passing.ctx.catalog.workloads) == names
