"""Arm a change once its capacity is there and verified on every workload, and bring its policy into force."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta

from forebay.app.context import CONTROLLER, Context
from forebay.app.joint import giving_back, shaped
from forebay.app.keep import keep_workload, tell_hand
from forebay.app.lookup import change_record, events_of, own_version
from forebay.app.observe import observe
from forebay.app.once import tell_once
from forebay.app.outbox import post_version, push_version
from forebay.app.people import disarm_by_controller, hold_by_controller, withdraw
from forebay.app.turn import ahead_of, same_policy, waits_to_arm
from forebay.app.writing import last_setting
from forebay.control.alignment import Misalignment, misalignment, unverified
from forebay.control.keep import Adopt, Keep, Later
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import PolicyChange
from forebay.domain.errors import NotShownYet, OutsideError, RuleRefusal, kept
from forebay.domain.lifecycle import BEFORE_IN_FORCE, MOVING, ChangeState
from forebay.domain.policy import PolicyVersion, begun, called, followed, in_force
from forebay.domain.records import ChangeRecord, Purpose
from forebay.ports import Enforcer, Snapshot, Transaction

NAP = timedelta(seconds=10)
# Runs that enforce are made to start seconds ahead of their time.
LONGEST_WAIT = timedelta(minutes=5)
VERDICTS_TOLD = timedelta(seconds=20)  # after they fall due; the reconciler looks at what is overdue from then on


def missing_for_alignment(ctx: Context, record: ChangeRecord, *, judged: bool = True) -> Misalignment | None:
    """None if every workload of the change is aligned at this moment; else what is missing. Raises OutsideError.

    Without `judged`, verdicts that are still to come are none of it.
    """
    to_look_at = []
    for name in record.change.workloads:
        with ctx.store.snapshot() as tx:
            shaper, plan, steps = shaped(tx, record.change, name)
            intents = tx.intents(name, change=shaper)
        if plan is None:
            return Misalignment(f"{name}: no plan" if shaper == record.change.change else f"{shaper} does not carry it")
        if judged and (missing := unverified(plan, steps)):
            return missing  # which no look could change
        to_look_at.append((plan, intents, last_setting(ctx, shaper, name)))
    for plan, intents, ours in to_look_at:
        if missing := misalignment(plan, observe(ctx, ctx.workload(plan.workload), intents), ours):
            return missing
    return None


def try_to_arm(ctx: Context, change: str) -> Misalignment | None:
    """Arm the change if it is aligned: from its effective time on the decision point switches by itself.

    Returns None if it is armed, else what is missing. Raises OutsideError.
    """
    with ctx.store.snapshot() as tx:
        seen = tx.change(change)
        barred = _barred(tx, ctx, seen) if seen and seen.state in MOVING else None
    if seen is None or seen.state not in MOVING:
        armed_already = seen is not None and seen.state is ChangeState.ARMED
        return None if armed_already else Misalignment(f"change {change} is not being shaped", capacity=False)
    if barred:
        return barred
    if missing := missing_for_alignment(ctx, seen):
        return missing
    with ctx.store.transaction() as tx:
        record = tx.change(change)
        assert record is not None
        if record != seen:
            return Misalignment(f"change {change} has moved on and is {record.state}", capacity=False)
        if barred := _barred(tx, ctx, record):
            return barred
        version = own_version(tx, record)
        assert version is not None, "a received change has its policy version"
        armed = version.model_copy(update={"armed_at": ctx.clock.now()})
        began = armed.in_force_from
        assert began is not None, "it was just armed"
        tx.put_version(armed, ctx.event(record.change, Deed.POLICY_VERSION_ARMED, f"in force from {began.isoformat()}"))
        event = ctx.event(record.change, Deed.ARMED, f"aligned and verified; in force from {began.isoformat()}")
        tx.move(change, ChangeState.ARMED, event)
    ctx.notifier.notify(event)
    return None


def _barred(tx: Snapshot, ctx: Context, record: ChangeRecord) -> Misalignment | None:
    """What forbids to arm it, whatever capacity is there: another's turn, another base version, a freeze window."""
    change, now = record.change, ctx.clock.now()
    text = waits_to_arm(tx, change) or giving_back(tx, change) or _base_missing(tx, change, now)
    if text is None and (freeze := tx.rules().freeze_at(max(change.effective_at, now), change)):
        text = freeze.text
    return Misalignment(text, capacity=False) if text else None


