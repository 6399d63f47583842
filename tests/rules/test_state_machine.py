"""Random lives on the real store and the model cloud: whatever happens in whatever order, the rules hold.

`FOREBAY_LONG=1` runs thousands of them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forebay.app import arm
from forebay.app.people import cancel, hold, resume
from forebay.domain.allocation import Lever, Setting
from forebay.domain.errors import ForebayError, RuleRefusal
from forebay.domain.lifecycle import TERMINAL, ChangeState, StepState
from forebay.domain.records import Intent, Outcome, Purpose
from forebay.domain.resources import Resource
from tests.support.cloud import ApplyFault, Bomb, Crash, Write
from tests.support.world import MINUTE, NOW, World, a_plan, a_request, count, floor

S = ChangeState
SECONDS = st.integers(1, 400)
GONE = frozenset({S.CANCELLED, S.ROLLED_BACK})


class Lives(RuleBasedStateMachine):
    """One workload, one change after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.cores, self.made = 2.0, 0
        self.began: dict[int, datetime] = {}
        self.foreign: list[Setting] = []

    @initialize(lever=st.sampled_from(Lever), defer=st.booleans())
    def begin(self, lever: Lever, defer: bool) -> None:
        self.world = World(lever=lever, demand=lambda at: {Resource.CPU: self.cores})
        self.misalignment = "defer" if defer else "reject"
        self.world.cloud.witness = lambda: [i for i in self.world.intents() if i.outcome is None]
        self.submit()
        self.world.clock.sleep(MINUTE)

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
        units = self.world.cloud.services["web"].desired(now)
        request = a_request(
            change=self.name, effective_at=effective_at, settle="PT5M", on_misalignment=self.misalignment
        )
        moves = [(since + 1, units, units + 3), (since + 7, units + 3, units + 5)]
        plan = a_plan(moves, change=self.name, start=units, effective_at=effective_at)
        self.world.submit(request, plan)

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

        def effect(_: str) -> None:
            if next(calls) == at:
                self.world.cloud.effect = self.world.store.effect = lambda name: None
                self._happen(what, name)

        return effect

    @rule(what=st.sampled_from(["nothing", "crash", "cancel", "hold", "hold and resume"]), at=st.integers(1, 40))
    def drive(self, what: str, at: int) -> None:
        with self._with(self._meddle(what, at)):
            self.world.drive("web", self.name)

    @rule(what=st.sampled_from(["nothing", "crash", "cancel"]), at=st.integers(1, 20))
    def reconcile(self, what: str, at: int) -> None:
        with self._with(self._meddle(what, at)):
            self.world.reconcile()

    @rule(count=st.integers(1, 12))
    def all_runs_by_itself(self, count: int) -> None:
        self.world.run_until(self.world.clock.now() + count * MINUTE)

    @rule()
    def enforce(self) -> None:
        arm.try_to_arm(self.world.ctx, self.name)
        arm.watch_armed(self.world.ctx, self.name)
        arm.enforce(self.world.ctx, self.name)

    @rule(seconds=st.integers(5, 900))
    def wait(self, seconds: int) -> None:
        self.world.clock.sleep(timedelta(seconds=seconds))

    @rule(what=st.sampled_from(["hold", "resume", "cancel", "foreign", "other driver", "reconcile"]), seconds=SECONDS)
    def soon(self, what: str, seconds: int) -> None:
        """It happens in the midst of whatever runs then."""
        name = self.name
        at = self.world.clock.now() + timedelta(seconds=seconds)
        self.world.clock.at(at, lambda: self._happen(what, name))

    @rule(what=st.sampled_from(["hold", "resume", "cancel", "foreign"]))
    def now(self, what: str) -> None:
        self._happen(what, self.name)

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
                case "other driver":
                    self.world.drive("web", name)
                case "reconcile":
                    self.world.reconcile()
                case "foreign":
                    live = self.world.setting()
                    units = max(1, live.units - 1) if live.units > 9 else live.units + 3
                    self.foreign.append(count(units) if live.lever is Lever.COUNT else floor(units))
                    self.world.cloud.set("web", self.foreign[-1], foreign=True)
        except RuleRefusal:
            pass

    @rule(fault=st.sampled_from(["lost answer", "throttled", "refused"]))
    def fault(self, fault: ApplyFault) -> None:
        self.world.cloud.faults.append(fault)

    @rule(cores=st.sampled_from([1.0, 2.0, 3.0, 9.0]), metrics=st.booleans(), arrives=st.sampled_from([5, 7, 100, 100]))
    def weather(self, cores: float, metrics: bool, arrives: int) -> None:
        """Demand, data and capacity come and go."""
        service = self.world.cloud.services["web"]
        self.cores, service.metrics, service.arrives = cores, metrics, arrives

    # The rules
    @invariant()
    def the_rules_hold(self) -> None:
        intents = list(self.world.intents())
        announced = self._announced(intents)
        self._rule_1_in_force_only_armed_and_on_time_and_then_for_good()
        self._rule_3_every_write_is_announced_and_its_outcome_is_true(intents, announced)
        fencing = [i.fencing for i in intents if i.fencing]
        assert fencing == sorted(fencing), "rule 4: fencing never falls"
        self._rule_5_a_step_follows_the_pass_of_the_one_before()
        self._rules_6_and_7_moves_are_small_inside_the_bounds_and_up(announced)
        self._rule_8_no_step_after_a_cancel()
        self._rule_9_given_back_only_over_our_own_value(intents, announced)

    def _announced(self, intents: list[Intent]) -> list[tuple[Write, Intent]]:
        """Each own write with the intent, as it is now, that stood open when the write was made."""
        by_number = {i.number: i for i in intents}
        pairs = []
        for write in self.world.cloud.ours():
            assert isinstance(write.seen, list) and len(write.seen) == 1, f"rule 3: what announced {write}?"
            intent = by_number[write.seen[0].number]
            assert intent.new == write.after
            pairs.append((write, intent))
        return pairs

    def _rule_1_in_force_only_armed_and_on_time_and_then_for_good(self) -> None:
        now, versions = self.world.clock.now(), self.world.store.versions("acme", "quota")
        started = {v.version: v for v in versions if v.in_force_from is not None and v.in_force_from <= now}
        for number, version in started.items():
            assert version.armed_at is not None and version.in_force_from is not None
            assert version.effective_at <= version.in_force_from
            assert self.world.record(version.change or "").state in {S.ARMED, S.IN_FORCE, S.SETTLING, S.CLOSED}
            assert self.began.setdefault(number, version.in_force_from) == version.in_force_from
        assert set(self.began) <= set(started), "in force is for good"

    def _rule_3_every_write_is_announced_and_its_outcome_is_true(
        self, intents: list[Intent], announced: list[tuple[Write, Intent]]
    ) -> None:
        made = {intent.number for _, intent in announced}
        for intent in intents:
            if intent.outcome is Outcome.NOT_DONE:
                assert intent.number not in made
            elif _done(intent) and intent.fencing and intent.new != intent.old:
                assert intent.number in made or intent.new in self.foreign, "another hand may have set just that"
        assert sum(1 for i in intents if i.outcome is None) <= 1

    def _rule_5_a_step_follows_the_pass_of_the_one_before(self) -> None:
        states = [s.state for s in self.world.steps(self.name)]
        begun = [s for s in states if s is not StepState.PENDING]
        assert all(s is StepState.PASSED for s in begun[:-1]) and states[: len(begun)] == begun

    def _rules_6_and_7_moves_are_small_inside_the_bounds_and_up(self, announced: list[tuple[Write, Intent]]) -> None:
        limits = self.world.ctx.workload("web").limits
        for write, intent in announced:
            largest = limits.soft.largest_move(write.desired)
            assert limits.min_units <= write.after.units <= limits.max_units
            if intent.sequence is not None:
                assert write.after.units <= max(write.desired + largest, write.before.units)
                if write.after.lever is Lever.COUNT:
                    assert write.after.units >= write.before.units, "a step up takes nothing away"
            elif write.after.lever is Lever.COUNT:
                assert abs(write.after.units - write.before.units) <= largest

    def _rule_8_no_step_after_a_cancel(self) -> None:
        actions = self.world.actions(self.name)
        if "cancelled" in actions:
            after = actions[actions.index("cancelled") :]
            assert not [a for a in after if a.startswith(("step", "correction")) and a.endswith("asked")]

    def _rule_9_given_back_only_over_our_own_value(
        self, intents: list[Intent], announced: list[tuple[Write, Intent]]
    ) -> None:
        for write, intent in announced:
            if intent.purpose is Purpose.GIVE_BACK:
                ours = [i.new for i in intents if i.change == intent.change and i.number < intent.number and _done(i)]
                assert write.before == intent.old == ours[-1]

    def teardown(self) -> None:
        """Let go, and it comes to an end by itself: rolled back or closed, every write settled, the log whole."""
        if not hasattr(self, "world"):
            return
        with self.world as world:
            world.cloud.faults.clear()
            world.cloud.services["web"].metrics, world.cloud.services["web"].arrives, self.cores = True, 100, 1.0
            world.clock.sleep(10 * MINUTE)  # until leases have ended and what was to happen soon has happened
            for _ in range(12):
                if self.state is S.HELD:
                    cancel(world.ctx, self.name, "ann", "the end")
                if self.state not in TERMINAL:
                    world.run_until(world.clock.now() + 20 * MINUTE, every=5 * MINUTE)
            assert self.state in TERMINAL, world.record(self.name).note
            assert all(i.outcome is not None for i in world.intents())
            assert world.sql.audit_break() is None


def _done(intent: Intent) -> bool:
    return intent.outcome is Outcome.DONE


LONG = os.environ.get("FOREBAY_LONG") == "1"
TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=3000 if LONG else 60,
    stateful_step_count=40 if LONG else 15,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=list(HealthCheck),
)
