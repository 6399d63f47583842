"""What the policies in force guarantee and cap on a workload, whichever change is under way there (rule 6). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from forebay.domain.change import PolicyChange
from forebay.domain.model import Model, UtcTime
from forebay.domain.workload import Workload


@dataclass(frozen=True)
class Cap:
    """Whose cap is the `max_units` of a workload's limits, and what would be, were that raised."""

    whose: str
    else_units: int


class Outgoing(Model):
    """What a version in force guarantees until `change`, the next one of its policy, replaces it: at `at`, if all goes
    well. Less than its `min_units` where the next one caps the units below that: capacity has to be down by then.
    """

    change: str
    at: UtcTime
    min_units: int
    title: str

    @property
    def text(self) -> str:
        return f"until {self.change} replaces it, {self.title} keeps at least {self.min_units} units"


class PolicyBounds(Model):
    """Units that policies ask for at least and allow at most, while some of them change.

    `min_units`, `caps`: of other policies than those that change, the most that each allows by whose it is; `by`: in
    words, whose entitlements these are. `outgoing`: what versions guarantee that are to be replaced. `own_cap`: the
    most that the policy which changes allows before its time, its next version as well as the one in force.
    """

    min_units: int = 0
    caps: Mapping[str, int] = {}
    by: tuple[str, ...] = ()
    outgoing: tuple[Outgoing, ...] = ()
    own_cap: int | None = None

    @classmethod
    def of(
        cls, standing: Iterable[PolicyChange], workload: str, coming: Sequence[PolicyChange] = (), changing: int = 0
    ) -> PolicyBounds:
        """What entitlements ask for and allow on `workload`: those of `standing`, in force now, and of those `coming`,
        in the order in which they will be. The last `changing` of these are the ones that a plan is drawn for: their
        own entitlements are the plan's to meet, each from its time on, and not among these bounds.
        """
        # Of each policy the version in force, then those to come; what is in force before its turn comes no more.
        versions = {(one.entity, one.policy): [one] for one in standing}
        begun = {in_turn[0].change for in_turn in versions.values()}
        for one in coming:
            if one.change not in begun:
                versions.setdefault((one.entity, one.policy), []).append(one)
        own = {(one.entity, one.policy) for one in coming[len(coming) - changing :]}
        others = [in_turn[-1] for policy, in_turn in versions.items() if policy not in own]
        # On a path for several nobody goes beyond what one of them still caps: another may need it before its time.
        ours = [in_turn[0] for policy, in_turn in versions.items() if policy in own]
        to_go = [one for one in ours if changing > 1 and one not in coming]
        least, caps, by = 0, dict[str, int](), list[str]()
        for one in (*others, *to_go):
            entitled, name, words = one.entitlement(workload), f"{one.title} ({one.change})", list[str]()
            if entitled and entitled.min_units and one in others:
                least = max(least, entitled.min_units)
                words.append(f"at least {entitled.min_units}")
            if entitled and entitled.max_units is not None:
                caps[name] = entitled.max_units
                words.append(f"at most {entitled.max_units}")
            if words:
                by.append(f"{name} {' and '.join(words)} units")
        replaced = (pair for in_turn in versions.values() for pair in pairwise(in_turn))
        outgoing = [left for old, new in replaced if (left := _outgoing(old, new, workload)) and left.min_units > least]
        mine = [one.entitlement(workload) for policy in own for one in versions[policy]]
        tops = [entitled.max_units if entitled else None for entitled in mine]
        known = [top for top in tops if top is not None]
        return cls(
            min_units=least,
            caps=caps,
            by=tuple(by),
            outgoing=tuple(outgoing),
            own_cap=max(known) if known and len(known) == len(tops) > changing else None,
        )

    @property
    def guaranteed(self) -> int:
        """The fewest units that any version in force lets stand, whether it is to be replaced or not."""
        return max([self.min_units, *(version.min_units for version in self.outgoing)])

    @property
    def max_units(self) -> int | None:
        return min(self.caps.values(), default=None)

    def holds(self, units: int) -> int:
        """The number nearest to `units` that they allow."""
        at_least = max(units, self.min_units)
        return at_least if self.max_units is None else min(at_least, self.max_units)

    def on(self, workload: Workload) -> Workload:
        """`workload` with hard limits no wider than those of other policies."""
        capped = self.capped(workload)
        narrow = {"min_units": max(capped.limits.min_units, self.min_units)}
        return capped.model_copy(update={"limits": capped.limits.model_copy(update=narrow)})

    def capped(self, workload: Workload) -> Workload:
        """The same for what they allow at most."""
        most = {"max_units": min([workload.limits.max_units, *self.caps.values()])}
        return workload.model_copy(update={"limits": workload.limits.model_copy(update=most)})

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
        others = f"other policies keep to their bounds: {', '.join(self.by)}" if self.by else ""
        return "; ".join([*([others] if others else []), *(one.text for one in self.outgoing)])


NO_BOUNDS = PolicyBounds()


def _outgoing(old: PolicyChange, new: PolicyChange, workload: str) -> Outgoing | None:
    """What is left of the guarantee of `old` until `new` replaces it; None without one."""
    guaranteed, next_one = old.entitlement(workload), new.entitlement(workload)
    if guaranteed is None or not guaranteed.min_units:
        return None
    cap = next_one.max_units if next_one else None
    least = guaranteed.min_units if cap is None else min(guaranteed.min_units, cap)
    return Outgoing(change=new.change, at=new.effective_at, min_units=least, title=f"{old.title} ({old.change})")