def _base_missing(tx: Snapshot, change: PolicyChange, now: datetime) -> str | None:
    """A change that names the version it builds on does not come on any other: that one may have been taken back."""
    current = in_force(tx.versions(change.entity, change.policy), now)
    number = current.version if current else 0
    if change.base_version in (None, number):
        return None
    stands = f"{called(number)} is in force"
    return f"it builds on version {change.base_version}, and {stands}: cancel it, and ask for one that builds on that"


def watch_armed(ctx: Context, change: str) -> str | None:
    """An armed change must still be aligned. Returns what was found missing, in words.

    Capacity that is away for a moment (a unit is replaced) disarms it until it is back; what another hand has
    changed holds it until a person has looked. On a path it shares, the carrier answers for both.
    """
    with ctx.store.snapshot() as tx:
        record = tx.change(change)
    if record is None or record.state is not ChangeState.ARMED or ctx.clock.now() >= record.change.effective_at:
        return None
    with ctx.store.snapshot() as tx:
        freeze = tx.rules().freeze_at(record.change.effective_at, record.change)
        waiting = waits_to_arm(tx, record.change)
    if stopped := freeze.text if freeze else waiting:
        disarm_by_controller(ctx, change, stopped)
        return stopped
    if taken := _taken_from(ctx, record):
        disarm_by_controller(ctx, change, taken)
        return taken
    missing = missing_for_alignment(ctx, record)
    if missing is None:
        return None
    stop = hold_by_controller if missing.foreign else disarm_by_controller
    stop(ctx, change, f"no longer aligned: {missing.text}")
    return missing.text


def _taken_from(ctx: Context, record: ChangeRecord) -> str | None:
    """What another hand has taken from an armed change and is, or will be, written again; None where all stands.

    Raises the first error, once all workloads were looked at.
    """
    failed: list[Exception] = []
    for name in record.change.workloads:
        with ctx.store.snapshot() as tx:
            shaper = tx.change(shaped(tx, record.change, name)[0]) or record
        answer = None
        with kept(failed):
            answer = keep_workload(ctx, shaper, ctx.workload(name))
        if isinstance(answer, Later) or (isinstance(answer, Keep) and answer.purpose is not Purpose.PIN):
            return answer.reason
        if isinstance(answer, Adopt):
            tell_hand(ctx, shaper, name, answer)
    # Another hand may have set back just what stood before our write: nothing is armed on what nobody can tell.
    if untold := next((error for error in failed if isinstance(error, NotShownYet)), None):
        return str(untold)
    if failed:
        raise failed[0]
    return None


def arm_if_aligned(ctx: Context, change: str) -> str:
    """Arm what is aligned; disarm or hold what no longer is. Returns what is missing, or that nothing is.

    Where nobody can look for the moment, that is returned and nothing changes, so that no policy is late for it: an
    armed change stays armed (`forebay.app.blind` says for how long), another is looked at again at its effective time.
    """
    try:
        if lost := watch_armed(ctx, change):
            return lost
        missing = try_to_arm(ctx, change)
    except OutsideError as error:
        return f"alignment cannot be told: {error}"
    return missing.text if missing else "armed"


def wait_until_effective(ctx: Context, change: str) -> None:
    """Make ready for the push, then sleep to the exact effective time. Raises InputError if there is no such change.

    Not to one far ahead: then the change was edited since the run was made, and gets another for its new time.
    """
    record = change_record(ctx, change)
    at = record.change.effective_at
    if at - ctx.clock.now() > LONGEST_WAIT:
        return
    _prepare_push(ctx, record, at)
    while (left := at - ctx.clock.now()) > timedelta(0):
        ctx.clock.sleep(min(left, NAP))


