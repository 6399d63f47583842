"""From a workload, a change and its demand straight to an independent solver: words, times and units are its own.

Where `test_planning_milp.py` gives both the same plain numbers, here the solver is given the demand of three resources
and finds by itself what must serve (by choosing which paths to cover), which slots are shaping points, and the rest.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from forebay.domain.freeze import FreezeWindow
from forebay.planning.demand import demand_paths
from forebay.planning.draft import Draft, Start
from forebay.planning.problem import Clock, Promise
from forebay.planning.sizing import Solution, choose
from forebay.planning.slots import horizon_slots
from tests.support.planning_cases import NOW, change, workload
from tests.support.planning_problems import HIGHS_INFEASIBLE, descent_by_search

SEEDS = 400 if os.environ.get("FOREBAY_LONG") == "1" else 60
MINUTE = timedelta(minutes=1)
SLOT = 5 * MINUTE


@cache
def case(seed: int) -> Draft:
    rng = np.random.default_rng([seed, 7])
    work = workload(
        unit={"cpu_cores": 1, "memory_gib": 2, "network_mbps": 100},
        objectives={"cpu": 0.5, "memory": 0.7, "network": 0.6},
        limits={
            "min_units": int(rng.integers(1, 4)), "max_units": int(rng.integers(8, 13)),
            "soft": {"units": int(rng.integers(1, 5)), "percent": float(rng.choice([20, 50, 100])),
                     "dwell": f"PT{5 * rng.integers(0, 4)}M"},
        },
        lead_time=f"PT{rng.integers(1, 8)}M",
        verification={"metric_delay": "PT1M", "window": "PT1M"},
        price={"per_unit_hour": str(rng.choice(["0", "0.5"]))},
        risk={"confidence": float(rng.choice([0.5, 0.8, 0.95])), "shortfall_per_unit_hour": str(rng.choice(["1", "5"])),
              "move": str(rng.choice(["0.001", "0.3"]))},
    )  # fmt: skip
    bounds = {"min_units": int(rng.integers(2, 9))} if rng.random() < 0.25 else {}
    if rng.random() < 0.3:
        bounds["max_units"] = int(rng.integers(bounds.get("min_units", 4), 10))
    to_be = change(
        effective_at=NOW + int(rng.integers(25, 61)) * MINUTE,
        settle=f"PT{rng.integers(1, 46)}M",
        impacts=[{"workload": "web", "factor": float(rng.choice([0.5, 1.3, 1.8])), "low": 0.4, "high": 2.2}],
        entitlements=[{"workload": "web", **bounds}] if bounds else [],
    )
    index, n_paths = horizon_slots(to_be, work, NOW), 5
    scale = {"cpu": 1, "memory": 2.8, "network": 120}
    level, rising = rng.uniform(0.5, 2), np.linspace(0.7, 1 + rng.choice([0, 15, 30]), len(index))
    forecasts = {
        r: scale[r] * level * rising * rng.uniform(0.7, 1.3) * np.exp(rng.normal(0, 0.25, (n_paths, len(index))))
        for r in work.resources
    }
    start = int(rng.integers(3, 12))
    begins = NOW + int(rng.integers(0, 40)) * MINUTE
    freezes = [FreezeWindow(start=begins, end=begins + 12 * MINUTE, reason="release")] if rng.random() < 0.5 else []
    promises = ()
    if not bounds and rng.random() < 0.5:
        at = to_be.effective_at - int(rng.integers(0, 21)) * MINUTE
        promises = (Promise("CHG-0", at, min(start + int(rng.integers(0, 3)), work.limits.max_units)),)
    clock = Clock(NOW, NOW + int(rng.integers(0, 6)) * MINUTE, freezes)
    demand = demand_paths(work, to_be, forecasts, index, rng)
    return Draft(to_be, work, demand, Start(start, None, resizable=False), clock, promises=promises)


@dataclass
class Rows:
    """A mixed-integer programme that is written down name by name."""

    names: dict[tuple[object, ...], int]
    terms: list[tuple[dict[int, float], float]]
    low: list[float]
    high: list[float]

    def __call__(self, *name: object, low: float = 0, high: float = 60) -> int:
        if name not in self.names:
            self.names[name] = len(self.names)
            self.low.append(low)
            self.high.append(high)
        return self.names[name]

    def at_most(self, bound: float, *terms: tuple[float, int]) -> None:
        row: dict[int, float] = {}
        for factor, variable in terms:
            row[variable] = row.get(variable, 0) + factor
        self.terms.append((row, bound))


@cache
def case_in_force(seed: int) -> Draft:
    """The same once its change is in force, for a few minutes or an hour, and still to settle."""
    draft, rng = case(seed), np.random.default_rng([seed, 8])
    since = int(rng.integers(0, 60))
    began = {"effective_at": NOW - since * MINUTE, "settle": (since + int(rng.integers(1, 46))) * MINUTE}
    begun = draft.change.model_copy(update=began)
    return replace(
        draft, change=begun, start=replace(draft.start, units=int(rng.integers(1, 12))), promises=(), in_force=True
    )


def least_cost(draft: Draft, spare: int, met: tuple[int, int, int] | None = None) -> float | None:
    """By HiGHS, with `spare` slots between the last verdict and each effective time; None if there is no plan.

    `met`: the slot from which on the units must lie within the two bounds after it, once the change is in force.
    """
    work, to_be, soft = draft.workload, draft.change, draft.workload.limits.soft
    first = NOW - (NOW - datetime(2026, 1, 1, tzinfo=NOW.tzinfo)) % SLOT
    verified = work.lead_time + 2 * MINUTE
    n_slots = -((first - (to_be.effective_at + to_be.settle + verified)) // SLOT)
    starts = [first + t * SLOT for t in range(n_slots)]
    lead, spacing = -(-work.lead_time // SLOT), -(-max(soft.dwell, verified) // SLOT)
    times = [to_be.effective_at, *(p.effective_at for p in draft.promises)]
    last = {at: (at - verified - spare * SLOT - first) // SLOT for at in times}
    legal = [
        at > NOW and at >= draft.clock.earliest
        and not any(f.start <= at < f.end for f in draft.clock.freezes)
        and not any(last[time] < t and at < time for time in times)
        for t, at in enumerate(starts)
    ]  # fmt: skip
    due = max(0, last[to_be.effective_at])
    bound = to_be.entitlement("web")
    ceiling = bound.max_units if bound else None
    most, start = work.limits.max_units, draft.start_units
    high = most if ceiling is None else min(most, ceiling)
    low = max(work.limits.min_units, (bound and bound.min_units) or 0)
    if met is not None:
        due, low, high = met
        ceiling = None if ceiling is None else max(ceiling, high)
    carries = {r: work.unit[r] * work.objectives[r] for r in work.resources}
    demand, n_paths = draft.demand.with_change, 5
    big = 60.0
    of = Rows({}, [], [], [])
    whole = set()
    stay_above = descent_by_search(
        SimpleNamespace(ceiling=ceiling, deadline=due, soft=soft, legal=legal, spacing=spacing, start=start, most=most,
                        n_slots=n_slots)  # type: ignore[arg-type]
    ) if ceiling is not None else None  # fmt: skip
    enough = of("enough")
    cost: dict[int, float] = {}
    hours = 5 / 60
    for t in range(n_slots):
        asked, serving = of("asked", t), of("serving", t)
        rises, falls, one = of("rises", t, high=1), of("falls", t, high=1), of("one", t, high=1)
        whole |= {asked, rises, falls, one}
        before = [(1.0, of("asked", t - 1))] if t else []
        known = 0.0 if t else float(start)

        def moved(
            sign: float, bound: float, *terms: tuple[float, int], before=before, known=known, asked=asked
        ) -> None:  # type: ignore[no-untyped-def]
            """sign x (asked - before) + terms <= bound"""
            of.at_most(bound + sign * known, (sign, asked), *[(-sign * f, v) for f, v in before], *terms)

        share = soft.percent / 100
        moved(1, 0, (-big, rises))
        moved(-1, 0, (-big, falls))
        moved(1, soft.units)
        moved(-1, soft.units)
        for sign in (1, -1):  # at most the percentage of what was asked for before, or one unit
            moved(sign, share * known, (-big, one), *[(-share * f, v) for f, v in before])
            moved(sign, 1 + big, (big, one))
        if not legal[t]:
            of.high[rises] = of.high[falls] = 0
        if stay_above is None:
            of.high[falls] = 0
        else:
            of.at_most(big - stay_above[t], (-1, asked), (big, falls))
        of.at_most(most + big, (1, asked), (big, rises))
        if t >= due:
            of.low[asked], of.high[asked] = low, high
            of.at_most(0, (1, enough), (-1, asked))
        for promise in draft.promises:
            if t >= last[promise.effective_at]:
                of.low[asked] = max(of.low[asked], promise.units)
        for i in range(lead + 1):
            served = [(-1.0, of("asked", t - i))] if t >= i else []
            of.at_most(0 if served else start, (1, serving), *served)
        cost[asked] = float(work.price.per_unit_hour) * hours
        cost[rises] = cost[falls] = float(work.move_price)
        for k in range(n_paths):
            missing = of("missing", k, t)
            whole.add(missing)
            cost[missing] = float(work.risk.shortfall_per_unit_hour) * hours / n_paths
            for r in work.resources:
                of.at_most(-demand[r][k, t], (-carries[r], serving), (-carries[r], missing))
    for t in range(n_slots):
        window = range(t, min(t + spacing, n_slots))
        of.at_most(1, *[(1, of(kind, i)) for i in window for kind in ("rises", "falls")])
    covered = [of("covered", k, high=1) for k in range(n_paths)]
    whole |= {enough, *covered}
    if met is None:
        of.at_most(-work.risk.confidence * n_paths + 1e-6, *[(-1, z) for z in covered])
    for t, at in enumerate(starts):
        if at + SLOT > to_be.effective_at and (at < to_be.effective_at + verified):
            for k, z in enumerate(covered):
                for r in work.resources:
                    of.at_most(0, (demand[r][k, t], z), (-carries[r], enough))
    n = len(of.names)
    if any(low > high for low, high in zip(of.low, of.high, strict=True)):
        return None
    rows = np.zeros((len(of.terms), n))
    for i, (terms, _) in enumerate(of.terms):
        rows[i, list(terms)] = list(terms.values())
    found = milp(
        [cost.get(v, 0.0) for v in range(n)],
        constraints=LinearConstraint(rows, -np.inf, [bound for _, bound in of.terms]),
        integrality=[int(v in whole) for v in range(n)],
        bounds=Bounds(of.low, of.high),
        options={"presolve": False, "mip_rel_gap": 0},
    )
    assert found.success or found.status == HIGHS_INFEASIBLE, found.message
    return float(found.fun) if found.success else None


def by_solver(draft: Draft) -> float | None:
    with_one_to_spare = least_cost(draft, 1)
    return least_cost(draft, 0) if with_one_to_spare is None else with_one_to_spare


def by_solver_in_force(draft: Draft) -> float | None:
    """As near to the bounds as the last slot lets it, and then there as soon as can be: tried one by one."""
    bound = draft.change.entitlement("web")
    low = max(draft.workload.limits.min_units, (bound and bound.min_units) or 0)
    high = min(draft.workload.limits.max_units, (bound and bound.max_units) or 60)
    last = len(draft.index) - 1
    down = range(high, max(high, draft.start_units) + 1)
    up = range(min(low, high), -1, -1)
    ways = ((a, b) for b in down for a in up if a <= b)
    near = next((way for way in ways if least_cost(draft, 0, (last, *way)) is not None), None)
    costs = (least_cost(draft, 0, (due, *near)) for due in range(last + 1)) if near else iter(())
    return next((cost for cost in costs if cost is not None), None)


def ours(draft: Draft) -> Solution | None:
    return choose(draft)[0]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_plan_costs_what_the_solver_finds(seed: int) -> None:
    draft = case(seed)
    found, theirs = ours(draft), by_solver(draft)
    assert (found is None) == (theirs is None), f"{found and found.first.optimum.moves} against {theirs}"
    if found is not None:
        assert found.cost == pytest.approx(theirs, abs=1e-5), found.first.optimum.moves


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_once_in_force_the_rest_costs_what_the_solver_finds(seed: int) -> None:
    draft = case_in_force(seed)
    found, theirs = ours(draft), by_solver_in_force(draft)
    assert (found is None) == (theirs is None), f"{found and found.first.optimum.moves} against {theirs}"
    if found is not None:
        assert found.cost == pytest.approx(theirs, abs=1e-5), found.first.optimum.moves


def test_the_cases_are_of_every_kind() -> None:
    counts = Counter[str]()
    for seed in range(60):
        draft = case(seed)
        found = ours(draft)
        if found is None:
            counts["infeasible"] += 1
            continue
        moves, problem = found.first.optimum.moves, found.first.problem
        begin = draft.index.covering(draft.change.effective_at)
        counts[f"binds: {found.first.needs.binding(begin, draft.workload.risk.confidence)}"] += 1
        counts["rise"] += any(m.after > m.before for m in moves)
        counts["decrease"] += any(m.after < m.before for m in moves)
        counts["after the effective time"] += any(m.slot > problem.deadline for m in moves)
        counts["freeze"] += bool(draft.clock.freezes)
        counts["another change's time"] += any(problem.start < units for _, units in problem.promises)
        entitlement = draft.change.entitlement("web")
        counts["entitlement floor"] += bool(entitlement and entitlement.min_units)
        counts["entitlement ceiling"] += bool(entitlement and entitlement.max_units)
    assert len(counts) == 11, counts
    assert min(counts.values()) >= 3, counts
    counts = Counter[str]()
    for seed in range(60):
        found = ours(case_in_force(seed))
        assert found is not None, seed
        problem = found.first.problem
        counts["rise at once"] += problem.deadline > 0 and problem.start < problem.low
        counts["decrease at once"] += problem.deadline > 0 and problem.start > problem.high
        counts["within the bounds"] += problem.deadline == 0
    assert len(counts) == 3 and min(counts.values()) >= 3, counts
