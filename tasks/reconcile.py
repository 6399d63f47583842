"""Reconciling: the store says what must exist; this makes it so. Used by the launcher's loop and by the flow."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from blocks.context import Workloads, context
from forebay.app.defects import tell_defect, tell_unread
from forebay.app.lookup import change_record
from forebay.app.reconcile import reconcile
from forebay.app.runs import outlived
from forebay.app.tickets import sweep_tickets
from forebay.domain.errors import ForebayError, InputError, kept
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import WakeUp
from tasks.recurring import check_recurring
from tasks.runs import PrefectAway, end_run, open_runs, start_run
from tasks.wake import HORIZON, create_run

logger = logging.getLogger("forebay.reconciler")
# So long the run that planned a change may take to make its wake-ups: made by it, the UI shows them as its children.
PLANNER_TAKES = timedelta(seconds=30)


def reconcile_once(holder: str, known: set[str] | None = None, look: bool = True) -> str:
    """One pass; returns what it did. `known`: keys of runs a caller has created before, to spare the server the repeat.
    `look`: see `forebay.app.reconcile`; then it also ends the runs that have outlived their purpose, and looks for
    changes that a schedule should have brought.

    Raises OutsideError if the store or Prefect is away or refuses, and InputError if the workloads cannot be read any
    more, at the end: whatever else can be done is done.
    """
    known = set() if known is None else known
    failed: list[Exception] = []
    unread: list[Exception] = []
    started = created = ended = 0
    away: list[PrefectAway] = []

    def start(key: str, parameters: dict[str, Any]) -> str:
        if away:  # each further call would wait for it as long; the tickets are received all the same
            raise away[0]
        try:
            return start_run("policy-change/policy-change", key, parameters).name
        except PrefectAway as error:
            away.append(error)
            raise

    with kept(unread), _telling():
        _ask_for_block(look)
    with kept(unread), _telling():
        _refresh_workloads()
    with kept(failed):
        started = sweep_tickets(context(), start)

    wanted = reconcile(context(), holder, HORIZON, log_trouble, look)
    with kept(failed):  # ends where Prefect is away: each further call would wait for it as long; the next pass goes on
        created = _make(wanted, known, failed)
        if look:
            ended = _end_outlived(failed)
            with kept(failed, but=PrefectAway):
                if missing := check_recurring():
                    logger.warning("%d occurrences of recurring changes are late", missing)
    failed += unread
    if failed:
        raise failed[0]
    return f"{started} tickets started, {created} wake-ups made sure of, {ended} runs ended"


def log_trouble(what: str, error: Exception) -> None:
    """What nobody foresaw, with its traceback."""
    if isinstance(error, ForebayError):
        logger.warning("%s: %s", what, error)
    else:
        logger.error("%s: %s", what, error, exc_info=error)


def tell_unexpected(error: Exception) -> None:
    """People, of what a whole pass failed with though nobody foresaw it. Where that fails too, the log says both."""
    if isinstance(error, ForebayError):
        return
    try:
        tell_defect(context(), error)
    except Exception as untold:  # the next pass must come all the same
        log_trouble("not told", untold)


@contextmanager
def _telling() -> Iterator[None]:
    """People, where the workloads cannot be read. Raises what they could not be read for."""
    try:
        yield
    except InputError as error:
        tell_unread(context(), error)
        raise


def _ask_for_block(look: bool) -> None:
    """Now and then, and before a ticket is received that may name what was just added.

    Raises InputError and OutsideError.
    """
    workloads = context().catalog
    if isinstance(workloads, Workloads) and (look or _tickets_wait()):
        workloads.ask_for_block()


def _tickets_wait() -> bool:
    with context().store.snapshot() as tx:
        return bool(tx.tickets_without_run())


def _refresh_workloads() -> None:
    """What they are by now. Raises InputError and OutsideError."""
    workloads = context().catalog
    if isinstance(workloads, Workloads):
        workloads.refresh()


def _make(wanted: Iterable[WakeUp], known: set[str], failed: list[Exception]) -> int:
    created = 0
    for wake_up in wanted:
        if wake_up.key not in known and not _left_to_planner(wake_up):
            with kept(failed, but=PrefectAway):
                create_run(wake_up)
                known.add(wake_up.key)
                created += 1
    return created


def _end_outlived(failed: list[Exception]) -> int:
    ended = 0
    with kept(failed, but=PrefectAway):
        for ending in outlived(context(), open_runs()):
            with kept(failed, but=PrefectAway):
                end_run(ending)
                logger.info("run %s: %s", ending.run.id, ending.reason)
                ended += 1
    return ended


def _left_to_planner(wake_up: WakeUp) -> bool:
    record, now = change_record(context(), wake_up.change), context().clock.now()
    return record.state is ChangeState.SCHEDULED and now < min(record.updated_at + PLANNER_TAKES, wake_up.at)
