"""The same name again with other content: the change is edited, as long as nothing has moved for it."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.app.context import Context
from forebay.app.lookup import has_moved, own_version
from forebay.domain.audit import AuditEntry, AuditEvent, Deed
from forebay.domain.change import ChangeRequest, PolicyChange
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import EDITABLE, ChangeState
from forebay.domain.model import canonical_json
from forebay.domain.policy import PolicyVersion, called
from forebay.domain.records import ChangeRecord
from forebay.domain.ticket import source_of
from forebay.ports import Snapshot, Transaction


def is_repeated(tx: Snapshot, known: ChangeRecord, request: ChangeRequest, before: ChangeRequest | None = None) -> bool:
    """Whether `request` says what the stored change says, or said before it was edited: doors deliver twice, and late.

    `before`: what the same sender asked for last. Where the change still says that, an earlier content is no late
    delivery, but an edit back to it.
    """
    stands = before is not None and _same(known.change, before)
    earlier = [] if stands else tx.revisions(known.change.change)
    return any(_same(content, request) for content in [known.change, *earlier])


def at_time_given(
    known: ChangeRecord, request: ChangeRequest, change: PolicyChange, before: ChangeRequest | None = None
) -> PolicyChange:
    """`change`, the edit that `request` asks for; at the effective time it was given where a relative one is repeated.

    It is repeated if it is the one that the stored change was asked for by, or that the same sender named last
    (`before`), whatever another door made of the time since. Asking again for a denied change counts from now.
    """
    said = {known.change.effective_in, before.effective_in if before else None}
    if request.effective_in is None or request.effective_in not in said or known.state is ChangeState.DENIED:
        return change
    return change.model_copy(update={"effective_at": known.change.effective_at})


def refused_at_once(tx: Snapshot, known: ChangeRecord) -> bool:
    """Whether a rule denied it on its arrival (it has no policy version): what stood in its way may be over by now."""
    return known.state is ChangeState.DENIED and own_version(tx, known) is None


def may_edit(known: ChangeRecord, door: str | None) -> bool:
    """Whether what comes by `door` may edit the change: a ticket only what it brought, as it may claim any name."""
    return source_of(door) is None or known.door == door


def check_editable(tx: Snapshot, known: ChangeRecord, change: PolicyChange, door: str | None) -> None:
    """Raises InputError where the name belongs to another request, RuleRefusal where it is too late to edit it."""
    before = known.change
    mine = (change.entity, change.policy, change.requested_by)
    if (before.entity, before.policy, before.requested_by) != mine:
        raise InputError(
            f"change: the name {before.change!r} is taken by another request ({before.title} by "
            f"{before.requested_by}, {known.state}): submit this one under a new name"
        )
    if not may_edit(known, door):
        raise InputError(
            f"change: {before.change!r} came by {known.door or 'another door'}, not by this ticket: edit it there, or "
            "ask for this one under a new name"
        )
    if change.supersedes != before.supersedes:
        raise InputError(f"supersedes: an edit cannot change it: {before.change} says {before.supersedes!r}")
    moved = has_moved(tx, before)
    if known.state not in EDITABLE or moved:
        raise RuleRefusal(
            "edit only before the first step",
            f"change {before.change} is {known.state}{', and capacity has moved for it' if moved else ''}",
            "cancelling it, or a new change under a new name",
        )


def store_edit(
    tx: Transaction, ctx: Context, known: ChangeRecord, change: PolicyChange, number: int, base: str
) -> ChangeRecord:
    """The change with its new content, `received` again: its plans and the approvals of them are void.

    `number` is the version it brings if it has none of its own yet, `base` what the one it brings builds on. The
    caller has checked that it may be.
    """
    if tx.pins(change.change):  # they were bounded by what was asked for then
        event = ctx.event(known.change, Deed.UNPINNED, "the change was edited", change.requested_by)
        tx.drop_pins(change.change, event)
    version = own_version(tx, known) or PolicyVersion.brought_by(change, number)
    fields = {"kind": change.kind, "document": change.document, "effective_at": change.effective_at}
    put_new_version(tx, ctx, change, version.model_copy(update=fields), base)
    return tx.edit_change(change, version.version, _told(ctx, known, change))


def put_new_version(tx: Transaction, ctx: Context, change: PolicyChange, version: PolicyVersion, base: str) -> None:
    """Store it. The audit log keeps `base`, which it builds on as it is accepted, even if the change names none."""
    brings, told = {"old": base, "new": called(version.version)}, f"version {version.version}, not armed"
    tx.put_version(version, ctx.event(change, Deed.POLICY_VERSION_STORED, told, **brings))


def builds_on(audit: Sequence[AuditEntry]) -> str | None:
    """Of a change's entries: the version it was accepted on top of, as the log calls it; None where it was refused."""
    stored = [entry.event for entry in audit if entry.event.action == Deed.POLICY_VERSION_STORED]
    return stored[-1].old if stored else None


def again_as(known: ChangeRecord) -> Deed:
    """The audit log's word for `known` being asked for once more."""
    return Deed.ASKED_FOR_AGAIN if known.state is ChangeState.DENIED else Deed.EDITED


def _told(ctx: Context, known: ChangeRecord, change: PolicyChange) -> AuditEvent:
    old, new = known.change.model_dump(mode="json"), change.model_dump(mode="json")
    differs = [name for name in new if new[name] != old[name]]
    return ctx.event(
        change,
        again_as(known),
        f"{', '.join(differs) or 'nothing'} changed: {change.reason or 'no reason given'}",
        change.requested_by,
        old=canonical_json({name: old[name] for name in differs}),
        new=canonical_json({name: new[name] for name in differs}),
    )


def _same(content: PolicyChange, request: ChangeRequest) -> bool:
    """A relative effective time was fixed at the first delivery; the same one again means that same time."""
    if request.effective_at not in (None, content.effective_at):
        return False
    # Of what an older version stored nobody knows how its time was asked for: any relative one is taken for that.
    known = "effective_in" in content.model_fields_set
    if known and request.effective_in not in (None, content.effective_in):
        return False
    again = request.model_copy(update={"effective_at": content.effective_at, "effective_in": None})
    return again.accepted(content.effective_at).fingerprint == content.fingerprint
