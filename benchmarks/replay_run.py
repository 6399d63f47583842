"""One case run by Forebay, by a peer, by the oracle: all on the same simulated cloud, lags and prices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd

from benchmarks.peers.combined import Combined
from benchmarks.peers.last_value import floor as last_value
from benchmarks.peers.predictive import Predictive
from benchmarks.peers.reactive import floor as reactive
from benchmarks.peers.schedule import Scheduled
from benchmarks.peers.seen import Announced, Floats, Load, Peer
from benchmarks.peers.steps import FixedSteps
from benchmarks.replay_cases import SLOT, Case
from forebay.app import plan as planning
from forebay.app import preview
from forebay.app.outlook import Outlook
from forebay.domain.allocation import Lever
from forebay.domain.errors import InputError
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.workload import ROUNDING, Workload, WorkloadCatalog
from forebay.planning.draft import Start
from forebay.planning.problem import Clock
from forebay.planning.slots import horizon_slots
from forebay.replay.cloud import Outage, SimulatedService
from forebay.replay.outcome import WorkloadOutcome, outcome_of
from forebay.replay.recorded import truth
from forebay.replay.run import Scenario, replay, simulated

FOREBAY, ORACLE = "forebay", "oracle"
AHEAD = timedelta(minutes=15)


@dataclass(frozen=True)
class Run:
    """One case lived through. `on_time`: the policy was in force from its effective time on (held capacity holds it
    back); a peer's always is, whatever serves."""

    outcome: WorkloadOutcome
    on_time: bool
    service: SimulatedService


def peers(case: Case) -> dict[str, Peer]:
    """By name. Those that know of the change know its time and the estimated factor, as Forebay does.

    A count has no autoscaler above it: whoever would only raise a floor has no place there.
    """
    change = case.request.accepted(case.now)
    share = 0.5
    announced = Announced(case.now, case.effective_at, case.effective_at + change.settle, 1 + share * (case.factor - 1))
    jump = Scheduled(announced, 1, AHEAD, AHEAD)
    steps = Scheduled(announced, 4, AHEAD, AHEAD)
    if case.lever is Lever.COUNT:
        return {"hand-made jump": jump, "hand-made 4 steps": steps}
    predictive = Predictive()
    return {
        "target tracking": reactive,
        "last value": last_value,
        "hand-made jump": jump,
        "hand-made 4 steps": steps,
        "predictive": predictive,
        "predictive + jump": Combined((predictive, jump)),
    }


def run_forebay(case: Case, headroom: float = 1.0) -> Run:
    scenario = Scenario(true_factor=case.truth, outages=case.outages, lever=case.lever)
    catalog = WorkloadCatalog(workloads=(case.workload(headroom),))
    name = case.service.name
    done = replay(case.request, catalog, {name: case.past}, {name: case.actual}, case.now, scenario)
    if done.summary.state == "denied":
        raise InputError(f"denied: {done.summary.note}")
    return _run(case, done.services[name], done.summary.activation_at == case.effective_at)


def run_peer(case: Case, peer: Peer, headroom: float = 1.0) -> Run:
    """A peer looks every slot; its change is in force from its effective time on, whatever serves then."""
    return _looked_after(case, peer, _service(case, headroom, case.outages))


def _looked_after(case: Case, peer: Peer, service: SimulatedService) -> Run:
    workload = service.workload
    past = _needed(workload, case.past)
    started = next(iter(case.past.values())).index[0].to_pydatetime()
    a_slot = int(SLOT / service.period)
    measured: list[float] = []
    now = case.now
    while now < case.end:
        known = len(service.periods) - int(workload.verification.metric_delay / service.period)
        while (len(measured) + 1) * a_slot <= known:
            slot = service.periods[len(measured) * a_slot : (len(measured) + 1) * a_slot]
            usage = {r: sum(p.usage[r] for p in slot) / a_slot for r in workload.resources}
            measured.append(workload.units_for(usage)[0])
        wanted = math.ceil(peer(now, Load(started, SLOT, np.concatenate([past, np.array(measured)]))) - ROUNDING)
        # Without an autoscaler nothing finds out what is still needed: a schedule only ever raises a count.
        least = service.setting.units if case.lever is Lever.COUNT else workload.limits.min_units
        units = min(max(wanted, least), workload.limits.max_units)
        if units != service.setting.units:
            service.apply(service.setting.model_copy(update={str(case.lever): units}))
        now += SLOT
        service.run_until(now)
    return _run(case, service)


def run_oracle(case: Case) -> Run:
    """Our optimiser, told the true demand, its plan carried out on a cloud without the case's outages: it cannot know
    of them, and what it is there to show is the least that is possible."""
    oracle = _oracle_plan(case)
    moves = [(step.due_at, step.to_units) for step in oracle.steps]
    return _looked_after(case, FixedSteps(moves, case.effective_at + case.request.settle), _service(case, 1.0, ()))


def _run(case: Case, service: SimulatedService, on_time: bool = True) -> Run:
    """Judged by the utilisation the service must keep, whatever the policy aimed at."""
    service.workload = case.workload()
    return Run(outcome_of(service), on_time, service)


def _oracle_plan(case: Case) -> ShapingPlan:
    workload = case.workload()
    change = truth(case.request.accepted(case.now), case.truth)
    index = horizon_slots(change, workload, case.now)
    grid = pd.DatetimeIndex(list(index))
    demand = {r: d.reindex(grid).ffill().bfill().to_numpy()[None, :] for r, d in case.service.demand.items()}
    floor = workload.limits.min_units if case.lever is Lever.FLOOR else None
    start = Start(preview.units_now(workload, case.past), floor)
    plan = planning.draw(workload, change, Outlook(index, demand, {}), start, Clock(case.now, case.now))
    if isinstance(plan, ShapingPlan):
        return plan
    raise InputError(f"{case.service.name} {case.kind}: even the oracle finds no plan: {plan.text}")


def _service(case: Case, headroom: float, outages: Sequence[Outage]) -> SimulatedService:
    workload = case.workload(headroom)
    scenario = Scenario(lever=case.lever, outages=tuple(outages))
    service = simulated(workload, case.past, case.actual, case.now, scenario)
    service.recorded.come_into_force(truth(case.request.accepted(case.now), case.truth), case.effective_at)
    return service


def _needed(workload: Workload, usage: Mapping[Resource, pd.Series]) -> Floats:
    """Units (not rounded) that each slot's usage needed."""
    needs = [series.to_numpy() / (workload.unit[r] * workload.objectives[r]) for r, series in usage.items()]
    return np.asarray(np.max(needs, axis=0), dtype=np.float64)
