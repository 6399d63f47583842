"""The change rules are changed under their own rules: by enough amenders, and not before their delay is over."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.app.context import CONTROLLER, Context
from forebay.app.named import check_named
from forebay.domain.amendment import RulesProposal, base_of
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.errors import InputError
from forebay.domain.rules import ChangeRules
from forebay.ports import Snapshot


def set_rules(ctx: Context, rules: ChangeRules, actor: str, reason: str) -> int | RulesProposal:
    """A new version of the change rules: its number where it takes force at once, else the proposal that waits.

    Raises InputError; RuleRefusal naming who may.
    """
    check_named(actor, reason)
    with ctx.store.transaction() as tx:
        current = tx.rules()
        current.check_amendment(actor)
        proposal = RulesProposal(rules=rules, base=base_of(current), proposed_at=ctx.clock.now(), agreed=(actor,))
        waits = proposal.standing(current, ctx.clock.now())
        if waits is None:
            event = _event(ctx, Deed.RULES_SET, actor, reason)
            done: int | RulesProposal = tx.put_rules(rules, event)
        else:
            number = 1 + max((known.number for known in tx.proposals()), default=0)
            event = _event(ctx, Deed.RULES_PROPOSED, actor, f"proposal {number}: {reason}; {waits}")
            done = proposal.model_copy(update={"number": number})
            tx.put_proposal(done, event)
    ctx.notifier.notify(event)
    return done


def agree_to_rules(ctx: Context, number: int, actor: str, reason: str) -> RulesProposal:
    """`actor` agrees, once; it takes force at once where nothing else is missing. Raises InputError, RuleRefusal."""
    check_named(actor, reason)
    with ctx.store.transaction() as tx:
        proposal = _open(tx, number, actor)
        if actor in proposal.agreed:
            return proposal
        proposal = proposal.model_copy(update={"agreed": (*proposal.agreed, actor)})
        event = _event(ctx, Deed.RULES_AGREED, actor, f"proposal {number}: {reason}")
        tx.put_proposal(proposal, event)
    ctx.notifier.notify(event)
    settle_rules(ctx)
    return next(known for known in list_proposals(ctx) if known.number == number)


def withdraw_rules(ctx: Context, number: int, actor: str, reason: str) -> RulesProposal:
    """Any one amender stops a proposal: that is what the delay is for. Raises InputError, RuleRefusal."""
    check_named(actor, reason)
    with ctx.store.transaction() as tx:
        proposal = _open(tx, number, actor).model_copy(update={"state": "withdrawn"})
        event = _event(ctx, Deed.RULES_WITHDRAWN, actor, f"proposal {number}: {reason}")
        tx.put_proposal(proposal, event)
    ctx.notifier.notify(event)
    return proposal


def settle_rules(ctx: Context) -> None:
    """Put every proposal in force that has all it takes; one made under rules that are no longer in force is over."""
    events: list[AuditEvent] = []
    with ctx.store.transaction() as tx:
        for proposal in tx.proposals():
            if proposal.state != "open":
                continue
            current = tx.rules()
            if proposal.base != base_of(current):
                why = f"proposal {proposal.number}: the rules it was to change were changed meanwhile: propose it anew"
                event = _event(ctx, Deed.RULES_OVERTAKEN, CONTROLLER, why)
                tx.put_proposal(proposal.model_copy(update={"state": "overtaken"}), event)
            elif proposal.standing(current, ctx.clock.now()) is None:
                by = ", ".join(proposal.agreed)
                event = _event(ctx, Deed.RULES_SET, CONTROLLER, f"proposal {proposal.number}, agreed to by {by}")
                tx.put_proposal(proposal.model_copy(update={"state": "in force"}))
                tx.put_rules(proposal.rules, event)
            else:
                continue
            events.append(event)
    for event in events:
        ctx.notifier.notify(event)


def list_proposals(ctx: Context) -> Sequence[RulesProposal]:
    """All there ever were, oldest first."""
    with ctx.store.snapshot() as tx:
        return tx.proposals()


def _open(tx: Snapshot, number: int, actor: str) -> RulesProposal:
    tx.rules().check_amendment(actor)
    found = next((known for known in tx.proposals() if known.number == number), None)
    if found is None or found.state != "open":
        state = "there is none" if found is None else f"it is {found.state}"
        raise InputError(f"proposal {number} is not open: {state}; `forebay rules show --proposed` lists them")
    return found


def _event(ctx: Context, action: str, actor: str, reason: str) -> AuditEvent:
    return AuditEvent(at=ctx.clock.now(), actor=actor, action=action, reason=reason)
