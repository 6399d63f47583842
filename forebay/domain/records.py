"""What the store remembers about a change under way: its state, steps, intents, leases, originals, wake-ups."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from forebay.domain.allocation import Setting
from forebay.domain.change import PolicyChange
from forebay.domain.lifecycle import ChangeState, StepState
from forebay.domain.model import Model, UtcTime
from forebay.domain.plan import ShapingStep
from forebay.domain.verdict import Judgement


class ChangeRecord(Model):
    """A change and where it stands. `note` is why it is there, in words.

    `lapses`: it is held for want of what may come by itself (capacity, metrics, an API that answers), and goes on once
    that is there; any other hold waits for a person. `door`: how it came first: `cli`, `api`, `prefect`, or the ticket
    that brought it (`ticket jira OPS-12`); None where it is not known.
    """

    change: PolicyChange
    state: ChangeState
    note: str
    policy_version: int
    received_at: UtcTime
    updated_at: UtcTime
    lapses: bool = False
    door: str | None = None

    @property
    def waits_for_a_person(self) -> bool:
        return self.state is ChangeState.HELD and not self.lapses


class StepRecord(Model):
    """A shaping step under way. `asked_units` is what was really asked (limits or corrections may alter `to_units`).

    `serving_before`: units that served when it was asked for. `seen_units`: units that served by the last look.
    """

    change: str
    workload: str
    plan_hash: str
    step: ShapingStep
    state: StepState
    attempt: int = 1
    asked_units: int | None = None
    asked_at: UtcTime | None = None
    serving_at: UtcTime | None = None
    passed_at: UtcTime | None = None
    corrections: int = 0
    serving_before: int | None = None
    seen_units: int | None = None
    judgement: Judgement | None = None


class Outcome(StrEnum):
    """How an external write ended: it is in effect, it never took place, or somebody else's value stands there."""

    DONE = "done"
    NOT_DONE = "not done"
    FOREIGN = "changed by another"


class Purpose(StrEnum):
    """Why something is written: for a step of the plan, over another's value (at once, or the rest of it later), for
    a person's pin, or to give it back. `adopted` writes nothing: another's value counts as ours from there on.
    """

    STEP = "step"
    INSIST = "insist"
    REGAIN = "regain"
    PIN = "pin"
    ADOPTED = "adopted"
    GIVE_BACK = "give back"


class Intent(Model):
    """An external write, stored before it is made. `number` is given by the store. Open while `outcome` is None.

    `units` is what it asks for, `sequence` the step it belongs to; None where it belongs to none.
    `before` is that step as it was: what it goes back to where the write turns out not to have taken place.
    `judgement`: of a move that gave something back. `unanswered_at`: when the call ended without an answer.
    """

    number: int
    change: str
    workload: str
    sequence: int | None
    plan_hash: str | None
    units: int
    old: Setting
    new: Setting
    why: str
    fencing: int
    stored_at: UtcTime
    purpose: Purpose = Purpose.STEP
    outcome: Outcome | None = None
    settled_at: UtcTime | None = None
    before: StepRecord | None = None
    judgement: Judgement | None = None
    unanswered_at: UtcTime | None = None

    def stood_before(self, live: Setting) -> bool:
        """Whether `live` is what this was to be written over, as far as it is ours to watch."""
        return (self.old if self.new.revision else self.old.unsized).stands_in(live)


class Pin(Model):
    """A person's decision that a workload keeps at least `units` until `until`; the change's steps wait so long."""

    change: str
    workload: str
    units: int
    until: UtcTime
    actor: str
    reason: str


class Leftover(Model):
    """Raised by a change that is over, and not given back, as where another hand is in the way: a person settles it."""

    change: str
    workload: str
    live: Setting
    ours: Setting
    restore: Setting
    reason: str
    since: UtcTime


class Lease(Model):
    """One writer per workload: `fencing` grows with each new holder, so that an old one can be told and refused."""

    workload: str
    holder: str
    fencing: int
    expires_at: UtcTime


class Ticket(Model):
    """A delivery of a ticketing system as it was received, stored before it was answered."""

    number: int
    source: str
    ticket: str
    revision: str
    body: str
    received_at: UtcTime
    run: str | None = None
    failure: str | None = None
    failures: int = 0


class WakeUp(Model):
    """A run that will wake the controller at `at`. `key` makes creating it twice the same as once."""

    kind: Literal["plan", "step", "enforce"]
    key: str
    change: str
    workload: str | None
    sequence: int | None
    at: UtcTime
    name: str
