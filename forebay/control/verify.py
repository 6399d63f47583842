"""What a verification means: measured usage against the forecast band and the objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from forebay.domain.plan import Band, ShapingPlan
from forebay.domain.resources import CANONICAL_UNIT, Resource
from forebay.domain.verdict import Evidence, Judgement, Verdict
from forebay.domain.workload import Workload


def judge(
    workload: Workload,
    plan: ShapingPlan | None,
    *,
    start: datetime,
    end: datetime,
    usage: Mapping[Resource, float],
    serving_units: int,
    asked_units: int,
    planned_units: int | None = None,
) -> Judgement:
    """The verdict on `usage` (absolute, canonical units, mean over [start, end)) while `serving_units` served.

    Absolute usage is compared, never a percentage: a percentage falls by itself when units are added. `error` if
    fewer units serve than were asked; `no_data` if a planned resource has no data, or no finite number; `high` if the
    forecast's upper band is exceeded by more than the tolerance, or a resource is close to saturation; `low` if all
    are below the lower band; else `pass`. Without a plan only the objectives judge. `planned_units`: what the step was
    planned to ask for, where that is not what was asked.
    """
    slot = plan.slot_at(start + (end - start) / 2) if plan else None
    band = dict(slot.demand) if slot else {}
    usage = {r: value for r, value in usage.items() if math.isfinite(value)}
    capacity = {r: serving_units * workload.unit[r] for r in workload.resources}
    utilisation = {r: usage[r] / capacity[r] for r in workload.resources if r in usage and capacity[r]}
    if serving_units < asked_units:
        verdict, text, required = Verdict.ERROR, f"only {serving_units} of {asked_units} units serve", asked_units
    elif missing := [r for r in workload.resources if r not in usage]:
        verdict, text, required = Verdict.NO_DATA, f"no data for {', '.join(missing)}", asked_units
    else:
        # Of the plan's own units: what was asked already holds the corrections made so far, and would compound.
        planned = asked_units if planned_units is None else planned_units
        verdict, text, required = _of_usage(workload, usage, band, utilisation, serving_units, planned)
    evidence = Evidence(
        start=start,
        end=end,
        usage=usage,
        band=band,
        utilisation=utilisation,
        serving_units=serving_units,
        asked_units=asked_units,
        text=text,
    )
    return Judgement(verdict=verdict, required_units=required, evidence=evidence)


def _of_usage(
    workload: Workload,
    usage: Mapping[Resource, float],
    band: Mapping[Resource, Band],
    utilisation: Mapping[Resource, float],
    serving_units: int,
    planned_units: int,
) -> tuple[Verdict, str, int]:
    """The verdict on usage that is known of every planned resource, why, and the units it needs."""
    tolerance = workload.verification.tolerance
    _, binding = workload.units_for(usage)
    required = workload.whole_units_for(usage)
    saturated = {r: u for r, u in utilisation.items() if u > acute(workload.objectives[r])}
    over_band = {r: usage[r] / band[r].high for r in workload.resources if _above(usage[r], band, r, tolerance)}
    under_band = [r for r in workload.resources if r in band and usage[r] < band[r].low * (1 - tolerance)]
    if saturated:
        text = ", ".join(f"{r} at {u:.0%}, objective {workload.objectives[r]:.0%}" for r, u in saturated.items())
        return Verdict.HIGH, text, max(required, serving_units + 1)
    if over_band:
        # The rest of the plan was drawn for less: raise this step by as much as demand exceeds its band.
        excess = max(over_band.values())
        text = ", ".join(f"{r} {_amount(r, usage[r])}, forecast up to {_amount(r, band[r].high)}" for r in over_band)
        return Verdict.HIGH, text, max(required, math.ceil(planned_units * excess))
    if len(under_band) == len(workload.resources):
        text = ", ".join(f"{r} {_amount(r, usage[r])}, forecast from {_amount(r, band[r].low)}" for r in under_band)
        return Verdict.LOW, text, required
    text = f"{binding} binds: {_amount(binding, usage[binding])}, {utilisation.get(binding, 0):.0%} of what serves"
    return Verdict.PASS, text, required


def unserved(start: datetime, end: datetime, serving_units: int, asked_units: int, text: str) -> Judgement:
    """The verdict `error`, without any usage: what was asked for did not come to serve between `start` and `end`."""
    evidence = Evidence(
        start=start,
        end=end,
        usage={},
        band={},
        utilisation={},
        serving_units=serving_units,
        asked_units=asked_units,
        text=text,
    )
    return Judgement(verdict=Verdict.ERROR, required_units=asked_units, evidence=evidence)


def acute(objective: float) -> float:
    """The utilisation that cannot wait for the next step: halfway from the objective to saturation.

    Below it an excess is what the plan weighed: it may run above the objective for a slot, at the risk price.
    """
    return (1 + objective) / 2


def _above(value: float, band: Mapping[Resource, Band], resource: Resource, tolerance: float) -> bool:
    return resource in band and 0 < band[resource].high * (1 + tolerance) < value


def _amount(resource: Resource, value: float) -> str:
    return f"{value:.3g} {CANONICAL_UNIT[resource]}"