def _prepare_push(ctx: Context, record: ChangeRecord, at: datetime) -> None:
    """Side by side, and no longer than there is time: what is not ready by then is made ready by the push itself."""
    with ctx.store.snapshot() as tx:
        version = own_version(tx, record)
    left = (at - ctx.clock.now()).total_seconds()
    if version is None or not ctx.enforcers or left <= 0:
        return

    def prepare(enforcer: Enforcer) -> None:
        try:
            enforcer.prepare(version)
        except OutsideError:
            return  # the push will meet the same, and records it

    pool = ThreadPoolExecutor(len(ctx.enforcers))
    asked = [pool.submit(prepare, enforcer) for enforcer in ctx.enforcers]
    done, _ = wait(asked, timeout=left)
    pool.shutdown(wait=False)
    for one in done:
        one.result()


def enforce(ctx: Context, change: str) -> str:
    """Record that an armed policy came into force and push it out; returns what happened, in words.

    The decision point has switched by itself; this is the record and the push, and may run late or twice. A change
    that is not armed at its effective time is armed now if it is aligned; else it is deferred until it is, or
    rejected, as it says; one that a person holds waits for a person. A version that a later one has followed already
    is not pushed over that. Raises OutsideError if a push failed: the change stays `in force`, and is pushed again.
    """
    with ctx.store.snapshot() as tx:
        record = tx.change(change)
    assert record is not None, f"{change} vanished from the store"
    due = ctx.clock.now() >= record.change.effective_at
    if due and record.waits_for_a_person:
        return _still_held(ctx, record)
    late = due and (record.state in MOVING or record.lapses)
    if late and (missing := _missing_at_last(ctx, record)):
        return _misaligned(ctx, record, missing)
    with ctx.store.transaction() as tx:
        record, now = tx.change(change), ctx.clock.now()
        assert record is not None, f"{change} vanished from the store"
        version = own_version(tx, record)
        began = version.in_force_from if version else None
        versions = tx.versions(record.change.entity, record.change.policy)
        latest = in_force(versions, now)
        said = f"version {version.version} is in force since" if version else ""
        if version and latest and latest != version:
            said = f"version {version.version}, which version {latest.version} has followed already, was in force from"
        if record.state is ChangeState.ARMED and began is not None and began <= now:
            assert version is not None
            before = followed(versions, version)
            event = ctx.event(
                record.change,
                Deed.IN_FORCE,
                f"{said} {began.isoformat()}",
                old=called(before.version if before else 0),
                new=called(version.version),
            )
            record = tx.move(change, ChangeState.IN_FORCE, event)
        if record.state is ChangeState.IN_FORCE and latest == version:
            assert version is not None
            post_version(tx, ctx, change, version)
    if record.state is ChangeState.IN_FORCE:
        assert version is not None and began is not None
        _push(ctx, record, version, began)
        return f"{said} {began:%H:%M:%S.%f} UTC"
    return f"nothing to do: change is {record.state}"


def enforce_now(
    tx: Transaction, ctx: Context, record: ChangeRecord, actor: str, reason: str
) -> tuple[ChangeRecord, AuditEvent]:
    """Within `tx`: the version is in force from now on. The caller has checked that `actor` may.

    Not ahead of an earlier one that is still to come: what takes force last is in force, so that would undo this.
    """
    now, version = ctx.clock.now(), own_version(tx, record)
    is_begun = begun(version, now)
    if version is None or is_begun or record.state not in BEFORE_IN_FORCE:
        raise RuleRefusal(
            "break glass only before in force",
            f"change {record.change.change} is {'in force' if is_begun else record.state}",
            "a change that is neither in force nor over",
        )
    for other in reversed(ahead_of(tx, record.change)):
        to_come = other.state in BEFORE_IN_FORCE and not begun(own_version(tx, other), now)
        if to_come and same_policy(other.change, record.change):
            raise RuleRefusal(
                "versions take force in order",
                f"version {other.policy_version} of change {other.change.change} ({other.state}) is still to come, and "
                f"would take the place of version {version.version}",
                f"this once {other.change.change} is cancelled, or the glass is broken for it first",
            )
    was, now_is = f"{record.state}, effective {version.effective_at.isoformat()}", f"version {version.version} in force"
    broken = version.model_copy(update={"glass_broken_at": now})
    tx.put_version(broken, ctx.event(record.change, Deed.GLASS_BROKEN, reason, actor, old=was, new=now_is))
    post_version(tx, ctx, record.change.change, broken)
    event = ctx.event(record.change, Deed.IN_FORCE_BY_BREAK_GLASS, f"by {actor}: {reason}", actor, old=was)
    return tx.move(record.change.change, ChangeState.IN_FORCE, event), event


