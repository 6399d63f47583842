"""Accept a policy change: check it against the catalog and the change rules, and store it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from forebay.app.approvals import as_it_stands
from forebay.app.context import Context
from forebay.app.edit import (
    again_as,
    at_time_given,
    check_editable,
    is_repeated,
    may_edit,
    put_new_version,
    refused_at_once,
    store_edit,
)
from forebay.app.supersede import supersede
from forebay.app.turn import ahead_of, check_nobody_behind, check_turn, same_policy
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.policy import PolicyVersion, called, in_force, next_number
from forebay.domain.records import ChangeRecord
from forebay.domain.unplanned import check_planned
from forebay.domain.workload import Workload
from forebay.ports import Snapshot, Transaction


def receive(
    ctx: Context,
    request: ChangeRequest,
    asked_at: datetime | None = None,
    *,
    before: ChangeRequest | None = None,
    only_own: bool = False,
    door: str | None = None,
) -> ChangeRecord:
    """Store the change as `received`, or as `denied` with the rule that says no and what would pass.

    The same request again (by name) returns the stored change: any door may deliver twice; one that a rule refused at
    once is judged again. Other content under the name edits the change, if nothing has moved for it yet; one that
    `supersedes` another takes that one's place. Raises InputError, with nothing stored, for an unknown workload or a
    name that belongs to another request; RuleRefusal for an edit or a superseding that a rule forbids.

    `asked_at` (aware UTC): when it came to the door, if that was earlier; a relative time and the minimum delay count
    from then. `before`: see is_repeated. `only_own`: by this door one may supersede one's own changes only. `door`: see
    ChangeRecord; a ticket only claims who asks, so it may edit no change but the one it brought.
    """
    # Read once: judged by a later reading, a time of just the minimum delay would always fall short of it.
    now = ctx.clock.now()
    asked_at = asked_at or now
    change = request.accepted(asked_at)
    workloads = [ctx.workload(workload) for workload in change.workloads]
    with ctx.store.transaction() as tx:
        known = tx.change(change.change)
        if known is None:
            record, told = _first(ctx, tx, change, workloads, now, asked_at, only_own, door)
        else:
            repeated = is_repeated(tx, known, request, before)
            if repeated and not (may_edit(known, door) and refused_at_once(tx, known)):
                return as_it_stands(tx, known)
            change = at_time_given(known, request, change, before)
            try:
                record = _again(ctx, tx, known, change, workloads, now, asked_at, door)
            except RuleRefusal as refusal:
                if repeated:  # it stays denied, maybe for what is in its way by now
                    return known.model_copy(update={"note": str(refusal)})
                raise
            told = [ctx.event(change, again_as(known), record.note, change.requested_by)]
    for event in told:
        ctx.notifier.notify(event)
    return record


def _first(
    ctx: Context,
    tx: Transaction,
    change: PolicyChange,
    workloads: Sequence[Workload],
    now: datetime,
    asked_at: datetime,
    only_own: bool,
    door: str | None,
) -> tuple[ChangeRecord, list[AuditEvent]]:
    """Store a change of a new name. Returns its record and what to tell: its denial, or whose place it takes.

    One that is to supersede another and is denied is not stored: the refusal is raised.
    """
    told = [supersede(tx, ctx, change, only_own=only_own, door=door)] if change.supersedes else []
    versions = tx.versions(change.entity, change.policy)
    number = next_number(versions)
    refusal = _refusal(tx, change, workloads, versions, now, asked_at)
    if refusal is not None and change.supersedes:
        raise refusal
    base, reason = called(_base(tx, change, versions, now)), change.reason or "no reason given"
    brings = {"old": base, "new": called(number)} if refusal is None else {}
    if door:
        brings["new"] = f"{brings['new']}, by {door}" if refusal is None else f"by {door}"
    event = ctx.event(change, Deed.RECEIVED, reason, change.requested_by, **brings)
    record = tx.add_change(change, number, event, door)
    if refusal is not None:
        event = ctx.event(change, Deed.DENIED, str(refusal))
        return tx.move(change.change, ChangeState.DENIED, event), [event]
    put_new_version(tx, ctx, change, PolicyVersion.brought_by(change, number), base)
    return record, told


def _again(
    ctx: Context,
    tx: Transaction,
    known: ChangeRecord,
    change: PolicyChange,
    workloads: Sequence[Workload],
    now: datetime,
    asked_at: datetime,
    door: str | None,
) -> ChangeRecord:
    """Other content under a known name. Raises InputError and RuleRefusal, and then the stored change stands."""
    check_editable(tx, known, change, door)
    check_nobody_behind(tx, known.change, change)
    versions = tx.versions(change.entity, change.policy)
    if refusal := _refusal(tx, change, workloads, versions, now, asked_at):
        raise refusal
    number = next_number(versions)
    return store_edit(tx, ctx, known, change, number, called(_base(tx, change, versions, now)))


def _refusal(
    tx: Snapshot,
    change: PolicyChange,
    workloads: Sequence[Workload],
    versions: Sequence[PolicyVersion],
    now: datetime,
    asked_at: datetime,
) -> RuleRefusal | None:
    current = in_force(versions, now)
    try:
        _check_kind(tx, change, versions, current)
        tx.rules().check_request(change, now, asked_at)
        for workload in workloads:
            check_planned(change, workload)
        stacked = _stacked(tx, change)
        if stacked and (rule := tx.rules().governing(change)).second_change == "refuse":
            raise RuleRefusal(
                rule.name,
                f"change {stacked[0].change.change} ({stacked[0].state}) of {change.title} is under way",
                f"this change once {stacked[0].change.change} is over",
            )
        base = _base(tx, change, versions, now)
        if change.base_version not in (None, base):
            state = "comes before it" if stacked else "is in force"
            raise RuleRefusal(
                "base version",
                f"the change builds on version {change.base_version}, {called(base)} {state}",
                f"base_version {base}" + (", after reading that version" if base else ""),
            )
        check_turn(tx, change)
    except RuleRefusal as refusal:
        return refusal
    return None


def _stacked(tx: Snapshot, change: PolicyChange) -> list[ChangeRecord]:
    """The changes of its own policy that come before it."""
    return [r for r in ahead_of(tx, change) if same_policy(r.change, change)]


def _base(tx: Snapshot, change: PolicyChange, versions: Sequence[PolicyVersion], now: datetime) -> int:
    """The version that a change builds on which is accepted now, whether it names one or not; 0 is none."""
    current = in_force(versions, now)
    return max((r.policy_version for r in _stacked(tx, change)), default=current.version if current else 0)


def _check_kind(
    tx: Snapshot, change: PolicyChange, versions: Sequence[PolicyVersion], current: PolicyVersion | None
) -> None:
    """The kind chooses the rule that governs: whoever asks does not choose it for a policy that has one already."""
    newest_first = (v for v in reversed(versions) if v.withdrawn_at is None and v.change != change.change)
    known = current or next((v for v in newest_first if not _denied(tx, v)), None)
    if known is not None and known.kind != change.kind:
        raise RuleRefusal(
            "a policy keeps its kind",
            f"{change.title} is of kind {known.kind!r}, and the change says {change.kind!r}",
            f"kind: {known.kind}, or a policy of another name",
        )


def _denied(tx: Snapshot, version: PolicyVersion) -> bool:
    record = tx.change(version.change) if version.change else None
    return record is not None and record.state is ChangeState.DENIED
