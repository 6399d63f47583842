"""What the policies in force guarantee and cap on a workload, whichever change is under way there (rule 6). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.domain.change import PolicyChange
from forebay.domain.model import Model
from forebay.domain.workload import Workload


class PolicyBounds(Model):
    """Units that other policies than the one that changes ask for at least and allow at most.

    `by`: in words, whose entitlements these are; `capped_by`: whose the cap is.
    """

    min_units: int = 0
    max_units: int | None = None
    by: tuple[str, ...] = ()
    capped_by: str = ""

    @classmethod
    def of(cls, changes: Iterable[PolicyChange], workload: str) -> PolicyBounds:
        """The narrowest that the entitlements of `changes` leave on `workload`."""
        bounds = cls()
        for change in changes:
            if entitled := change.entitlement(workload):
                bounds = bounds._and(f"{change.title} ({change.change})", entitled.min_units or 0, entitled.max_units)
        return bounds

    def _and(self, name: str, at_least: int, at_most: int | None) -> PolicyBounds:
        parts = [f"at least {at_least}"] * (at_least > 0) + [f"at most {at_most}"] * (at_most is not None)
        caps = at_most is not None and (self.max_units is None or at_most < self.max_units)
        return PolicyBounds(
            min_units=max(self.min_units, at_least),
            max_units=at_most if caps else self.max_units,
            by=(*self.by, f"{name} {' and '.join(parts)} units") if parts else self.by,
            capped_by=name if caps else self.capped_by,
        )

    def on(self, workload: Workload) -> Workload:
        """`workload` with hard limits no wider than that."""
        limits = workload.limits
        most = limits.max_units if self.max_units is None else min(limits.max_units, self.max_units)
        narrow = {"min_units": max(limits.min_units, self.min_units), "max_units": most}
        return workload.model_copy(update={"limits": limits.model_copy(update=narrow)})

    def cap(self, workload: Workload) -> str:
        """Whose cap it is, where that lies below the workload's own limits; else empty."""
        lower = self.max_units is not None and self.max_units < workload.limits.max_units
        return self.capped_by if lower else ""

    @property
    def text(self) -> str:
        """For a plan and a refusal; empty without any."""
        return f"other policies keep to their bounds: {', '.join(self.by)}" if self.by else ""


NO_BOUNDS = PolicyBounds()
