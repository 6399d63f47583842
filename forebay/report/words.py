"""A plan and a refusal in sentences, and times, spans and numbers as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from forebay.domain.approval import Envelope
from forebay.domain.plan import PlanPrice, PlanRefusal, ShapingPlan, ShapingStep

# Of more steps than so many people are shown those at either end: nobody reads hundreds.
MOST_STEPS, AT_EITHER_END = 60, 5

FIGURES = 4  # of each side of a price


def explain(result: ShapingPlan | PlanRefusal) -> str:
    """What is going to happen, why, and what it costs; or why nothing is, and what would do. One sentence a line."""
    return "\n".join(_plan(result) if isinstance(result, ShapingPlan) else _refusal(result))


def moment(at: datetime) -> str:
    """`2026-11-26 09:00 UTC`; `at` is aware UTC. Seconds only where there are any."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at.second else f"{at:%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """`2 days 3 h`, `45 min`, `90 s`: the two largest parts."""
    seconds = round(length.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    parts = (
        [f"{days} day{'s' * (days > 1)}"] * bool(days)
        + [f"{hours} h"] * bool(hours)
        + [f"{minutes} min"] * bool(minutes)
    )
    return " ".join(parts[:2])


def from_now(at: datetime, now: datetime) -> str:
    """`in 2 h 5 min`, `45 s ago`."""
    return f"in {span(at - now)}" if at >= now else f"{span(now - at)} ago"


def units(count: int) -> str:
    return f"{count} unit" if abs(count) == 1 else f"{count} units"


def percent(share: float) -> str:
    """`95 %`, `0.4 %`; what is not quite none or all never reads as such."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def _risk(share: float, paths: int) -> str:
    """As `percent`; on none of so many paths is less than on one of them, and not never."""
    return percent(share) if share or not paths else f"under {percent(1 / paths).removeprefix('under ')}"


def price_rows(plan: ShapingPlan) -> list[tuple[str, ...]]:
    """What it takes and risks: a header row, one row for each of the FIGURES, and what a mark means; for any table."""
    price, resize = plan.price, plan.resize
    named = {"with the plan": price.shaped, "one jump": price.one_jump, "left as it is": price.left_alone}
    if price.without_change:
        named["without the change"] = price.without_change
    sides = list(named.values())
    hours = [f"{side.unit_hours:.2f}" + " *" * bool(resize and side is price.shaped) for side in sides]
    meaning = [(f"* of {resize.size} once resized", *("" for _ in sides))] if resize else []
    return [
        ("", *named),
        ("unit-hours", *hours),
        (f"price ({price.currency})", *(f"{side.money:.2f}" for side in sides)),
        ("expected shortfall (unit-hours)", *(f"{side.shortfall_unit_hours:.2f}" for side in sides)),
        ("too small at the effective time", *(_risk(side.misaligned, price.paths) for side in sides)),
        *meaning,
    ]


def notes(plan: ShapingPlan) -> list[str]:
    """What people should know of the plan: of its target as it stands, and with whom it shares its path."""
    return [*plan.preflight, *_joined(plan)]


def _joined(plan: ShapingPlan) -> list[str]:
    others = [f"{name} ({units(needed)})" for name, needed in plan.carries.items() if name != plan.change]
    if plan.carried_by:
        return [f"one path with {', '.join(plan.after)}: {plan.carried_by} makes these steps, and holds them for all"]
    if others:
        return [f"one path with other changes: it also brings what {', '.join(others)} needs by then"]
    return [f"it begins once {', '.join(plan.after)} is over, with that impact in the demand"] if plan.after else []


def price_sentence(price: PlanPrice) -> str:
    more = price.more
    cost = f"{abs(more):.2f} {price.currency} {'more' if more >= 0 else 'less'} than leaving the allocation as it is"
    risk = _risk(price.shaped.misaligned, price.paths)
    if price.shaped.misaligned != price.left_alone.misaligned:
        risk += f" instead of {_risk(price.left_alone.misaligned, price.paths)}"
    return (
        f"Until the plan's end it costs {price.shaped.money:.2f} {price.currency}, {cost}; "
        f"the risk of being too small at the effective time is {risk}."
    )


def in_brief(plan: ShapingPlan) -> str:
    """What a ticket is told of a plan: how many steps, when, by which hash it is approved, what it costs and risks."""
    count, times = len(plan.moves), [moment(step.due_at) for step in plan.moves]
    parts = [f"{count} step{'s' * (count != 1)}", f"{plan.start_units} to {units(plan.aligned_units)}"]
    if count == 1:
        parts.append(f"at {times[0]}")
    elif times:
        parts += [f"the first at {times[0]}", f"the last at {times[-1]}"]
    if plan.carried_by:
        parts.append(f"made by {plan.carried_by} on one path")
    return f"{', '.join(parts)} (plan {plan.hash[:12]}). {price_sentence(plan.price)}"


def ends(steps: Sequence[ShapingStep]) -> tuple[Sequence[ShapingStep], int, Sequence[ShapingStep]]:
    """The steps people are shown: the first, how many are left out between, and the last. All, if they are few."""
    if len(steps) <= MOST_STEPS:
        return steps, 0, ()
    return steps[:AT_EITHER_END], len(steps) - 2 * AT_EITHER_END, steps[-AT_EITHER_END:]


def left_out(more: int) -> str:
    return f"{more} more: --format json has all"


def overview(steps: Sequence[ShapingStep]) -> str:
    """`415 steps: the first at …, the largest at …, the last at …`, each with its units."""
    largest = max(steps, key=lambda step: abs(step.to_units - step.from_units))
    named = {"the first": steps[0], "the largest": largest, "the last": steps[-1]}
    parts = [f"{name} at {moment(s.due_at)}: {s.from_units} -> {s.to_units}" for name, s in named.items()]
    return f"{len(steps)} steps; {', '.join(parts)}"


def allowance(bounds: Envelope, currency: str) -> str:
    """How far an approval reaches."""
    resize = f", and the resize to {bounds.size}" if bounds.size else ""
    return (
        f"An approval holds up to {units(bounds.max_units)}, moves of {bounds.largest_move} and "
        f"{bounds.money:.2f} {currency}{resize}."
    )


def _plan(plan: ShapingPlan) -> list[str]:
    lines = [
        f"{plan.workload}: {units(plan.aligned_units)} must serve, verified, when {plan.change} comes into force at "
        f"{moment(plan.effective_at)} ({percent(plan.confidence)} confidence); {units(plan.start_units)} "
        f"{'is' if plan.start_units == 1 else 'are'} asked for now."
    ]
    if plan.sizing:
        lines.append(f"It {plan.sizing}.")
    lines += [f"Note: {note}." for note in notes(plan)]
    if not plan.moves:
        lines.append("No step is needed: what is there is enough, and stays.")
    first, more, last = ends(plan.moves)
    if more:
        lines.append(f"{overview(plan.moves)}.")
    lines += map(_step, first)
    if more:
        lines.append(f"{left_out(more)}.")
    lines += map(_step, last)
    said = [f"Forecast of {resource}: {note}." for resource, words in plan.forecast.items() for note in words]
    return [*lines, price_sentence(plan.price), *said]


def _step(step: ShapingStep) -> str:
    to = step.goal if step.size else step.to_units
    return (
        f"Step {step.sequence}, {moment(step.due_at)}: {step.from_units} -> {to}, "
        f"verified by {step.verified_by:%H:%M}, because {step.reason.text}."
    )


def _refusal(refusal: PlanRefusal) -> list[str]:
    counter = refusal.counter_proposal
    ways = [
        (what if isinstance(what, str) else f"an effective time of {moment(what)}") + f": {price}" * bool(price)
        for what, price in counter.ways
    ]
    lines = [f"{refusal.workload}: no plan meets the effective time. {refusal.reason}."]
    if not ways:
        later = "no later effective time, within the forecast, from which on what is needed stays within the limits"
        return [*lines, f"Nothing that would do was found: {later} for a day and more, and no single limit."]
    lines += ["Any one of these would do:", *(f"  - {way}" for way in ways)]
    if counter.together_at:
        whole = f"an effective time of {moment(counter.together_at)}"
        whole += f": {counter.together_price}" * bool(counter.together_price)
        lines.append(f"All workloads of the change together: {whole}.")
    return lines
