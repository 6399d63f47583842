"""Random planning problems, and an independent solver of the same problem: HiGHS on a mixed-integer programme."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from forebay.domain.workload import SoftLimit
from forebay.planning.problem import ShapingProblem

HIGHS_INFEASIBLE = 2


def random_problem(seed: int, most_slots: int = 12, most_units: int = 14) -> ShapingProblem:
    """Small problems of every kind: climbs, ceilings, freezes, ramps, free moves, free units, tight deadlines."""
    rng = np.random.default_rng(seed)
    n_slots = int(rng.integers(4, most_slots + 1))
    lead = int(rng.integers(1, 4))
    most = int(rng.integers(3, most_units + 1))
    start = int(rng.integers(0, most + 4))
    ceiling = int(rng.integers(1, most + 1)) if rng.random() < 0.35 else None
    high = most if ceiling is None else min(most, ceiling)
    deadline = int(rng.integers(0, n_slots))
    effective = int(rng.integers(deadline, n_slots + 1))
    legal = rng.random(n_slots) < rng.choice([0.6, 1.0])
    legal[deadline + 1 : effective] = False
    promises = ()
    if ceiling is None and rng.random() < 0.4:  # another change on the same path, whose effective time is no later
        promises = ((int(rng.integers(0, deadline + 1)), min(most, start + int(rng.integers(0, 4)))),)
    level = rng.integers(0, most + 1, size=(1, n_slots)) if rng.random() < 0.5 else rng.integers(0, most + 1)
    guarding = np.random.default_rng([seed, 4])
    guarded = ((int(guarding.integers(0, n_slots + 1)), int(guarding.integers(0, start + 1))),)
    return ShapingProblem(
        start=start,
        legal=legal,
        spacing=lead + int(rng.integers(0, 3)),
        lead=lead,
        deadline=deadline,
        low=int(rng.integers(0, high + 1)) if rng.random() < 0.9 else high + 1,
        high=high,
        most=most,
        ceiling=ceiling,
        soft=SoftLimit(units=int(rng.integers(1, 6)), percent=float(rng.choice([20, 50, 100, 300]))),
        required=np.maximum(level + rng.integers(-2, 3, size=(int(rng.integers(1, 4)), n_slots)), 0),
        unit_price=float(rng.choice([0.0, 0.05, 0.3, 1.0])),
        shortfall_price=float(rng.choice([0.0, 0.5, 2.0, 10.0])),
        move_price=float(rng.choice([0.0, 0.01, 1.0])),
        promises=promises,
        guarded=guarded if guarding.random() < 0.6 else (),
    )


def under_an_autoscaler(seed: int) -> ShapingProblem:
    """A random problem with an autoscaler above: late by a slot or two, never below its minimum, and no ceiling."""
    problem = random_problem(seed)
    rng = np.random.default_rng([seed, 1])
    late, least = int(rng.integers(1, 3)), int(rng.integers(0, 3))
    start = min(problem.start, problem.most)
    until, units = int(rng.integers(1, problem.n_slots + 1)), int(rng.integers(0, start + 1))
    known = np.hstack([np.repeat(problem.required[:, :1], late, axis=1), problem.required])[:, : problem.n_slots]
    return replace(
        problem,
        start=start,
        ceiling=None,
        high=problem.most,
        tracked=np.clip(known, least, problem.most),
        lowest=least,
        guarded=((until, units),),
    )


def in_force(problem: ShapingProblem, seed: int) -> ShapingProblem:
    """The same once its change is in force: bound from the first slot on, at which no move can be made any more."""
    rng = np.random.default_rng([seed, 2])
    legal = rng.random(problem.n_slots) < rng.choice([0.6, 1.0])
    legal[0] = False
    return replace(problem, legal=legal, deadline=0, promises=())


def bound_by_search(problem: ShapingProblem) -> ShapingProblem:
    """`as_soon_as_can_be`, by following every way there is; no floor that must be held."""
    low, high, soft, stands = problem.low, problem.high, problem.soft, standing_by_hand(problem)
    states, asked = {(problem.start, 0)}, []
    for slot in range(problem.n_slots):
        for units, free in list(states):
            if not problem.legal[slot] or slot < free:
                continue
            from_units = max(units, stands[slot])
            up = range(units + 1, min(from_units + soft.largest_move(from_units), high) + 1)
            guard = max((kept for until, kept in problem.guarded if slot < until), default=0)
            down = range(max(units - soft.largest_move(units), problem.ceiling or 0, guard), units)
            ways = [*up, *(down if problem.ceiling is not None else [])]
            states |= {(after, slot + problem.spacing) for after in ways}
        asked.append({units for units, _ in states})
    high = max(high, min(asked[-1]))
    low = min(low, max(asked[-1]), high)
    met = [slot for slot, ways in enumerate(asked) if any(low <= units <= high for units in ways)]
    ceiling = problem.ceiling if problem.ceiling is None else max(problem.ceiling, high)
    return replace(problem, deadline=met[0] if met else 0, low=low, high=high, ceiling=ceiling)


def standing_by_hand(problem: ShapingProblem) -> list[int]:
    """What an autoscaler has on all but one path in twenty; fewer than 21 paths are too few to leave one out."""
    if problem.tracked is None:
        return [0] * problem.n_slots
    left_out = (len(problem.tracked) - 1) // 20
    return [sorted(units)[left_out] for units in problem.tracked.T.tolist()]


def descent_by_search(problem: ShapingProblem) -> list[int]:
    """Per slot the most units from which the ceiling is still met if the first shrink comes after that slot."""

    @cache
    def can_meet(slot: int, units: int) -> bool:
        if units <= problem.ceiling:
            return True
        if slot > problem.deadline:
            return False
        if can_meet(slot + 1, units):
            return True
        landing = max(units - problem.soft.largest_move(units), problem.ceiling)
        return bool(problem.legal[slot]) and (landing == problem.ceiling or can_meet(slot + problem.spacing, landing))

    top = max(problem.start, problem.most)
    return [max(u for u in range(top + 1) if can_meet(slot + 1, u)) for slot in range(problem.n_slots)]


def optimum_by_milp(problem: ShapingProblem) -> float | None:
    """The least cost by HiGHS. Serving is the least asked for in the last `lead` slots and now: what the words say.

    Under an autoscaler what is had is the larger of what is asked for and what it brings, on each path, and a rise is
    measured from the larger of what was asked for and what nearly surely stands.
    """
    n_slots, n_paths = problem.n_slots, len(problem.required)
    big = 4.0 * (1 + max(problem.most, problem.start, int(problem.required.max())))
    names = ["asked", "serving", "rise", "fall", "rises", "falls", "tiny", "stands", "brought"]
    at = {name: np.arange(n_slots) + k * n_slots for k, name in enumerate(names)}
    short = len(names) * n_slots + np.arange(n_paths * n_slots).reshape(n_paths, n_slots)
    has, serves, helped = (short + k * short.size for k in (1, 2, 3))
    n_variables = int(helped[-1, -1]) + 1
    tracked, standing = problem.tracked, standing_by_hand(problem)
    rows: list[np.ndarray] = []
    uppers: list[float] = []

    def at_most(bound: float, terms: dict[int, float]) -> None:
        row = np.zeros(n_variables)
        for variable, factor in terms.items():
            row[variable] += factor
        rows.append(row)
        uppers.append(bound)

    descent = descent_by_search(problem) if problem.ceiling is not None else None
    share = problem.soft.percent / 100
    for t in range(n_slots):
        before, known = ({at["asked"][t - 1]: 1.0}, 0.0) if t else ({}, float(problem.start))
        balance = {at["asked"][t]: 1.0, at["rise"][t]: -1.0, at["fall"][t]: 1.0}
        at_most(known, balance | {k: -v for k, v in before.items()})
        at_most(-known, {k: -v for k, v in balance.items()} | before)
        # `stands` is at most the larger of what was asked for before and what stands: `brought` says which.
        at_most(known, {at["stands"][t]: 1.0, at["brought"][t]: -big} | {k: -v for k, v in before.items()})
        at_most(standing[t] + big, {at["stands"][t]: 1, at["brought"][t]: big})
        climb = {at["asked"][t]: 1.0, at["stands"][t]: -1.0}
        at_most(problem.soft.units, climb)
        at_most(1 + big, climb | {at["tiny"][t]: big})
        at_most(0, {at["asked"][t]: 1, at["stands"][t]: -1 - share, at["tiny"][t]: -big})
        at_most(0, {at["rise"][t]: 1, at["rises"][t]: -big})
        at_most(0, {at["fall"][t]: 1, at["falls"][t]: -problem.soft.units})
        at_most(1 + 2 * big, {at["fall"][t]: 1, at["tiny"][t]: big, at["falls"][t]: big})
        at_most(share * known, {at["fall"][t]: 1, at["tiny"][t]: -big} | {k: -share * v for k, v in before.items()})
        at_most(problem.most + big, {at["asked"][t]: 1, at["rises"][t]: big})
        for until, units in problem.guarded:
            if t < until:
                at_most(big - units, {at["asked"][t]: -1, at["falls"][t]: big})
        if descent is not None:
            at_most(big - descent[t], {at["asked"][t]: -1, at["falls"][t]: big})
        window = range(t, min(t + problem.spacing, n_slots))
        at_most(1, {at[made][i]: 1 for i in window for made in ("rises", "falls")})
        for i in range(problem.lead + 1):
            served = {at["serving"][t]: 1.0}
            at_most(0 if t >= i else problem.start, served | ({at["asked"][t - i]: -1.0} if t >= i else {}))
        for path in range(n_paths):
            k, brings = (path, t), 0.0 if tracked is None else float(tracked[path, t])
            at_most(0, {at["asked"][t]: 1, has[k]: -1})
            at_most(-brings, {has[k]: -1})
            at_most(0, {serves[k]: 1, at["serving"][t]: -1, helped[k]: -big})
            at_most(brings + big, {serves[k]: 1, helped[k]: big})
            at_most(-float(problem.required[k]), {short[k]: -1, serves[k]: -1})

    low, high = np.zeros(n_variables), np.full(n_variables, big)
    for made in ("rises", "falls", "tiny", "brought"):
        high[at[made]] = 1
    high[helped] = 1
    if tracked is not None:  # a count is kept up by its falls alone
        low[at["asked"]] = min(problem.start, problem.lowest)
    high[at["rises"][~problem.legal]] = 0
    high[at["falls"][~problem.legal]] = 0
    if descent is None and tracked is None:
        high[at["falls"]] = 0
    for slot, units in [(problem.deadline, problem.low), *problem.promises]:
        low[at["asked"][slot:]] = np.maximum(low[at["asked"][slot:]], units)
    high[at["asked"][problem.deadline :]] = problem.high
    if (low > high).any():
        return None
    cost = np.zeros(n_variables)
    cost[has] = problem.unit_price / n_paths
    cost[at["rises"]] = cost[at["falls"]] = problem.move_price
    cost[short] = problem.shortfall_price / n_paths
    whole = np.zeros(n_variables)
    for name in ("asked", "rise", "fall", "rises", "falls", "tiny", "brought"):
        whole[at[name]] = 1
    whole[helped] = 1
    constraints = LinearConstraint(np.array(rows), -np.inf, np.array(uppers))
    # HiGHS's presolve cuts optima off: with it one case in a thousand is infeasible, or dearer than a plan we have.
    exact = {"presolve": False, "mip_rel_gap": 0}
    found = milp(cost, constraints=constraints, integrality=whole, bounds=Bounds(low, high), options=exact)
    assert found.success or found.status == HIGHS_INFEASIBLE, found.message
    return float(found.fun) if found.success else None
