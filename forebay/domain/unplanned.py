"""Impacts on a resource that a workload's objectives do not name: no plan looks at it, so nothing is moved for it."""

from __future__ import annotations

from forebay.domain.change import PolicyChange
from forebay.domain.errors import RuleRefusal
from forebay.domain.impact import Impact
from forebay.domain.workload import Workload


def check_planned(change: PolicyChange, workload: Workload) -> None:
    """Raises RuleRefusal where `change` moves demand of `workload`, and nothing that is planned there.

    An impact that changes nothing asks for nothing, and an entitlement is planned by itself: both may stand.
    """
    lost = _unplanned(change, workload)
    if not lost or len(lost) < len(_moving(change, workload)) or change.entitlement(workload.name):
        return
    raise RuleRefusal(
        "an impact is on what is planned",
        f"{_what(lost)} of {workload.name} is to change, and its objectives name {_named(workload)} only: "
        "nothing would be moved for it",
        f"an impact on {_named(workload)} (or all), or {_what(lost)} among the objectives of {workload.name}",
    )


def not_planned_for(change: PolicyChange, workload: Workload) -> tuple[str, ...]:
    """A note for the plan where impacts of `change` on `workload` are not in it; none where all are."""
    lost = _unplanned(change, workload)
    if not lost:
        return ()
    return (
        f"NOT planned for: the impact of {change.change} on {_what(lost)}, as the objectives of {workload.name} name "
        f"{_named(workload)} only; name {_what(lost)} among them if it needs capacity too",
    )


def _moving(change: PolicyChange, workload: Workload) -> list[Impact]:
    return [i for i in change.impacts if i.workload == workload.name and not i.changes_nothing]


def _unplanned(change: PolicyChange, workload: Workload) -> list[Impact]:
    return [i for i in _moving(change, workload) if not any(i.acts_on(r) for r in workload.resources)]


def _what(impacts: list[Impact]) -> str:
    return " and ".join(dict.fromkeys(impact.resource for impact in impacts))


def _named(workload: Workload) -> str:
    return " and ".join(workload.resources)
