"""The decision point as a function, and the first version of a policy that was in force before Forebay came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from forebay.app.context import Context
from forebay.app.named import check_named
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.change import Document
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import ChangeState
from forebay.domain.model import Model, Name, UtcTime, validate
from forebay.domain.policy import PolicyVersion, called, in_force, next_number, next_switch
from forebay.ports import Snapshot


class PolicyAnswer(Model):
    """What is in force at `at`, and the next switch known now. `version` is None where nothing is in force."""

    entity: str
    policy: str
    at: UtcTime
    version: PolicyVersion | None
    next_switch_at: UtcTime | None

    @property
    def content(self) -> dict[str, Any]:
        """What every door tells, as JSON, but for `at`, which differs each time. `version` and what belongs to it are
        null where nothing is in force.
        """
        version = self.version
        began = version.in_force_from if version else None
        return {
            "entity": self.entity,
            "policy": self.policy,
            "kind": version.kind if version else None,
            "version": version.version if version else None,
            "document": version.model_dump(mode="json", include={"document"})["document"] if version else None,
            "change": version.change if version else None,
            "in_force_from": began and began.isoformat(),
            "next_switch_at": self.next_switch_at and self.next_switch_at.isoformat(),
        }

    @property
    def nothing(self) -> str:
        """In words, that nothing is in force, and what will be."""
        start = f"no version of policy {self.policy!r} of {self.entity!r} is in force at {self.at.isoformat()}"
        if self.next_switch_at is None:
            return f"{start}, and none is armed"
        return f"{start}; the next one takes force at {self.next_switch_at.isoformat()}"


class _Imported(Model):
    """What a change of the policy will call it, and may hold."""

    entity: Name
    policy: Name
    kind: Name
    document: Document


def policy_at(ctx: Context, entity: str, policy: str, at: datetime | None = None) -> PolicyAnswer:
    """The policy decision point: stored effective times and the clock decide, no scheduler does (rule 2)."""
    return _answer(entity, policy, ctx.store.versions(entity, policy), at or ctx.clock.now())


def policies_changed(ctx: Context, since: datetime) -> tuple[datetime, list[PolicyAnswer]]:
    """For pollers: now, and what is in force now of each policy whose answer changed since, next switches included.

    At least once: what changed within a minute before `since` may be told again. Ask next with the time returned.
    """
    now = ctx.clock.now()
    by_policy: dict[tuple[str, str], list[PolicyVersion]] = {}
    for version in ctx.store.changed_versions(since, now):
        by_policy.setdefault((version.entity, version.policy), []).append(version)
    return now, [_answer(entity, policy, versions, now) for (entity, policy), versions in by_policy.items()]


def _answer(entity: str, policy: str, versions: Sequence[PolicyVersion], at: datetime) -> PolicyAnswer:
    return PolicyAnswer(
        entity=entity,
        policy=policy,
        at=at,
        version=in_force(versions, at),
        next_switch_at=next_switch(versions, at),
    )


def import_policy(
    ctx: Context, entity: str, policy: str, kind: str, document: Mapping[str, Any], actor: str, reason: str
) -> PolicyVersion:
    """Store what is in force already as the first version that is. What changes brought and took back before it was in
    force does not count, nor what was denied.

    Imported once more with the same document, it is of another kind from now on: for good, once a change has come.
    Raises InputError, and RuleRefusal if the policy is known: then change it.
    """
    check_named(actor, reason)
    given = {"entity": entity, "policy": policy, "kind": kind, "document": document}
    imported = validate(_Imported, given, "policy")
    now = ctx.clock.now()
    with ctx.store.transaction() as tx:
        before = tx.versions(entity, policy)
        counted = [version for version in before if _counts(tx, version)]
        if any(v.change or v.document != imported.document or v.kind == kind for v in counted):
            would_do = "a policy change"
            if not any(version.change for version in counted):
                would_do += ", or the same document under another kind, where that is wrong"
            raise RuleRefusal("import only once", f"policy {policy!r} of {entity!r} is known", would_do)
        version = PolicyVersion(
            **imported.model_dump(),
            version=next_number(before),
            change=None,
            effective_at=now,
            armed_at=now,
        )
        new = called(version.version)
        tx.put_version(
            version,
            AuditEvent(at=now, actor=actor, action=Deed.POLICY_IMPORTED, reason=reason, entity=entity, new=new),
        )
    return version


def _counts(tx: Snapshot, version: PolicyVersion) -> bool:
    record = tx.change(version.change) if version.change else None
    return version.withdrawn_at is None and (record is None or record.state is not ChangeState.DENIED)
