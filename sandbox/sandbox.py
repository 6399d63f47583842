"""The sandbox itself: a simulated cloud behind a real AWS endpoint, with a load on it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal

import botocore.session
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from pydantic import TypeAdapter, ValidationError

from sandbox import aas_api, asg_api, cloudwatch_api, ecs_api, provision, quotas
from sandbox.aas_api import ScalableTargets
from sandbox.asg import Groups
from sandbox.autoscaler import ServiceAutoscaler
from sandbox.clock import Clock, ManualClock, RealClock
from sandbox.config import ConfigError, Fault, SandboxConfig, Workload, describe, parse
from sandbox.control import Control
from sandbox.ecs import Services
from sandbox.gate import Gate
from sandbox.group_autoscaler import GroupAutoscaler
from sandbox.metrics import Metric
from sandbox.report import report, ticks
from sandbox.server import Server, moto_app
from sandbox.stage import Stage
from sandbox.world import Patches, World

WARM_UP: list[tuple[str, tuple[str, dict[str, Any]]]] = [
    ("ecs", ("list_clusters", {})),
    ("application-autoscaling", ("describe_scalable_targets", {"ServiceNamespace": "ecs"})),
    ("cloudwatch", ("list_metrics", {})),
]
_FAULT: TypeAdapter[Any] = TypeAdapter(Fault)
_one_at_a_time = threading.Lock()


class Sandbox:
    """Use as a context manager. One at a time in a process: moto's state belongs to the process.

    With the real clock a thread ticks every `config.tick_s`; with the manual clock time moves by `advance` only.
    All methods are safe to call from any thread.
    """

    def __init__(
        self,
        config: SandboxConfig | dict[str, Any] | None = None,
        port: int = 0,
        clock: Literal["real", "manual"] = "real",
    ) -> None:
        self.config = config if isinstance(config, SandboxConfig) else parse(SandboxConfig, config or {})
        self.clock: Clock = RealClock() if clock == "real" else ManualClock(self.config.start)
        self._port = port
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._patches = Patches()

    # -- life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Sandbox:
        if not _one_at_a_time.acquire(blocking=False):
            raise RuntimeError("a sandbox runs in this process already; close it first, or start a second process")
        try:
            self._assemble()
            self._server = Server(self._port, Gate(lambda: self.world, self._lock, moto_app(), Control(self)))
        except BaseException:  # a Ctrl-C too must not leave moto patched; it is raised on
            self._patches.undo()
            _one_at_a_time.release()
            raise
        self.url = self._server.url
        self._ticker: threading.Thread | None = None
        try:
            self._warm_up()
            self.reset()
        except BaseException:  # a Ctrl-C too must not leave the port and its thread behind; it is raised on
            self.close()
            raise
        if isinstance(self.clock, RealClock):
            self._ticker = threading.Thread(target=self._run, name="sandbox-ticker", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the port, joins the threads, takes the patches off moto and empties it."""
        self._stop.set()
        if self._ticker:
            self._ticker.join()
        self._server.close()
        self._patches.undo()
        _empty_moto()
        _one_at_a_time.release()

    def _assemble(self) -> None:
        world = self.world = World(self.config, self.clock)
        self.services = Services(world)
        targets = ScalableTargets(world, self.services)
        self.autoscaler = ServiceAutoscaler(world, targets)
        self.groups = Groups(world)
        self.group_autoscaler = GroupAutoscaler(world, self.groups)
        self.stage = Stage(world)
        ecs_api.install(self._patches, self.services)
        aas_api.install(self._patches, targets)
        asg_api.install(self._patches, self.groups)
        cloudwatch_api.install(self._patches, world)
        quotas.install(self._patches, world)
        self._before = world.now()

    def _warm_up(self) -> None:
        """Meets each service's first call, which loads its model, before a client does."""
        session = botocore.session.Session()
        for name, call in WARM_UP:
            client = session.create_client(
                name,
                self.config.region,
                endpoint_url=self.url,
                aws_access_key_id="sandbox",
                aws_secret_access_key="sandbox",  # noqa: S106 - moto wants some key, any will do
            )
            getattr(client, call[0])(**call[1])

    def reset(self, config: SandboxConfig | None = None) -> None:
        """Back to the start: nothing but the configuration's workloads and faults.

        A new `config` replaces the old one. A manual clock goes back to `config.start` if that is set.
        """
        with self._lock:
            self.config = config or self.config
            if isinstance(self.clock, ManualClock) and self.config.start:
                self.clock = ManualClock(self.config.start)
            self._patches.undo()
            _empty_moto()
            self._assemble()
            for fault in self.config.faults:
                self.world.faults.add(fault, self.clock.now())
            for workload in self.config.workloads:
                self.add_workload(workload)

    # -- time ----------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self.clock.now()

    def advance(self, seconds: float, step_s: float | None = None) -> None:
        """Moves the manual clock on, tick by tick. Raises RuntimeError under the real clock."""
        if not isinstance(self.clock, ManualClock):
            raise RuntimeError("advance needs the manual clock; start the sandbox with clock='manual'")
        step, end = step_s or self.config.tick_s, self.clock.now() + timedelta(seconds=seconds)
        while (left := (end - self.clock.now()).total_seconds()) > 0:
            with self._lock:
                self.clock.move(min(step, left))
                self._tick()

    def _tick(self) -> None:
        now = self.clock.now()
        seconds = (now - self._before).total_seconds()
        self.stage.tick(seconds)
        self.autoscaler.tick(self._before)
        self.group_autoscaler.tick(self._before)
        self.services.tick()
        self.groups.tick()
        self._before = now

    def _run(self) -> None:
        while not self._stop.wait(self.config.tick_s):
            with self._lock:
                self._tick()

    # -- what users do -------------------------------------------------------------------------------------------

    def add_workload(self, workload: Workload | dict[str, Any]) -> None:
        """Creates the service or group (unless `create` is off or it exists) and puts the load on it.

        Raises ConfigError for a wrong workload, ValueError for a name that plays already.
        """
        known = workload if isinstance(workload, Workload) else parse(Workload, workload)
        with self._lock:
            self.stage.check(known)
            if known.timing:
                self.world.timings[known.target] = known.timing
            if known.ecs_service:
                if known.create:
                    provision.ecs_service(self.world, self.services, known)
                self.stage.add(known, provision.ServiceUnits(self.world, self.services, known))
            else:
                if known.create:
                    provision.auto_scaling_group(self.world, self.groups, known)
                self.stage.add(known, provision.GroupUnits(self.world, self.groups, known))

    def fault(self, **rule: Any) -> str:
        """Puts a fault in force, e.g. `fault(kind="throttle", op="UpdateService", count=3)`; answers its id."""
        try:
            fault = _FAULT.validate_python(rule)
        except ValidationError as exc:
            raise ConfigError(describe(exc)) from exc
        with self._lock:
            return self.world.faults.add(fault, self.clock.now())

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Ends one fault, or all. Raises KeyError for an unknown id."""
        with self._lock:
            self.world.faults.clear(fault_id)

    def set_factor(self, workload: str, entity: str, factor: float, ramp_s: float = 0) -> None:
        """Multiplies the entity's share of demand, at once or linearly over `ramp_s` seconds from now.

        Raises KeyError for an unknown workload or entity, ValueError for a negative number.
        """
        with self._lock:
            self._play(workload).load.set_factor(entity, factor, self.clock.now().timestamp(), ramp_s)

    def report(self) -> dict[str, dict[str, Any]]:
        """The score of each workload, see `sandbox.report.report`."""
        with self._lock:
            return {name: report(play) for name, play in self.stage.plays.items()}

    def ticks(self, workload: str, every: int = 1) -> list[dict[str, float]]:
        """The record of a workload, every n-th tick; `time` in epoch seconds."""
        with self._lock:
            return ticks(self._play(workload), every)

    def put_metric(
        self, namespace: str, name: str, dimensions: dict[str, str], value: float, at: datetime, samples: int = 1
    ) -> None:
        """Stores a datapoint in any namespace, also AWS/..., at any time: for tests that need a chosen past."""
        with self._lock:
            metric = Metric.of(namespace, name, dimensions)
            self.world.store().put(metric, at.timestamp(), value, None, samples)

    def _play(self, workload: str) -> Any:
        if workload not in self.stage.plays:
            known = ", ".join(self.stage.plays) or "none"
            raise KeyError(f"no workload {workload!r} plays; known: {known}")
        return self.stage.plays[workload]


def _empty_moto() -> None:
    BackendDict.reset()
    reset_model_data()
