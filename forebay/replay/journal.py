"""Every decision of a replay in the order it was made; what people would have been told is part of it."""

from __future__ import annotations

from forebay.control.decide import Ask, Decision, Serving, Verified
from forebay.domain.audit import AuditEvent
from forebay.domain.model import Model, UtcTime
from forebay.ports import Clock


class DecisionRecord(Model):
    """One decision. `sequence`, `units` and `verdict` where it is about a step."""

    at: UtcTime
    workload: str | None
    decision: str
    reason: str
    sequence: int | None = None
    units: int | None = None
    verdict: str | None = None


class Journal:
    """Also a Notifier."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.records: list[DecisionRecord] = []

    def decided(self, workload: str, decision: Decision) -> None:
        step = decision.step if isinstance(decision, Ask | Serving | Verified) else None
        self.records.append(
            DecisionRecord(
                at=self._clock.now(),
                workload=workload,
                decision=type(decision).__name__.lower(),
                reason=decision.reason,
                sequence=step.step.sequence if step else None,
                units=decision.units if isinstance(decision, Ask) else None,
                verdict=str(decision.judgement.verdict) if isinstance(decision, Verified) else None,
            )
        )

    def notify(self, event: AuditEvent) -> None:
        self.records.append(
            DecisionRecord(at=event.at, workload=event.workload, decision=event.action, reason=event.reason)
        )
