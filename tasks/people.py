"""What people do in Prefect's forms: the same as on the command line, by the same use cases."""

from datetime import datetime
from enum import StrEnum

from prefect import get_run_logger, task

from blocks.context import context
from forebay.app import people
from forebay.app.pins import pin
from forebay.app.raises import settle
from forebay.app.rollback import rollback
from forebay.domain.errors import InputError
from forebay.domain.model import to_utc
from tasks.policy import ONCE


class WhatToDo(StrEnum):
    """What can be done with a change under way, or with what one that is over has left."""

    HOLD = "hold"
    RESUME = "resume"
    CANCEL = "cancel"
    ROLL_BACK = "roll back"
    PIN = "pin"
    SETTLE = "settle"


@task(name="act", task_run_name="{deed} {change}", **ONCE)
def act(
    deed: WhatToDo,
    change: str,
    by: str,
    reason: str,
    units: int | None,
    until: datetime | None,
    workload: str | None = None,
) -> str:
    """Do it; returns where the change stands then. Raises InputError, RuleRefusal and OutsideError."""
    ctx = context()
    match deed:
        case WhatToDo.HOLD:
            record = people.hold(ctx, change, by, reason)
        case WhatToDo.RESUME:
            record = people.resume(ctx, change, by, reason)
        case WhatToDo.CANCEL:
            record = people.cancel(ctx, change, by, reason)
        case WhatToDo.ROLL_BACK:
            record = rollback(ctx, change, by, reason)
        case WhatToDo.PIN:
            if units is None or until is None:
                raise InputError("a pin needs its units, and the time until which it holds")
            record = pin(ctx, change, units, _in_utc(until), by, reason, workload)
        case WhatToDo.SETTLE:
            record = settle(ctx, change, by, reason)
    get_run_logger().info("%s by %s: %s", deed, by, reason)
    return f"{change} is {record.state}: {record.note}"


def _in_utc(until: datetime) -> datetime:
    try:
        # A plain datetime: the zone of Prefect's own is lost in arithmetic.
        return to_utc(datetime.fromisoformat(until.isoformat()))
    except ValueError as error:
        raise InputError(f"until: {error}") from error
