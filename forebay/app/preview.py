"""A plan from files alone: no cloud, no database, nothing stored. What `forebay plan` shows before anyone asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import ValidationError

from forebay.app.joint import barred_from_one_path
from forebay.app.outlook import Entities, Others, Outlook, forecast_workload
from forebay.app.plan import Seen, agree, draw
from forebay.domain.allocation import Lever
from forebay.domain.bounds import PolicyBounds
from forebay.domain.change import PolicyChange
from forebay.domain.errors import InputError
from forebay.domain.model import explain, faults
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.rules import ChangeRules
from forebay.domain.unplanned import check_planned
from forebay.domain.workload import Workload, WorkloadCatalog, unknown_workload
from forebay.planning.draft import Start
from forebay.planning.problem import Clock

if TYPE_CHECKING:
    import pandas as pd

NOTHING_FROZEN = ChangeRules()


@dataclass(frozen=True)
class Preview:
    """One workload's plan (or refusal) and what it was drawn from, for the picture."""

    workload: Workload
    plan: ShapingPlan | PlanRefusal
    outlook: Outlook
    history: Mapping[Resource, pd.Series]

    @property
    def samples(self) -> dict[Resource, tuple[Sequence[datetime], Sequence[float]]]:
        """The history as plain times and values."""
        return {r: ([t.to_pydatetime() for t in s.index], s.tolist()) for r, s in self.history.items()}


