"""Approvals: a planned change waits for them where a rule wants them; people approve or reject what they were shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Literal

from forebay.app.context import CONTROLLER, Context
from forebay.app.lookup import has_moved, own_version
from forebay.app.people import permitted, withdraw
from forebay.domain.approval import SHORTEST_HASH, Approval, Door, Envelope, Request, asked_hash, latest_approval
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.lifecycle import AFTER, BEFORE_IN_FORCE, TERMINAL, ChangeState, StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.ports import Snapshot, Transaction


def request_of(tx: Snapshot, record: ChangeRecord) -> Request | None:
    """The request as it stands, also where it needs no approval (any more); None while the change has no plan."""
    change = record.change
    plans, to_come = {}, []
    for workload in change.workloads:
        proposed = tx.proposed_plan(change.change, workload)
        plan = proposed or tx.plan(change.change, workload)
        if plan is None:
            return None
        plans[workload] = plan
        steps = () if proposed else tx.steps(change.change, workload)
        made = [s.step for s in steps if s.state is not StepState.PENDING]
        to_come += [step for step in plan.moves if step not in made]
    rules, version = tx.rules(), own_version(tx, record)
    began = version.in_force_from if version and record.state in AFTER else None
    return Request(
        asked=asked_hash(plans),
        # What follows its impact is shaped until it has settled.
        latest=change.settled_at(began) if began else latest_approval(change, to_come),
        standing=rules.standing(change, list(plans.values()), tx.approvals(change.change)),
        plans=plans,
        envelopes=tuple(Envelope.around(plan, rules.tolerance_percent(change)) for plan in plans.values()),
    )


def as_it_stands(tx: Snapshot, record: ChangeRecord) -> ChangeRecord:
    """The change, and where it waits for approvals with the note of now: new plans, approvals and rules come without
    a move, and so without a note.
    """
    request = request_of(tx, record) if record.state is ChangeState.AWAITING_APPROVAL else None
    return record.model_copy(update={"note": _asked_for(request)}) if request else record


def _asked_for(request: Request) -> str:
    return f"{request.standing.text}; plan {request.asked[:12]}, at the latest {request.latest.isoformat()}"


def may_be_answered(tx: Snapshot, record: ChangeRecord) -> bool:
    """Until it is in force, and afterwards where a new plan was proposed for what is left."""
    proposed = any(tx.proposed_plan(record.change.change, workload) for workload in record.change.workloads)
    return record.state in BEFORE_IN_FORCE or (record.state in AFTER and proposed)


def admit(tx: Transaction, ctx: Context, record: ChangeRecord) -> tuple[ChangeRecord, AuditEvent]:
    """A change that was just planned goes on: scheduled, or waiting for its approval. Within the planner's `tx`."""
    request = request_of(tx, record)
    assert request is not None, "it was just planned"
    change = record.change
    if request.standing.approved:
        if request.standing.needed is None and tx.rules().asks_at_all(change):
            tx.add_approval(
                _approval(ctx, record, request, CONTROLLER, "within the limits that need no approval", "rule"),
                ctx.event(change, Deed.NO_APPROVAL_NEEDED, "within the rule's limits", plan_hash=request.asked),
            )
        event = ctx.event(change, Deed.SCHEDULED, f"effective {change.effective_at.isoformat()}")
        return tx.move(change.change, ChangeState.SCHEDULED, event), event
    event = ctx.event(change, Deed.AWAITING_APPROVAL, _asked_for(request), plan_hash=request.asked)
    if record.state is ChangeState.AWAITING_APPROVAL:
        tx.audit(event)
        return as_it_stands(tx, record), event
    return tx.move(change.change, ChangeState.AWAITING_APPROVAL, event), event


def approve(
    ctx: Context,
    change: str,
    actor: str,
    reason: str,
    *,
    door: Door = "cli",
    plan: str | None = None,
    link: str | None = None,
) -> ChangeRecord:
    """One person's approval; with the quorum's last one the change goes on. Raises InputError and RuleRefusal.

    `plan`: the hash (or its first digits) of what the person was shown; anything else is refused. `link`: the one-time
    link that was used, if one was. Who asked for the change is not counted, and told so.
    """
    with ctx.store.transaction() as tx:
        record, request = _open_request(tx, ctx, change, actor, reason, plan, link)
        if actor == record.change.requested_by:
            raise RuleRefusal("quorum", f"{actor!r} asked for the change", f"an approval by {_others(request)}")
        if actor in request.standing.by:
            raise RuleRefusal("quorum", f"{actor!r} has approved already", f"an approval by {_others(request)}")
        if record.state is ChangeState.AWAITING_APPROVAL and ctx.clock.now() >= request.latest:
            raise RuleRefusal(
                "approve before the first step",
                f"the first step was due at {request.latest.isoformat()}",
                "an approval of the new plan, which is drawn within the next minute",
            )
        event = ctx.event(record.change, Deed.APPROVED, f"{reason} (by {door})", actor, plan_hash=request.asked)
        tx.add_approval(_approval(ctx, record, request, actor, reason, door), event)
        after = request_of(tx, record)
        assert after is not None
        told = [event]
        if record.state is ChangeState.AWAITING_APPROVAL and after.standing.approved:
            told.append(ctx.event(record.change, Deed.SCHEDULED, f"approved: {after.standing.text}", actor))
            record = tx.move(change, ChangeState.SCHEDULED, told[-1])
        record = as_it_stands(tx, record)
    for event in told:
        ctx.notifier.notify(event)
    return record


