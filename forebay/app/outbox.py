"""Sending what the outbox holds: by the reconciler, and at once by whoever has put something there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from forebay.app.context import CONTROLLER, Context
from forebay.app.named import check_named
from forebay.domain.audit import AuditEvent, DeedOn
from forebay.domain.errors import InputError, OutsideError, RuleRefusal
from forebay.domain.outbox import Message, MessageState, due
from forebay.domain.policy import PolicyVersion, in_force
from forebay.domain.records import ChangeRecord
from forebay.ports import Snapshot, Transaction

log = logging.getLogger(__name__)
# So many targets are told side by side: one that hangs must not make another late.
AT_ONCE = 8
# Failures are tried again at least every 15 minutes: what is due for this long, no process has an outlet for.
UNCLAIMED_AFTER = timedelta(hours=4)
PUSH = "push to "
Send = Callable[[Message], None]


def outlets(ctx: Context) -> Mapping[str, Send]:
    """By name: one for each enforcer, and those the context has besides."""

    def pushing(enforcer_push: Callable[[PolicyVersion], None]) -> Send:
        return lambda message: enforcer_push(PolicyVersion.model_validate_json(message.body))

    return {PUSH + e.name: pushing(e.push) for e in ctx.enforcers} | dict(ctx.outlets)


def post_version(tx: Transaction, ctx: Context, change: str, version: PolicyVersion) -> None:
    """Within `tx`: it is to be pushed to every enforcer; what was posted before is not posted again."""
    for message in _pushes(ctx, change, version):
        tx.add_message(message)


def _pushes(ctx: Context, change: str, version: PolicyVersion) -> list[Message]:
    return [
        Message(
            outlet=PUSH + enforcer.name,
            lane=f"{version.entity}/{version.policy}",
            key=str(version.version),
            body=version.model_dump_json(),
            change=change,
            made_at=ctx.clock.now(),
            due_at=ctx.clock.now(),
        )
        for enforcer in ctx.enforcers
    ]


def post_what_is_in_force(ctx: Context, record: ChangeRecord) -> None:
    """The change's version, where it is the one in force, is to be pushed to every enforcer that is configured here."""
    with ctx.store.snapshot() as seen:
        version = _brought_in_force(seen, ctx, record)
        if version is None or all(_posted(seen, message) for message in _pushes(ctx, record.change.change, version)):
            return
    with ctx.store.transaction() as tx:
        if version := _brought_in_force(tx, ctx, record):
            post_version(tx, ctx, record.change.change, version)


def _brought_in_force(tx: Snapshot, ctx: Context, record: ChangeRecord) -> PolicyVersion | None:
    version = in_force(tx.versions(record.change.entity, record.change.policy), ctx.clock.now())
    return version if version is not None and version.change == record.change.change else None


def _posted(tx: Snapshot, message: Message) -> bool:
    lane = message.outlet, message.lane
    return any(posted.key == message.key for state in MessageState for posted in tx.messages(state, lane))


def push_version(ctx: Context, change: str, version: PolicyVersion) -> bool:
    """Push what is due of the change; True once `version` waits for no enforcer of ours: it is there, or given up.

    Raises OutsideError with the first failure where one will be tried again.
    """
    drain(ctx, change)
    lane, key = f"{version.entity}/{version.policy}", str(version.version)
    with ctx.store.snapshot() as tx:
        waiting = [m for m in _mine(ctx, tx) if (m.lane, m.key, m.change) == (lane, key, change)]
    failed = [m for m in waiting if m.failure is not None]
    if failed:
        raise OutsideError(f"{failed[0].outlet} failed and is tried again: {failed[0].failure}", retryable=True)
    return not waiting


def drain(ctx: Context, change: str | None = None) -> int:
    """Send what is due (of one change) and configured here, each lane in order; returns how many were sent.

    A failure is recorded. Raises OutsideError where the store is away.
    """
    sent = 0
    while claimed := _claim(ctx, change):
        if len(claimed) == 1:
            sent += _send(ctx, claimed[0])
            continue
        with ThreadPoolExecutor(AT_ONCE) as pool:
            sent += sum(pool.map(lambda message: _send(ctx, message), claimed))
    return sent


def _claim(ctx: Context, change: str | None) -> list[Message]:
    with ctx.store.transaction() as tx:
        now = ctx.clock.now()
        found = [m for m in due(_mine(ctx, tx), now) if change is None or m.change == change]
        claimed = [message.claimed(now) for message in found[:AT_ONCE]]
        for message in claimed:
            tx.put_message(message)
    return claimed


def _mine(ctx: Context, tx: Snapshot) -> list[Message]:
    """What waits for an outlet that is configured here: the rest is for another process to send."""
    here = outlets(ctx)
    return [message for message in tx.messages(MessageState.WAITING) if message.outlet in here]


