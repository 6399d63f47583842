"""The grid of time slots a plan is drawn on, and how far it must reach."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from forebay.domain.change import PolicyChange
from forebay.domain.workload import Workload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SlotIndex:
    """`count` slots of `length`, the first starting at `start` (aware UTC)."""

    start: datetime
    length: timedelta
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[datetime]:
        return (self.at(slot) for slot in range(self.count))

    @property
    def end(self) -> datetime:
        return self.at(self.count)

    @property
    def hours_per_slot(self) -> float:
        return self.length / timedelta(hours=1)

    def at(self, slot: int) -> datetime:
        """Start of the slot; any integer, also beyond the grid."""
        return self.start + slot * self.length

    def covering(self, at: datetime) -> int:
        """The slot that contains `at`."""
        return math.floor((at - self.start) / self.length)

    def first_from(self, at: datetime) -> int:
        """The first slot that starts at or after `at`."""
        return math.ceil((at - self.start) / self.length)

    def part(self, begin: int, end: int) -> SlotIndex:
        """Slots `begin` until `end` (excluded)."""
        return SlotIndex(self.at(begin), self.length, end - begin)


def slots_in(span: timedelta, slot: timedelta) -> int:
    """Whole slots that `span` takes, rounded up: capacity that is half a slot late is late."""
    return math.ceil(span / slot)


def plan_end(change: PolicyChange, workload: Workload) -> datetime:
    """Until when the plan reaches: the change has been taken up and watched, and one more correction could help."""
    return change.effective_at + change.watched_for + workload.verified_after


def horizon_slots(change: PolicyChange, workload: Workload, now: datetime) -> SlotIndex:
    """The slots (on multiples of the slot length since the epoch) that the forecasts must cover.

    From the slot `now` lies in whole days (the workload's shortest season) long, one of them after the plan's end. It
    is for the counter-proposal: where this effective time cannot be met, every other hour of the day is tried. Whole
    days, as the paths of a forecast depend on how far it reaches: another time asked for is to find the same ones.
    """
    start, season = EPOCH + (now - EPOCH) // workload.slot * workload.slot, workload.seasons[0]
    seasons = slots_in(plan_end(change, workload) - start, season) + 1
    return SlotIndex(start, workload.slot, slots_in(seasons * season, workload.slot))
