"""Approvals: what needs one, what one lets through, and how far a request has come. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forebay.domain.change import Person, PolicyChange
from forebay.domain.freeze import ANYONE
from forebay.domain.model import NUMBER, Model, UtcTime, digest
from forebay.domain.plan import ShapingPlan, ShapingStep
from forebay.domain.resources import CANONICAL_UNIT, Resource
from forebay.domain.size import TaskSize

SHORTEST_HASH = 8  # digits of a plan's hash that a person must give to name it
PlanHash = Annotated[str, Field(min_length=SHORTEST_HASH, max_length=64, pattern=r"^[0-9a-f]+$")]
Door = Literal["cli", "link", "prefect", "api"]


class FreeLimits(Model):
    """Up to here a change needs no approval. What is left out is no limit.

    `factor`: of demand, its high estimate; by itself it lets through neither additions nor minima, which it does not
    measure. `units`: added at the plan's peak, over all workloads. `money`: what the plan costs more than leaving the
    allocation as it is, in the price's currency.
    """

    factor: Annotated[float, Field(ge=0), NUMBER] | None = None
    units: Annotated[int, Field(ge=0), NUMBER] | None = None
    money: Annotated[Decimal, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _some(self) -> FreeLimits:
        if self.factor is None and self.units is None and self.money is None:
            raise ValueError("give at least one of factor, units and money: without a limit nothing needs an approval")
        return self

    def exceeded_by(self, change: PolicyChange, plans: Sequence[ShapingPlan]) -> str | None:
        """Which limit the change goes beyond, in words; None if it stays within all of them."""
        factor = max((impact.factor_range.high for impact in change.impacts), default=1.0)
        units = sum(_peak(plan) - plan.counted for plan in plans)
        money = sum((plan.price.more for plan in plans), Decimal(0))
        if self.factor is not None and factor > self.factor:
            return f"demand up to times {factor:g}, over {self.factor:g}"
        if self.units is None and self.money is None and (growth := _absolute_growth(change)):
            return f"{growth}, and only a factor up to {self.factor:g} is free"
        if self.units is not None and units > self.units:
            return f"{units} units added, over {self.units}"
        if self.money is not None and money > self.money:
            return f"{money:.2f} {plans[0].price.currency} more than without it, over {self.money}"
        return None


class ApprovalRule(Model):
    """`quorum` of the `approvers` must approve; who asked is not counted. `free`: what needs none.

    `tolerance_percent`: how far a new plan may go beyond the approved one without asking again.
    """

    quorum: Annotated[int, Field(ge=1), NUMBER] = 1
    approvers: tuple[str, ...] = (ANYONE,)
    free: FreeLimits | None = None
    tolerance_percent: Annotated[float, Field(ge=0, le=100), NUMBER] = 10.0

    def asks(self, change: PolicyChange, plans: Sequence[ShapingPlan]) -> str | None:
        """Why the change needs approval, in words; None if it needs none."""
        return "every change does" if self.free is None else self.free.exceeded_by(change, plans)


class Envelope(Model):
    """What was approved for one workload: the most units, the largest move of a step, the money, a resize if any."""

    workload: str
    plan_hash: str
    max_units: int
    largest_move: int
    money: Decimal
    size: TaskSize | None = None

    @classmethod
    def around(cls, plan: ShapingPlan, tolerance_percent: float) -> Envelope:
        """The plan's own figures and the tolerance; units are rounded up, so that a small plan has some as well."""
        more = 1 + tolerance_percent / 100
        return cls(
            workload=plan.workload,
            plan_hash=plan.hash,
            max_units=math.ceil(_peak(plan) * more - 1e-9),
            largest_move=math.ceil(_largest_move(plan) * more - 1e-9),
            money=plan.price.shaped.money * Decimal(str(more)),
            size=plan.resize.size if plan.resize else None,
        )

    def exceeded_by(self, plan: ShapingPlan) -> str | None:
        """How `plan` goes beyond what was approved, in words; None if it is inside."""
        if plan.hash == self.plan_hash:
            return None
        if plan.resize and plan.resize.size != self.size:
            return f"{plan.workload}: a resize to {plan.resize.size}, {self.size or 'none'} is approved"
        peak, move, money = _peak(plan), _largest_move(plan), plan.price.shaped.money
        if peak > self.max_units:
            return f"{plan.workload}: {peak} units, {self.max_units} are approved"
        if move > self.largest_move:
            return f"{plan.workload}: a move of {move} units, {self.largest_move} are approved"
        if money > self.money:
            return f"{plan.workload}: {money:.2f} {plan.price.currency}, {self.money:.2f} are approved"
        return None


