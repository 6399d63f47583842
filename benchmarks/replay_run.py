"""One case run by Forebay, by a peer, by the oracle: all on the same simulated cloud, lags and prices."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pandas as pd

from benchmarks.peers.combined import Combined
from benchmarks.peers.last_value import floor as last_value
from benchmarks.peers.predictive import Predictive
from benchmarks.peers.reactive import floor as reactive
from benchmarks.peers.schedule import Scheduled
from benchmarks.peers.seen import Announced, Load, Peer
from benchmarks.peers.steps import FixedSteps
from benchmarks.replay_cases import SLOT, Case
from forebay.app import plan as planning
from forebay.app import preview
from forebay.domain.allocation import Lever, Setting
from forebay.domain.errors import InputError
from forebay.domain.plan import ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.workload import WorkloadCatalog
from forebay.planning.slots import horizon_slots
from forebay.replay.cloud import SimulatedService
from forebay.replay.outcome import WorkloadOutcome, outcome_of
from forebay.replay.recorded import RecordedDemand, truth
from forebay.replay.run import Scenario, replay

FOREBAY, ORACLE = "forebay", "oracle"
AHEAD = timedelta(minutes=15)


def peers(case: Case) -> dict[str, Peer]:
    """By name. Those that know of the change know its time and the estimated factor, as Forebay does."""
    change = case.request.accepted(case.now)
    share = 0.5
    announced = Announced(case.now, case.effective_at, case.effective_at + change.settle, 1 + share * (case.factor - 1))
    jump = Scheduled(announced, 1, AHEAD, AHEAD)
    steps = Scheduled(announced, 4, AHEAD, AHEAD)
    predictive = Predictive()
    return {
        "target tracking": reactive,
        "last value": last_value,
        "hand-made jump": jump,
        "hand-made 4 steps": steps,
        "predictive": predictive,
        "predictive + jump": Combined((predictive, jump)),
    }


def run_forebay(case: Case, headroom: float = 1.0) -> tuple[WorkloadOutcome, bool]:
    """Also whether the policy was in force from its effective time on: held capacity holds the policy back."""
    past, actual = case.usages()
    scenario = Scenario(true_factor=case.truth, outages=case.outages)
    catalog = WorkloadCatalog(workloads=(case.workload(headroom),))
    done = replay(case.request, catalog, past, actual, case.now, scenario)
    if done.summary.state == "denied":
        raise InputError(f"denied: {done.summary.note}")
    service = done.services[case.service.name]
    service.workload = case.workload()
    return outcome_of(service), done.summary.activation_at == case.effective_at


def run_peer(case: Case, peer: Peer, headroom: float = 1.0) -> WorkloadOutcome:
    """A peer looks every slot; its change is in force from its effective time on, whatever serves then."""
    service = _service(case, headroom)
    limits, unit = service.workload.limits, service.workload.unit.cpu_cores
    past = case.past.to_numpy()
    start = case.past.index[0].to_pydatetime()
    measured: list[float] = []
    now = case.now
    while now < case.end:
        known = len(service.periods) - int(service.workload.verification.metric_delay / service.period)
        while (len(measured) + 1) * 5 <= known:
            slot = service.periods[len(measured) * 5 : (len(measured) + 1) * 5]
            measured.append(sum(p.usage[Resource.CPU] for p in slot) / len(slot))
        seen = np.concatenate([past, np.array(measured)]) / (unit * service.workload.objectives[Resource.CPU])
        wanted = math.ceil(peer(now, Load(start, SLOT, seen)) - 1e-9)
        floor = min(max(wanted, limits.min_units), limits.max_units)
        if floor != service.setting.floor:
            service.apply(service.setting.model_copy(update={"floor": floor}))
        now += SLOT
        service.run_until(now)
    service.workload = case.workload()
    return outcome_of(service)


def run_oracle(case: Case) -> WorkloadOutcome:
    """Our optimiser, told the true demand, its plan carried out without a fault."""
    oracle = _oracle_plan(case)
    moves = [(step.due_at, step.to_units) for step in oracle.steps]
    return run_peer(case, FixedSteps(moves, case.effective_at + case.request.settle))


def _oracle_plan(case: Case) -> ShapingPlan:
    workload = case.workload()
    change = truth(case.request.accepted(case.now), case.truth)
    index = horizon_slots(change, workload, case.now)
    grid = pd.DatetimeIndex(list(index))
    demand = case.service.demand.reindex(grid).ffill().bfill().to_numpy()[None, :]
    outlook = planning.Outlook(index, {Resource.CPU: demand}, {})
    plan = planning.draw(
        workload,
        change,
        outlook,
        start_units=preview.units_now(workload, {Resource.CPU: case.past}),
        floor=workload.limits.min_units,
        now=case.now,
        earliest=case.now,
    )
    if isinstance(plan, ShapingPlan):
        return plan
    raise InputError(f"{case.service.name} {case.kind}: even the oracle finds no plan: {plan.text}")


def _service(case: Case, headroom: float) -> SimulatedService:
    workload = case.workload(headroom)
    _, actual = case.usages()
    past = {Resource.CPU: case.past}
    recorded = RecordedDemand(workload, past, actual[case.service.name], case.now)
    recorded.come_into_force(truth(case.request.accepted(case.now), case.truth), case.effective_at)
    units = preview.units_now(workload, past)
    setting = Setting(lever=Lever.FLOOR, floor=workload.limits.min_units, ceiling=workload.limits.max_units)
    return SimulatedService(workload, recorded, setting, units, workload.objectives, case.outages)
