"""The life of one change on a virtual clock: production decides, only time and the outside are simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from forebay.app.advance import tick
from forebay.app.arm import VERDICTS_TOLD, enforce, try_to_arm
from forebay.app.context import Context
from forebay.app.lookup import own_version
from forebay.app.plan import plan_change
from forebay.app.receive import receive
from forebay.app.reconcile import repair
from forebay.app.recover import recover
from forebay.control.decide import Decision
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.lifecycle import STEPPING, TERMINAL, StepState
from forebay.domain.records import ChangeRecord
from forebay.replay.cloud import SimulatedService
from forebay.replay.journal import Journal

HOLDER = "replay"


class VirtualClock:
    """A Clock that moves only when told to, and takes every simulated service along."""

    def __init__(self, start: datetime, services: Sequence[SimulatedService]) -> None:
        self._now, self._services = start, services

    def now(self) -> datetime:
        return self._now

    def sleep(self, duration: timedelta) -> None:
        self.run_until(self._now + duration)

    def run_until(self, at: datetime) -> None:
        """Nothing happens if `at` is not ahead."""
        if at <= self._now:
            return
        for service in self._services:
            service.run_until(at)
        self._now = at


class Replay:
    """One change from its receipt to the end of the record. `truth`: what the change really does."""

    def __init__(
        self,
        ctx: Context,
        clock: VirtualClock,
        services: Mapping[str, SimulatedService],
        truth: PolicyChange,
        journal: Journal,
    ) -> None:
        self._ctx, self._clock, self._services, self._truth, self._journal = ctx, clock, services, truth, journal
        self._until = min(service.recorded.index.end for service in services.values())
        self.in_force_from: datetime | None = None
        self._change = truth.change
        self._next_tick: dict[str, datetime | None] = {}
        self._said: dict[str, Decision] = {}

    def run(self, request: ChangeRequest) -> ChangeRecord:
        """Receive, plan, shape, enforce, settle, close; returns where the change stands at the end.

        Raises InputError and RuleRefusal as the use cases do.
        """
        record = receive(self._ctx, request)
        if record.state not in TERMINAL:
            record = plan_change(self._ctx, self._change)
        self._next_tick = {name: self._clock.now() for name in record.change.workloads}
        rhythm = min(service.workload.slot for service in self._services.values())
        # the run that enforces, and the reconciler's first look at what is overdue
        repair_at, effective = self._clock.now() + rhythm, record.change.effective_at
        enforce_at = (effective, effective + VERDICTS_TOLD)
        while True:
            ticks = {name: at for name, at in self._next_tick.items() if at is not None}
            now = min([repair_at, *ticks.values(), *(at for at in enforce_at if self._clock.now() < at)])
            if now >= self._until:
                break
            self._clock.run_until(now)
            # a verdict that ends a step has the next one looked at in the same moment, as a run does
            while due := [name for name, at in self._next_tick.items() if at is not None and at <= now]:
                for name in due:
                    self._tick(name)
            if now in enforce_at:
                try_to_arm(self._ctx, self._change)
                enforce(self._ctx, self._change)
            if now == repair_at:
                record = self._repair()
                repair_at = now + (rhythm if record.state not in TERMINAL else self._until - now)
            self._watch_force()
        self._clock.run_until(self._until)
        return self._record()

    def _tick(self, name: str) -> None:
        """What `advance.drive` does between two naps: take the lease, one tick, give it back."""
        with self._ctx.store.transaction() as tx:
            lease = tx.acquire_lease(name, HOLDER, self._clock.now(), self._ctx.lease)
        assert lease is not None, "nobody else holds a workload in a replay"
        try:
            result = tick(self._ctx, self._change, name, lease)
        finally:
            with self._ctx.store.transaction() as tx:
                tx.release_lease(lease, self._clock.now())
        if result.decision != self._said.get(name):
            self._journal.decided(name, result.decision)
            self._said[name] = result.decision
        self._next_tick[name] = result.again_at

    def _repair(self) -> ChangeRecord:
        """The reconciler's look: what it repairs, and the wake-up of a step that has none."""
        record = self._record()
        if record.state in TERMINAL:
            return record
        repair(self._ctx, record, HOLDER)
        recover(self._ctx, self._record(), HOLDER)
        after = self._record()
        if after.state in STEPPING:
            with self._ctx.store.snapshot() as tx:
                steps = tx.steps(self._change)
            for step in reversed([s for s in steps if s.state in (StepState.PENDING, StepState.ASKED)]):
                # A new plan has wake-ups of its own; a step without one is looked after at once.
                due = max(step.step.due_at, self._clock.now())
                self._next_tick[step.workload] = min(self._next_tick[step.workload] or self._clock.now(), due)
        return after

    def _watch_force(self) -> None:
        """From the moment the decision point answers the new version, the change's true impact acts."""
        with self._ctx.store.snapshot() as tx:
            record = tx.change(self._change)
            assert record is not None
            version = own_version(tx, record)
        began = version.in_force_from if version else None
        if began == self.in_force_from:
            return
        self.in_force_from = began
        for service in self._services.values():
            service.recorded.come_into_force(self._truth, began)

    def _record(self) -> ChangeRecord:
        with self._ctx.store.snapshot() as tx:
            record = tx.change(self._change)
        assert record is not None, "the replay received it"
        return record
