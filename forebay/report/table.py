"""Plans and changes as plain-text tables that fit a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from forebay.domain.approval import Request
from forebay.domain.lifecycle import COME_TO_NOTHING
from forebay.domain.outbox import Message
from forebay.domain.plan import PlanRefusal, ShapingPlan, ShapingStep
from forebay.domain.records import ChangeRecord, StepRecord
from forebay.domain.wording import on_one_line
from forebay.report.comparison import comparison_notes, comparison_rows
from forebay.report.words import (
    allowance,
    ends,
    explain,
    from_now,
    left_out,
    moment,
    notes,
    overview,
    percent,
    price_rows,
    price_sentence,
    units,
)

WIDTH = 100


def plan_table(result: ShapingPlan | PlanRefusal) -> str:
    """Head, steps, price and the forecast's own words; a refusal in words. No line is longer than WIDTH.

    Of very many steps only the first and the last are shown, under what they come to.
    """
    if isinstance(result, PlanRefusal):
        return "\n".join(wrapped(line) for line in explain(result).splitlines())
    head = (
        f"{result.workload}: plan {result.hash[:12]} for {result.change}, in force at {moment(result.effective_at)}\n"
        f"{units(result.start_units)} now; {result.aligned_units} must serve then "
        f"({percent(result.confidence)} confidence)"
    )
    said = [f"{resource}: {note}" for resource, words in result.forecast.items() for note in words]
    forecast = "\n".join(["forecast", *(wrapped(f"  {note}") for note in said)]) if said else ""
    if result.sizing:
        head += f"\n{result.sizing}"
    head += "".join(f"\nnote: {note}" for note in notes(result))
    first, more, last = ends(result.moves)
    if more:
        head += f"\n{overview(result.moves)}"
    steps = steps_table(result, {step.sequence for step in (*first, *last)})
    parts = ["\n".join(map(wrapped, head.splitlines())), steps, price_table(result), forecast]
    return "\n\n".join(part for part in parts if part)


def steps_table(plan: ShapingPlan, shown: Container[int] | None = None) -> str:
    """One row a step: number, time, from, to, when its verdict is due, and why; and where the policy comes in.

    `shown`: the numbers of the steps to be shown, None for all; a row says how many are left out.
    """
    if not plan.moves:
        return "no step is needed: what is there is enough, and stays"
    rows = [
        (str(s.sequence), moment(s.due_at), str(s.from_units), _to(s), f"{s.verified_by:%H:%M}", s.reason.text)
        for s in plan.moves
    ]
    ahead = sum(s.due_at < plan.effective_at for s in plan.moves)
    if ahead < len(rows):
        rows.insert(
            ahead,
            ("", moment(plan.effective_at), "", "", "", "the policy comes into force; what follows is not waited for"),
        )
    kept: list[Sequence[str]] = []
    for wanted, group in groupby(rows, key=lambda row: shown is None or not row[0] or int(row[0]) in shown):
        some = list(group)
        kept += some if wanted else [("…", "", "", "", "", left_out(len(some)))]
    return text_table(("step", "at", "from", "to", "verified", "why"), kept)


def _to(step: ShapingStep) -> str:
    return step.goal if step.size else str(step.to_units)


def price_table(plan: ShapingPlan) -> str:
    """With the plan, by one jump, and with the allocation left as it is, all under the demand of the change."""
    header, *rows = price_rows(plan)
    return text_table(header, rows)


def comparison_table(asked: ShapingPlan | PlanRefusal, what_if: ShapingPlan | PlanRefusal) -> str:
    """A plan and its what-if side by side; below, what is to be read with it. No line is longer than WIDTH."""
    header, *rows = comparison_rows(asked, what_if)
    return "\n".join([text_table(header, rows), *map(wrapped, comparison_notes(asked, what_if))])


def changes_table(records: Sequence[ChangeRecord], now: datetime, in_force: Mapping[str, datetime]) -> str:
    """One row a change: where it stands, when it comes into force (no countdown where it will not), and why.

    `in_force`: by change, from when it is; the others have the time they were asked for.
    """
    if not records:
        return "no changes"
    rows = []
    for record in records:
        began = in_force.get(record.change.change)
        at = began or record.change.effective_at
        late = "not yet" if began is None and at <= now else from_now(at, now)
        row = (
            record.change.change,
            record.change.title,
            record.state.value,
            moment(at),
            "" if record.state in COME_TO_NOTHING else late,
            record.note,
        )
        rows.append(row)
    return text_table(("change", "policy", "state", "in force at", "", "note"), rows)


def outbox_table(messages: Sequence[Message], here: Container[str]) -> str:
    """One row a message: its state, when it is tried next, how often it was, and what it failed with, or why it is not
    tried `here`, by the outlets that are configured.
    """
    rows = [
        (
            str(m.number),
            m.name,
            m.state.value,
            moment(m.due_at),
            str(m.attempts),
            m.failure or ("" if m.outlet in here else "not configured here"),
        )
        for m in messages
    ]
    return text_table(("no", "message", "state", "due", "tried", "failure"), rows)


def status_table(
    record: ChangeRecord,
    steps: Sequence[StepRecord],
    now: datetime,
    builds_on: str | None = None,
    in_force_from: datetime | None = None,
) -> str:
    """A change and its steps as they went: asked for, judged, with the verdict's evidence or else the step's reason.

    `builds_on`: what the version that it brings was accepted on top of. `in_force_from`: once that is armed.
    """
    force = _in_force(record, now, in_force_from)
    head = [f"{record.change.change} ({record.change.title}): {record.state}. {record.note}", force]
    head += [f"brings version {record.policy_version} on top of {builds_on}"] if builds_on else []
    rows = [
        (
            step.workload,
            str(step.step.sequence),
            moment(step.step.due_at),
            f"{step.step.from_units} -> {step.step.to_units if step.asked_units is None else step.asked_units}",
            step.state.value,
            f"{step.judgement.verdict}: {step.judgement.evidence.text}" if step.judgement else step.step.reason.text,
        )
        for step in steps
    ]
    table = text_table(("workload", "step", "due", "units", "state", "evidence, else reason"), rows) if rows else ""
    return "\n\n".join(part for part in ("\n".join(map(wrapped, head)), table) if part)


def _in_force(record: ChangeRecord, now: datetime, began: datetime | None) -> str:
    asked = record.change.effective_at
    if record.state in COME_TO_NOTHING:
        return f"was asked for {moment(asked)}"
    if began is None and asked <= now:
        return f"asked for {moment(asked)} ({from_now(asked, now)}), not in force yet"
    at = began or asked
    return f"in force at {moment(at)} ({from_now(at, now)})" + f", asked for {moment(asked)}" * (at != asked)


def request_text(request: Request, shown: Container[str], now: datetime) -> str:
    """What is asked of an approver: the plan by its hash, until when, its price and risk, and how far a yes reaches.

    `shown`: hashes of the plans whose steps stand above it; those of another, proposed for the rest, follow.
    """
    lines = [
        f"approval: {request.standing.text}",
        f"asked for: plan {request.asked[:16]}, at the latest {moment(request.latest)} "
        f"({from_now(request.latest, now)})",
    ]
    for bounds in request.envelopes:
        plan = request.plans[bounds.workload]
        lines += [
            f"  {plan.workload}: {plan.start_units} -> {units(plan.aligned_units)}. {price_sentence(plan.price)}",
            f"  {allowance(bounds, plan.price.currency)}",
            *(f"  note: {note}" for note in notes(plan)),
        ]
    steps = [
        f"proposed for {plan.workload}\n{steps_table(plan)}"
        for plan in request.plans.values()
        if plan.moves and plan.hash not in shown
    ]
    return "\n\n".join(["\n".join(map(wrapped, lines)), *steps])


def notes_text(plans: Iterable[ShapingPlan]) -> str:
    """What people should know of each workload's plan; nothing where there is nothing."""
    return "\n".join(wrapped(f"{plan.workload}: note: {note}") for plan in plans for note in notes(plan))


def pending_table(pending: Sequence[ChangeRecord]) -> str:
    """What else is under way for the same entity, one row a change."""
    rows = [(r.change.change, r.change.policy, moment(r.change.effective_at), r.state.value) for r in pending]
    return text_table(("also under way", "policy", "in force at", "state"), rows)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two blanks apart; the last one takes the rest of WIDTH and wraps."""
    rows = [[on_one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    widths[-1] = max(20, WIDTH - sum(widths[:-1]) - 2 * (len(widths) - 1))
    lines = []
    for row in (header, *rows):
        last = textwrap.wrap(row[-1], widths[-1]) or [""]
        first = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("  ".join([*first, last[0]]).rstrip())
        indent = " " * (sum(widths[:-1]) + 2 * (len(widths) - 1))
        lines += [indent + more for more in last[1:]]
    return "\n".join(lines)


def wrapped(line: str) -> str:
    """`line` in lines no longer than WIDTH, the later ones indented."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(on_one_line(line), WIDTH, subsequent_indent=indent, break_on_hyphens=False)
