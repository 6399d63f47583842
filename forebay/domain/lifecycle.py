"""The life of a change: one table of transitions, and the states of a shaping step."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from forebay.domain.errors import RuleRefusal


class ChangeState(StrEnum):
    RECEIVED = "received"
    DENIED = "denied"
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting approval"
    SCHEDULED = "scheduled"
    SHAPING = "shaping"
    ARMED = "armed"
    HELD = "held"
    IN_FORCE = "in force"
    SETTLING = "settling"
    ROLLING_BACK = "rolling back"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled back"
    SUPERSEDED = "superseded"


S = ChangeState
# Breaking the glass is the one way from any of these straight to `in force`.
BEFORE_IN_FORCE = frozenset({S.RECEIVED, S.PLANNED, S.AWAITING_APPROVAL, S.SCHEDULED, S.SHAPING, S.ARMED, S.HELD})
TERMINAL = frozenset({S.DENIED, S.CLOSED, S.ROLLED_BACK, S.SUPERSEDED})
# Its policy takes force no more: there is nothing to count down to, and nothing to cancel.
COME_TO_NOTHING = frozenset({S.DENIED, S.CANCELLED, S.ROLLED_BACK, S.SUPERSEDED})
# Nothing has moved yet: the change may still be given other content, and one that was denied may be asked for again.
EDITABLE = frozenset({S.RECEIVED, S.PLANNED, S.AWAITING_APPROVAL, S.SCHEDULED, S.DENIED})
# Another change may take its place.
SUPERSEDABLE = EDITABLE - {S.DENIED}
# Steps may be made only here. Everything else, above all `cancelled`, stops the hand.
MOVING = frozenset({S.SCHEDULED, S.SHAPING})
# A plan may reach beyond the effective time: its later steps are made while the policy is armed or in force.
AFTER = frozenset({S.IN_FORCE, S.SETTLING})
STEPPING = MOVING | AFTER | {S.ARMED}
# A person decides whether it goes on, from what it has moved so far.
FOR_A_PERSON = frozenset({S.HELD, S.AWAITING_APPROVAL})

TRANSITIONS: Mapping[ChangeState, frozenset[ChangeState]] = {
    S.RECEIVED: frozenset({S.RECEIVED, S.DENIED, S.PLANNED, S.HELD, S.IN_FORCE, S.CANCELLED, S.SUPERSEDED}),
    S.PLANNED: frozenset(
        {S.RECEIVED, S.AWAITING_APPROVAL, S.SCHEDULED, S.HELD, S.IN_FORCE, S.CANCELLED, S.DENIED, S.SUPERSEDED}
    ),
    S.AWAITING_APPROVAL: frozenset({S.RECEIVED, S.SCHEDULED, S.HELD, S.IN_FORCE, S.CANCELLED, S.DENIED, S.SUPERSEDED}),
    S.SCHEDULED: frozenset({S.RECEIVED, S.SHAPING, S.ARMED, S.HELD, S.IN_FORCE, S.CANCELLED, S.SUPERSEDED}),
    S.SHAPING: frozenset({S.ARMED, S.HELD, S.IN_FORCE, S.CANCELLED}),
    S.ARMED: frozenset({S.IN_FORCE, S.SHAPING, S.HELD, S.CANCELLED}),
    # A hold that would end by itself may become a person's.
    S.HELD: frozenset({S.HELD, S.RECEIVED, S.AWAITING_APPROVAL, S.SCHEDULED, S.SHAPING, S.IN_FORCE, S.CANCELLED}),
    S.IN_FORCE: frozenset({S.SETTLING, S.ROLLING_BACK}),
    S.SETTLING: frozenset({S.CLOSED, S.ROLLING_BACK}),
    S.CANCELLED: frozenset({S.ROLLED_BACK}),
    S.ROLLING_BACK: frozenset({S.ROLLED_BACK}),
    S.DENIED: frozenset({S.RECEIVED}),
    S.CLOSED: frozenset(),
    S.ROLLED_BACK: frozenset(),
    S.SUPERSEDED: frozenset(),
}


def check_transition(change: str, before: ChangeState, after: ChangeState) -> None:
    """Raises RuleRefusal, naming the states that can be reached, if the table has no such transition."""
    reachable = TRANSITIONS[before]
    if after not in reachable:
        raise RuleRefusal(
            "life of a change",
            f"change {change} is {before}: it cannot become {after}",
            f"one of {', '.join(sorted(reachable))}" if reachable else f"nothing: {before} is final",
        )


class StepState(StrEnum):
    """A step is pending, asked for, passed; a dropped one will never be made."""

    PENDING = "pending"
    ASKED = "asked"
    PASSED = "passed"
    DROPPED = "dropped"
