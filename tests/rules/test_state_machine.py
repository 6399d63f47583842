"""Random lives on the real store and the model cloud: whatever happens in whatever order, the rules hold.

`FOREBAY_LONG=1` runs ten thousand of them (`make lives`); `--hypothesis-seed` chooses which.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forebay.app import arm
from forebay.app.approvals import approve
from forebay.app.people import cancel, hold, resume
from forebay.control.decide import free_at
from forebay.domain.allocation import Lever
from forebay.domain.errors import ForebayError, RuleRefusal
from forebay.domain.lifecycle import STEPPING, TERMINAL, ChangeState, StepState
from tests.support.cloud import ApplyFault, Bomb, Crash
from tests.support.lives import Watcher, demand_of
from tests.support.world import MINUTE, NOW, World, a_plan, a_request, a_workload, count, floor

S = ChangeState
SECONDS = st.integers(1, 400)
WHERE = st.integers(0, 1)


class Lives(RuleBasedStateMachine):
    """One change after the other, on one workload or on two at once."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    @initialize(
        lever=st.sampled_from(Lever),
        defer=st.booleans(),
        two=st.booleans(),
        answer=st.sampled_from(["hold", "insist", "yield"]),
        approval=st.booleans(),
        given_up=st.booleans(),
        calm=st.sampled_from([0, 0, 0, 15]),
    )
    def begin(
        self, lever: Lever, defer: bool, two: bool, answer: str, approval: bool, given_up: bool, calm: int
    ) -> None:
        self.given_up = given_up
        self.names = ("web", "db") if two else ("web",)
        cores = [2.0]
        workloads = [a_workload(name, on_foreign_write=answer) for name in self.names]
        self.world = World(*workloads, lever=lever, demand=lambda at: demand_of(cores))
        self.watcher = Watcher(self.world, self.names, cores, needs_approval=approval)
        if approval:
            self.world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob", "eve"], "quorum": 1}}])
        self.misalignment = "defer" if defer else "reject"
        self.submit()
        self.world.clock.sleep(MINUTE)
        if calm:
            self._all_goes_well(calm)

    def _all_goes_well(self, for_minutes: int) -> None:
        """Else few lives come as far as to be armed. That is tried all the time: an enforcing run may come at any."""
        self._happen("approve", self.name)
        now, name = self.world.clock.now(), self.name
        for minute in range(for_minutes):
            self.world.clock.at(now + minute * MINUTE, lambda: self._happen("arm", name))
        self.world.run_until(now + for_minutes * MINUTE)

    @property
    def name(self) -> str:
        return f"CHG-{self.made}"

    @property
    def state(self) -> ChangeState:
        return self.world.record(self.name).state

    # What happens
    @precondition(lambda self: self.state in TERMINAL)
    @rule()
    def submit(self) -> None:
        self.made += 1
        now = self.world.clock.now()
        since = (now - NOW) / MINUTE
        effective_at = now + 20 * MINUTE
        fields = {"effective_at": effective_at, "settle": "PT5M", "on_misalignment": self.misalignment}
        plans = []
        for name in self.names:
            units = self.world.cloud.services[name].desired(now)
            moves = [(since + 1, units, units + 3), (since + 7, units + 3, units + 5)]
            plans.append(a_plan(moves, change=self.name, workload=name, start=units, effective_at=effective_at))
            self.watcher.found_at[self.name, name] = self.world.setting(name)
        self.world.submit(a_request(*self.names, change=self.name, **fields), *plans)

    @contextmanager
    def _with(self, effect: Callable[[str], None]) -> Iterator[None]:
        """`effect` meddles with what is done within; a crash ends it."""
        self.world.cloud.effect = self.world.store.effect = effect
        with suppress(Crash, ForebayError):
            yield
        self.world.cloud.effect = self.world.store.effect = lambda name: None

    def _meddle(self, what: str, at: int) -> Callable[[str], None]:
        """At the `at`th effect from now `what` happens, between a look and a write perhaps."""
        if what == "crash":
            return Bomb(at)
        calls, name = itertools.count(1), self.name
        another = what in ("other driver", "drive") and len(self.names) > 1
        outlasts = what == "long pause" or another  # another workload's step takes its minutes
        at = at % 8 + 1 if outlasts else at  # only before transactions, of which there are fewer

        def effect(where: str) -> None:
            # After the last look at its lease nothing can stop a write that is late: no pause there outlives a lease.
            if outlasts and where != "before a transaction":
                return
            if next(calls) == at:
                self.world.cloud.effect = self.world.store.effect = lambda name: None
                self._happen(what, name)

        return effect

    @rule(
        where=WHERE,
        what=st.sampled_from(
            ["nothing", "crash", "cancel", "hold", "hold and resume", "pause", "long pause", "dip", "other driver"]
        ),
        at=st.integers(1, 40),
    )
    def drive(self, where: int, what: str, at: int) -> None:
        with self._with(self._meddle(what, at)):
            self.world.drive(self.names[where % len(self.names)], self.name)

    @rule(what=st.sampled_from(["nothing", "crash", "cancel", "pause", "drive"]), at=st.integers(1, 20))
    def reconcile(self, what: str, at: int) -> None:
        with self._with(self._meddle(what, at)):
            self.world.reconcile()

    @rule(count=st.integers(1, 12))
    def all_runs_by_itself(self, count: int) -> None:
        self.world.run_until(self.world.clock.now() + count * MINUTE)

    @precondition(lambda self: self.state in STEPPING)
    @rule(at=st.integers(1, 8))
    def a_run_outlives_its_lease(self, at: int) -> None:
        """It stands still in the midst of a step that is due, and another is at work when it goes on."""
        name = self.names[-1]
        steps = self.world.steps(self.name, name)
        pending = next((s for s in steps if s.state is StepState.PENDING), None)
        if pending is not None:
            due = free_at(self.world.ctx.workload(name), steps, pending)
            self.world.clock.sleep(due - self.world.clock.now())
        with self._with(self._meddle("long pause", at)):
            self.world.drive(name, self.name)

    @precondition(lambda self: self.state is S.ARMED)
    @rule()
    def a_unit_is_lost_while_it_is_held(self) -> None:
        """Every step has its pass, and still the capacity is not there when it goes on."""
        self._happen("hold", self.name)
        self._happen("dip", self.name)
        self.world.clock.sleep(timedelta(seconds=90))
        self._happen("resume", self.name)
        self._happen("arm", self.name)

    @precondition(lambda self: self.state in STEPPING and self.world.asked(self.names[0]))
    @rule()
    def cancelled_in_a_blackout(self) -> None:
        """It is to go back, and nobody knows how much of it is needed."""
        self._happen("cancel", self.name)
        for service in self.world.cloud.services.values():
            service.metrics = False
        for _ in range(3):
            self.world.clock.sleep(6 * MINUTE)
            self._happen("reconcile", self.name)
        for service in self.world.cloud.services.values():
            service.metrics = True

    @precondition(lambda self: self.world.created)
    @rule(which=st.integers(0, 20))
    def a_run_comes_again(self, which: int) -> None:
        """One that is not due yet, that was late, or that has ended: the scheduler keeps no order."""
        runs = list(self.world.created.values())
        with suppress(ForebayError):
            self.world.run(runs[which % len(runs)])

    @rule()
    def enforce(self) -> None:
        arm.try_to_arm(self.world.ctx, self.name)
        arm.watch_armed(self.world.ctx, self.name)
        arm.enforce(self.world.ctx, self.name)

    @rule(seconds=st.integers(5, 900))
    def wait(self, seconds: int) -> None:
        self.world.clock.sleep(timedelta(seconds=seconds))

    @rule(hours=st.sampled_from([1, 7]))
    def the_clock_leaps(self, hours: int) -> None:
        """The machine slept, or its clock was wrong: nothing ran meanwhile, everything is late."""
        self.world.clock.sleep(timedelta(hours=hours))

    @rule(
        what=st.sampled_from(["hold", "resume", "cancel", "foreign", "blackout", "other driver", "reconcile"]),
        seconds=SECONDS,
    )
    def soon(self, what: str, seconds: int) -> None:
        """It happens in the midst of whatever runs then."""
        name = self.name
        at = self.world.clock.now() + timedelta(seconds=seconds)
        self.world.clock.at(at, lambda: self._happen(what, name))

    @rule(what=st.sampled_from(["hold", "resume", "cancel", "foreign", "dip"]))
    def now(self, what: str) -> None:
        self._happen(what, self.name)

    @precondition(lambda self: self.state is S.AWAITING_APPROVAL)
    @rule()
    def approve(self) -> None:
        self._happen("approve", self.name)

    @precondition(lambda self: self.state is S.HELD)
    @rule()
    def resume(self) -> None:
        self._happen("resume", self.name)

    def _happen(self, what: str, name: str) -> None:
        ctx = self.world.ctx
        try:
            match what:
                case "hold":
                    hold(ctx, name, "bob", "wait")
                case "hold and resume":
                    hold(ctx, name, "bob", "wait")
                    resume(ctx, name, "bob", "go on")
                case "resume":
                    resume(ctx, name, "bob", "go on")
                case "cancel":
                    cancel(ctx, name, "ann", "not needed")
                case "arm":
                    arm.try_to_arm(ctx, name)
                case "dip":
                    self.watcher.dip()
                case "approve":
                    approve(ctx, name, "bob", "fine")
                case "drive" | "other driver":
                    self.watcher.look_at_lease(self.names[-1])
                    self.world.drive(self.names[-1], name)
                    self.watcher.look_at_lease(self.names[-1])
                case "reconcile":
                    self.world.reconcile()
                case "pause":
                    self.world.clock.sleep(timedelta(seconds=50))
                case "long pause":
                    at = self.world.clock.now() + timedelta(seconds=80)
                    self.world.clock.at(at, lambda: self._happen("other driver", name))
                    self.world.clock.sleep(timedelta(seconds=90))
                case "blackout":
                    for service in self.world.cloud.services.values():
                        service.metrics = False
                        self.world.clock.at(
                            self.world.clock.now() + 4 * MINUTE, lambda s=service: setattr(s, "metrics", True)
                        )
                case "foreign":
                    live = self.world.setting(self.names[-1])
                    units = max(1, live.units - 1) if live.units > 9 else live.units + 3
                    self.watcher.foreign.append(count(units) if live.lever is Lever.COUNT else floor(units))
                    self.world.cloud.set(self.names[-1], self.watcher.foreign[-1], foreign=True)
        except RuleRefusal:
            pass

    @rule(fault=st.sampled_from(["lost answer", "throttled", "refused"]))
    def fault(self, fault: ApplyFault) -> None:
        self.world.cloud.faults.append(fault)

    @rule(cores=st.sampled_from([1.0, 2.0, 3.0, 9.0]), metrics=st.booleans(), arrives=st.sampled_from([5, 7, 100, 100]))
    def weather(self, cores: float, metrics: bool, arrives: int) -> None:
        """Demand, data and capacity come and go."""
        self.watcher.cores.append(cores)
        for service in self.world.cloud.services.values():
            service.metrics, service.arrives = metrics, arrives

    @invariant()
    def the_rules_hold(self) -> None:
        self.watcher.check(self.name)

    def teardown(self) -> None:
        """Let go, and it comes to an end by itself: rolled back or closed, every write settled, the log whole."""
        if not hasattr(self, "watcher"):
            return
        with self.world as world:
            world.cloud.faults.clear()
            self.weather(1.0, metrics=True, arrives=100)
            world.clock.sleep(10 * MINUTE)  # until leases have ended and what was to happen soon has happened
            if self.given_up:
                self._happen("cancel", self.name)
            for _ in range(12):
                if self.state is S.HELD:
                    self._happen("cancel", self.name)
                if self.state not in TERMINAL:
                    world.run_until(world.clock.now() + 20 * MINUTE, every=5 * MINUTE)
            assert self.state in TERMINAL, world.record(self.name).note
            self.watcher.check(self.name)
            self.watcher.check_at_the_end(self.name)


LONG = os.environ.get("FOREBAY_LONG") == "1"
TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=10_000 if LONG else 100,
    stateful_step_count=30 if LONG else 12,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
