"""The change rules are changed under their own rules."""

from __future__ import annotations

from forebay.app.context import Context
from forebay.domain.audit import AuditEvent
from forebay.domain.errors import InputError
from forebay.domain.rules import ChangeRules


def set_rules(ctx: Context, rules: ChangeRules, actor: str, reason: str) -> int:
    """Store a new version of the change rules; returns its number. Raises InputError; RuleRefusal naming who may."""
    if not actor.strip() or not reason.strip():
        raise InputError("give your name (--by) and a reason (--reason): the audit log keeps both")
    event = AuditEvent(at=ctx.clock.now(), actor=actor, action="change rules set", reason=reason)
    with ctx.store.transaction() as tx:
        tx.rules().check_amendment(actor)
        number = tx.put_rules(rules, event)
    ctx.notifier.notify(event)
    return number