def preview(
    change: PolicyChange,
    catalog: WorkloadCatalog,
    history: Mapping[str, Mapping[Resource, pd.Series]],
    now: datetime,
    budget: timedelta,
    units: int | None = None,
    entity: Mapping[str, Entities] | None = None,
    pending: Sequence[PolicyChange] = (),
    lever: Lever = Lever.FLOOR,
    rules: ChangeRules = NOTHING_FROZEN,
) -> list[Preview]:
    """The plans of a change, by workload -> resource -> usage series (aware UTC, canonical units).

    `units`: what is allocated at `now`; None: what the usage of the last slot needs. `entity`: by workload and entity,
    the part of the history that is theirs, where it was measured. `pending`: other changes under way, in force no later
    than this one; the plan of a workload that they touch too is one path for all that are to come, which needs an
    autoscaler. `lever`: how the workloads are moved, as they tell by themselves where they live; each plan says what
    was assumed. `rules`: whose freeze windows bind. Raises InputError, and
    RuleRefusal for impacts on nothing that is planned.
    """
    change.within_reach(now)  # a what-if may have moved it
    if lever is Lever.COUNT and any(other.effective_at > now for other in pending):
        raise InputError(
            "changes that overlap where no autoscaler is take turns, each planned once the one before it is over: "
            "one path is drawn under an autoscaler only"
        )
    names = [change.change, *(other.change for other in pending)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{', '.join(sorted(twice))} is to be planned twice: give each change once")
    pending = sorted(pending, key=lambda other: other.effective_at)
    seen: list[Seen] = []
    units_there: dict[str, int] = {}
    for name in change.workloads:
        workload = catalog.get(name)
        if workload is None:
            raise unknown_workload(name, catalog.workloads)
        check_planned(change, workload)
        _refuse_missing(workload, history, now)
        others = _others(pending, workload, now)
        outlook = forecast_workload(
            workload, change, history.get(name, {}), now, budget, (entity or {}).get(name), others
        )
        past = {resource: series[series.index < now] for resource, series in history[name].items()}
        seen.append(Seen(workload, history[name], outlook, now))
        units_there[name] = units if units is not None else units_now(workload, past)

    def drawn(one: Seen, change: PolicyChange) -> ShapingPlan | PlanRefusal:
        others = _others(pending, one.workload, now)
        standing, ahead = others.in_force, others.to_come
        if ahead and ahead[-1].effective_at > change.effective_at:
            raise InputError(
                f"{ahead[-1].change} comes into force at {ahead[-1].effective_at.isoformat()}, after {change.change}: "
                f"plan {ahead[-1].change}, with {change.change} as the one that is under way"
            )
        if ahead and (barred := barred_from_one_path([*ahead, change], one.workload.name)):
            names = ", ".join(other.change for other in ahead)
            raise InputError(
                f"{change.change} takes its turn after {names}, and is planned once that is over: no path carries "
                f"both, for {barred}"
            )
        floor = one.workload.limits.min_units if lever is Lever.FLOOR else None
        # What one path brings for several is counted in units of the size that stands: no resize.
        start = Start(units_there[one.workload.name], floor, needed=one.recently_needed, resizable=not ahead)
        freezes = [f for each in (change, *ahead) for f in rules.freezes_for(each, now, one.outlook.index.end)]
        bounds = PolicyBounds.of(standing, one.workload.name, [*ahead, change], len(ahead) + 1)
        clock = Clock(now, now, freezes)
        return draw(one.workload, change, one.outlook, start, clock, ahead=ahead, joint=bool(ahead), bounds=bounds)

    plans = agree(change, seen, [drawn(one, change) for one in seen], drawn)
    return [
        Preview(one.workload, assuming(lever, one.workload, plan), one.outlook, one.history)
        for one, plan in zip(seen, plans, strict=True)
    ]


def _refuse_missing(workload: Workload, history: Mapping[str, Mapping[Resource, pd.Series]], now: datetime) -> None:
    """Raise InputError, saying what the history holds, where a resource to plan is not in it."""
    for resource in workload.resources:
        what = f"{resource} usage of workload '{workload.name}'"
        series = history.get(workload.name, {}).get(resource)
        if series is None:
            there = ", ".join(f"{name}/{known}" for name in sorted(history) for known in sorted(history[name]))
            raise InputError(f"history: no {what}; it holds {there or 'nothing'}")
        known = series.dropna()
        if known.empty:
            raise InputError(
                f"history: no value of the {what} is known at any time, or never of all its entities at once: "
                "export it with values, or with its total"
            )
        if known.index[0] >= now:
            raise InputError(
                f"history: the {what} begins at {known.index[0]:%Y-%m-%d %H:%M} UTC, and now is "
                f"{now:%Y-%m-%d %H:%M} UTC: give usage from before, or a later --now"
            )


def assuming(lever: Lever, workload: Workload, plan: ShapingPlan | PlanRefusal) -> ShapingPlan | PlanRefusal:
    """`plan`, saying what it takes for granted of a target that nobody has looked at."""
    match lever:
        case Lever.FLOOR:
            words = f"an autoscaler is assumed, its minimum at min_units {workload.limits.min_units}"
        case Lever.COUNT:
            words = "no autoscaler is assumed"
    if isinstance(plan, PlanRefusal):
        return plan.because(words)
    return plan.model_copy(update={"preflight": (*plan.preflight, words)})


def _others(pending: Sequence[PolicyChange], workload: Workload, now: datetime) -> Others:
    """From files nobody knows better than that each took, or will take, force at its effective time."""
    touching = [other for other in pending if workload.name in other.workloads]
    return Others(
        in_force=tuple(other for other in touching if other.effective_at <= now),
        to_come=tuple(other for other in touching if other.effective_at > now),
    )


def what_if(
    change: PolicyChange,
    catalog: WorkloadCatalog,
    *,
    impact_scale: float = 1.0,
    confidence: float | None = None,
    effective_at: datetime | None = None,
) -> tuple[PolicyChange, WorkloadCatalog]:
    """The change and the workloads as they would be: to be previewed beside the real ones.

    `impact_scale` makes every impact so many times as strong; `effective_at` is aware. Raises InputError.
    """
    try:
        impacts = tuple(impact.scaled(impact_scale) for impact in change.impacts)
    except ValidationError as error:
        lines = "\n".join(explain(error))
        raise InputError(f"--impact-scale {impact_scale:g} takes an impact out of its range:\n{lines}") from error
    risk = {} if confidence is None else {"confidence": confidence}
    try:
        workloads = [
            Workload.model_validate(w.model_dump() | {"risk": w.risk.model_dump() | risk}) for w in catalog.workloads
        ]
    except ValidationError as error:
        (_, said), *_ = faults(error.errors(include_url=False), quote=False)
        raise InputError(f"--confidence {confidence:g}: {said.partition(': ')[2]}") from error
    changed = change.model_copy(update={"impacts": impacts, "effective_at": effective_at or change.effective_at})
    return changed, WorkloadCatalog(workloads=tuple(workloads))


def units_now(workload: Workload, history: Mapping[Resource, pd.Series]) -> int:
    """Units that the last usage known needs at the objectives, within the workload's bounds."""
    usage = {resource: float(history[resource].dropna().iloc[-1]) for resource in workload.resources}
    needed = workload.whole_units_for(usage)
    return min(max(needed, workload.limits.min_units), workload.limits.max_units)