class Decision(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class Approval(Model):
    """One person's yes to a change as it was then, and to its plans within their envelopes.

    `fingerprint` is the change's: an edited change is another one. `asked`: the hash of what was shown. By the door
    `rule` comes what needed nobody's: the limits for that were kept by the plans as they were first drawn.
    """

    change: str
    person: Person
    reason: str
    door: Door | Literal["rule"]
    at: UtcTime
    fingerprint: str
    asked: str
    envelopes: tuple[Envelope, ...]

    def gap(self, plans: Sequence[ShapingPlan]) -> str | None:
        """How these plans go beyond what was approved, in words; None if they do not."""
        envelopes = {envelope.workload: envelope for envelope in self.envelopes}
        for plan in plans:
            if plan.workload not in envelopes:
                return f"{plan.workload} was not part of it"
            if gap := envelopes[plan.workload].exceeded_by(plan):
                return gap
        return None


class Standing(Model):
    """Where a request for approval stands. `needed` is why it needs one, None if it does not; `by` who has approved."""

    needed: str | None
    quorum: int
    by: tuple[str, ...]
    approvers: tuple[str, ...]
    gap: str | None = None

    @property
    def approved(self) -> bool:
        return self.needed is None or len(self.by) >= self.quorum

    @property
    def text(self) -> str:
        """`1 of 2 approvals (ann); bob or group:leads may approve`."""
        if self.needed is None:
            return "no approval is needed"
        names = f" ({', '.join(self.by)})" if self.by else ""
        have = f"{len(self.by)} of {self.quorum} approvals{names}"
        who = "anyone but who asked" if ANYONE in self.approvers else " or ".join(self.approvers) or "nobody"
        gap = f"; {self.gap}" if self.gap else ""
        return have if self.approved else f"{have}; {who} may approve; needed: {self.needed}{gap}"


class Request(Model):
    """What a person approves: these plans of the change, named by `asked`, until `latest` (aware UTC)."""

    asked: str
    latest: UtcTime
    standing: Standing
    plans: Mapping[str, ShapingPlan]
    envelopes: tuple[Envelope, ...]


def standing(
    rule: ApprovalRule | None, change: PolicyChange, plans: Sequence[ShapingPlan], approvals: Sequence[Approval]
) -> Standing:
    """How far `change` with these `plans` (one a workload) has come; `approvals` are those that count.

    Each person counts once. A plan that goes beyond what a person approved needs that person anew.
    """
    free = next((approval for approval in approvals if approval.door == "rule"), None)
    needed = (free.gap(plans) if free else rule.asks(change, plans)) if rule else None
    if rule is None or needed is None:
        return Standing(needed=None, quorum=0, by=(), approvers=())
    gaps = [(approval.person, approval.gap(plans)) for approval in approvals if approval.door != "rule"]
    by = tuple(dict.fromkeys(person for person, gap in gaps if gap is None))
    gap = next((gap for _, gap in gaps if gap is not None), None) if len(by) < rule.quorum else None
    return Standing(needed=needed, quorum=rule.quorum, by=by, approvers=rule.approvers, gap=gap)


def approved_units(rule: ApprovalRule, plan: ShapingPlan, approvals: Iterable[Approval]) -> int:
    """The most units that a quorum, or the rule itself, lets the plan's workload have.

    Where too few count any more (who approved has left the rules), nothing goes beyond the plan itself.
    """
    free: list[int] = []
    most: dict[str, int] = {}
    for approval in approvals:
        for units in [e.max_units for e in approval.envelopes if e.workload == plan.workload]:
            if approval.door == "rule":
                free.append(units)
            else:
                most[approval.person] = max(most.get(approval.person, 0), units)
    ranked = sorted(most.values(), reverse=True)
    return max([*free, *ranked[rule.quorum - 1 : rule.quorum]], default=_peak(plan))


def asked_hash(plans: Mapping[str, ShapingPlan]) -> str:
    """What an approval binds to: the plan's hash; with several workloads, the hash of all of theirs."""
    hashes = {workload: plan.hash for workload, plan in plans.items()}
    return next(iter(hashes.values())) if len(hashes) == 1 else digest(hashes)


def latest_approval(change: PolicyChange, steps: Iterable[ShapingStep]) -> datetime:
    """When the plans can no longer go on as drawn (aware UTC): the time of the first of the `steps` that are not made
    yet, else the effective time.
    """
    return min([change.effective_at, *(step.due_at for step in steps)])


def _absolute_growth(change: PolicyChange) -> str | None:
    """In words, an addition or a minimum of `change` that may take more capacity; None without any."""
    for impact in change.impacts:
        if (most := impact.add_range.high) > 0:
            unit = CANONICAL_UNIT[Resource(impact.resource)]
            return f"{impact.workload}: an addition of up to {most:g} {unit}"
    for entitlement in change.entitlements:
        if entitlement.min_units:
            return f"{entitlement.workload}: min_units {entitlement.min_units}"
    return None


def _peak(plan: ShapingPlan) -> int:
    return max([plan.counted, *(step.to_units for step in plan.moves)])


def _largest_move(plan: ShapingPlan) -> int:
    return max((abs(step.to_units - step.from_units) for step in plan.moves), default=0)
