"""Wake-ups made: each has a run."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect import runtime, task

from blocks.context import context
from forebay.app.lookup import change_record
from forebay.app.wakeups import wake_ups
from forebay.domain.records import WakeUp
from tasks.policy import REPEATABLE
from tasks.runs import start_run, tag_of

# Runs are made at most this far ahead; the reconciler tops them up. Few runs far ahead: each is a promise to keep.
HORIZON = timedelta(hours=24)
DEPLOYMENT = {
    "plan": "policy-change/policy-change",
    "step": "shaping-step/shaping-step",
    "enforce": "enforce-policy/enforce-policy",
}


@task(name="schedule steps", **REPEATABLE)
def schedule_steps(change: str) -> int:
    """Create every wake-up the change needs within the horizon, as children of this run; returns how many."""
    ctx = context()
    wanted = [w for w in wake_ups(ctx, change_record(ctx, change)) if w.at <= ctx.clock.now() + HORIZON]
    for wake_up in wanted:
        create_run(wake_up, parent=UUID(str(runtime.flow_run.id)))
    return len(wanted)


def create_run(wake_up: WakeUp, *, parent: UUID | None = None) -> None:
    """A scheduled run for the wake-up; again, the same. Raises OutsideError."""
    parameters: dict[str, Any] = {"change": wake_up.change}
    if wake_up.kind == "plan":
        # The stored request, delivered again: receiving it finds the change and goes on.
        parameters = {"change": change_record(context(), wake_up.change).change.model_dump(mode="json")}
    elif wake_up.kind == "step":
        parameters |= {"workload": wake_up.workload, "sequence": wake_up.sequence}
    deployment = DEPLOYMENT[wake_up.kind]
    start_run(deployment, wake_up.key, parameters, wake_up.name, wake_up.at, [tag_of(wake_up)], parent)