def reject(
    ctx: Context,
    change: str,
    actor: str,
    reason: str,
    *,
    door: Door = "cli",
    plan: str | None = None,
    link: str | None = None,
) -> ChangeRecord:
    """One who may approve says no: a waiting change is turned down; of a change under way, only the new plan is.

    Raises InputError and RuleRefusal.
    """
    with ctx.store.transaction() as tx:
        record, request = _open_request(tx, ctx, change, actor, reason, plan, link)
        if record.state is ChangeState.HELD:
            raise RuleRefusal("life of a change", f"change {change} is held", "cancelling it, or resuming it first")
        event = ctx.event(record.change, Deed.REJECTED, f"{reason} (by {door})", actor, plan_hash=request.asked)
        told = [event]
        if record.state is not ChangeState.AWAITING_APPROVAL:
            for workload in request.plans:
                tx.drop_proposal(change, workload)
            tx.audit(event)
        elif has_moved(tx, record.change):
            tx.audit(event)
            record, cancelled = withdraw(tx, ctx, record, actor, event.reason)
            told.append(cancelled)
        else:
            record = tx.move(change, ChangeState.DENIED, event)
    for event in told:
        ctx.notifier.notify(event)
    return record


def invite(ctx: Context, change: str, person: str, actor: str, valid: timedelta) -> tuple[str, datetime, str]:
    """What a one-time link for `person` is made of: the request's hash, when it expires, a number used once.

    It expires after `valid`, and at the latest when the plan can no longer start. Raises InputError and RuleRefusal.
    """
    with ctx.store.transaction() as tx:
        record, request = _open_request(tx, ctx, change, person, f"link made by {actor}", None, None)
        expires = min(ctx.clock.now() + valid, request.latest)
        words = f"for {person}, until {expires.isoformat()}"
        tx.audit(ctx.event(record.change, Deed.APPROVAL_LINK_MADE, words, actor, plan_hash=request.asked))
    return request.asked, expires, token_hex(16)


def _open_request(
    tx: Transaction, ctx: Context, change: str, actor: str, reason: str, plan: str | None, link: str | None
) -> tuple[ChangeRecord, Request]:
    """The change and what is asked of `actor` now. Raises InputError and RuleRefusal where nothing is."""
    over = tx.change(change)
    if over is not None and over.state in TERMINAL:  # whoever might have answered
        raise RuleRefusal("life of a change", f"change {change} is {over.state}", "nothing: nobody has to answer it")
    record = permitted(tx, change, "approve", actor, reason)
    if not may_be_answered(tx, record):
        raise RuleRefusal("life of a change", f"change {change} is {record.state}", "approving before it is in force")
    request = request_of(tx, record)
    if request is None:
        raise RuleRefusal("life of a change", f"change {change} has no plan yet", "approving once it is planned")
    if plan is not None:
        _check_shown(request, plan)
    if request.standing.approved:
        raise RuleRefusal("life of a change", f"change {change} waits for no approval", "nothing: it goes on by itself")
    if link is not None and not tx.use_link(link, ctx.clock.now()):
        raise RuleRefusal("one-time link", "this link was used before", "a new link, or `forebay approve`")
    return record, request


def _check_shown(request: Request, plan: str) -> None:
    if len(plan) < SHORTEST_HASH:
        raise InputError(f"plan {plan!r}: give at least {SHORTEST_HASH} digits of the plan's hash")
    if not request.asked.startswith(plan):
        raise RuleRefusal(
            "what is approved is what was shown",
            f"plan {plan[:16]} is not what is asked for now",
            f"a look at plan {request.asked[:16]}, and an approval of that",
        )


def _approval(
    ctx: Context, record: ChangeRecord, request: Request, person: str, reason: str, door: Door | Literal["rule"]
) -> Approval:
    return Approval(
        change=record.change.change,
        person=person,
        reason=reason,
        door=door,
        at=ctx.clock.now(),
        fingerprint=record.change.fingerprint,
        asked=request.asked,
        envelopes=request.envelopes,
    )


def _others(request: Request) -> str:
    return f"another of {', '.join(request.standing.approvers)}"


def gap_of(tx: Snapshot, record: ChangeRecord, plans: Sequence[ShapingPlan]) -> str | None:
    """Why these plans (some of the change's workloads) need an approval that is not given; None if they do not."""
    kept = [
        plan
        for workload in record.change.workloads
        if workload not in {plan.workload for plan in plans}
        and (plan := tx.plan(record.change.change, workload)) is not None
    ]
    found = tx.rules().standing(record.change, [*plans, *kept], tx.approvals(record.change.change))
    return None if found.approved else found.text
