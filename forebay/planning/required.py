"""Units that the demand requires, and what must serve, verified, when the change comes into force."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from forebay.domain.resources import Resource
from forebay.domain.workload import ROUNDING, Workload
from forebay.planning.demand import Floats, Paths
from forebay.planning.slots import SlotIndex

Ints = npt.NDArray[np.int64]

MOST_UNITS = 2.0**40  # far above any limit, and sums of it over all slots are still whole numbers


@dataclass(frozen=True)
class Required:
    """Units each path needs in each slot, (n_paths, n_slots), not rounded: in all, and for each resource alone."""

    needs: Floats = field(repr=False)
    by_resource: Paths = field(repr=False)

    @property
    def units(self) -> Ints:
        """Whole units, (n_paths, n_slots)."""
        return whole(self.needs)

    def quantile(self, level: float) -> Floats:
        """Quantile over paths of the needs, (n_slots,), not rounded."""
        return np.asarray(np.quantile(self.needs, level, axis=0), dtype=np.float64)

    def covering(self, level: float) -> Ints:
        """Whole units, (n_slots,), that cover each slot on at least `level` of the paths."""
        return whole(np.asarray(np.quantile(self.needs, level, axis=0, method="inverted_cdf"), dtype=np.float64))

    def binding(self, slot: int, level: float) -> Resource:
        """The resource that needs the most units in `slot` at the quantile `level`."""
        return max(
            self.by_resource, key=lambda resource: float(np.quantile(self.by_resource[resource][:, slot], level))
        )


def required(workload: Workload, demand: Paths) -> Required:
    """Per path and slot the largest over resources of demand / (unit x target utilisation)."""
    by_resource = {r: demand[r] / (workload.unit[r] * workload.objectives[r]) for r in workload.resources}
    return Required(np.max(list(by_resource.values()), axis=0), by_resource)


def whole(needs: Floats) -> Ints:
    """As `Workload.whole_units_for`, of many at once."""
    return np.minimum(np.ceil(needs - ROUNDING), MOST_UNITS).astype(np.int64)


def alignment_window(workload: Workload, effective_at: datetime, index: SlotIndex) -> tuple[int, int]:
    """Slots (begin, end excluded) over which what serves at the effective time must do by itself.

    It lasts lead time + metric delay + verification window: whatever is found wrong the moment the change comes
    into force, no correction asked for then is known to help before that. Once that is over, it is the first slot.
    """
    begin = max(0, index.covering(effective_at))
    return begin, max(begin + 1, index.first_from(effective_at + workload.verified_after))


def covering_quantile(needs: Floats, confidence: float) -> float:
    """The least value (a sample) that covers the peak of at least `confidence` of the paths (n_paths, n_slots).

    The peak over the whole window is taken on each path before the quantile: slot-wise quantiles would promise
    `confidence` in each slot, and keep less in all of them together.
    """
    return float(np.quantile(needs.max(axis=1), confidence, method="inverted_cdf"))


def aligned_units(needs: Floats, confidence: float) -> int:
    """Units that cover all slots of `needs` (n_paths, n_slots) with probability `confidence`."""
    return int(whole(np.array(covering_quantile(needs, confidence))))
