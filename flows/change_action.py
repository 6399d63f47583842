"""A person acts on a change, by Prefect's form: hold, resume, cancel, roll back, pin, settle."""

from datetime import datetime
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from forebay.domain.errors import InputError, RuleRefusal
from tasks.form import shown
from tasks.people import WhatToDo, act


@flow(name="change-action", flow_run_name="{deed} {change} by {by}")
def change_action(
    change: Annotated[str, shown("Change", "CHG-1042")],
    deed: Annotated[WhatToDo, shown("What to do", "hold")],
    by: Annotated[str, shown("Your name", "jane@example.com")],
    reason: Annotated[str, shown("Reason", "the shop runs a campaign")],
    units: Annotated[int | None, shown("Pin: units", 20)] = None,
    until: Annotated[datetime | None, shown("Pin: until", "2026-11-24T18:00:00Z")] = None,
    workload: Annotated[str | None, shown("Pin: workload", "checkout")] = None,
) -> State:
    """Hold, resume, cancel, roll back, pin or settle a change. A cancel wins over every step that is not made yet.

    Args:
        change: The change's name
        deed: What to do
        by: Who does it; the audit log keeps it
        reason: Why; the audit log keeps it
        units: Of a pin: keep at least so many units of the workload, tasks or instances
        until: Of a pin: so long, a time with its zone
        workload: Of a pin: which of them, where the change touches several
    """
    try:
        return Completed(message=act(deed, change, by, reason, units, until, workload))
    except (InputError, RuleRefusal) as refusal:
        return Completed(name="Refused", message=str(refusal))
