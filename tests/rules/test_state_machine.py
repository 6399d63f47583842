"""Random lives on the real store and the model cloud: whatever happens in whatever order, the rules hold.

`FOREBAY_LONG=1` runs ten thousand of them (`make lives`) or FOREBAY_LIVES; `--hypothesis-seed` chooses which.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forebay.app import arm
from forebay.app.approvals import approve
from forebay.app.people import cancel, hold, resume
from forebay.app.pins import pin
from forebay.app.rollback import rollback
from forebay.control.decide import free_at
from forebay.domain.allocation import Lever
from forebay.domain.errors import ForebayError, InputError, OutsideError, RuleRefusal
from forebay.domain.lifecycle import MOVING, STEPPING, TERMINAL, ChangeState, StepState
from tests.support.cloud import ApplyFault, Bomb, Crash
from tests.support.lives import Watcher, carry, demand_of, join, plans_of
from tests.support.world import MINUTE, World, a_request, a_workload, count, floor

S = ChangeState
LONG = os.environ.get("FOREBAY_LONG") == "1"
SECONDS = st.integers(1, 400)
WHERE = st.integers(0, 1)
BY_HAND = ["hold", "resume", "cancel", "roll back", "pin", "freeze", "foreign"]


class Lives(RuleBasedStateMachine):
    """One change after the other, on one workload or on two at once; some carry another's on their path."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.joined = ""
        self.states: dict[str, ChangeState] = {}

    @initialize(
        lever=st.sampled_from(Lever),
        defer=st.booleans(),
        two=st.booleans(),
        answer=st.sampled_from(["hold", "insist", "yield"]),
        approval=st.booleans(),
        given_up=st.booleans(),
        calm=st.sampled_from([0, 0, 0, 0, 0, 0, 15, 24, 40]),
        loses=st.booleans(),
        joined=st.booleans(),
        guarantees=st.sampled_from(["none", "each", "first", "every other"]),
        remembers=st.sampled_from([*[False] * 9, LONG]),
    )
    def begin(
        self,
        lever: Lever,
        defer: bool,
        two: bool,
        answer: str,
        approval: bool,
        given_up: bool,
        calm: int,
        loses: bool,
        joined: bool,
        guarantees: str,
        remembers: bool,
    ) -> None:
        """`remembers`: there is a history, so the rest of a plan is drawn anew from it, which takes its time."""
        if calm == 40:  # the next version is late, where the one before guarantees more
            joined, defer, guarantees = False, True, "first"
        self.given_up, self.guarantees, self.falls = given_up, guarantees, lever is Lever.FLOOR and not joined
        self.names = ("web", "db") if two else ("web",)
        cores = [2.0]
        workloads = [a_workload(name, on_foreign_write=answer) for name in self.names]
        self.world = World(*workloads, lever=lever, demand=lambda at: demand_of(cores))
        self.watcher = Watcher(self.world, self.names, cores, needs_approval=approval)
        self.world.cloud.remembers = remembers
        careful = {"name": "careful", "approval": {"approvers": ["bob", "eve"], "quorum": 1}}
        self.change_rules: dict[str, Any] = {"rules": [careful]} if approval else {}
        self.world.put_rules(**self.change_rules)
        self.misalignment = "defer" if defer else "reject"
        self.submit()
        if joined and lever is Lever.FLOOR:
            self._join()
        self.world.clock.sleep(MINUTE)
        if calm:
            self._all_goes_well(calm)
            self._look()
            if calm == 40 and self._over:
                self.submit()
                self._look()
                if self.state in MOVING:
                    self.its_time_is_over_before_its_first_step(0)
            elif loses and self.world.record(self.name).state is S.ARMED:  # few lives come by it later
                self.a_unit_is_lost_while_it_is_held()

    def _all_goes_well(self, for_minutes: int) -> None:
        """Else few lives come as far as to be armed. That is tried all the time: an enforcing run may come at any."""
        self._approve()
        now, names = self.world.clock.now(), self._names
        for minute, name in itertools.product(range(for_minutes), names):
            self.world.clock.at(now + minute * MINUTE, lambda name=name: self._happen("arm", name))
        self.world.run_until(now + for_minutes * MINUTE)

    @property
    def name(self) -> str:
        return f"CHG-{self.made}"

    @property
    def state(self) -> ChangeState:
        return self.states[self.name]

    # What happens
    @precondition(lambda self: self._over)
    @rule()
    def submit(self) -> None:
        self.made += 1
        self.joined = ""
        falls = self.falls and self.made % 2 == 0
        guaranteed = {"each": True, "first": self.made == 1, "every other": self.made % 2 == 1}.get(self.guarantees)
        for name in self.names:
            self.watcher.found_at[self.name, name] = self.world.setting(name)
        request = a_request(*self.names, change=self.name, **self._fields(falls=falls, guaranteed=bool(guaranteed)))
        self.world.submit(request, *plans_of(self.world, request, falls=falls))

    def _fields(self, *, falls: bool, guaranteed: bool) -> dict[str, Any]:
        now = self.world.clock.now()
        fields = {"effective_at": now + 20 * MINUTE, "settle": "PT5M", "on_misalignment": self.misalignment}
        if guaranteed:
            units = {name: self.world.cloud.services[name].desired(now) for name in self.names}
            least = {name: max(1, at + (-4 if falls else 4)) for name, at in units.items()}
            fields["entitlements"] = [{"workload": name, "min_units": units} for name, units in least.items()]
        return fields

    def _join(self) -> None:
        """Another's change on the same workload, nearly at the same time: the first step is what this one needs, the
        second what the other needs on top of it.
        """
        ahead = self.world.record(self.name).change
        self.joined = f"JOIN-{self.made}"
        fields = {"effective_at": ahead.effective_at + self.made % 2 * 3 * MINUTE, "settle": "PT10M"}
        fields |= {"change": self.joined, "entity": "bolt", "on_misalignment": self.misalignment}
        join(self.world, self.name, a_request("web", **fields), guaranteed=self.guarantees != "none")
        carry(self.world, self.name, self.joined)

    @property
    def _names(self) -> list[str]:
        return [self.name, self.joined] if self.joined else [self.name]

    @property
    def _over(self) -> bool:
        return all(self.states[name] in TERMINAL for name in self._names)

    def _look(self) -> None:
        """Once after each rule: what is possible next is asked of every rule there is, many times."""
        self.states = {name: self.world.record(name).state for name in self._names}

    def _one(self, later: bool) -> str:
        return self._names[-1] if later else self.name

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
        outlasts = what in ("long pause", "standstill") or another  # another workload's step takes its minutes
        at = at % 8 + 1 if outlasts else at  # only before what looks at the store, which is less

        def effect(where: str) -> None:
            # After the last look at its lease nothing can stop a write that is late: no pause there outlives a lease.
            if outlasts and where not in ("before a look at the store", "before a transaction"):
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
    @rule(what=st.sampled_from(["other driver", "long pause", "standstill"]), at=st.integers(1, 8))
    def another_run_comes_in_the_midst_of_a_step(self, what: str, at: int) -> None:
        """The first one goes on, or stands still until its lease is over, and another is at work or none is."""
        self._meddle_with_a_step(what, at)

    @precondition(lambda self: self.state in STEPPING)
    @rule(at=st.integers(1, 12))
    def a_step_is_called_off(self, at: int) -> None:
        """Between the look at what is due and its write; not the first, before which there is less to stop."""
        self._meddle_with_a_step("nothing", 1)
        self._meddle_with_a_step("cancel", at)

    @precondition(lambda self: self.state in STEPPING)
    @rule(pinned=st.booleans())
    def a_step_falls_into_a_freeze_or_a_pin(self, pinned: bool) -> None:
        if pinned:
            self._pin(self.name, self.names[-1], 20 * MINUTE)
        else:
            self._freeze(20 * MINUTE)
        self.world.clock.sleep(timedelta(seconds=90))
        self._meddle_with_a_step("nothing", 1)

    @precondition(lambda self: self.state in STEPPING)
    @rule(cores=st.sampled_from([3.2, 4.0]), count=st.integers(5, 14))
    def there_is_more_demand_than_planned(self, cores: float, count: int) -> None:
        """Else few lives come by a correction."""
        self.watcher.cores.append(cores)
        self.all_runs_by_itself(count)

    @precondition(lambda self: self.made % 2 == 0 and self.state in MOVING)
    @rule(more=st.integers(0, 8))
    def its_time_is_over_before_its_first_step(self, more: int) -> None:
        """So its policy is late, and what follows it must not come first."""
        self._happen("hold", self.name)
        self.world.clock.sleep((21 + more) * MINUTE)
        self._happen("resume", self.name)
        for _ in range(9):  # of two workloads one is through when the other has not begun
            with self._with(lambda where: None):
                self.world.drive(self.names[0], self.name)
            self.world.clock.sleep(3 * MINUTE)

    def _meddle_with_a_step(self, what: str, at: int) -> None:
        name = self.names[-1]
        steps = self.world.steps(self.name, name)
        pending = next((s for s in steps if s.state is StepState.PENDING), None)
        if pending is not None:
            intents = [i for i in self.world.intents(name) if i.change == self.name]
            due = free_at(self.world.ctx.workload(name), intents, pending)
            self.world.clock.sleep(due - self.world.clock.now())
        with self._with(self._meddle(what, at)):
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
        with self._blackout():
            for _ in range(3):
                self.world.clock.sleep(6 * MINUTE)
                self._happen("reconcile", self.name)

    @precondition(lambda self: self.state in STEPPING)
    @rule()
    def a_step_in_a_blackout(self) -> None:
        """What its window measured, nobody knows; and later it goes on by itself."""
        with self._blackout():
            self._meddle_with_a_step("nothing", 1)

    @contextmanager
    def _blackout(self) -> Iterator[None]:
        for service in self.world.cloud.services.values():
            service.metrics = False
        yield
        for service in self.world.cloud.services.values():
            service.metrics = True

    @precondition(lambda self: self.world.created)
    @rule(which=st.integers(0, 20))
    def a_run_comes_again(self, which: int) -> None:
        """One that is not due yet, that was late, or that has ended: the scheduler keeps no order."""
        runs = list(self.world.created.values())
        with suppress(ForebayError):
            self.world.run(runs[which % len(runs)])

    @rule(later=st.booleans())
    def enforce(self, later: bool) -> None:
        name = self._one(later)
        for act in (arm.try_to_arm, arm.watch_armed, arm.enforce):
            with self._untold():
                act(self.world.ctx, name)

    @contextmanager
    def _untold(self) -> Iterator[None]:
        """As long as the last write may not be seen yet, that is said, and nothing else is away."""
        try:
            yield
        except OutsideError as error:
            assert "from before our write" in str(error)

    @rule(seconds=st.integers(5, 900))
    def wait(self, seconds: int) -> None:
        self.world.clock.sleep(timedelta(seconds=seconds))

    @rule(hours=st.sampled_from([1, 7]))
    def the_clock_leaps(self, hours: int) -> None:
        """The machine slept, or its clock was wrong: nothing ran meanwhile, everything is late."""
        self.world.clock.sleep(timedelta(hours=hours))

    @rule(
        what=st.sampled_from(
            [
                "hold",
                "resume",
                "cancel",
                "foreign",
                "blackout",
                "other driver",
                "reconcile",
                "roll back",
                "pin",
                "freeze",
            ]
        ),
        seconds=SECONDS,
        later=st.booleans(),
    )
    def soon(self, what: str, seconds: int, later: bool) -> None:
        """It happens in the midst of whatever runs then."""
        name = self._one(later)
        at = self.world.clock.now() + timedelta(seconds=seconds)
        self.world.clock.at(at, lambda: self._happen(what, name))

    @rule(
        what=st.sampled_from([*BY_HAND, "dip"]),
        later=st.booleans(),
    )
    def now(self, what: str, later: bool) -> None:
        self._happen(what, self._one(later))

    @precondition(lambda self: S.AWAITING_APPROVAL in self.states.values())
    @rule()
    def approve(self) -> None:
        self._approve()

    def _approve(self) -> None:
        for name in self._names:
            self._happen("approve", name)
        if self.joined:
            carry(self.world, self.name, self.joined)

    @precondition(lambda self: S.HELD in self.states.values())
    @rule()
    def resume(self) -> None:
        for name in self._names:
            self._happen("resume", name)

    def _happen(self, what: str, name: str) -> None:
        ctx = self.world.ctx
        with suppress(RuleRefusal), self._untold():
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
                case "roll back":
                    rollback(ctx, name, "ann", "not wanted after all")
                case "pin":
                    self._pin(name, self.names[-1], 6 * MINUTE)
                case "freeze":
                    self._freeze(7 * MINUTE)
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
                case "standstill":
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

    def _pin(self, name: str, workload: str, duration: timedelta) -> None:
        now, units = self.world.clock.now(), self.world.setting(workload).units + 2
        with suppress(InputError, RuleRefusal):  # it does not touch this workload, or is at its limits
            pin(self.world.ctx, name, units, now + duration, "bob", "a sale", workload)
            self.watcher.pinned[name, workload] = now

    def _freeze(self, duration: timedelta) -> None:
        now = self.world.clock.now()
        self.watcher.frozen.append((now, now + duration))
        windows = [{"start": start, "end": end, "reason": "a sale"} for start, end in self.watcher.frozen]
        self.world.put_rules(**self.change_rules, freezes=windows)

    @rule(fault=st.sampled_from(["lost answer", "throttled", "refused"]))
    def fault(self, fault: ApplyFault) -> None:
        self.world.cloud.faults.append(fault)

    @rule(seconds=st.sampled_from([0, 20, 55]))
    def old_copies(self, seconds: int) -> None:
        """From now on the cloud answers from copies so old."""
        self.world.cloud.copies = timedelta(seconds=seconds)

    @rule(cores=st.sampled_from([1.0, 2.0, 3.0, 9.0]), metrics=st.booleans(), arrives=st.sampled_from([5, 7, 100, 100]))
    def weather(self, cores: float, metrics: bool, arrives: int) -> None:
        """Demand, data and capacity come and go."""
        self.watcher.cores.append(cores)
        for service in self.world.cloud.services.values():
            service.metrics, service.arrives = metrics, arrives

    @invariant()
    def the_rules_hold(self) -> None:
        self._look()
        self.watcher.check(self.name)

    def teardown(self) -> None:
        """Let go, and it comes to an end by itself: rolled back or closed, every write settled, the log whole."""
        if not hasattr(self, "watcher"):
            return
        with self.world as world:
            world.cloud.faults.clear()
            self.old_copies(0)
            self.weather(1.0, metrics=True, arrives=100)
            world.clock.sleep(10 * MINUTE)  # until leases have ended and what was to happen soon has happened
            if self.given_up:
                self._happen("cancel", self.name)
            for _ in range(12):
                self._look()
                for name, state in self.states.items():
                    if state is S.HELD:
                        self._happen("cancel", name)
                if not self._over:
                    world.run_until(world.clock.now() + 20 * MINUTE, every=5 * MINUTE)
            self._look()
            assert self._over, [world.record(name).note for name in self._names]
            self.watcher.check(self.name)
            self.watcher.check_at_the_end(self.name)


# One test, of a minute and a half where it has a core to itself.
TestLives = pytest.mark.timeout(0 if LONG else 900)(Lives.TestCase)
TestLives.settings = settings(
    max_examples=int(os.environ.get("FOREBAY_LIVES", "10000")) if LONG else 200,
    stateful_step_count=30 if LONG else 12,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
