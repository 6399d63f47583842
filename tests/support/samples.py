"""Small valid models that tests of the store fill it with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from forebay.domain.accuracy import Accuracy, Judged
from forebay.domain.allocation import Lever, Setting
from forebay.domain.audit import AuditEvent
from forebay.domain.change import PolicyChange
from forebay.domain.impact import Impact
from forebay.domain.lifecycle import ChangeState
from forebay.domain.plan import Band, Outlay, PlanPrice, PlanSlot, ShapingPlan, ShapingStep, StepReason
from forebay.domain.policy import PolicyVersion
from forebay.domain.records import Intent
from forebay.domain.resources import Resource
from forebay.ports import Store

NOW = datetime(2026, 11, 24, 9, 30, 0, 123456, tzinfo=UTC)


def an_event(
    action: str = "test", *, change: str | None = None, reason: str = "because", at: datetime = NOW
) -> AuditEvent:
    return AuditEvent(at=at, actor="ann", action=action, reason=reason, change=change)


def a_change(name: str = "CHG-1", workload: str = "web") -> PolicyChange:
    return PolicyChange(
        change=name,
        entity="acme",
        policy="quota",
        kind="quota",
        document={"requests_per_second": 1e22, "notes": "Größe \u0000 ☃", "nested": {"b": [1, 1.0, -0.0], "a": None}},
        base_version=1,
        effective_at=NOW + timedelta(days=1),
        impacts=(Impact(workload=workload, factor=2.0, low=1.5, high=3.0),),
        entitlements=(),
        requested_by="ann",
        reason="asked for",
        on_misalignment="defer",
        settle=timedelta(minutes=30),
    )


def a_plan(change: str = "CHG-1", workload: str = "web", *, steps: int = 2, start_units: int = 4) -> ShapingPlan:
    reason = StepReason(binding=Resource.CPU, quantile=0.95, forced_by=NOW, limit="soft limit", text="CPU binds")
    return ShapingPlan(
        change=change,
        workload=workload,
        created_at=NOW,
        effective_at=NOW + timedelta(days=1),
        start_units=start_units,
        aligned_units=start_units + steps,
        confidence=0.95,
        steps=tuple(
            ShapingStep(
                sequence=number,
                due_at=NOW + timedelta(hours=number),
                from_units=start_units + number - 1,
                to_units=start_units + number,
                verified_by=NOW + timedelta(hours=number, minutes=10),
                reason=reason,
            )
            for number in range(1, steps + 1)
        ),
        slots=(
            PlanSlot(
                at=NOW,
                asked=start_units,
                serving=start_units,
                required_median=0.1 + 0.2,
                required_high=1e22,
                # A negative zero and a very large float: what a database that rewrites numbers would change.
                demand={Resource.CPU: Band(low=-0.0, median=1 / 3, high=1e22)},
            ),
        ),
        price=PlanPrice(
            currency="USD",
            shaped=Outlay(unit_hours=10.5, money=Decimal("1.2300"), shortfall_unit_hours=0.0, misaligned=0.05),
            left_alone=Outlay(unit_hours=9.0, money=Decimal("0.1"), shortfall_unit_hours=3.0, misaligned=0.9),
            one_jump=Outlay(unit_hours=10.0, money=Decimal("1.1"), shortfall_unit_hours=0.5, misaligned=0.05),
        ),
        forecast={"cpu": ("seasonal naive",)},
    )


def a_count(units: int) -> Setting:
    return Setting(lever=Lever.COUNT, count=units)


def an_intent(change: str = "CHG-1", workload: str = "web") -> Intent:
    return Intent(
        number=0,
        change=change,
        workload=workload,
        sequence=1,
        plan_hash="f" * 64,
        units=5,
        old=a_count(4),
        new=a_count(5),
        why="step 1",
        fencing=1,
        stored_at=NOW,
    )


def a_version(version: int = 1, *, entity: str = "acme", armed_at: datetime | None = None) -> PolicyVersion:
    return PolicyVersion(
        entity=entity,
        policy="quota",
        kind="quota",
        version=version,
        document={"limit": version},
        change=None,
        effective_at=NOW,
        armed_at=armed_at,
    )


def store_change(store: Store, name: str = "CHG-1", *moves: ChangeState) -> None:
    """Put a received change into `store` and move it through `moves`."""
    with store.transaction() as tx:
        tx.add_change(a_change(name), 2, an_event("received", change=name))
        for state in moves:
            tx.move(name, state, an_event("moved", change=name))


def an_accuracy(**fields: Any) -> Accuracy:
    given: dict[str, Any] = {
        "workload": "web", "resource": Resource.CPU, "judged": Judged.BACKTEST,
        "since": NOW - timedelta(days=7), "until": NOW,
        "slots": 100, "coverage": 0.9, "above": 0.05, "relative_loss": 0.8,
    }  # fmt: skip
    return Accuracy.model_validate(given | fields)
