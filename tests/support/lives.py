"""What has to hold of a world at every moment, whatever has happened in it: the rules that never break, asserted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from forebay.app.context import CONTROLLER
from forebay.app.others import bounds_on
from forebay.domain.allocation import Lever, Setting
from forebay.domain.audit import AuditEvent
from forebay.domain.change import ChangeRequest
from forebay.domain.impact import Entitlement
from forebay.domain.lifecycle import MOVING, ChangeState, StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import Intent, Lease, Outcome, Pin, Purpose
from forebay.domain.resources import Resource
from forebay.domain.verdict import Verdict
from tests.support.cloud import Write
from tests.support.world import MINUTE, NOW, World, a_plan

S = ChangeState
AGAIN = (Purpose.INSIST, Purpose.REGAIN)
MICROSECOND = timedelta(microseconds=1)
# Between the look that arms and the record of it something may have happened; within this nobody is blamed.
JUST_NOW = timedelta(minutes=1)
FIRST = 1  # where a floor stands before there is any change
BEGUN = {S.ARMED, S.IN_FORCE, S.SETTLING, S.CLOSED}
TAKEN_BACK = {S.ROLLING_BACK, S.ROLLED_BACK}


@dataclass(frozen=True)
class Seen:
    """What was true at the moment of a write: announced by which open intents, under which lease, from which plan, and
    which armed or enforced changes are carried by whoever makes it; `unseen`: another hand was there, and no read shows
    it yet; `barred`: since a while it is pinned, or a freeze window stands; `guaranteed`: what policies ask for.
    """

    open: Sequence[Intent]
    lease: Lease | None
    plan_hash: str | None
    carried: Sequence[str]
    metrics: bool
    cores: float
    unseen: bool
    barred: str | None
    guaranteed: int


@dataclass
class Watcher:
    """Looks at a world from outside.

    `cores`: every demand there has been; `foreign`: what other hands have set; `dips`: when a unit was lost;
    `frozen`: from when until when nothing may be moved; `pinned`: since when, by change and workload.
    """

    world: World
    workloads: Sequence[str]
    cores: list[float]
    began: dict[tuple[str, int], datetime] = field(default_factory=dict)
    foreign: list[Setting] = field(default_factory=list)
    dips: list[datetime] = field(default_factory=list)
    frozen: list[tuple[datetime, datetime]] = field(default_factory=list)
    pinned: dict[tuple[str, str], datetime] = field(default_factory=dict)
    needs_approval: bool = False
    found_at: dict[tuple[str, str], Setting] = field(default_factory=dict)
    holders: dict[tuple[str, int], str] = field(default_factory=dict)
    _looked_at: tuple[str, int, int] = ("", 0, 0)

    def __post_init__(self) -> None:
        self.world.cloud.witness = self.at_a_write
        self.world.people.told = self.at_an_event

    def at_a_write(self, workload: str) -> Seen:
        still_open = [i for i in self.world.intents(workload) if i.outcome is None]
        with self.world.sql.transaction() as tx:
            plan = tx.plan(still_open[0].change, workload) if still_open else None
            lease = tx.lease(workload)
            carried = [
                record.change.change
                for record in tx.changes(frozenset({S.ARMED, S.IN_FORCE, S.SETTLING}))
                if plan and (own := tx.plan(record.change.change, workload)) and own.carried_by == plan.change
            ]
            barred = self._barred(tx.pins(still_open[0].change), workload) if still_open else None
        self._rule_4_a_new_holder_has_a_new_number(workload, lease)
        service = self.world.cloud.services[workload]
        since = self.world.clock.now() - self.world.cloud.copies
        unseen = any(w.foreign and w.workload == workload and w.at > since for w in self.world.cloud.writes)
        return Seen(
            still_open,
            lease,
            plan.hash if plan else None,
            carried,
            service.metrics,
            self.cores[-1],
            unseen,
            barred,
            self.guaranteed(workload),
        )

    def guaranteed(self, workload: str) -> int:
        """Units that the policies in force at this moment ask for."""
        least, now = 0, self.world.clock.now()
        for entity in ("acme", "bolt"):
            began = [
                v for v in self.world.store.versions(entity, "quota") if v.in_force_from and v.in_force_from <= now
            ]
            said: list[str] = []
            for version in sorted(began, key=lambda v: (v.in_force_from, v.version)):
                if version.change:
                    said.append(version.change)
                else:  # it set the one before it back
                    said.pop()
            entitled = self.world.record(said[-1]).change.entitlement(workload) if said else None
            least = max(least, (entitled and entitled.min_units) or 0)
        return least

    def _barred(self, pins: Sequence[Pin], workload: str) -> str | None:
        """By what a step, or a way back, may not be made now; not by what came between its last look and its write."""
        now = self.world.clock.now()
        if any(start + JUST_NOW < now < end for start, end in self.frozen):
            return "in a freeze window"
        ours = [pin for pin in pins if pin.workload == workload and now < pin.until]
        return "under a pin" if any(self.pinned[p.change, workload] + JUST_NOW < now for p in ours) else None

    def look_at_lease(self, workload: str) -> None:
        """Rule 4, while somebody may be at work: a holder is replaced by one with a higher number only."""
        with self.world.sql.transaction() as tx:
            lease = tx.lease(workload)
        self._rule_4_a_new_holder_has_a_new_number(workload, lease)

    def dip(self) -> None:
        """A unit of each service dies, and its successor takes five minutes."""
        now = self.world.clock.now()
        self.dips.append(now)
        for service in self.world.cloud.services.values():
            service.serving[-1:] = [now + timedelta(minutes=5)]

    def at_an_event(self, event: AuditEvent) -> None:
        """Rule 1, at the moment of arming: every step that comes first has its pass, and the capacity serves."""
        now = self.world.clock.now()
        disturbed = [*self.dips, *(write.at for write in self.world.cloud.writes if write.foreign)]
        if event.action != "armed" or any(at > now - JUST_NOW for at in disturbed):
            return
        assert event.change is not None
        for workload in self.world.record(event.change).change.workloads:
            with self.world.sql.transaction() as tx:
                plan = tx.plan(event.change, workload)
                path = tx.plan(plan.carried_by, workload) if plan and plan.carried_by else plan
            assert plan is not None and path is not None
            assert event.change in path.carries or path is plan, "rule 1: armed by a path that does not carry it"
            needed = path.carries.get(event.change, plan.aligned_units)
            steps = [s for s in self.world.steps(path.change, workload) if s.step.due_at < plan.effective_at]
            if path.carries:  # each climbs from step to step: what comes after the need is another's
                steps = [s for s in steps if s.step.from_units < needed]
            assert all(s.state is StepState.PASSED for s in steps), "rule 1: armed without every pass"
            state = self.world.cloud.services[workload].state(now)
            assert state.serving >= needed, "rule 1: armed without the capacity"
            assert state.setting.units >= needed, "rule 1: armed on capacity that nothing holds"

    def check(self, change: str) -> None:
        """Every rule, now. `change`: the one that is looked at in detail."""
        with self.world.sql.transaction() as tx:
            log = [entry.event for entry in tx.audit_entries()]
            intents_of = {workload: list(tx.intents(workload)) for workload in self.workloads}
            leases = {workload: tx.lease(workload) for workload in self.workloads}
        self._rules_1_and_2_in_force_only_armed_and_exactly_on_time_and_then_for_good()
        looked_at = (change, len(log), len(self.world.cloud.writes))
        if looked_at == self._looked_at:
            return  # only the clock has moved on, and no other rule knows of it
        self._looked_at = looked_at
        _rule_12_who_did_what_and_why(log, [i for intents in intents_of.values() for i in intents])
        _rule_8_no_step_after_a_cancel(log)
        _what_a_person_holds_waits_for_a_person(log)
        if self.needs_approval:
            _rule_11_no_step_without_an_approval(log)
        for workload, intents in intents_of.items():
            insists = self.world.ctx.workload(workload).on_foreign_write == "insist"
            announced = self._rule_3_every_write_is_announced_and_its_outcome_is_true(workload, intents)
            self._rule_4_a_new_holder_has_a_new_number(workload, leases[workload])
            _rule_4_only_the_holder_of_the_lease_writes(intents, announced)
            self._rule_5_a_step_follows_the_pass_of_the_one_before(change, workload)
            self._rules_6_and_7_moves_are_small_rare_inside_the_bounds_and_up(workload, announced)
            assert not any(i.change.startswith("JOIN") for i in intents), "rule 4: who is carried writes nothing"
            _rule_9_given_back_only_over_our_own_value(intents, announced)
            assert insists or not [i for i in intents if i.purpose in AGAIN], "rule 9: over another hand's value"
            _rule_11_steps_are_those_of_the_current_plan(announced)

    def _rules_1_and_2_in_force_only_armed_and_exactly_on_time_and_then_for_good(self) -> None:
        now = self.world.clock.now()
        versions = [(e, v) for e in ("acme", "bolt") for v in self.world.store.versions(e, "quota")]
        started = {(e, v.version): v for e, v in versions if v.in_force_from is not None and v.in_force_from <= now}
        for (entity, number), version in started.items():
            began = version.in_force_from
            assert version.armed_at is not None and began is not None
            assert began == max(version.effective_at, version.armed_at), "rule 2: exactly then"
            set_back = any(v.change is None and v.version > number for (e, _), v in started.items() if e == entity)
            if version.change:
                assert self.world.record(version.change).state in (BEGUN | TAKEN_BACK if set_back else BEGUN)
            if self.began.setdefault((entity, number), began) is began:
                assert self.world.version_at(began - MICROSECOND, entity=entity) != number, "rule 1: early"
                later = [n for (e, n), v in started.items() if e == entity and n > number and v.in_force_from == began]
                assert later or self.world.version_at(began, entity=entity) == number, "rule 2: exactly then"
            assert self.began[entity, number] == began
        assert set(self.began) <= set(started), "in force is for good"

    def _rule_3_every_write_is_announced_and_its_outcome_is_true(
        self, workload: str, intents: list[Intent]
    ) -> list[tuple[Write, Seen, Intent]]:
        """Each own write with the intent, as it is now, that stood open when the write was made."""
        by_number = {i.number: i for i in intents}
        announced = []
        for write in self.world.cloud.ours(workload):
            assert isinstance(write.seen, Seen) and len(write.seen.open) == 1, f"rule 3: what announced {write}?"
            intent = by_number[write.seen.open[0].number]
            assert intent.new == write.after
            announced.append((write, write.seen, intent))
        made = {intent.number for _, _, intent in announced}
        assert len(made) == len(announced), "rule 3: announced once, made twice"
        for intent in intents:
            if intent.outcome is Outcome.NOT_DONE:
                assert intent.number not in made or intent.old in self.foreign, "another hand may have set it back"
            elif done(intent) and intent.fencing and intent.new != intent.old:
                assert intent.number in made or intent.new in self.foreign, "another hand may have set just that"
        assert sum(1 for i in intents if i.outcome is None) <= 1
        return announced

    def _rule_4_a_new_holder_has_a_new_number(self, workload: str, lease: Lease | None) -> None:
        if lease is not None:
            known = self.holders.setdefault((workload, lease.fencing), lease.holder)
            assert known == lease.holder, "rule 4: taken from a living holder"

    def _rule_5_a_step_follows_the_pass_of_the_one_before(self, change: str, workload: str) -> None:
        steps = self.world.steps(change, workload)
        begun = [s for s in steps if s.state is not StepState.PENDING]
        assert all(s.state is StepState.PASSED for s in begun[:-1]) and list(steps[: len(begun)]) == begun
        for step in begun:
            if step.state is StepState.PASSED:
                assert step.judgement is not None and step.passed_at is not None, "rule 5: passed on what?"
                assert step.judgement.verdict in {Verdict.PASS, Verdict.LOW, Verdict.HIGH}, "rule 5: that is no pass"
                assert step.judgement.evidence.usage[Resource.CPU] in self.cores, "rule 7: nobody measured that"
                if step.asked_at is not None:
                    assert step.serving_at is not None and step.asked_at <= step.serving_at <= step.passed_at
        for before, after in pairwise(begun):
            began = after.asked_at or after.passed_at
            assert before.passed_at and began and before.passed_at <= began, "rule 5: before the pass"
        for step in begun:
            if step.asked_at is None and step.judgement and step.passed_at:  # what it asks for stood there already
                known = self.world.ctx.workload(workload)
                seen_until = step.passed_at - known.verification.metric_delay - JUST_NOW
                assert step.step.due_at <= step.passed_at, "rule 5: before its time"
                assert step.judgement.evidence.end >= seen_until, "rule 5: passed on an old verdict"
                assert step.judgement.evidence.serving_units >= step.step.to_units, "rule 5: never made"

    def _rules_6_and_7_moves_are_small_rare_inside_the_bounds_and_up(
        self, workload: str, announced: list[tuple[Write, Seen, Intent]]
    ) -> None:
        known = self.world.ctx.workload(workload)
        limits = known.limits
        for write, seen, intent in announced:
            corrects = intent.before is not None and intent.before.state is StepState.ASKED
            protects = corrects or intent.purpose in (*AGAIN, Purpose.PIN)  # the load that is there
            assert not seen.barred or protects, f"{intent.purpose} {seen.barred}"
            largest = limits.soft.largest_move(write.desired)
            assert limits.min_units <= write.after.units <= limits.max_units, "rule 6: out of bounds"
            if seen.unseen:
                continue  # from what nobody could see, nobody can keep a distance
            kept = min(write.before.units, seen.guaranteed)
            assert write.after.units >= kept, f"rule 6: below the {seen.guaranteed} units that are guaranteed"
            if intent.purpose is not Purpose.GIVE_BACK:
                assert write.after.units <= max(write.desired + largest, write.before.units), "rule 6: too far"
            elif write.after.lever is Lever.COUNT:
                assert abs(write.after.units - write.before.units) <= largest, "rule 6: back too far"
            if write.after.lever is Lever.COUNT and write.after.units < write.before.units:
                assert intent.purpose is Purpose.GIVE_BACK, "rule 7: a step up takes nothing away"
                assert seen.metrics, "rule 7: shrunk without data"
                needed = math.ceil(known.units_for({Resource.CPU: seen.cores})[0] - 1e-9)
                assert write.after.units >= min(needed, write.before.units), "rule 7: shrunk below the demand seen"
        # Another hand is answered at once, and a floor goes back at once: it takes no capacity away.
        moves = [i for _, _, i in announced if i.purpose is Purpose.STEP or i.new.lever is Lever.COUNT]
        moves = [i for i in moves if i.purpose is not Purpose.INSIST]
        for before, after in pairwise(moves):
            if before.change == after.change:
                assert after.stored_at - before.stored_at >= limits.soft.dwell, "rule 6: too soon after the last"

    def check_at_the_end(self, change: str) -> None:
        """What was there before is there again after a cancel, unless another hand has set something else."""
        assert all(i.outcome is not None for workload in self.workloads for i in self.world.intents(workload))
        assert self.world.sql.audit_break() is None
        record = self.world.record(change)
        if self.foreign:
            return
        for workload in record.change.workloads:
            live, least = self.world.setting(workload), self.guaranteed(workload)
            if live.lever is Lever.FLOOR:  # whatever changes there were, each of them gives back what it raised
                assert live.units == max(FIRST, least), "rule 9: it was not given back"
            elif record.state is S.ROLLED_BACK:
                before = self.found_at[change, workload]
                assert live.units == max(before.units, least), "rule 9: it was not given back"


def _rule_4_only_the_holder_of_the_lease_writes(
    intents: Sequence[Intent], announced: list[tuple[Write, Seen, Intent]]
) -> None:
    fencing = [i.fencing for i in intents if i.fencing]
    assert fencing == sorted(fencing), "rule 4: fencing never falls"
    for write, seen, intent in announced:
        assert seen.lease is not None and seen.lease.fencing == intent.fencing, "rule 4: another holds the lease"
        assert write.at < seen.lease.expires_at, "rule 4: the lease had ended"


def _rule_9_given_back_only_over_our_own_value(
    intents: Sequence[Intent], announced: list[tuple[Write, Seen, Intent]]
) -> None:
    for write, seen, intent in announced:
        if intent.purpose is Purpose.GIVE_BACK:
            assert not seen.carried, "rule 9: given back under a change that counts on it"
            if seen.unseen:
                continue
            ours = [i.new for i in intents if i.change == intent.change and i.number < intent.number and done(i)]
            assert write.before == intent.old == ours[-1], "rule 9: over another hand's value"


def _rule_11_steps_are_those_of_the_current_plan(announced: list[tuple[Write, Seen, Intent]]) -> None:
    for _, seen, intent in announced:
        assert intent.purpose is not Purpose.STEP or intent.plan_hash == seen.plan_hash, "rule 11: not what was planned"


def _rule_8_no_step_after_a_cancel(log: Iterable[AuditEvent]) -> None:
    cancelled: set[str | None] = set()
    for event in log:
        if event.action in ("cancelled", "rolling back"):
            cancelled.add(event.change)
        step = event.action.startswith(("step", "correction")) and event.action.endswith("asked")
        assert not (step and event.change in cancelled), "rule 8: a step after the cancel"


def _what_a_person_holds_waits_for_a_person(log: Iterable[AuditEvent]) -> None:
    """Nor does it go on by itself where another hand was in it."""
    held_by: dict[str | None, AuditEvent] = {}
    for event in log:
        if event.action == "held":
            held_by[event.change] = event
        if event.action == "resumed" and event.actor == CONTROLLER:
            hold = held_by[event.change]
            assert hold.actor == CONTROLLER and "another" not in hold.reason, "rule 8: a hold that nobody ended"


def _rule_12_who_did_what_and_why(log: Iterable[AuditEvent], intents: Sequence[Intent]) -> None:
    asked, ended = 0, 0
    for event in log:
        assert event.actor and event.reason and event.action
        if event.action.endswith("asked"):
            assert event.workload and event.old and event.new, "rule 12: of what, from what, to what?"
            asked += 1
        ended += event.action.startswith("write ")
    assert asked == sum(1 for i in intents if i.fencing), "rule 12: a write that is not in the log"
    assert ended == sum(1 for i in intents if i.outcome is not None), "rule 12: an outcome that is not in the log"


def _rule_11_no_step_without_an_approval(log: Iterable[AuditEvent]) -> None:
    approved: set[str | None] = set()
    for event in log:
        if event.action == "approved":
            approved.add(event.change)
        step = event.action.startswith("step") and event.action.endswith("asked")
        assert not step or event.change in approved, "rule 11: nobody approved it"


def done(intent: Intent) -> bool:
    return intent.outcome is Outcome.DONE


def demand_of(cores: Sequence[float]) -> Mapping[Resource, float]:
    """The demand of this moment: the last that was set."""
    return {Resource.CPU: cores[-1]}


def plans_of(world: World, request: ChangeRequest, *, falls: bool) -> list[ShapingPlan]:
    """Up by five units in two steps, one plan a workload. One that `falls` goes below where it began, perhaps below
    what the version before guarantees: that step waits for the policy, which may be late.
    """
    change, now = request.accepted(world.clock.now()), world.clock.now()
    since, plans = (now - NOW) / MINUTE, []
    for name in change.workloads:
        at = world.cloud.services[name].desired(now)
        moves = [(since + 1, at, at + 3), (since + 7, at + 3, at + 5)]
        aligned = max(1, at - 4) if falls else at + 5
        if falls:
            moves.append((since + 20.5, at + 5, aligned))
        of = {"change": change.change, "workload": name, "start": at, "effective_at": change.effective_at}
        with world.sql.snapshot() as tx:
            bounds = bounds_on(tx, [change], name, now)
        plans.append(a_plan(moves, aligned=aligned, **of).model_copy(update={"bounds": bounds}))
    return plans


def join(world: World, first: str, request: ChangeRequest, *, guaranteed: bool) -> None:
    """Another's change on the path of `first`, which needs what that path's last step brings."""
    with world.sql.transaction() as tx:
        path = tx.plan(first, "web")
    assert path is not None and request.effective_at is not None
    if guaranteed:
        least = Entitlement(workload="web", min_units=path.steps[-1].to_units)
        request = request.model_copy(update={"entitlements": (least,)})
    ours = {"aligned_units": path.steps[-1].to_units, "effective_at": request.effective_at, "change": request.change}
    ours |= {"path": path.steps, "steps": (), "carried_by": first, "after": (first,)}
    world.submit(request, path.model_copy(update=ours))


def carry(world: World, carrier: str, joined: str) -> None:
    """What a new plan of the carrier says once the other is approved, if it is drawn before its first step."""
    first, other = world.record(carrier), world.record(joined)
    event = world.ctx.event(first.change, "replanned", "one path")
    with world.sql.transaction() as tx:
        path, steps = tx.plan(carrier, "web"), tx.steps(carrier, "web")
        assert path is not None
        waits = any(s.state is not StepState.PENDING for s in steps) or tx.intents("web", change=carrier)
        if path.carries or waits or not {first.state, other.state} <= MOVING:
            return
        brings = {carrier: path.steps[0].to_units, joined: path.steps[-1].to_units}
        drawn_for = {carrier: first.change.fingerprint, joined: other.change.fingerprint}
        more = {"aligned_units": brings[carrier], "carries": brings, "drawn_for": drawn_for}
        tx.add_plan(path.model_copy(update=more), event)
