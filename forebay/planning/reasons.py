"""Why each step is as it is: what binds, which slot forces it, which limit shaped it, in one sentence for people."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from forebay.domain.plan import StepReason
from forebay.planning.demand import Floats
from forebay.planning.draft import Draft
from forebay.planning.optimum import Move, Optimum
from forebay.planning.problem import ShapingProblem, earliest_climb, latest_climb, latest_descent
from forebay.planning.required import Ints, Required, alignment_window, covering_quantile


class Reasons:
    """The reasons of the steps of one optimum. `needs`: required units with the change, over the plan's slots; `until`:
    the slot at which another step follows the last of them, if one does.
    """

    def __init__(
        self, draft: Draft, problem: ShapingProblem, optimum: Optimum, needs: Required, until: int | None = None
    ) -> None:
        self.until = until
        self.draft, self.problem, self.optimum, self.needs = draft, problem, optimum, needs
        self.confidence = draft.workload.risk.confidence
        self.index = draft.index
        self.high = needs.quantile(self.confidence)
        # What a step can be for: an autoscaler has the rest by itself.
        self.left_to_do = self.high if problem.tracked is None else beyond(needs, problem.tracked, self.confidence)
        self.window = alignment_window(draft.workload, draft.change.effective_at, self.index)
        self.climb, self.descent = latest_climb(problem), latest_descent(problem)

    def of(self, move: Move) -> StepReason:
        limit, because = self._limit(move)
        slot, what = self._force(move)
        size = move.after - move.before
        change = f"{size:+d} unit{'s' * (abs(size) > 1)}" if size else f"hold {move.after} units"
        binding = self.needs.binding(slot, self.confidence)
        return StepReason(
            binding=binding,
            quantile=self.confidence,
            forced_by=self.index.at(slot),
            limit=limit,
            text=f"{what.format(binding=binding)}: {change}, {because}{self._spare(move)}",
        )

    def _force(self, move: Move) -> tuple[int, str]:
        """The slot that forces the move, and what is the matter there."""
        begin, end = self.window
        peak = begin + int(np.argmax(self.high[begin:end]))
        entitlement = self.draft.change.entitlement(self.draft.workload.name)
        if move.after < move.before and self.problem.tracked is not None:
            return move.slot, f"the autoscaler is early enough from {self._when(move.slot)} on"
        if move.after < move.before:
            return begin, f"the policy allows {self._ceiling} units at most from {clock(self._effective)} on"
        if promised := self._promised(move):
            return promised
        serves = min(move.slot + self.problem.lead, len(self.index) - 1)
        # Only a move that could not wait is the effective time's doing; an earlier one answers an earlier need.
        # Nor is it risk that moves anything, where a shortfall costs nothing.
        free_of_risk = self.problem.shortfall_price == 0 and move.slot <= self.problem.deadline
        if free_of_risk or not self._can_wait(move, self.problem.deadline, self.problem.low):
            need = covering_quantile(self.needs.needs[:, begin:end], self.confidence)
            if entitlement and (entitlement.min_units or 0) >= max(need, self.problem.low):
                return peak, f"the policy guarantees {entitlement.min_units} units from {clock(self._effective)} on"
            if need <= self.problem.low - 1:
                return peak, f"min_units of the limits asks for {self.draft.workload.limits.min_units} units"
            return peak, f"{{binding}} binds at {self._when(peak)} ({self._share}: {need:.1f} units)"
        has = move.before if move.after > move.before else self._asked_before(move)
        over = np.flatnonzero(self.left_to_do[serves:] > has)
        if len(over):
            slot = serves + int(over[0])
            until = self._until_next(move)
            slot = slot if slot >= until else slot + int(np.argmax(self.left_to_do[slot:until]))
            units = f"{self.left_to_do[slot]:.1f} units{self._too_late}"
            return slot, f"{{binding}} binds at {self._when(slot)} ({self._share}: {units})"
        at_risk = self._missing_without(move)[serves:]
        slot = serves + int(np.argmax(at_risk))
        short = "under 0.01" if at_risk.max() < 0.005 else f"{at_risk.max():.2f}"
        return slot, f"{{binding}} may run short at {self._when(slot)} (expected shortfall {short} units)"

    def _missing_without(self, move: Move) -> Floats:
        """Mean over paths of the units missing in each slot (n_slots,), were what is asked for before left as it is."""
        asked = self._asked_before(move)
        serves = asked if self.problem.tracked is None else np.maximum(self.problem.tracked, asked)
        return np.asarray(np.maximum(self.needs.units - serves, 0).mean(axis=0), dtype=np.float64)

    def _promised(self, move: Move) -> tuple[int, str] | None:
        """The earliest of the other changes on this path for whose effective time the move could not wait."""
        for (slot, units), promise in zip(self.problem.promises, self.draft.promises, strict=True):
            if not self._can_wait(move, slot, units):
                at = max(0, self.index.covering(promise.effective_at))
                return at, f"{promise.change} needs {units} units, verified, at {clock(promise.effective_at)}"
        return None

    def _can_wait(self, move: Move, slot: int, units: int) -> bool:
        """Whether `units` could be asked for by `slot` without this move, by later ones."""
        if move.slot > slot:
            return True
        asked = self._asked_before(move)
        held = asked if self.problem.tracked is not None else self.draft.floor or 0
        later = self.problem.legal & (np.arange(self.problem.n_slots) > move.slot)
        reach = earliest_climb(replace(self.problem, start=asked, legal=later))[slot]
        # Under an autoscaler what later ones reach depends on what stands then: a climb from more cannot wait either.
        return held >= units or bool(later[: slot + 1].any() and reach >= units)

    def _asked_before(self, move: Move) -> int:
        return int(self.optimum.asked[move.slot - 1]) if move.slot else self.problem.start

    def _limit(self, move: Move) -> tuple[str, str]:
        """The limit that shaped the move's size, by name and in words."""
        soft, limits = self.draft.workload.limits.soft, self.draft.workload.limits
        size = abs(move.after - move.before)
        if size == 0:
            return "floor", f"so that the autoscaler cannot drop below it (its minimum is {self.draft.floor} now)"
        if move.after < move.before and self.problem.tracked is not None:
            if self.problem.bottom < move.after == self.problem.guard[move.slot]:
                return "entitlement in force", f"the floor only, to the {move.after} units guaranteed until then"
            return "none", "the floor only: what demand still needs stays"
        if move.after < move.before and move.after == self._ceiling:
            return f"entitlement max_units {self._ceiling}", "which meets the policy's ceiling"
        if size == soft.largest_move(move.before):
            by_percent = int(move.before * soft.percent / 100 + 1e-9) < soft.units
            name = f"soft limit {soft.percent:g} percent" if by_percent else f"soft limit {soft.units} units"
            return name, f"the most the soft limit allows ({name.removeprefix('soft limit ')})"
        if move.after == limits.max_units:
            return f"max_units {limits.max_units}", "up to the workload's max_units"
        on_the_way = move.before < self.climb[move.slot] == move.after < self.problem.low
        if on_the_way or self.problem.high < move.after == self.descent[move.slot] < move.before:
            goal = self.problem.low if on_the_way else self.problem.high
            return "soft limit of later steps", f"the least that lets the later steps reach {goal} units in time"
        if move.after == self.problem.low:
            return "none", f"which makes the {self.problem.low} units that must serve"
        return "none", "the cheapest by unit price, risk and moves"

    def _spare(self, move: Move) -> str:
        verified_by = self.index.at(move.slot) + self.draft.workload.verified_after
        tight = verified_by <= self._effective < verified_by + self.index.length
        return "; its verdict is due less than one slot before the effective time" if tight else ""

    def _until_next(self, move: Move) -> int:
        later = [other.slot for other in self.optimum.moves if other.slot > move.slot]
        following = later[0] if later else self.until
        return len(self.index) if following is None else min(following + self.problem.lead, len(self.index))

    @property
    def _effective(self) -> datetime:
        return self.draft.change.effective_at

    @property
    def _ceiling(self) -> int | None:
        """The policy's own, which the last slot may be too early for."""
        entitlement = self.draft.change.entitlement(self.draft.workload.name)
        return entitlement.max_units if entitlement else None

    @property
    def _share(self) -> str:
        return f"{self.confidence * 100:g} % quantile"

    @property
    def _too_late(self) -> str:
        return "" if self.problem.tracked is None else ", sooner than the autoscaler has them"

    def _when(self, slot: int) -> str:
        """The slot's start; the effective time itself for the slot it lies in."""
        return clock(max(self.index.at(slot), self._effective) if slot == self.window[0] else self.index.at(slot))


def beyond(needs: Required, tracked: Ints, quantile: float) -> Floats:
    """Quantile over paths of what is needed in each slot (n_slots,): nothing where `tracked` is enough."""
    left = np.where(needs.units > tracked, needs.needs, 0.0)
    return np.asarray(np.quantile(left, quantile, axis=0, method="inverted_cdf"), dtype=np.float64)


def clock(at: datetime) -> str:
    """`26 Nov 09:00 UTC`."""
    return f"{at:%d %b %H:%M} UTC"