def _missing_at_last(ctx: Context, record: ChangeRecord) -> Misalignment | None:
    if record.lapses:
        with ctx.store.snapshot() as tx:
            return _barred(tx, ctx, record) or Misalignment(f"held: {record.note}")
    try:
        return try_to_arm(ctx, record.change.change)
    except OutsideError as error:
        return Misalignment(f"alignment cannot be told: {error}", unseen=error.retryable)


def _push(ctx: Context, record: ChangeRecord, version: PolicyVersion, began: datetime) -> None:
    """Push it out, then on to `settling`."""
    change = record.change
    if not push_version(ctx, change.change, version):
        return  # another is at it
    with ctx.store.transaction() as tx:
        current = tx.change(change.change)
        if current is None or current.state is not ChangeState.IN_FORCE:
            return  # pushed by two at once: the other was first
        text = f"watched until {change.settled_at(began).isoformat()}, then handed back"
        event = ctx.event(change, Deed.SETTLING, text)
        tx.move(change.change, ChangeState.SETTLING, event)
    ctx.notifier.notify(event)


def _still_held(ctx: Context, record: ChangeRecord) -> str:
    """A person has the last word on it, so it is neither rejected nor enforced; that its time passes is told, once."""
    change, text = record.change, f"held at the effective time: {record.note}; it waits to be resumed"

    def untold(tx: Snapshot) -> list[AuditEvent]:
        said = (event for event in events_of(tx, change.change) if event.action == Deed.DEFERRED)
        told = record.updated_at > change.effective_at or any(e.at >= record.updated_at for e in said)
        return [] if told or tx.change(change.change) != record else [ctx.event(change, Deed.DEFERRED, text)]

    if tell_once(ctx, untold):
        return f"{Deed.DEFERRED}: {text}"
    return f"nothing to do: change is {record.state}"


def _serves(ctx: Context, record: ChangeRecord) -> bool:
    try:
        return missing_for_alignment(ctx, record, judged=False) is None
    except OutsideError:
        return False


def _misaligned(ctx: Context, record: ChangeRecord, misaligned: Misalignment) -> str:
    """Not armed at its effective time: enforced or rejected as the change says, else deferred: shaping goes on, and the
    policy waits for it.

    `enforce` passes over missing capacity only, never over a freeze window or another change's turn. A rejection is for
    good, so it is put off while it may yet prove wrong: where nobody could look, for as long as the workloads have
    patience; where only verdicts are missing, for those due at the effective time, which another run tells just then.
    """
    change, missing = record.change, misaligned.text
    unseen, passed = False, ctx.clock.now() - change.effective_at
    if misaligned.unseen:
        unseen = passed < max(ctx.workload(name).verification.patience for name in change.workloads)
    if change.on_misalignment == "reject" and misaligned.unjudged and passed < VERDICTS_TOLD and _serves(ctx, record):
        return f"all units serve, and it is looked at again within a minute: {missing}"
    enforced = change.on_misalignment == "enforce" and misaligned.capacity
    with ctx.store.transaction() as tx:
        current = tx.change(change.change)
        if current is None or not (current.state in MOVING or current.lapses):
            return f"nothing to do: change is {current.state if current else 'gone'}"
        if enforced and tx.rules().may("break-glass", change, change.requested_by):
            _, event = enforce_now(tx, ctx, current, change.requested_by, f"on_misalignment enforce: {missing}")
        elif change.on_misalignment == "reject" and not unseen:
            _, event = withdraw(tx, ctx, current, CONTROLLER, f"not aligned at the effective time: {missing}")
        else:
            if any(event.action == Deed.DEFERRED for event in events_of(tx, change.change)):
                return f"deferred: {missing}"
            event = ctx.event(change, Deed.DEFERRED, f"not aligned at the effective time: {missing}")
            tx.audit(event)
    ctx.notifier.notify(event)
    if enforced and event.action != Deed.DEFERRED:
        return enforce(ctx, change.change)
    return f"{event.action}: {missing}"
