"""Reconciling: the store says what must exist; this makes it so. Used by the launcher's loop and by the flow."""

import logging

from blocks.context import context
from forebay.app.reconcile import reconcile
from forebay.app.tickets import sweep_tickets
from forebay.domain.errors import ForebayError
from tasks.wake import HORIZON, create_run, start_run

logger = logging.getLogger("forebay.reconciler")


def reconcile_once(holder: str, known: set[str] | None = None) -> str:
    """One pass; returns what it did. `known`: keys of runs a caller has created before, to spare the server the repeat.

    Raises OutsideError if the store or Prefect is away: the next pass starts over.
    """
    known = set() if known is None else known
    started = sweep_tickets(
        context(), lambda key, parameters: start_run("policy-change/policy-change", key, parameters)
    )

    def trouble(change: str, error: ForebayError) -> None:
        logger.warning("%s: %s", change, error)

    created = 0
    for wake_up in reconcile(context(), holder, HORIZON, trouble):
        if wake_up.key not in known:
            create_run(wake_up)
            known.add(wake_up.key)
            created += 1
    return f"{started} tickets started, {created} wake-ups made sure of"
