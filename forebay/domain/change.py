"""A policy change: a request that a new version of a policy comes into force at an effective time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from forebay.domain.impact import Entitlement, Impact
from forebay.domain.model import Duration, DurationOrZero, Model, Name, UtcTime, digest, parse_yaml, validate

Person = Annotated[str, Field(min_length=1, max_length=200)]


class ChangeRequest(Model):
    """A change as it comes in through a door. Exactly one of `effective_at` and `effective_in` is given.

    `change` names it across doors and revisions (a ticket number, say); the same name twice is the same change.
    `document` is the policy's new content, handed to whoever asks the decision point.
    `settle`: how long after the effective time the allocation is watched before raised floors are handed back.
    """

    change: Name
    entity: Name
    policy: Name
    kind: Name
    document: Mapping[str, Any] = {}
    base_version: Annotated[int, Field(ge=0)] | None = None
    effective_at: UtcTime | None = None
    effective_in: Duration | None = None
    impacts: tuple[Impact, ...] = ()
    entitlements: tuple[Entitlement, ...] = ()
    requested_by: Person
    reason: Annotated[str, Field(max_length=2000)] = ""
    on_misalignment: Literal["defer", "reject"] = "defer"
    settle: DurationOrZero = timedelta(minutes=30)

    @model_validator(mode="after")
    def _consistent(self) -> ChangeRequest:
        if (self.effective_at is None) == (self.effective_in is None):
            raise ValueError("give exactly one of effective_at (a time with a zone) and effective_in (a duration)")
        if not self.impacts and not self.entitlements:
            raise ValueError("name at least one impact or entitlement: without one there is no capacity to move")
        seen = set()
        for impact in self.impacts:
            key = (impact.workload, impact.resource, impact.scope)
            if key in seen:
                raise ValueError(f"two impacts on {impact.workload} {impact.resource}: join them into one")
            seen.add(key)
        names = [entitlement.workload for entitlement in self.entitlements]
        if len(set(names)) < len(names):
            raise ValueError("two entitlements on one workload: join them into one")
        return self

    @classmethod
    def parse(cls, text: str, what: str = "change file") -> ChangeRequest:
        """From YAML or JSON. Raises InputError naming field, value and mend."""
        return validate(cls, parse_yaml(text, what), what)

    def accepted(self, now: datetime) -> PolicyChange:
        """The change with its effective time fixed: `effective_in` counts from `now` (aware UTC)."""
        fields = self.model_dump(exclude={"effective_at", "effective_in"})
        effective_at = self.effective_at or now + (self.effective_in or timedelta(0))
        return PolicyChange(**fields, effective_at=effective_at)


class PolicyChange(Model):
    """An accepted request: the same fields, its effective time fixed in UTC."""

    change: Name
    entity: Name
    policy: Name
    kind: Name
    document: Mapping[str, Any]
    base_version: int | None
    effective_at: UtcTime
    impacts: tuple[Impact, ...]
    entitlements: tuple[Entitlement, ...]
    requested_by: Person
    reason: str
    on_misalignment: Literal["defer", "reject"]
    settle: DurationOrZero

    @property
    def workloads(self) -> tuple[str, ...]:
        """Names of the workloads the change touches, in the order it names them."""
        names = [i.workload for i in self.impacts] + [e.workload for e in self.entitlements]
        return tuple(dict.fromkeys(names))

    def entitlement(self, workload: str) -> Entitlement | None:
        return next((e for e in self.entitlements if e.workload == workload), None)

    @property
    def title(self) -> str:
        """How people and the Prefect UI call it: `acme quota`."""
        return f"{self.entity} {self.policy}"

    @property
    def fingerprint(self) -> str:
        """Same content, same fingerprint: tells a repeated delivery from an edited one."""
        return digest(self.model_dump(mode="json"))
