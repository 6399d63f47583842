"""What the demo prints: news as lines, the present as one line that is overwritten, the outcome as a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from forebay.domain.audit import Deed

WIDTH = 118
QUIET = (
    Deed.POLICY_VERSION_STORED,
    Deed.ORIGINAL_RECORDED,
    Deed.PLANNED,
    Deed.SHAPING,
    Deed.WRITE_DONE,
    Deed.SCHEDULED,
    Deed.POLICY_VERSION_ARMED,
)


class Screen:
    """Standard output; the overwritten line only where a person sits before a terminal."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._last = 0.0

    def say(self, text: str) -> None:
        self.clear()
        print(text, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r" + " " * WIDTH + "\r", end="", flush=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """One audit event, unless it is only bookkeeping."""
        if event["action"] in QUIET:
            return
        at = datetime.fromisoformat(event["at"])
        self.say(f"  {at:%H:%M:%S}  {event['action']}: {event['reason']}"[:240])

    def progress(self, status: Mapping[str, Any], report: Mapping[str, Any], now: datetime) -> None:
        """State, countdown, and what serves against what is needed."""
        left = (datetime.fromisoformat(status["record"]["change"]["effective_at"]) - now).total_seconds()
        countdown = f"{left:4.0f} s to go" if left > 0 else f"{-left:4.0f} s past"
        shaped, alone = report["checkout"]["now"], report["checkout-alone"]["now"]
        line = (
            f"  {now:%H:%M:%S}  {status['record']['state']:<10} {countdown}   serving {shaped['serving']:.0f} "
            f"(alone {alone['serving']:.0f})   cpu demand {shaped['demand_cpu']:.1f} cores"
        )
        if self._live:
            print("\r" + line[:WIDTH].ljust(WIDTH), end="", flush=True)
        elif now.timestamp() - self._last >= 10:
            self._last = now.timestamp()
            print(line, flush=True)


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """The plan as a small table, with what the forecast says of itself."""
    lines = ["", "Forecast:"]
    lines += [f"  {resource:<8} {'; '.join(notes)}" for resource, notes in plan["forecast"].items()]
    lines += ["", f"Plan: {plan['start_units']} to {plan['aligned_units']} units, aligned before the effective time"]
    for step in plan["steps"]:
        due = datetime.fromisoformat(step["due_at"])
        move = f"{step['from_units']:>3} -> {step['to_units']:<3}"
        lines.append(f"  {step['sequence']}  {due:%H:%M:%S}  {move}  {step['reason']['text']}"[:200])
    return [*lines, ""]


def summary_lines(
    status: Mapping[str, Any],
    report: Mapping[str, Any],
    error_ms: float | None,
    chain: str,
) -> list[str]:
    """The outcome, for a person to judge."""
    shaped, alone = report["checkout"], report["checkout-alone"]
    steps = status["workloads"][0]["steps"]
    passed = sum(step["state"] == "passed" for step in steps)
    activation = (
        "not in force" if error_ms is None else f"{error_ms:+.0f} ms from its effective time, as a client saw it"
    )
    rows = [
        ("", "with Forebay", "autoscaler alone"),
        ("demand served", _share(shaped), _share(alone)),
        ("unmet demand (unit-seconds)", f"{shaped['unmet']['units']:.1f}", f"{alone['unmet']['units']:.1f}"),
        ("unit-hours run", f"{shaped['unit_hours_running']:.3f}", f"{alone['unit_hours_running']:.3f}"),
        ("largest move, anyone's (units)", f"{shaped['max_move']}", f"{alone['max_move']}"),
    ]
    return [
        "",
        "─" * 72,
        *(f"{a:<30}{b:>18}{c:>20}" for a, b, c in rows),
        "─" * 72,
        f"policy      {status['record']['state']}: {activation}",
        f"steps       {passed} of {len(steps)} verified",
        f"audit       {chain}",
    ]


def _share(side: Mapping[str, Any]) -> str:
    demand = side["demand"]["units"]
    return f"{side['served']['units'] / demand:.2%}" if demand else "-"
