"""What a look at a workload finds before anyone asks for a change."""

from __future__ import annotations

from forebay.domain.allocation import TargetState
from forebay.domain.model import Model, UtcTime
from forebay.domain.resources import Resource


class MeasuredUsage(Model):
    """One resource's usage in [since, until): `complete` of the slots there could be are known.

    `latest`: the mean of the last one, in the canonical unit.
    """

    resource: Resource
    since: UtcTime
    until: UtcTime
    complete: float
    latest: float


class Survey(Model):
    """`needed`: units that the latest usage needs at the objectives. `unread`: why something could not be looked at.

    `faults`: what any change would be denied or held for. `notes`: what people should know.
    """

    workload: str
    state: TargetState | None = None
    usage: tuple[MeasuredUsage, ...] = ()
    needed: int | None = None
    unread: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
