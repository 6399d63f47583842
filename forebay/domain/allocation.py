"""What a target is set to, what it does, and how a number of units becomes a setting of its lever."""

from __future__ import annotations

from enum import StrEnum

from forebay.domain.bounds import PolicyBounds
from forebay.domain.model import Model, UtcTime
from forebay.domain.size import TaskSize


class Lever(StrEnum):
    """How a target is moved: the autoscaler's minimum is raised, or the count is set where nothing else scales."""

    FLOOR = "floor"
    COUNT = "count"


class Setting(Model):
    """The values a lever writes, always absolute so that a repeated write is harmless.

    Floor: `floor` and `ceiling` are the autoscaler's minimum and maximum, `count` is None. Count: the reverse.
    Where the size of a unit may be chosen: `size`, and the `revision` (a task definition's ARN) that brings it. In what
    is asked for both are None until the change has made a resize: until then they are not ours to watch.
    """

    lever: Lever
    count: int | None = None
    floor: int | None = None
    ceiling: int | None = None
    size: TaskSize | None = None
    revision: str | None = None

    @property
    def units(self) -> int:
        """The units this setting asks for at least."""
        value = self.floor if self.lever is Lever.FLOOR else self.count
        assert value is not None
        return value

    @property
    def unsized(self) -> Setting:
        """The lever alone."""
        return self.model_copy(update={"size": None, "revision": None})

    def within(self, bounds: PolicyBounds) -> Setting:
        """The nearest setting that the policies in force allow: their bounds hold for a floor and for a ceiling."""
        values = {"count": self.count, "floor": self.floor, "ceiling": self.ceiling}
        return self.model_copy(update={k: v if v is None else bounds.holds(v) for k, v in values.items()})

    def stands_in(self, live: Setting) -> bool:
        """Whether `live` is what this asks for."""
        return self == (live if self.revision else live.unsized)


class TargetState(Model):
    """One observation of a target.

    `setting` is what the lever stands at now; `desired` what the cloud is working towards; `serving` units run
    and are healthy; `stable` is true when no deployment or launch is under way. `problems` forbid a step for now,
    `refusals` any shaping at all; `warnings` forbid nothing, and people are told.
    `causes` are the cloud's own words on why capacity does not arrive, `failures` on deployments that failed of late;
    `failed`: what is being deployed has.
    """

    setting: Setting
    desired: int
    serving: int
    stable: bool
    problems: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    failed: bool = False
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def lacks_units(self) -> bool:
        """Whether fewer serve than the cloud works towards, or than were asked for."""
        return self.serving < max(self.desired, self.setting.units)


class Span(Model):
    """So many units are to be held from `start` until `end` (aware UTC). `resized`: of another size from `start` on."""

    start: UtcTime
    end: UtcTime
    units: int
    resized: bool = False


class Foreseen(Model):
    """What is in the way of holding something: `refusals` make it impossible, `warnings` may."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: Foreseen) -> Foreseen:
        """Both together."""
        return Foreseen(refusals=self.refusals + other.refusals, warnings=self.warnings + other.warnings)


def setting_for(now: Setting, units: int, *, lower: bool = False) -> Setting:
    """The setting that asks for `units`, touching as little as possible.

    A ceiling is lifted only where it is in the way. `lower`: the allocation must come down to `units` because an
    entitlement's ceiling demands it; under an autoscaler only its maximum can do that.
    """
    if now.lever is Lever.COUNT:
        return now.model_copy(update={"count": units})
    if lower:
        return now.model_copy(update={"floor": min(now.units, units), "ceiling": units})
    ceiling = units if now.ceiling is None else max(now.ceiling, units)
    return now.model_copy(update={"floor": units, "ceiling": ceiling})


def in_words(setting: Setting) -> str:
    """`floor 5 (ceiling 20)` or `count 5`; with a size also `of 2 vCPU, 4 GiB (web:7)`."""
    lever = f"count {setting.count}" if setting.floor is None else f"floor {setting.floor} (ceiling {setting.ceiling})"
    if setting.size is None or setting.revision is None:
        return lever
    return f"{lever} of {setting.size} ({setting.revision.rsplit('/', 1)[-1]})"
