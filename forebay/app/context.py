"""What every use case is handed: the ports, wired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from forebay.domain.audit import AuditEvent
from forebay.domain.change import PolicyChange
from forebay.domain.errors import ForebayError
from forebay.domain.outbox import Message
from forebay.domain.telling import Telling
from forebay.domain.workload import Workload, unknown_workload
from forebay.ports import Catalog, Clock, Enforcer, Notifier, Store, Target, Usage

CONTROLLER = "forebay"


@dataclass(frozen=True)
class Context:
    """`poll`: how often the outside is looked at while it works. `lease`: a writer's silence that frees its lease.

    `outlets`: what sends the messages of the outbox that are no pushes, by name; each raises OutsideError.
    """

    clock: Clock
    store: Store
    catalog: Catalog
    target: Callable[[Workload], Target]
    usage: Callable[[Workload], Usage]
    notifier: Notifier
    enforcers: Sequence[Enforcer] = ()
    telling: Telling | None = None
    outlets: Mapping[str, Callable[[Message], None]] = field(default_factory=dict)
    poll: timedelta = timedelta(seconds=10)
    lease: timedelta = timedelta(seconds=60)
    forecast_budget: timedelta = timedelta(seconds=60)

    def workload(self, name: str) -> Workload:
        """Raises InputError listing the known ones, or where they cannot be read; OutsideError where they cannot be any
        more, and it was not among them.
        """
        found = self.catalog.get(name)
        if found is None:
            raise unknown_workload(name, self.catalog.workloads)
        return found

    def known(self, name: str) -> Workload | None:
        """None where there is none of that name, and where that cannot be told."""
        try:
            return self.catalog.get(name)
        except ForebayError:
            return None

    def event(self, change: PolicyChange, action: str, reason: str, actor: str = CONTROLLER, **more: str) -> AuditEvent:
        """An audit event about `change` at the clock's present."""
        return AuditEvent(
            at=self.clock.now(),
            actor=actor,
            action=action,
            reason=reason,
            change=change.change,
            entity=change.entity,
            **more,
        )
