"""A shaping plan: immutable and hashed; the allocation over time, the steps that realise it, and its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from forebay.domain.bounds import NO_BOUNDS, PolicyBounds
from forebay.domain.model import Model, UtcTime, digest
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize


class Band(Model):
    """Forecast demand in one slot, in the resource's canonical unit, at the 5 %, 50 % and 95 % quantile."""

    low: float
    median: float
    high: float


class PlanSlot(Model):
    """One slot of the profile. `asked` is in effect from the slot's start; `serving` follows after the lead time."""

    at: UtcTime
    asked: int
    serving: int
    required_median: float
    required_high: float
    demand: Mapping[Resource, Band]


class StepReason(Model):
    """Why a step is as it is: what binds, where, and which limit shaped it."""

    binding: Resource
    quantile: float
    forced_by: UtcTime
    limit: str
    text: str


class ShapingStep(Model):
    """One move at one shaping point. `verified_by`: when its verdict is due.

    With a `size` it is a resize: a rolling deployment to units of that size, whose number stays.
    """

    sequence: int
    due_at: UtcTime
    from_units: int
    to_units: int
    verified_by: UtcTime
    reason: StepReason
    size: TaskSize | None = None

    @property
    def climbs(self) -> bool:
        """Whether it asks for more units, of the same size."""
        return self.size is None and self.to_units > self.from_units

    @property
    def goal(self) -> str:
        """`8 units`, `1 unit`; of a resize `8 units of 2 vCPU, 4 GiB`."""
        units = f"{self.to_units} unit{'s' * (self.to_units != 1)}"
        return units if self.size is None else f"{units} of {self.size}"


class Outlay(Model):
    """What one way of allocating takes and risks over the plan's horizon, under the demand of the change.

    `unit_hours` asked for and the `money` they cost; `shortfall_unit_hours` is the expected demand not carried, in
    units; `misaligned` the probability that demand exceeds what serves at the effective time.
    """

    unit_hours: float
    money: Decimal
    shortfall_unit_hours: float
    misaligned: float


class PlanPrice(Model):
    """The plan against what one would do without it: leave the allocation as it is, or set the number in one jump.

    The jump asks for the aligned units at the last moment that lets them serve in time, whatever the soft limits say.
    `without_change`: the allocation left as it is, had nobody asked for the change. `paths`: how many sample paths the
    risks were counted on; 0 where that was not kept.
    """

    currency: str
    shaped: Outlay
    left_alone: Outlay
    one_jump: Outlay
    without_change: Outlay | None = None
    paths: int = 0

    @property
    def more(self) -> Decimal:
        """What the plan takes more than leaving the allocation as it is; negative: less."""
        return self.shaped.money - self.left_alone.money


class ShapingPlan(Model):
    """The plan for one workload of one change.

    `start_units` is what was allocated when it was drawn; where an autoscaler may take some of it away before the first
    step, `counted_units` is what is counted on. `aligned_units` is what must serve, verified, before
    `effective_at` so that demand is covered with probability `confidence`. Units are those of the size that stands at
    the time: until a resize is through those of `size`. `sizing`: why it resizes or stays, where there is a choice.
    `preflight`: what people should know: what it cannot carry or does not count on, and how the target stood.
    `after`: changes that were ahead on the workload; their impact is in the demand, and it begins once they are over.
    `carried_by`: the change ahead whose steps bring what this one needs, on one `path` for both; it then has no steps
    of its own. `carries`: units that must serve, verified, for each change that this plan carries too; `drawn_for`: the
    fingerprint of each of them, which may be edited later. `bounds`: what policies hold its steps within.
    """

    change: str
    workload: str
    created_at: UtcTime
    effective_at: UtcTime
    start_units: int
    aligned_units: int
    confidence: float
    steps: tuple[ShapingStep, ...]
    slots: tuple[PlanSlot, ...]
    price: PlanPrice
    forecast: Mapping[str, tuple[str, ...]]
    size: TaskSize | None = None
    sizing: str = ""
    preflight: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    carried_by: str = ""
    counted_units: int | None = None
    path: tuple[ShapingStep, ...] = ()
    carries: Mapping[str, int] = {}
    drawn_for: Mapping[str, str] = {}
    bounds: PolicyBounds = NO_BOUNDS

    @property
    def moves(self) -> tuple[ShapingStep, ...]:
        """The steps that bring what it needs: its own, or those of whoever carries it."""
        return self.path or self.steps

    @property
    def resize(self) -> ShapingStep | None:
        """The step that changes the size; there is at most one."""
        return next((step for step in self.steps if step.size is not None), None)

    @property
    def counted(self) -> int:
        """Units that the steps start from."""
        return self.start_units if self.counted_units is None else self.counted_units

    @property
    def hash(self) -> str:
        """SHA-256 of the whole plan: what is approved is what is executed.

        Plans are stored with it: a field that came later is left out where it says nothing.
        """
        whole = self.model_dump(mode="json")
        if self.counted_units is None:
            del whole["counted_units"]
        if not self.price.paths:
            del whole["price"]["paths"]
        if self.bounds == NO_BOUNDS:
            del whole["bounds"]
        else:
            for name in ("outgoing", "own_cap"):
                if not whole["bounds"][name]:
                    del whole["bounds"][name]
        return digest(whole)

    @property
    def end(self) -> datetime:
        """Until when its figures are counted: where its last slot ends."""
        length = self.slots[1].at - self.slots[0].at if len(self.slots) > 1 else timedelta(0)
        return self.slots[-1].at + length

    def slot_at(self, at: datetime) -> PlanSlot | None:
        """The slot that covers `at`; None outside the horizon."""
        earlier = [slot for slot in self.slots if slot.at <= at]
        if not earlier:
            return None
        if len(self.slots) > 1 and at >= self.slots[-1].at + (self.slots[1].at - self.slots[0].at):
            return None
        return earlier[-1]


