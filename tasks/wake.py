"""The tasks and helpers that make runs: wake-ups, and the runs that tickets ask for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from prefect import task
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectException

from blocks.context import context
from forebay.app.lookup import change_record
from forebay.app.wakeups import wake_ups
from forebay.domain.errors import OutsideError
from forebay.domain.records import WakeUp
from tasks.policy import READS

# Runs are made at most this far ahead; the reconciler tops them up. Few runs far ahead: each is a promise to keep.
HORIZON = timedelta(hours=24)
DEPLOYMENT = {
    "plan": "policy-change/policy-change",
    "step": "shaping-step/shaping-step",
    "enforce": "enforce-policy/enforce-policy",
}


@task(name="schedule steps", **READS)
def schedule_steps(change: str) -> int:
    """Create every wake-up the change needs within the horizon, as children of this run; returns how many."""
    ctx = context()
    wanted = [w for w in wake_ups(ctx, change_record(ctx, change)) if w.at <= ctx.clock.now() + HORIZON]
    for wake_up in wanted:
        create_run(wake_up, child=True)
    return len(wanted)


def create_run(wake_up: WakeUp, *, child: bool = False) -> str:
    """The scheduled run of a wake-up; its key makes a second call find the first one's run. Raises OutsideError."""
    parameters: dict[str, Any] = {"change": wake_up.change}
    if wake_up.kind == "plan":
        # The stored request, delivered again: receiving it finds the change and goes on.
        parameters = {"change": change_record(context(), wake_up.change).change.model_dump(mode="json")}
    elif wake_up.kind == "step":
        parameters |= {"workload": wake_up.workload, "sequence": wake_up.sequence}
    return start_run(
        DEPLOYMENT[wake_up.kind], wake_up.key, parameters, wake_up.name, wake_up.at, [f"change:{wake_up.change}"], child
    )


def start_run(
    deployment: str,
    key: str,
    parameters: dict[str, Any],
    name: str | None = None,
    at: datetime | None = None,
    tags: list[str] | None = None,
    child: bool = False,
) -> str:
    """Create a run of `deployment` at `at` (now, if past or None); returns its name. Raises OutsideError."""
    try:
        run = run_deployment(
            deployment,
            parameters=parameters,
            scheduled_time=max(at or datetime.now(UTC), datetime.now(UTC)),
            flow_run_name=name,
            tags=tags or [],
            idempotency_key=key,
            timeout=0,
            as_subflow=child,
        )
    except (PrefectException, httpx.HTTPError, OSError) as error:
        raise OutsideError(f"Prefect did not create the run of {deployment}: {error}", retryable=True) from error
    return str(run.name)
