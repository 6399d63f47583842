"""A person acts on a change, by Prefect's form: hold, resume, cancel, roll back, pin, settle."""

from datetime import datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from forebay.domain.errors import InputError, RuleRefusal
from tasks.people import Deed, act


@flow(name="change-action", flow_run_name="{deed} {change} by {by}")
def change_action(
    change: str,
    deed: Deed,
    by: str,
    reason: str,
    units: int | None = None,
    until: datetime | None = None,
    workload: str | None = None,
) -> State:
    """Hold, resume, cancel, roll back, pin or settle a change. A cancel wins over every step that is not made yet.

    Args:
        change: The change's name
        deed: What to do
        by: Your name; the audit log keeps it
        reason: Why; the audit log keeps it
        units: Of a pin: keep at least so many
        until: Of a pin: so long, a time with its zone
        workload: Of a pin: which of them, where the change touches several
    """
    try:
        return Completed(message=act(deed, change, by, reason, units, until, workload))
    except (InputError, RuleRefusal) as refusal:
        return Completed(name="Refused", message=str(refusal))