class Relaxation(Model):
    """What would do: which limit, to what, and what it is now; or an exception to a freeze. `costs`: what the plan then
    takes more than leaving the allocation as it is (negative: less), until its end.
    """

    limit: str
    costs: Decimal


class CounterProposal(Model):
    """What would do where a plan is refused: an earliest feasible time, or what to relax and to what.

    `earliest_costs`: what the plan for that time takes more than leaving the allocation as it is. `together_at`: where
    the change touches several workloads, the earliest time at which there is a plan for each of them; `together_costs`:
    what these take in all, None where their prices have several currencies.
    """

    earliest_effective_at: UtcTime | None
    relax: tuple[Relaxation, ...]
    earliest_costs: Decimal | None = None
    together_at: UtcTime | None = None
    together_costs: Decimal | None = None
    currency: str = ""

    @property
    def ways(self) -> list[tuple[datetime | str, str]]:
        """Each way out, a time or a limit, and its price in words."""
        ways: list[tuple[datetime | str, str]] = []
        if self.earliest_effective_at:
            ways.append((self.earliest_effective_at, self._price(self.earliest_costs)))
        return ways + [(way.limit, self._price(way.costs)) for way in self.relax]

    @property
    def together_price(self) -> str:
        """In words; empty where it is not known."""
        return self._price(self.together_costs)

    def _price(self, costs: Decimal | None) -> str:
        if costs is None:
            return ""
        return f"{abs(costs):.2f} {self.currency} {'less' if costs < 0 else 'more'} than leaving it as it is"


class PlanRefusal(Model):
    """No allocation within the limits meets the effective time: why, and what would."""

    workload: str
    reason: str
    counter_proposal: CounterProposal

    def because(self, more: str, other: PlanRefusal | None = None) -> PlanRefusal:
        """The same with `more` of a reason; of two refusals' earliest times the earlier one."""
        counter = self.counter_proposal
        mine, theirs = counter.earliest_effective_at, other and other.counter_proposal.earliest_effective_at
        if other and theirs and (mine is None or theirs < mine):
            costs = other.counter_proposal.earliest_costs
            counter = counter.model_copy(update={"earliest_effective_at": theirs, "earliest_costs": costs})
        return self.model_copy(update={"reason": f"{self.reason}; {more}", "counter_proposal": counter})

    def together(self, plans: Sequence[ShapingPlan]) -> PlanRefusal:
        """The same, with the time of `plans`, one for each workload of the change, and what they take; if any."""
        if not plans:
            return self
        whole: dict[str, object] = {"together_at": plans[0].effective_at}
        if len({plan.price.currency for plan in plans}) == 1:
            whole |= {"together_costs": sum(plan.price.more for plan in plans), "currency": plans[0].price.currency}
        return self.model_copy(update={"counter_proposal": self.counter_proposal.model_copy(update=whole)})

    @property
    def text(self) -> str:
        """The refusal in words, with every way out."""
        ways = [
            (what if isinstance(what, str) else f"effective_at {what.isoformat()}") + f" ({price})" * bool(price)
            for what, price in self.counter_proposal.ways
        ]
        return f"{self.workload}: {self.reason}. What would do: " + ("; or ".join(ways) or "nothing that was found")

    @staticmethod
    def texts(refusals: Sequence[PlanRefusal]) -> str:
        """All refusals of a change in words, and the one time that would do for all of its workloads."""
        texts = [refusal.text for refusal in refusals]
        counter = next((r.counter_proposal for r in refusals if r.counter_proposal.together_at), None)
        if counter and counter.together_at:
            price = f" ({counter.together_price})" * bool(counter.together_price)
            texts.append(f"all workloads together: effective_at {counter.together_at.isoformat()}{price}")
        return "; ".join(texts)
