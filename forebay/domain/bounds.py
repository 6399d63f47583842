"""What the policies in force guarantee and cap on a workload, whichever change is under way there (rule 6). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from forebay.domain.change import PolicyChange
from forebay.domain.model import Model
from forebay.domain.workload import Workload


@dataclass(frozen=True)
class Cap:
    """Whose cap is the `max_units` of a workload's limits, and what would be, were that raised."""

    whose: str
    else_units: int


class PolicyBounds(Model):
    """Units that other policies than the one that changes ask for at least and allow at most.

    `caps`: the most that each allows, by whose it is; `by`: in words, whose entitlements these are.
    """

    min_units: int = 0
    caps: Mapping[str, int] = {}
    by: tuple[str, ...] = ()

    @classmethod
    def of(cls, changes: Iterable[PolicyChange], workload: str) -> PolicyBounds:
        """What the entitlements of `changes` ask for and allow on `workload`."""
        least, caps, by = 0, dict[str, int](), list[str]()
        for change in changes:
            entitled = change.entitlement(workload)
            if entitled is None:
                continue
            name, words = f"{change.title} ({change.change})", list[str]()
            if entitled.min_units:
                least = max(least, entitled.min_units)
                words.append(f"at least {entitled.min_units}")
            if entitled.max_units is not None:
                caps[name] = entitled.max_units
                words.append(f"at most {entitled.max_units}")
            if words:
                by.append(f"{name} {' and '.join(words)} units")
        return cls(min_units=least, caps=caps, by=tuple(by))

    @property
    def max_units(self) -> int | None:
        return min(self.caps.values(), default=None)

    def on(self, workload: Workload) -> Workload:
        """`workload` with hard limits no wider than that."""
        limits = workload.limits
        most = min([limits.max_units, *self.caps.values()])
        narrow = {"min_units": max(limits.min_units, self.min_units), "max_units": most}
        return workload.model_copy(update={"limits": limits.model_copy(update=narrow)})

    def cap(self, workload: Workload) -> Cap | None:
        """The lowest cap, where it lies below the workload's own limits."""
        most = workload.limits.max_units
        whose = min(self.caps, key=lambda name: self.caps[name], default="")
        if not whose or self.caps[whose] >= most:
            return None
        return Cap(whose, min([most, *(units for name, units in self.caps.items() if name != whose)]))

    @property
    def text(self) -> str:
        """For a plan and a refusal; empty without any."""
        return f"other policies keep to their bounds: {', '.join(self.by)}" if self.by else ""


NO_BOUNDS = PolicyBounds()
