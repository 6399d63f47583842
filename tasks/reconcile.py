"""Reconciling: the store says what must exist; this makes it so. Used by the launcher's loop and by the flow."""

import logging
from datetime import timedelta

from blocks.context import context
from forebay.app.lookup import change_record
from forebay.app.reconcile import reconcile
from forebay.app.runs import outlived
from forebay.app.tickets import sweep_tickets
from forebay.domain.errors import ForebayError, OutsideError, kept
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import WakeUp
from tasks.recurring import check_recurring
from tasks.runs import end_run, open_runs, start_run
from tasks.wake import HORIZON, create_run

logger = logging.getLogger("forebay.reconciler")
# So long the run that planned a change may take to make its wake-ups: made by it, the UI shows them as its children.
PLANNER_TAKES = timedelta(seconds=30)


def reconcile_once(holder: str, known: set[str] | None = None, look: bool = True) -> str:
    """One pass; returns what it did. `known`: keys of runs a caller has created before, to spare the server the repeat.
    `look`: see `forebay.app.reconcile`; then it also ends the runs that have outlived their purpose, and looks for
    changes that a schedule should have brought.

    Raises OutsideError if the store or Prefect is away, at the end: what needs no run is done all the same.
    """
    known = set() if known is None else known
    away: list[ForebayError] = []
    started = created = 0
    with kept(away):
        started = sweep_tickets(
            context(), lambda key, parameters: start_run("policy-change/policy-change", key, parameters).name
        )

    def trouble(change: str, error: ForebayError) -> None:
        logger.warning("%s: %s", change, error)

    for wake_up in reconcile(context(), holder, HORIZON, trouble, look):
        if wake_up.key not in known and not _left_to_planner(wake_up):
            try:
                create_run(wake_up)
            except OutsideError as error:
                away.append(error)
                if error.retryable:
                    break  # each further call would wait for Prefect as long: the next pass makes them
            else:
                known.add(wake_up.key)
                created += 1
    if away:
        raise away[0]
    ended = outlived(context(), open_runs()) if look else []
    for ending in ended:
        end_run(ending)
        logger.info("run %s: %s", ending.run.id, ending.reason)
    if look and (missing := check_recurring()):
        logger.warning("%d occurrences of recurring changes are late", missing)
    return f"{started} tickets started, {created} wake-ups made sure of, {len(ended)} runs ended"


def _left_to_planner(wake_up: WakeUp) -> bool:
    record, now = change_record(context(), wake_up.change), context().clock.now()
    return record.state is ChangeState.SCHEDULED and now < min(record.updated_at + PLANNER_TAKES, wake_up.at)
