"""Hold, resume, cancel, deny: by people, always with a name and a reason, and by the controller."""

from __future__ import annotations

from forebay.app.context import CONTROLLER, Context
from forebay.app.lookup import has_moved, own_version
from forebay.app.named import check_named
from forebay.app.writing import adopt, settled_target
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import BEFORE_IN_FORCE, COME_TO_NOTHING, MOVING, ChangeState
from forebay.domain.policy import PolicyVersion, begun
from forebay.domain.records import ChangeRecord
from forebay.domain.rules import Action
from forebay.ports import Snapshot, Transaction

BY_ITSELF = "; it goes on by itself once that is there"


def hold(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """No further step is made until the change is resumed. Raises InputError and RuleRefusal."""
    with ctx.store.transaction() as tx:
        record = permitted(tx, change, "hold", actor, reason)
        event = ctx.event(record.change, Deed.HELD, reason, actor)
        if record.state is ChangeState.ARMED:
            _disarm(tx, ctx, record, reason, actor)
        record = tx.move(change, ChangeState.HELD, event)
    ctx.notifier.notify(event)
    return record


def hold_by_controller(ctx: Context, change: str, reason: str, *, lapses: bool = False) -> None:
    """Hold the change until a person has looked, or, if that `lapses`, until what was waited for in vain is there.

    A change that no longer moves is left alone.
    """
    with ctx.store.transaction() as tx:
        event = put_on_hold(tx, ctx, change, reason, lapses=lapses)
    if event:
        ctx.notifier.notify(event)


def put_on_hold(tx: Transaction, ctx: Context, change: str, reason: str, *, lapses: bool = False) -> AuditEvent | None:
    """`hold_by_controller` within `tx`, with what has led to it. Returns what to tell; None where nothing was held."""
    record = tx.change(change)
    for_good = record is not None and record.lapses and not lapses
    if record is None or not (for_good or record.state in MOVING or _armed_ahead(tx, ctx, record)):
        return None
    if record.state is ChangeState.ARMED:
        _disarm(tx, ctx, record, reason)
    event = ctx.event(record.change, Deed.HELD, f"{reason}{BY_ITSELF if lapses else ''}")
    tx.move(change, ChangeState.HELD, event, lapses=lapses)
    return event


def resume_by_controller(ctx: Context, held: ChangeRecord, reason: str) -> None:
    """A hold that lapses is over. One that has become another's since it was looked at is left alone.

    Where the change would have to be approved anew, that is for a person.
    """
    with ctx.store.transaction() as tx:
        if tx.change(held.change.change) != held:
            return
        after = _goes_on_as(tx, held)
        if after is ChangeState.AWAITING_APPROVAL:
            after = ChangeState.HELD
            event = ctx.event(held.change, Deed.HELD, f"its approval does not count any more; {reason}")
        else:
            event = ctx.event(held.change, Deed.RESUMED, f"it goes on by itself: {reason}")
        tx.move(held.change.change, after, event)
    ctx.notifier.notify(event)


def disarm_by_controller(ctx: Context, change: str, reason: str) -> None:
    """Back to `shaping` until it is aligned again. What is in force already is left alone."""
    with ctx.store.transaction() as tx:
        record = tx.change(change)
        if record is None or not _armed_ahead(tx, ctx, record):
            return
        event = shape_again(tx, ctx, record, reason)
    ctx.notifier.notify(event)


def shape_again(tx: Transaction, ctx: Context, record: ChangeRecord, reason: str) -> AuditEvent:
    """Within `tx`: an armed change is disarmed, and goes back to `shaping`. Raises RuleRefusal once it is in force."""
    _disarm(tx, ctx, record, reason)
    event = ctx.event(record.change, Deed.SHAPING_AGAIN, reason)
    tx.move(record.change.change, ChangeState.SHAPING, event)
    return event


def resume(ctx: Context, change: str, actor: str, reason: str, *, breaking_glass: bool = False) -> ChangeRecord:
    """Go on where the change was held or pinned. Late steps are made in order, each with its verification.

    Where another hand has set a value meanwhile, resuming is the decision to go on from that value. It is no approval:
    what waited for one waits again. `breaking_glass`: a held one, by the right to do that, and on record as that.
    Raises InputError, RuleRefusal and OutsideError.
    """
    with ctx.store.transaction() as tx:
        record = permitted(tx, change, "break-glass" if breaking_glass else "hold", actor, reason)
        if record.state is not ChangeState.HELD:
            if tx.pins(change) and not breaking_glass:
                tx.drop_pins(change, ctx.event(record.change, Deed.UNPINNED, reason, actor))
                return record
            raise RuleRefusal("life of a change", f"change {change} is {record.state}", "resuming a held change")
        planned = all(tx.plan(change, workload) for workload in record.change.workloads)
        written = {name: len(tx.intents(name, change=change)) for name in record.change.workloads}
    workloads = record.change.workloads if planned else ()
    live = {name: settled_target(ctx, record, ctx.workload(name), f"resumed by {actor}") for name in workloads}
    with ctx.store.transaction() as tx:
        if (now := tx.change(change)) != record:
            state = now.state if now else "gone"
            raise RuleRefusal("life of a change", f"change {change} has become {state} meanwhile", "looking again")
        for name, target in live.items():
            # The watch keeps what a held change has set: what was read before it wrote stands no more.
            if len(tx.intents(name, change=change)) > written[name]:
                written_to = f"{name} was written to while change {change} was being resumed"
                raise RuleRefusal("one writer per workload", written_to, "the same in a minute")
            adopt(tx, ctx, record, name, target, actor, f"resumed by {actor}: {reason}")
        if tx.pins(change):
            tx.drop_pins(change, ctx.event(record.change, Deed.UNPINNED, reason, actor))
        told = [ctx.event(record.change, Deed.RESUMED, reason, actor)]
        if breaking_glass:
            words = f"a hold is overridden: {reason}"
            told.insert(0, ctx.event(record.change, Deed.GLASS_BROKEN, words, actor, old=record.note))
            tx.audit(told[0])
        # Without a plan it is where it began: the reconciler has it planned again.
        record = tx.move(change, _goes_on_as(tx, record) if planned else ChangeState.RECEIVED, told[-1])
    for event in told:
        ctx.notifier.notify(event)
    return record


def cancel(ctx: Context, change: str, actor: str, reason: str) -> ChangeRecord:
    """Stop a change that is not in force; what it has moved then goes back. Raises InputError and RuleRefusal."""
    with ctx.store.transaction() as tx:
        record, event = withdraw(tx, ctx, permitted(tx, change, "cancel", actor, reason), actor, reason)
    ctx.notifier.notify(event)
    return record


def withdraw(
    tx: Transaction, ctx: Context, record: ChangeRecord, actor: str, reason: str
) -> tuple[ChangeRecord, AuditEvent]:
    """Cancel within `tx`. The clock is read in the cancelling transaction: an armed policy whose effective time
    has come is in force, whatever its stored state says (rule 2), and cannot be cancelled any more.

    Where nothing has moved for it, it is rolled back with that: nobody is to wait for what has nothing to give back.
    """
    now = ctx.clock.now()
    version = own_version(tx, record)
    is_begun = begun(version, now)
    name = record.change.change
    if record.state in COME_TO_NOTHING:
        said = f"change {name} is {record.state} already"
        raise RuleRefusal("life of a change", said, "nothing, for nothing is left to do")
    if record.state not in BEFORE_IN_FORCE or is_begun:
        state = "in force" if is_begun else record.state
        raise RuleRefusal(
            "cancel only before in force",
            f"change {name} is {state}",
            "`forebay rollback`, or a new change that sets the policy back",
        )
    let_go(tx, ctx, record, version, actor, reason)
    event = ctx.event(record.change, Deed.CANCELLED, reason, actor)
    record = tx.move(name, ChangeState.CANCELLED, event)
    if not has_moved(tx, record.change):
        words = f"cancelled before anything had moved: {reason}"
        record = tx.move(name, ChangeState.ROLLED_BACK, ctx.event(record.change, Deed.ROLLED_BACK, words))
    return record, event


def let_go(
    tx: Transaction, ctx: Context, record: ChangeRecord, version: PolicyVersion | None, actor: str, reason: str
) -> None:
    """What a change that comes to nothing must not leave behind: the `version` it brings, and its pins."""
    if version is not None:
        tx.put_version(
            version.model_copy(update={"withdrawn_at": ctx.clock.now(), "armed_at": None}),
            ctx.event(record.change, Deed.POLICY_VERSION_WITHDRAWN, reason, actor),
        )
    if tx.pins(record.change.change):
        tx.drop_pins(record.change.change, ctx.event(record.change, Deed.UNPINNED, reason, actor))


def deny(ctx: Context, change: str, reason: str) -> ChangeRecord:
    """A change that cannot be planned, or not any more, is turned down with the reason; one under way is left alone."""
    with ctx.store.transaction() as tx:
        record = tx.change(change)
        assert record is not None, f"{change} vanished from the store"
        if record.state not in (ChangeState.RECEIVED, ChangeState.AWAITING_APPROVAL):
            return record
        record, event = turn_down(tx, ctx, record, CONTROLLER, reason)
    ctx.notifier.notify(event)
    return record


def turn_down(
    tx: Transaction, ctx: Context, record: ChangeRecord, actor: str, reason: str
) -> tuple[ChangeRecord, AuditEvent]:
    """Deny within `tx`; or, where capacity has moved for it already, cancel, so that it goes back (rule 9)."""
    if has_moved(tx, record.change):
        return withdraw(tx, ctx, record, actor, reason)
    event = ctx.event(record.change, Deed.DENIED, reason, actor)
    return tx.move(record.change.change, ChangeState.DENIED, event), event


def _armed_ahead(tx: Snapshot, ctx: Context, record: ChangeRecord) -> bool:
    return record.state is ChangeState.ARMED and not begun(own_version(tx, record), ctx.clock.now())


def _disarm(tx: Transaction, ctx: Context, record: ChangeRecord, reason: str, actor: str = CONTROLLER) -> None:
    """An armed policy that is held must not switch by itself. One that is in force already stays in force."""
    version = own_version(tx, record)
    assert version is not None, "an armed change has its version"
    if begun(version, ctx.clock.now()):
        raise RuleRefusal(
            "hold only before in force", f"change {record.change.change} is in force", "a change that sets it back"
        )
    event = ctx.event(record.change, Deed.DISARMED, reason, actor)
    tx.put_version(version.model_copy(update={"armed_at": None}), event)


def _goes_on_as(tx: Snapshot, record: ChangeRecord) -> ChangeState:
    plans = [plan for name in record.change.workloads if (plan := tx.plan(record.change.change, name))]
    approved = tx.rules().standing(record.change, plans, tx.approvals(record.change.change)).approved
    if not approved:
        return ChangeState.AWAITING_APPROVAL
    return ChangeState.SHAPING if has_moved(tx, record.change) else ChangeState.SCHEDULED


def permitted(tx: Snapshot, change: str, action: Action, actor: str, reason: str) -> ChangeRecord:
    """The change, which `actor` may do `action` to. Raises InputError and RuleRefusal."""
    check_named(actor, reason)
    record = tx.change(change)
    if record is None:
        raise InputError(f"there is no change {change!r}: `forebay status` lists them")
    tx.rules().check_permitted(action, record.change, actor)
    return record
