"""A workload as it stands, before anyone asks for a change: is it there, can it be moved, is its usage measured?

What any change on it would be denied or held for is a fault, in the words it would be denied in. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from forebay.app.observe import measured
from forebay.app.outlook import known_of_late
from forebay.app.preflight import UNSEEN
from forebay.domain.allocation import Span, TargetState
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.resources import Resource
from forebay.domain.size import CPU_UNITS_PER_CORE, MIB_PER_GIB
from forebay.domain.survey import MeasuredUsage, Survey
from forebay.domain.wording import duration
from forebay.domain.workload import Workload
from forebay.ports import Target, Usage

if TYPE_CHECKING:
    import pandas as pd

# A season is learned once it has passed so often (docs/workloads.md, `history`).
PASSED = 3
# Below this share of its slots a history is said to have gaps.
COMPLETE = 0.9


def survey(
    workload: Workload,
    target: Target,
    usage: Usage,
    now: datetime,
    reserved: Callable[[], tuple[int, int]] | None = None,
) -> Survey:
    """One look at everything; what fails is part of the answer, so that the rest is looked at all the same.

    `reserved`: CPU units and MiB that one unit reserves, 0 where it does not say; None where no unit does.
    """
    unread: list[str] = []
    faults: list[str] = []
    notes: list[str] = []
    state, known = None, list[MeasuredUsage]()
    try:
        state = target.observe()
        faults += state.refusals
        notes += [f"no step could be made now: {problem}" for problem in state.problems]
        notes += [*state.warnings, *state.causes]
        notes += _limits(workload, target, state, now)
        if reserved is not None:
            notes += _other_unit(workload, *reserved())
    except OutsideError as error:
        unread.append(str(error))
    try:
        history = usage.history(now - workload.history, now, workload.slot)
        known = list(_known(workload, history, now, faults))
        notes += _short(workload, known)
        faults += _unverifiable(workload, usage, known, now)
        notes += [f"the alarm {name} is in ALARM: no step is made until it is not" for name in usage.alarms()]
    except OutsideError as error:
        unread.append(str(error))
    needed = None
    if len(known) == len(workload.resources):
        needed = workload.whole_units_for({one.resource: one.latest for one in known})
        notes += _too_small(needed, state)
    return Survey(
        workload=workload.name,
        state=state,
        usage=tuple(known),
        needed=needed,
        unread=tuple(dict.fromkeys(unread)),  # a service that is not there is missed by whoever looks
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _limits(workload: Workload, target: Target, state: TargetState, now: datetime) -> Iterator[str]:
    """What would be in the way of the most units a plan may ask for. A span without length: no plan holds it yet."""
    most = Span(start=now, end=now, units=workload.limits.max_units)
    try:
        found = target.foresee([most], workload.unit.cpu_cores, state.desired)
    except OutsideError as error:  # a plan is drawn all the same, and says so
        yield f"{UNSEEN}: {error}"
        return
    for text in (*found.refusals, *found.warnings):
        yield f"with all max_units: {text}"


def _other_unit(workload: Workload, cpu_units: int, memory_mib: int) -> Iterator[str]:
    """A unit that is not what a task really has makes every number of a plan wrong by as much."""
    units = [workload.unit, *(size.unit for size in workload.sizes)]
    reserved = {"cpu_cores": cpu_units / CPU_UNITS_PER_CORE, "memory_gib": memory_mib / MIB_PER_GIB}
    given = {name: value for name, value in reserved.items() if value}
    if any(all(abs(getattr(unit, name) - value) < 0.01 for name, value in given.items()) for unit in units):
        return
    for name, value in given.items():
        if abs(own := getattr(workload.unit, name)) and abs(own - value) >= 0.01:
            yield f"a task reserves {name} {value:g} by its task definition, and unit.{name} says {own:g}"


def _known(
    workload: Workload, history: Mapping[Resource, pd.Series], now: datetime, faults: list[str]
) -> Iterator[MeasuredUsage]:
    for resource in workload.resources:
        try:
            series = known_of_late(workload, resource, history.get(resource), now)
        except InputError as error:
            faults.append(str(error).removeprefix(f"{workload.name}: "))
            continue
        since, last = series.index[0].to_pydatetime(), series.index[-1].to_pydatetime()
        until = last + workload.slot
        complete = min(1.0, len(series) / ((until - since) / workload.slot))
        yield MeasuredUsage(
            resource=resource, since=since, until=until, complete=complete, latest=float(series.iloc[-1])
        )


def _short(workload: Workload, known: Sequence[MeasuredUsage]) -> Iterator[str]:
    """How much history is missing for the seasons, and what has gaps."""
    lengths = {one.resource: one.until - one.since for one in known}
    for length in dict.fromkeys(lengths.values()):
        if unlearned := [season for season in workload.seasons if length < PASSED * season]:
            resources = ", ".join(resource for resource, its in lengths.items() if its == length)
            needed = " and ".join(f"{duration(season)} from {duration(PASSED * season)} on" for season in unlearned)
            yield (
                f"{resources}: {duration(length)} of usage; what repeats is learned once it has passed {PASSED} times, "
                f"{needed}"
            )
    for one in known:
        if one.complete < COMPLETE:
            yield f"{one.resource}: {1 - one.complete:.0%} of its slots have no usage: a forecast is less sure of them"


def _unverifiable(workload: Workload, usage: Usage, known: Sequence[MeasuredUsage], now: datetime) -> Iterator[str]:
    """A step is judged by a window of late usage, at finer periods than a history: there may be none in it."""
    window, delay = workload.verification.window, workload.verification.metric_delay
    seen = measured(usage, now - delay - window, now - delay) if known else {}
    for one in known:
        if one.resource not in seen:
            yield (
                f"{one.resource}: no usage in the {duration(window)} that ended {duration(delay)} ago, so that a step "
                "could not be verified: raise verification.metric_delay, or see whether metric_period is how often it "
                "is published"
            )


def _too_small(needed: int, state: TargetState | None) -> Iterator[str]:
    if state is not None and needed > state.serving:
        yield (
            f"the latest usage needs {needed} units at the objectives, and {state.serving} serve: either that is too "
            "few, or unit and objectives are not what they should be"
        )
