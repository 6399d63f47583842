"""A whole Forebay on a real SQLite store over the model cloud: submit a change with its plan, and let time pass."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from forebay.app import arm
from forebay.app.advance import drive
from forebay.app.context import Context
from forebay.app.lookup import change_record
from forebay.app.plan import store_plans
from forebay.app.policies import policy_at
from forebay.app.receive import receive
from forebay.app.reconcile import reconcile
from forebay.app.wakeups import ENFORCE_HEAD_START
from forebay.control.decide import Decision
from forebay.domain.access import ApiKey
from forebay.domain.allocation import Lever, Setting
from forebay.domain.audit import AuditEvent
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import ForebayError, OutsideError
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import Band, PlanSlot, ShapingPlan, ShapingStep, StepReason
from forebay.domain.policy import PolicyVersion
from forebay.domain.records import ChangeRecord, Intent, Leftover, StepRecord, WakeUp
from forebay.domain.resources import Resource
from forebay.domain.rules import ChangeRules
from forebay.domain.workload import Workload, WorkloadCatalog
from forebay.ports import Snapshot, Store, Transaction
from forebay.store import SqlStore, open_store
from tests.support import samples
from tests.support.cloud import Demand, ModelCloud, ModelService, VirtualClock
from tests.support.stores import sqlite_url

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
EFFECTIVE = NOW + timedelta(minutes=30)
MINUTE = timedelta(minutes=1)
MEMORY = Path("/dev/shm")


def minutes(count: float) -> datetime:
    """That many minutes after the beginning."""
    return NOW + timedelta(minutes=count)


def a_workload(name: str = "web", **fields: Any) -> Workload:
    """One unit is one core at 50 %: 2 cores need 4 units. A step is verified 3 minutes after it was asked."""
    given: dict[str, Any] = {
        "name": name,
        "target": {"type": "ecs", "cluster": "c", "service": name},
        "unit": {"cpu_cores": 1},
        "objectives": {"cpu": 0.5},
        "limits": {"min_units": 1, "max_units": 20, "soft": {"units": 2, "dwell": "PT5M"}},
        "lead_time": "PT1M",
        "price": {"per_unit_hour": "0.05"},
        "verification": {"metric_delay": "PT1M", "window": "PT1M", "patience": "PT5M"},
    }
    return Workload.model_validate(given | fields)


def a_request(*workloads: str, **fields: Any) -> ChangeRequest:
    given: dict[str, Any] = {
        "change": "CHG-1",
        "entity": "acme",
        "policy": "quota",
        "effective_at": EFFECTIVE,
        "impacts": [{"workload": name, "factor": 2} for name in workloads or ("web",)],
        "requested_by": "ann",
        "settle": "PT10M",
    }
    return ChangeRequest.model_validate(given | fields)


def count(units: int) -> Setting:
    return Setting(lever=Lever.COUNT, count=units)


def floor(units: int, ceiling: int = 20) -> Setting:
    return Setting(lever=Lever.FLOOR, floor=units, ceiling=ceiling)


def flat(cores: float) -> Demand:
    return lambda at: {Resource.CPU: cores}


def doubling(cores: float = 2.0, at: datetime = EFFECTIVE) -> Demand:
    """What the plans here expect: twice as much from `at` on."""
    return lambda time: {Resource.CPU: cores if time < at else 2 * cores}


REASON = StepReason(binding=Resource.CPU, quantile=0.95, forced_by=EFFECTIVE, limit="soft limit", text="cpu binds")
UP = ((1, 4, 6), (7, 6, 8))


def a_plan(
    moves: Sequence[tuple[float, int, int]] = UP,
    *,
    change: str = "CHG-1",
    workload: str = "web",
    aligned: int | None = None,
    start: int = 4,
    demand: Demand | None = None,
    effective_at: datetime = EFFECTIVE,
) -> ShapingPlan:
    """`moves`: (minutes after the beginning, from, to). The band is 20 % around `demand`."""
    expected = demand or doubling(at=effective_at)
    slots = []
    for number in range(30):
        at = minutes(5 * number)
        cores = expected(at + 2.5 * MINUTE)[Resource.CPU]
        slots.append(
            PlanSlot(
                at=at,
                asked=start,
                serving=start,
                required_median=2 * cores,
                required_high=2.4 * cores,
                demand={Resource.CPU: Band(low=0.8 * cores, median=cores, high=1.2 * cores)},
            )
        )
    return ShapingPlan(
        change=change,
        workload=workload,
        created_at=NOW,
        effective_at=effective_at,
        start_units=start,
        aligned_units=aligned if aligned is not None else (moves[-1][2] if moves else start),
        confidence=0.95,
        steps=tuple(
            ShapingStep(
                sequence=number,
                due_at=minutes(at),
                from_units=before,
                to_units=after,
                verified_by=minutes(at + 3),
                reason=REASON,
            )
            for number, (at, before, after) in enumerate(moves, start=1)
        ),
        slots=tuple(slots),
        price=samples.a_plan().price,
        forecast={"cpu": ("flat",)},
    )


@dataclass
class WatchedStore:
    """The real store; `effect` is called before each look and each transaction, and after a commit."""

    inner: SqlStore
    effect: Callable[[str], None] = lambda name: None
    away: bool = False
    keys_used: bool = False

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self.effect("before a transaction")
        if self.away:
            raise OutsideError("the database is away", retryable=True)
        with self.inner.transaction() as tx:
            yield tx
        self.effect("after a transaction")

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        self.effect("before a look at the store")
        if self.away:
            raise OutsideError("the database is away", retryable=True)
        with self.inner.snapshot() as seen:
            yield seen

    def versions(self, entity: str, policy: str) -> Sequence[PolicyVersion]:
        return self.inner.versions(entity, policy)

    def changed_versions(self, since: datetime, until: datetime) -> Sequence[PolicyVersion]:
        return self.inner.changed_versions(since, until)

    def key(self, key_id: str) -> ApiKey | None:
        self.keys_used = True
        return self.inner.key(key_id)


@dataclass
class Recorder:
    """A Notifier and an Enforcer that remember. `failing`: so many pushes fail first. `told`: hears each event too."""

    name: str = "record"
    events: list[AuditEvent] = field(default_factory=list)
    pushed: list[PolicyVersion] = field(default_factory=list)
    failing: int = 0
    told: Callable[[AuditEvent], None] = lambda event: None

    def notify(self, event: AuditEvent) -> None:
        self.events.append(event)
        self.told(event)

    def prepare(self, version: PolicyVersion) -> None:
        """Nothing takes time here."""

    def push(self, version: PolicyVersion) -> None:
        if self.failing:
            self.failing -= 1
            raise OutsideError(f"{self.name} is away", retryable=True)
        self.pushed.append(version)


# An engine keeps the statements it has compiled, which is most of the time a short life takes.
_spare: list[tuple[Path, SqlStore]] = []


def _empty_store() -> tuple[Path, SqlStore]:
    """A store on a new file, with an engine of a world that has ended where there is one."""
    if not _spare:
        # In memory where there is such a place: what a short life does most is wait for the disk.
        folder = Path(tempfile.mkdtemp(prefix="fb-", dir=MEMORY if MEMORY.is_dir() else None))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder, open_store(sqlite_url(folder))
    folder, sql = _spare.pop()
    for file in folder.iterdir():
        file.unlink()
    sqlite_url(folder)
    return folder, sql


def leave(world: World, change: str = "CHG-1") -> None:
    """As if `change` were over, and another hand in the way of giving back what it raised."""
    left = Leftover(
        change=change, workload="web", live=count(9), ours=count(8), restore=count(4), reason="why", since=NOW
    )
    with world.sql.transaction() as tx:
        tx.put_leftover(left, AuditEvent(at=NOW, actor="forebay", action="left raised", reason="9 is another's"))


class World:
    """Everything wired, and a small scheduler that does what the flows do. Use it as a context manager."""

    def __init__(
        self,
        *workloads: Workload,
        lever: Lever = Lever.COUNT,
        demand: Demand | None = None,
        units: int = 4,
        lag: timedelta = timedelta(seconds=40),
    ) -> None:
        self.clock = VirtualClock(NOW)
        self.folder, self.sql = _empty_store()
        self.store = WatchedStore(self.sql)
        catalog = WorkloadCatalog(workloads=workloads or (a_workload(),))
        setting = count(units) if lever is Lever.COUNT else floor(1)
        self.cloud = ModelCloud(
            self.clock,
            {
                w.name: ModelService(w, setting, demand or doubling(), lag, serving=[NOW] * units)
                for w in catalog.workloads
            },
        )
        self.people, self.enforcer = Recorder(), Recorder()
        store: Store = self.store
        self.ctx = Context(
            clock=self.clock,
            store=store,
            catalog=catalog,
            target=self.cloud.target,
            usage=self.cloud.usage,
            notifier=self.people,
            enforcers=(self.enforcer,),
        )
        self.decisions: list[Decision] = []
        self.troubles: list[str] = []
        self.created: dict[str, WakeUp] = {}
        self.waiting: list[WakeUp] = []
        self._runs = itertools.count(1)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *error: object) -> None:
        self.sql.close()
        if self.store.keys_used:
            # Its use is noted beside the answer: a late note would leave the next world a connection to this file.
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            _spare.append((self.folder, self.sql))

    # What people and doors do
    def submit(self, request: ChangeRequest | None = None, *plans: ShapingPlan) -> ChangeRecord:
        """Receive a change and store its plans (by default one of two steps, 4 to 6 to 8 units)."""
        record = receive(self.ctx, request or a_request())
        if record.state is not ChangeState.RECEIVED:
            return record
        return store_plans(self.ctx, record.change.change, plans or (a_plan(change=record.change.change),))

    def put_rules(self, **fields: Any) -> None:
        event = AuditEvent(at=self.clock.now(), actor="ann", action="rules", reason="test")
        with self.sql.transaction() as tx:
            tx.put_rules(ChangeRules.model_validate(fields), event)

    # What the flows do
    def drive(self, workload: str = "web", change: str = "CHG-1", holder: str | None = None) -> str:
        return drive(self.ctx, change, workload, holder or f"run {next(self._runs)}", self.decisions.append)

    def enforce(self, change: str = "CHG-1") -> str:
        """The enforcing flow: check once more, wait for the exact time, record and push."""
        arm.arm_if_aligned(self.ctx, change)
        arm.wait_until_effective(self.ctx, change)
        return arm.enforce(self.ctx, change)

    def reconcile(self) -> None:
        """One pass of the reconciler: repairs at once, and a run for each wake-up whose key is new."""
        found = reconcile(
            self.ctx, f"pass {next(self._runs)}", timedelta(hours=2), lambda name, e: self.troubles.append(str(e))
        )
        for wake_up in found:
            if wake_up.key not in self.created:
                self.created[wake_up.key] = wake_up
                self.waiting.append(wake_up)

    def run_due(self) -> bool:
        """Start the run that is due first; False if none is."""
        # One thing at a time here: a run that waits for its time keeps all else from being done, so it comes late.
        late = {"enforce": ENFORCE_HEAD_START - timedelta(seconds=15)}
        due = [w for w in self.waiting if w.at + late.get(w.kind, timedelta(0)) <= self.clock.now()]
        if not due:
            return False
        wake_up = min(due, key=lambda w: w.at)
        self.waiting.remove(wake_up)
        try:
            self.run(wake_up)
        except ForebayError as error:
            self.troubles.append(str(error))  # Prefect marks the run as failed; the reconciler goes on
        return True

    def run(self, wake_up: WakeUp) -> None:
        """What the run of a wake-up does, whether or not it is due. Raises what it fails with."""
        if wake_up.kind == "step":
            assert wake_up.workload is not None
            self.drive(wake_up.workload, wake_up.change)
        elif wake_up.kind == "enforce":
            self.enforce(wake_up.change)

    def run_until(self, until: datetime, every: timedelta = MINUTE) -> None:
        """Let everything run by itself."""
        while self.clock.now() < until:
            try:
                self.reconcile()
            except OutsideError as error:
                self.troubles.append(str(error))
            if not self.run_due():
                self.clock.sleep(min(every, until - self.clock.now()))

    # What can be seen
    def record(self, change: str = "CHG-1") -> ChangeRecord:
        return change_record(self.ctx, change)

    @property
    def state(self) -> ChangeState:
        return self.record().state

    def steps(self, change: str = "CHG-1", workload: str | None = None) -> Sequence[StepRecord]:
        with self.sql.transaction() as tx:
            return tx.steps(change, workload)

    def intents(self, workload: str = "web") -> Sequence[Intent]:
        with self.sql.transaction() as tx:
            return tx.intents(workload)

    def actions(self, change: str | None = "CHG-1") -> list[str]:
        """What the audit log says was done, in order."""
        with self.sql.transaction() as tx:
            return [entry.event.action for entry in tx.audit_entries(change)]

    def told(self, action: str) -> list[str]:
        """The reasons with which people were told of `action`, in order."""
        return [event.reason for event in self.people.events if event.action == action]

    def version_at(self, at: datetime, policy: str = "quota", entity: str = "acme") -> int | None:
        """The version of the entity's policy in force at `at`."""
        answer = policy_at(self.ctx, entity, policy, at)
        return answer.version.version if answer.version else None

    def asked(self, workload: str = "web") -> list[int]:
        """The units of Forebay's own writes, in order."""
        return [write.after.units for write in self.cloud.ours(workload)]

    def setting(self, workload: str = "web") -> Setting:
        return self.cloud.services[workload].setting


def usage_of(cores: float) -> Mapping[Resource, float]:
    return {Resource.CPU: cores}
