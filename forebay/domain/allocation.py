"""What a target is set to, what it does, and how a number of units becomes a setting of its lever."""

from __future__ import annotations

from enum import StrEnum

from forebay.domain.model import Model


class Lever(StrEnum):
    """How a target is moved: the autoscaler's minimum is raised, or the count is set where nothing else scales."""

    FLOOR = "floor"
    COUNT = "count"


class Setting(Model):
    """The values a lever writes, always absolute so that a repeated write is harmless.

    Floor: `floor` and `ceiling` are the autoscaler's minimum and maximum, `count` is None. Count: the reverse.
    """

    lever: Lever
    count: int | None = None
    floor: int | None = None
    ceiling: int | None = None

    @property
    def units(self) -> int:
        """The units this setting asks for at least."""
        value = self.floor if self.lever is Lever.FLOOR else self.count
        assert value is not None
        return value


class TargetState(Model):
    """One observation of a target.

    `setting` is what the lever stands at now; `desired` what the cloud is working towards; `serving` units run
    and are healthy; `stable` is true when no deployment or launch is under way. `problems` forbid a step;
    `causes` are the cloud's own words on why capacity does not arrive.
    """

    setting: Setting
    desired: int
    serving: int
    stable: bool
    problems: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


def setting_for(now: Setting, units: int, *, lower: bool = False) -> Setting:
    """The setting that asks for `units`, touching as little as possible.

    A ceiling is lifted only where it is in the way. `lower`: the allocation must come down to `units` because an
    entitlement's ceiling demands it; under an autoscaler only its maximum can do that.
    """
    if now.lever is Lever.COUNT:
        return Setting(lever=Lever.COUNT, count=units)
    if lower:
        return Setting(lever=Lever.FLOOR, floor=min(now.units, units), ceiling=units)
    ceiling = units if now.ceiling is None else max(now.ceiling, units)
    return Setting(lever=Lever.FLOOR, floor=units, ceiling=ceiling)
