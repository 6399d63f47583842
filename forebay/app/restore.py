"""Giving back: after a cancel the allocation goes down in steps; after settling a raised floor is handed back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from forebay.app.context import Context
from forebay.app.writing import last_setting, release, settle_open_intents, write_setting
from forebay.control.restore import GiveBack, Leave, LookAgain, next_restore
from forebay.domain.allocation import Lever
from forebay.domain.errors import LostLease, RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import ChangeRecord, Lease, Purpose
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload


def restore_change(ctx: Context, record: ChangeRecord, holder: str) -> str:
    """One restoring tick on every workload of a cancelled or settled change; closes it once all are done.

    Returns what happened, in words. Raises OutsideError; the next tick goes on from what is there.
    """
    change = record.change
    # Two passes of one reconciler are two writers, whatever they call themselves.
    holder = f"{holder} {uuid4().hex[:8]}"
    outcomes = []
    for name in change.workloads:
        with ctx.store.transaction() as tx:
            lease = tx.acquire_lease(name, holder, ctx.clock.now(), ctx.lease)
        if lease is None:
            outcomes.append((False, f"{name}: another run holds the workload"))
            continue
        try:
            outcomes.append(_restore_workload(ctx, record, ctx.workload(name), lease))
        except (LostLease, RuleRefusal) as refusal:
            outcomes.append((False, f"{name}: {refusal}"))
        finally:
            release(ctx, lease)
    pending = [text for done, text in outcomes if not done]
    if pending:
        return "; ".join(pending)
    text = "; ".join(text for _, text in outcomes)
    after = ChangeState.ROLLED_BACK if record.state is ChangeState.CANCELLED else ChangeState.CLOSED
    with ctx.store.transaction() as tx:
        current = tx.change(change.change)
        if current is None or current.state is not record.state:
            return f"nothing to do: change is {current.state if current else 'gone'}"
        event = ctx.event(change, str(after), text)
        tx.move(change.change, after, event)
    ctx.notifier.notify(event)
    return f"{after}: {text}"


def _restore_workload(ctx: Context, record: ChangeRecord, workload: Workload, lease: Lease) -> tuple[bool, str]:
    settle_open_intents(ctx, record, workload, lease)
    change, now = record.change.change, ctx.clock.now()
    with ctx.store.transaction() as tx:
        original = tx.original(change, workload.name)
        intents = tx.intents(workload.name, change=change)
        freeze = tx.rules().freeze_at(now, record.change)
    target, ours = ctx.target(workload).observe(), last_setting(ctx, change, workload.name)
    resized = ours is not None and ours.revision is not None and ours.stands_in(target.setting)
    if resized:
        workload = workload.sized(target.setting.size)
    # Only a count and a size take capacity away: a floor goes back whether or not usage can be measured.
    measured = resized or target.setting.lever is Lever.COUNT
    usage = _seen(ctx, workload, now) if measured else None
    before = workload.sized(original.size) if resized and original else workload
    decision = next_restore(
        workload=workload,
        target=target,
        original=original,
        ours=ours,
        last_write_at=max((i.stored_at for i in intents), default=None),
        required_units=_required(workload, usage),
        required_before=_required(before, usage),
        keep_count=record.state is ChangeState.SETTLING,
        now=now,
    )
    match decision:
        case Leave(reason=reason):
            return True, f"{workload.name}: {reason}"
        case LookAgain(reason=reason):
            return False, f"{workload.name}: {reason}"
        case GiveBack(reason=reason) if freeze:
            return False, f"{workload.name}: freeze window until {freeze.end.isoformat()}: {freeze.reason}"
        case GiveBack(setting=setting, reason=reason):
            write_setting(ctx, lease, record, workload, target.setting, setting, reason, Purpose.GIVE_BACK)
            return False, f"{workload.name}: {reason}"


def _seen(ctx: Context, workload: Workload, now: datetime) -> Mapping[Resource, float] | None:
    """The usage seen last; None without data of each resource, which never lets anything shrink (rule 7)."""
    verification = workload.verification
    end = now - verification.metric_delay
    usage = ctx.usage(workload).measure(end - verification.window, end)
    return None if any(resource not in usage for resource in workload.resources) else usage


def _required(workload: Workload, usage: Mapping[Resource, float] | None) -> int | None:
    return None if usage is None else math.ceil(workload.units_for(usage)[0] - 1e-9)
