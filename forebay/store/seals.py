"""The rows that decide by themselves, sealed: each write of one puts the digest of its content into the audit log.

These are policy versions, change rules and approvals. The log is chained, so that a row that another hand has written
shows against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, type_coerce

from forebay.domain.audit import AuditEvent, Seal
from forebay.domain.model import digest
from forebay.domain.policy import PolicyVersion
from forebay.store import schema as t

ROWS_AT_A_TIME = 1000


def version_sealed(event: AuditEvent, version: PolicyVersion) -> AuditEvent:
    """`event`, which records that `version` was written."""
    row = _version_row(version.entity, version.policy, version.version)
    return _sealed(event, row, version.model_dump(mode="json"))


def rules_sealed(event: AuditEvent, connection: Connection, version: int) -> AuditEvent:
    """`event`, which records that this version of the change rules was written."""
    c = t.change_rules.c
    row = connection.execute(select(_raw(c.rules)).where(c.version == version)).scalar_one()
    return _sealed(event, _rules_row(version), row)


def approvals_sealed(event: AuditEvent, connection: Connection, change: str) -> AuditEvent:
    """`event`, which records that the approvals of `change` were written. All in one: none comes or goes unseen."""
    c = t.approvals.c
    query = select(_raw(c.approval)).where(c.change == change).order_by(c.number)
    return _sealed(event, _approvals_row(change), list(connection.execute(query).scalars()))


def stored_rows(connection: Connection) -> Iterator[tuple[str, str]]:
    """Each row that is sealed: its name, and the digest of what it holds now. Raises ValueError for what is no JSON."""
    v, r, a = t.policy_versions.c, t.change_rules.c, t.approvals.c
    versions = select(v.entity, v.policy, v.version, _raw(v.content)).execution_options(yield_per=ROWS_AT_A_TIME)
    for *key, content in connection.execute(versions):
        yield _version_row(*key), digest(content)
    for version, rules in connection.execute(select(r.version, _raw(r.rules))):
        yield _rules_row(version), digest(rules)
    given: dict[str, list[Any]] = {}
    for change, approval in connection.execute(select(a.change, _raw(a.approval)).order_by(a.number)):
        given.setdefault(change, []).append(approval)
    for change, approvals in given.items():
        yield _approvals_row(change), digest(approvals)


def misfiled(connection: Connection) -> str | None:
    """The first policy version that is listed at another time than it takes force, in words; None without one.

    Who asks what changed since is answered by that list. Raises ValueError for what is no version.
    """
    v = t.policy_versions.c
    query = select(v.in_force_from, v.content).execution_options(yield_per=ROWS_AT_A_TIME)
    for listed, version in connection.execute(query):
        if listed != version.in_force_from:
            row = _version_row(version.entity, version.policy, version.version)
            return f"{row} was altered: it is listed at {listed}, and takes force at {version.in_force_from}"
    return None


def _sealed(event: AuditEvent, row: str, content: Any) -> AuditEvent:
    return event.model_copy(update={"seal": Seal(row=row, digest=digest(content))})


def _raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return type_coerce(column, t.RawJson)


def _version_row(entity: str, policy: str, version: int) -> str:
    return f"policy {entity} {policy} version {version}"


def _rules_row(version: int) -> str:
    return f"change rules version {version}"


def _approvals_row(change: str) -> str:
    return f"approvals of {change}"
