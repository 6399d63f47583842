"""What changes that are over have left: a floor that a policy guaranteed, a maximum that it capped."""

from __future__ import annotations

from forebay.app.lookup import events_of
from forebay.domain.allocation import Lever, Setting
from forebay.domain.audit import Deed
from forebay.domain.lifecycle import TERMINAL
from forebay.domain.records import Outcome
from forebay.ports import Snapshot


def stood_before(tx: Snapshot, change: str, workload: str, found: Setting) -> Setting:
    """`found`, which `change` came upon; where that is just what earlier changes have left, all over by now, with the
    floor and the maximum that stood before Forebay moved them.

    A floor goes back no further than the policies in force guarantee, and a maximum no further than they allow. What
    that leaves behind would stay for ever, were it not given back once those policies say something else.
    """
    own = tx.intents(workload, change=change)
    before = own[0].number if own else None
    while found.lever is Lever.FLOOR and (last := tx.last_intent(workload, before=before)) is not None:
        if last.outcome is Outcome.NOT_DONE:
            before = last.number
            continue
        by, stood = tx.change(last.change), tx.original(last.change, workload)
        over = by is not None and by.state in TERMINAL and not _left_by_a_person(tx, last.change, workload)
        if not over or stood is None or last.outcome is not Outcome.DONE or last.new.unsized != found.unsized:
            break
        found = found.model_copy(update={"floor": stood.floor, "ceiling": stood.ceiling})
        before = tx.intents(workload, change=last.change)[0].number
    return found


def _left_by_a_person(tx: Snapshot, change: str, workload: str) -> bool:
    """Whether somebody has said that what stands there is right as it is."""
    said = events_of(tx, change)
    return any((event.action, event.workload) == (Deed.LEFT_AS_IT_IS, workload) for event in said)
