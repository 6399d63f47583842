"""The twelve rules that never break, one after the other. The random lives of `test_state_machine` hold them too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.app import arm
from forebay.app.advance import drive
from forebay.app.people import cancel, hold, resume
from forebay.control.decide import View, bounded
from forebay.control.restore import GiveBack, next_restore
from forebay.control.verify import judge
from forebay.domain.allocation import Lever, TargetState, setting_for
from forebay.domain.audit import AuditEvent, chained, first_break
from forebay.domain.errors import LostLease, RuleRefusal
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.policy import PolicyVersion, in_force
from forebay.domain.records import ChangeRecord, Outcome
from forebay.domain.resources import Resource
from forebay.domain.verdict import Verdict
from tests.support.cloud import Bomb, Crash
from tests.support.world import (
    EFFECTIVE,
    MINUTE,
    NOW,
    World,
    a_plan,
    a_request,
    a_workload,
    count,
    flat,
    floor,
    minutes,
)

S = ChangeState
quick = settings(max_examples=100, deadline=None, derandomize=True)
lives = settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LEVERS = st.sampled_from(Lever)
TIMES = st.integers(-3600, 3600).map(lambda s: EFFECTIVE + timedelta(seconds=s))


def version(number: int, effective_at: datetime, armed_at: datetime | None) -> PolicyVersion:
    return PolicyVersion(
        entity="acme",
        policy="quota",
        kind="quota",
        version=number,
        document={},
        change=None,
        effective_at=effective_at,
        armed_at=armed_at,
    )


class Test01NoPolicyInForceEarlyOrUnarmed:
    @quick
    @given(st.lists(st.tuples(TIMES, st.none() | TIMES), max_size=5), TIMES)
    def test_rule_01_no_policy_in_force_early_or_unarmed(
        self, made: list[tuple[datetime, datetime | None]], at: datetime
    ) -> None:
        versions = [version(n, *times) for n, times in enumerate(made, start=1)]
        answer = in_force(versions, at)
        if answer is not None:
            assert answer.armed_at is not None
            assert answer.effective_at <= at and answer.armed_at <= at
        else:
            assert all(v.armed_at is None or max(v.effective_at, v.armed_at) > at for v in versions)

    @lives
    @given(LEVERS, st.integers(0, 45), st.integers(3, 100))
    def test_rule_01_with_capacity_that_comes_when_it_will(self, lever: Lever, comes: int, arrives: int) -> None:
        with World(lever=lever) as world:
            service = world.cloud.services["web"]
            service.arrives = arrives
            world.clock.at(minutes(comes), lambda: setattr(service, "arrives", 100))
            world.submit()
            world.run_until(minutes(60), every=2 * MINUTE)
            for minute in range(61):
                if world.version_at(minutes(minute)):
                    assert minute >= 30
                    assert "armed" in world.actions()


class Test02ActivationIsExact:
    @lives
    @given(st.integers(0, 900))
    def test_rule_02_activation_is_exact_whatever_the_scheduler_does(self, late: int) -> None:
        with World() as world:
            world.submit()
            for _ in range(2):
                world.clock.sleep(MINUTE)
                world.drive()
                world.clock.sleep(5 * MINUTE)
            assert world.state is S.ARMED
            world.clock.sleep(EFFECTIVE + timedelta(seconds=late) - world.clock.now())
            assert world.version_at(EFFECTIVE - timedelta(microseconds=1)) is None
            assert world.version_at(EFFECTIVE) == 1
            arm.enforce(world.ctx, "CHG-1")
            assert world.version_at(EFFECTIVE) == 1


class Test03EveryWriteIsAnnouncedAndSettled:
    @lives
    @given(LEVERS, st.integers(1, 60), st.sampled_from([None, "lost answer", "throttled"]))
    def test_rule_03_every_write_has_intent_before_and_outcome_after(
        self, lever: Lever, point: int, fault: Any
    ) -> None:
        with World(lever=lever) as world:
            world.cloud.witness = lambda workload: [i for i in world.intents(workload) if i.outcome is None]
            if fault:
                world.cloud.faults.append(fault)
            world.submit()
            world.clock.sleep(MINUTE)
            world.cloud.effect = world.store.effect = bomb = Bomb(point)
            try:
                world.drive()
            except Crash:
                bomb.defuse()
            world.run_until(minutes(29), every=2 * MINUTE)
            for write in world.cloud.ours():
                assert isinstance(write.seen, list) and [i.new for i in write.seen] == [write.after]
            made = {write.seen[0].number for write in world.cloud.ours()}
            assert all((i.outcome is Outcome.DONE) == (i.number in made) for i in world.intents())


class Test04OneWriterPerWorkload:
    @quick
    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90), st.booleans()), max_size=20))
    def test_rule_04_one_writer_and_fencing_grows(self, visits: list[tuple[str, int, bool]]) -> None:
        now, held = NOW, dict[str, Any]()
        with World() as world:
            for holder, seconds, leaves in visits:
                now += timedelta(seconds=seconds)
                with world.sql.transaction() as tx:
                    before = tx.lease("web")
                    lease = tx.acquire_lease("web", holder, now, MINUTE)
                    if lease is None:
                        assert before is not None and before.holder != holder and now < before.expires_at
                        continue
                    assert before is None or lease.fencing >= before.fencing
                    assert before is None or lease.fencing > before.fencing or before.holder == holder
                    held[holder] = lease
                    tx.check_lease(lease, now)
                for other, old in held.items():
                    if other != holder:
                        with pytest.raises(LostLease), world.sql.transaction() as tx:
                            tx.check_lease(old, now)
                if leaves:
                    with world.sql.transaction() as tx:
                        tx.release_lease(lease, now)

    def test_rule_04_a_plan_of_an_old_version_cannot_write(self) -> None:
        with World() as world:
            world.submit()
            old = world.steps()[0]
            event = AuditEvent(at=NOW, actor="ann", action="plan stored", reason="again", change="CHG-1")
            with world.sql.transaction() as tx:
                tx.add_plan(a_plan(((2, 4, 6),)), event)
            with (
                pytest.raises(RuleRefusal, match="a plan of an old version cannot write"),
                world.sql.transaction() as tx,
            ):
                tx.put_step(old.model_copy(update={"state": StepState.ASKED}))


class Test05AStepFollowsAPass:
    @lives
    @given(LEVERS, st.lists(st.integers(10, 300), min_size=1, max_size=12), st.floats(0.5, 6))
    def test_rule_05_a_step_starts_only_after_the_pass_before(
        self, lever: Lever, naps: list[int], cores: float
    ) -> None:
        with World(lever=lever, demand=flat(cores)) as world:
            world.submit()
            for nap in naps:
                world.drive()
                world.clock.sleep(timedelta(seconds=nap))
                first, second = world.steps()
                if second.asked_at is not None:
                    assert first.passed_at is not None and first.passed_at <= second.asked_at
                    assert first.judgement is not None
                    assert first.judgement.verdict not in (Verdict.NO_DATA, Verdict.ERROR)


class Test06MovesAreBounded:
    @quick
    @given(
        lever=LEVERS,
        live=st.integers(1, 40),
        above=st.integers(0, 10),
        wanted=st.integers(0, 60),
        lower=st.booleans(),
        soft=st.integers(1, 9),
        percent=st.floats(1, 200),
        most=st.integers(1, 40),
    )
    def test_rule_06_no_step_exceeds_the_soft_limits_nor_leaves_the_bounds(
        self, lever: Lever, live: int, above: int, wanted: int, lower: bool, soft: int, percent: float, most: int
    ) -> None:
        limits = {"min_units": 1, "max_units": most, "soft": {"units": soft, "percent": percent}}
        setting = count(live) if lever is Lever.COUNT else floor(live, 60)
        desired = live if lever is Lever.COUNT else live + above
        seen = view(a_workload(limits=limits), TargetState(setting=setting, desired=desired, serving=live, stable=True))
        units, _ = bounded(seen, wanted, lower=lower)
        largest = max(1, min(soft, int(desired * percent / 100 + 1e-9)))
        assert units >= 1
        if lower:
            assert setting_for(setting, units, lower=True).units <= live, "a step down raises nothing"
        else:
            assert units <= desired + largest
        assert units <= max(most, desired), "above its bounds it can only have been before"
        if lower:
            assert units >= min(desired - largest, desired)
        elif lever is Lever.COUNT:
            assert units >= live

    @lives
    @given(LEVERS, st.floats(1, 20), st.integers(1, 4))
    def test_rule_06_in_a_whole_life(self, lever: Lever, cores: float, soft: int) -> None:
        limits = {"min_units": 1, "max_units": 9, "soft": {"units": soft, "dwell": "PT5M"}}
        with World(a_workload(limits=limits), lever=lever, demand=flat(cores)) as world:
            world.submit(a_request(), a_plan(((1, 4, 6), (7, 6, 9))))
            world.run_until(minutes(40), every=2 * MINUTE)
            for write in world.cloud.ours():
                assert 1 <= write.after.units <= 9
                assert write.after.units <= max(write.desired + soft, write.before.units)


def view(workload: Any, target: TargetState) -> View:
    change = a_request().accepted(NOW)
    record = ChangeRecord(change=change, state=S.SHAPING, note="", policy_version=1, received_at=NOW, updated_at=NOW)
    return View(NOW, record, workload, a_plan(), (), target)


class Test07MissingDataIsNoData:
    @quick
    @given(st.sampled_from([float("nan"), float("inf"), None]), st.integers(1, 20), st.integers(1, 20))
    def test_rule_07_missing_data_is_no_data_never_zero(self, value: float | None, serving: int, asked: int) -> None:
        usage = {} if value is None else {Resource.CPU: value}
        judged = judge(
            a_workload(), a_plan(), start=NOW, end=minutes(1), usage=usage, serving_units=serving, asked_units=asked
        )
        assert judged.verdict in (Verdict.NO_DATA, Verdict.ERROR)
        assert judged.required_units >= asked, "nothing may shrink for it"

    @quick
    @given(st.integers(1, 20), st.integers(1, 20), st.none() | st.integers(0, 20))
    def test_rule_07_a_count_never_shrinks_without_data_nor_below_the_demand_seen(
        self, live: int, original: int, required: int | None
    ) -> None:
        decision = next_restore(
            workload=a_workload(),
            target=TargetState(setting=count(live), desired=live, serving=live, stable=True),
            original=count(original),
            ours=count(live),
            last_write_at=None,
            required_units=required,
            keep_count=False,
            now=NOW,
        )
        if isinstance(decision, GiveBack) and decision.setting.units < live:
            assert required is not None and decision.setting.units >= min(required, live)


class Test08CancelWins:
    @pytest.mark.parametrize("point", range(3, 15))
    @pytest.mark.parametrize("lever", list(Lever))
    def test_rule_08_cancel_wins_between_any_two_effects(self, lever: Lever, point: int) -> None:
        """It comes at the `point`th effect of the run that makes the second step, between look and write too."""
        with World(lever=lever, demand=flat(2)) as world:
            world.submit(a_request(), a_plan(demand=flat(2)))
            world.clock.sleep(MINUTE)
            world.drive()
            world.clock.sleep(minutes(7) - world.clock.now())
            calls = [0]

            def effect(_: str) -> None:
                calls[0] += 1
                if calls[0] == point:
                    cancel(world.ctx, "CHG-1", "ann", "stop")

            world.cloud.effect = world.store.effect = effect
            world.drive()
            world.cloud.effect = world.store.effect = lambda name: None
            if calls[0] < point:
                cancel(world.ctx, "CHG-1", "ann", "stop")
            with world.sql.transaction() as tx:
                order = [e.event.action for e in tx.audit_entries("CHG-1")]
            after = order[order.index("cancelled") :]
            assert not [a for a in after if a.startswith(("step", "correction")) and a.endswith("asked")]
            world.run_until(minutes(30), every=2 * MINUTE)
            assert world.state is S.ROLLED_BACK


class Test09TheOriginalComesBackOnlyOverOurs:
    @lives
    @given(LEVERS, st.integers(1, 25), st.integers(0, 20))
    def test_rule_09_restored_only_where_the_value_is_ours(self, lever: Lever, cancelled: int, foreign: int) -> None:
        with World(lever=lever, demand=flat(1)) as world:
            original = world.setting()
            world.submit(a_request(), a_plan(demand=flat(1)))
            world.run_until(minutes(cancelled), every=2 * MINUTE)
            theirs = count(11) if lever is Lever.COUNT else floor(3, 11)
            if foreign:
                world.clock.at(
                    world.clock.now() + foreign * MINUTE, lambda: world.cloud.set("web", theirs, foreign=True)
                )
            cancel(world.ctx, "CHG-1", "ann", "stop")
            world.run_until(minutes(70), every=2 * MINUTE)
            assert world.state is S.ROLLED_BACK
            assert world.setting() == (theirs if foreign else original)
            for before, write in zip(world.cloud.writes, world.cloud.writes[1:], strict=False):
                assert not (before.foreign and not write.foreign), "written over another hand's value"


class Test10EveryRunMayComeAgain:
    @lives
    @given(st.lists(st.sampled_from(["drive", "enforce", "reconcile", "arm", "watch"]), min_size=5, max_size=15))
    def test_rule_10_every_run_may_come_again_late_or_twice(self, runs: list[str]) -> None:
        with World() as world:
            does: dict[str, Callable[[], object]] = {
                "drive": world.drive,
                "enforce": lambda: arm.enforce(world.ctx, "CHG-1"),
                "reconcile": world.reconcile,
                "arm": lambda: arm.try_to_arm(world.ctx, "CHG-1"),
                "watch": lambda: arm.watch_armed(world.ctx, "CHG-1"),
            }
            world.submit()
            for run in runs:
                does[run]()
                does[run]()
                world.clock.sleep(2 * MINUTE)
            world.run_until(minutes(80), every=2 * MINUTE)
            assert world.state is S.CLOSED
            assert world.asked() == [6, 8]
            assert len(world.enforcer.pushed) == 1
            assert world.troubles == []
            for run in does.values():
                run()
            assert (world.state, world.asked()) == (S.CLOSED, [6, 8])


class Test11WhatIsPlannedIsWhatIsExecuted:
    @lives
    @given(LEVERS, st.lists(st.integers(1, 2), min_size=1, max_size=3))
    def test_rule_11_each_write_carries_the_hash_of_the_stored_plan(self, lever: Lever, sizes: list[int]) -> None:
        moves, units = [], 4
        for number, size in enumerate(sizes):
            moves.append((1 + 6 * number, units, units + size))
            units += size
        plan = a_plan(moves)
        with World(lever=lever) as world:
            world.submit(a_request(), plan)
            world.run_until(minutes(29), every=2 * MINUTE)
            assert {i.plan_hash for i in world.intents()} == {plan.hash}
            assert [i.units for i in world.intents()] == [after for _, _, after in moves]

    @quick
    @given(st.integers(1, 30), st.integers(1, 30))
    def test_rule_11_another_plan_has_another_hash(self, a: int, b: int) -> None:
        assert (a_plan(((1, 4, a),)).hash == a_plan(((1, 4, b),)).hash) == (a == b)


class Test12TheAuditLogIsWhole:
    def test_rule_12_who_when_which_old_new_why_and_by_which_plan(self) -> None:
        with World(lever=Lever.FLOOR) as world:
            world.submit()
            world.run_until(minutes(5))
            hold(world.ctx, "CHG-1", "bob", "wait")
            resume(world.ctx, "CHG-1", "bob", "go on")
            world.run_until(minutes(60))
            assert world.sql.audit_break() is None
            with world.sql.transaction() as tx:
                events = [e.event for e in tx.audit_entries("CHG-1")]
            asked = [e for e in events if e.action.endswith("asked")]
            assert [(e.old, e.new) for e in asked] == [
                ("floor 1 (ceiling 20)", "floor 6 (ceiling 20)"),
                ("floor 6 (ceiling 20)", "floor 8 (ceiling 20)"),
                ("floor 8 (ceiling 20)", "floor 1 (ceiling 20)"),
            ]
            assert all(e.workload == "web" and e.reason and e.actor == "forebay" for e in asked)
            assert [bool(e.plan_hash) for e in asked] == [True, True, False]
            assert [(e.actor, e.reason) for e in events if e.action in ("held", "resumed")] == [
                ("bob", "wait"),
                ("bob", "go on"),
            ]

    @quick
    @given(st.lists(st.text(max_size=5), min_size=1, max_size=8), st.data())
    def test_rule_12_an_altered_missing_or_moved_entry_shows(self, reasons: list[str], data: st.DataObject) -> None:
        entries, previous = [], "0" * 64
        for number, reason in enumerate(reasons, start=1):
            entry = chained(number, AuditEvent(at=NOW, actor="ann", action="test", reason=reason), previous)
            entries.append(entry)
            previous = entry.hash
        assert first_break(entries) is None
        place = data.draw(st.integers(0, len(entries) - 1))
        event = entries[place].event.model_copy(update={"reason": entries[place].event.reason + "!"})
        altered = [*entries[:place], entries[place].model_copy(update={"event": event}), *entries[place + 1 :]]
        assert first_break(altered) is not None
        if place < len(entries) - 1:
            assert first_break([*entries[:place], *entries[place + 1 :]]) is not None
            swapped = [*entries[:place], entries[place + 1], entries[place], *entries[place + 2 :]]
            assert first_break(swapped) is not None


def test_a_run_for_a_change_that_is_not_there_says_so() -> None:
    with World() as world:
        assert drive(world.ctx, "CHG-9", "web", "run", world.decisions.append) == "no change CHG-9"
