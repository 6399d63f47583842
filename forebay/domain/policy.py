"""A policy: a named, versioned document that governs an entity, and when each version is in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from forebay.domain.change import PolicyChange
from forebay.domain.model import Model, UtcTime


class PolicyVersion(Model):
    """One version. `effective_at` is what was asked for; `armed_at` is set once the capacity was verified.

    A version takes force at the later of the two: never before its effective time, never without being armed. The one
    exception is `glass_broken_at`, when a named, permitted person put it in force at once.
    """

    entity: str
    policy: str
    kind: str
    version: int
    document: Mapping[str, Any]
    change: str | None
    effective_at: UtcTime
    armed_at: UtcTime | None
    glass_broken_at: UtcTime | None = None
    withdrawn_at: UtcTime | None = None

    @classmethod
    def brought_by(cls, change: PolicyChange, number: int) -> PolicyVersion:
        """What `change` will bring into force as version `number`: not armed yet."""
        return cls(
            entity=change.entity,
            policy=change.policy,
            kind=change.kind,
            version=number,
            document=change.document,
            change=change.change,
            effective_at=change.effective_at,
            armed_at=None,
        )

    @property
    def in_force_from(self) -> datetime | None:
        """Aware UTC; None while not armed, or withdrawn before it took force."""
        if self.glass_broken_at is not None:
            return self.glass_broken_at
        if self.armed_at is None:
            return None
        start = max(self.effective_at, self.armed_at)
        if self.withdrawn_at is not None and self.withdrawn_at <= start:
            return None
        return start


def next_number(versions: Iterable[PolicyVersion]) -> int:
    """What the next version of a policy is called by, among all there ever were: withdrawn ones keep their number."""
    return max((version.version for version in versions), default=0) + 1


def begun(version: PolicyVersion | None, now: datetime) -> bool:
    """Whether the version has taken force by `now` (aware UTC), whatever the stored state of its change says."""
    return version is not None and version.in_force_from is not None and version.in_force_from <= now


def called(version: int) -> str:
    """What the audit log calls a version by its number; 0 is none."""
    return f"version {version}" if version else "no version"


def in_force(versions: Iterable[PolicyVersion], at: datetime) -> PolicyVersion | None:
    """The version in force at `at`: the one that took force last among those that had by then."""
    started = [v for v in versions if (start := v.in_force_from) is not None and start <= at]
    return max(started, key=lambda v: (v.in_force_from, v.version), default=None)


def followed(versions: Iterable[PolicyVersion], version: PolicyVersion) -> PolicyVersion | None:
    """The version that was in force until `version` took force (which it has, or will); None if none was."""
    assert version.in_force_from is not None, "it has a time from which it is in force"
    return in_force(versions, version.in_force_from - timedelta(microseconds=1))


def next_switch(versions: Iterable[PolicyVersion], at: datetime) -> datetime | None:
    """When the answer changes next after `at`, as far as is known at `at`; None if nothing is armed."""
    starts = [start for v in versions if (start := v.in_force_from) is not None and start > at]
    return min(starts, default=None)