def _send(ctx: Context, message: Message) -> bool:
    try:
        outlets(ctx)[message.outlet](message)
        after = message.sent()
    except OutsideError as error:
        after = message.failed(str(error), ctx.clock.now(), retryable=error.retryable)
    except ValueError as error:  # also InputError, and a body that is none
        after = message.failed(str(error), ctx.clock.now(), retryable=False)
    except Exception as error:  # a defect of one outlet: it must not keep all others from being sent, again and again
        log.exception("%s: not sent", message.name)
        after = message.failed(f"{type(error).__name__}: {error}", ctx.clock.now(), retryable=False)
    _record(ctx, message, after)
    return after.state is MessageState.SENT


def give_up_unclaimed(ctx: Context) -> None:
    """Messages of an outlet that is configured nowhere any more are given up, as loudly as any other.

    For the reconciler only, whose settings name every outlet: a shell that names none cannot tell.
    """
    here, now = outlets(ctx), ctx.clock.now()
    with ctx.store.snapshot() as tx:
        found = due(tx.messages(MessageState.WAITING), now - UNCLAIMED_AFTER)
    for message in found:
        if message.outlet not in here:
            failure = f"{message.outlet!r} is not configured any more: configure it, or discard it"
            _record(ctx, message, message.failed(failure, now, retryable=False))


def _record(ctx: Context, before: Message, after: Message) -> None:
    event = _told(ctx, before, after)
    with ctx.store.transaction() as tx:
        tx.put_message(after)
        if event is not None:
            tx.audit(event)
    if event is not None and after.state is MessageState.DEAD:
        ctx.notifier.notify(event)


def _told(ctx: Context, before: Message, after: Message) -> AuditEvent | None:
    """What the audit log says of it: each push, its first failure, and whatever was given up."""
    pushed = before.outlet.startswith(PUSH)
    if after.state is MessageState.DEAD:
        action = DeedOn.GIVEN_UP.of(before.outlet)
        number = after.number
        reason = f"{after.failure}; `forebay outbox retry {number}` sends it again, `outbox discard {number}` drops it"
    elif after.state is MessageState.SENT and pushed:
        action, reason = before.outlet.replace("push", "pushed", 1), f"version {before.key}"
    elif pushed and before.failure is None:
        action, reason = DeedOn.FAILED.of(before.outlet), str(after.failure)
    else:
        return None
    return AuditEvent(at=ctx.clock.now(), actor=CONTROLLER, action=action, reason=reason, change=before.change)


def unsent(ctx: Context) -> list[Message]:
    """What waits or was given up, oldest first."""
    with ctx.store.snapshot() as tx:
        found = [*tx.messages(MessageState.WAITING), *tx.messages(MessageState.DEAD)]
    return sorted(found, key=lambda m: m.number)


def retry(ctx: Context, number: int, actor: str, reason: str) -> Message:
    """Send a message that was given up once more. Raises InputError and RuleRefusal."""
    check_named(actor, reason)
    with ctx.store.transaction() as tx:
        dead = _dead(tx, number)
        if dead.outlet not in outlets(ctx):
            raise InputError(
                f"{dead.outlet!r} is not configured here: give this command the settings of the process that sends "
                f"it; if none has it any more, `forebay outbox discard {number}` drops the message"
            )
        later = [m for m in tx.messages(MessageState.SENT, (dead.outlet, dead.lane)) if m.number > number]
        if later:
            raise RuleRefusal("sent in order", f"{later[-1].name} was sent since", "leaving it: a newer one is there")
        revived = dead.revived(ctx.clock.now())
        tx.put_message(revived)
        action = DeedOn.TRIED_AGAIN.of(dead.outlet)
        tx.audit(AuditEvent(at=ctx.clock.now(), actor=actor, action=action, reason=reason, change=dead.change))
    return revived


def discard(ctx: Context, number: int, actor: str, reason: str) -> Message:
    """Drop a message that was given up, whether or not its outlet is configured anywhere. Raises InputError."""
    check_named(actor, reason)
    with ctx.store.transaction() as tx:
        dropped = _dead(tx, number).discarded()
        tx.put_message(dropped)
        why = f"{dropped.lane} {dropped.key}: {reason}"
        action = DeedOn.DISCARDED.of(dropped.outlet)
        tx.audit(AuditEvent(at=ctx.clock.now(), actor=actor, action=action, reason=why, change=dropped.change))
    return dropped


def _dead(tx: Snapshot, number: int) -> Message:
    dead = next((m for m in tx.messages(MessageState.DEAD) if m.number == number), None)
    if dead is None:
        raise InputError(f"no message {number} was given up: `forebay outbox show` lists them")
    return dead
